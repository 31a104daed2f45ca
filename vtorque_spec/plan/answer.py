"""What root asks its confined child on a node, and what that answers; each is one line of JSON."""

from dataclasses import dataclass
from typing import Literal

from vtorque_spec.plan.context import NodeContext
from vtorque_spec.plan.node import NodeBundle
from vtorque_spec.plan.site import NodeSite


@dataclass(frozen=True)
class Question:
    """A machine part as it was carried, whose it is by the batch system's word, and the node as it is for this job.

    A context without slots asks what the job needs, any other for its plan.
    """

    machine: str
    user: str
    groups: tuple[str, ...]
    queue: str | None
    node: NodeContext


@dataclass(frozen=True)
class Needs:
    """What root must know of a job before it can be planned: how many VMs it has on a node, and on which network.

    `numad_vcpus` and `numad_memory_mib` are those of all VMs together; None where numad is not asked.
    """

    vms: int
    network: str
    numad_vcpus: int | None
    numad_memory_mib: int | None


@dataclass(frozen=True)
class ToldFinding:
    """A finding of the child: text for a person, hostile like all that comes from there."""

    code: str
    severity: Literal["error", "warning"]
    message: str
    help: str | None
    detail: str | None


@dataclass(frozen=True)
class NodeAnswer:
    """Findings, and what was asked for unless one of them is an error: the site's facts come first, unasked."""

    findings: tuple[ToldFinding, ...]
    site: NodeSite | None
    needs: Needs | None
    bundle: NodeBundle | None
