"""Root's two confined children of a job: one works out the plan, another makes the guests' files of it.

The first works with what a user wrote, so it may be broken into, and root rechecks its plan. The second has never seen
a byte of that: a seed is the guest's root, and a domain the node's.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from vtorque_runtime.confine import Limits
from vtorque_runtime.confined import LIMITS, Confined, RefusedError
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Artifact, Guest, JobVm, NodePlan, NodeSite, OfferedNetwork
from vtorque_spec.plan.answer import FilesAnswer, FilesQuestion, Needs, NodeAnswer, Question

SITE = Path("/etc/vtorque")

LARGEST_NEEDS = Needs(256, "", 2**16, 2**40 // 2**10, None)
"""What root accepts of a child: 256 VMs, 65,536 vCPUs, 1 PiB."""

_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Planner(Confined[NodeAnswer]):
    """The child that is asked for the job, as a context manager. `site` are the node's facts, from root's own files."""

    def __init__(
        self, node: str, directory: Path = SITE, limits: Limits = LIMITS, program: str = "vtorque_spec.node"
    ) -> None:
        """Start it, and let it be confined. Raises RefusedError when the site's files cannot be used, Fault VT0914."""
        super().__init__(NodeAnswer, program, (str(directory), node), limits)
        if self.first.site is None:
            self._end()
            raise self.fault("did not tell the site's facts")
        self.site: NodeSite = self.first.site

    def needs(self, question: Question) -> Needs:
        """Return what the job needs, of a question whose context has no slots. Raises RefusedError, Fault VT0927."""
        needs = self.ask(question).needs
        if needs is None:
            raise self.fault("did not say what the job needs")
        check_needs(needs)
        return needs

    def plan(self, question: Question) -> NodePlan:
        """Return the plan, unchecked. Raises RefusedError, Fault VT0927."""
        plan = self.ask(question).plan
        if plan is None:
            raise self.fault("has no plan")
        return plan


def compiled(guests: Sequence[Guest], vms: Sequence[JobVm], limits: Limits = LIMITS) -> tuple[Artifact, ...]:
    """Return the files of a rechecked plan's guests, by a child of its own. Raises Fault VT0604, VT0605, VT0927."""
    with Confined(FilesAnswer, "vtorque_compilers", (), limits) as compiler:
        try:
            return compiler.ask(FilesQuestion(tuple(guests), tuple(vms))).files
        except RefusedError as refused:
            (told, *_) = refused.findings
            raise Fault(told.code, told.message, help=told.help, detail=told.detail) from None


def check_needs(needs: Needs) -> None:
    """Raise Fault VT0927 for what no job can need; whoever told it is not trusted."""
    pairs = [
        (getattr(needs, name), getattr(LARGEST_NEEDS, name)) for name in ("vms", "numad_vcpus", "numad_memory_mib")
    ]
    together = (needs.numad_vcpus is None) == (needs.numad_memory_mib is None)
    fine = all(value is None or 1 <= value <= most for value, most in pairs)
    if not (together and fine and _NETWORK.fullmatch(needs.network)):
        raise Fault("VT0927", "the confined process says that the job needs what no job can")


def offered(site: NodeSite, name: str) -> OfferedNetwork:
    """Return the network of that name. Raises Fault VT0927 for one that the site does not offer."""
    found = next((one for one in site.networks if one.name == name), None)
    if found is None:
        raise Fault("VT0927", f"the confined process asks for a network that the site lacks: {name}")
    return found
