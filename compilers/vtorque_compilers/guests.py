"""All files of a node's guests."""

from collections.abc import Sequence

from vtorque_compilers.domain import compile_domain
from vtorque_compilers.osv import compile_osv_seed
from vtorque_compilers.seed import compile_names, compile_seed
from vtorque_spec.plan import Artifact, Guest, JobVm, LinuxGuest


def compile_guests(guests: Sequence[Guest], vms: Sequence[JobVm]) -> tuple[Artifact, ...]:
    """Return the `seed/*` that all Linux guests have, then `vmN/domain.xml` and `vmN/seed/*` of each guest.

    `vms` are all VMs of the job, on whichever node. Raises Fault VT0604, VT0605.
    """
    own = [file for guest in guests for file in (compile_domain(guest), *_seed(guest))]
    shared = compile_names(vms) if any(isinstance(guest, LinuxGuest) for guest in guests) else ()
    return (*shared, *own)


def _seed(guest: Guest) -> tuple[Artifact, ...]:
    return compile_seed(guest) if isinstance(guest, LinuxGuest) else compile_osv_seed(guest)
