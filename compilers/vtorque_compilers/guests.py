"""All files of a node's guests."""

from collections.abc import Sequence

from vtorque_compilers.domain import compile_domain
from vtorque_compilers.seed import compile_names, compile_seed
from vtorque_spec.plan import Artifact, Guest, JobVm


def compile_guests(guests: Sequence[Guest], vms: Sequence[JobVm]) -> tuple[Artifact, ...]:
    """Return the `seed/*` that all guests have, then `vmN/domain.xml` and `vmN/seed/*` of each.

    `vms` are all VMs of the job, on whichever node. Raises Fault VT0604, VT0605.
    """
    own = [file for guest in guests for file in (compile_domain(guest), *compile_seed(guest))]
    return (*compile_names(vms), *own)
