"""What root asks its confined children on a node, and what these answer; each is one line of JSON."""

from dataclasses import dataclass
from typing import Literal

from vtorque_spec.plan.context import JobVm, NodeContext
from vtorque_spec.plan.job import OwnImage
from vtorque_spec.plan.node import Artifact, Guest, NodePlan
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
class WantedImage:
    """A user's own image, as the job calls it, for a root disk of `root_disk_bytes`."""

    name: str
    files: OwnImage
    root_disk_bytes: int


@dataclass(frozen=True)
class Needs:
    """What root must know of a job before it can be planned: how many VMs it has on a node, and on which network.

    `numad_vcpus` and `numad_memory_mib` are those of all VMs together; None where numad is not asked. `own` is an image
    that is the user's own.
    """

    vms: int
    network: str
    numad_vcpus: int | None
    numad_memory_mib: int | None
    own: WantedImage | None


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
    plan: NodePlan | None


@dataclass(frozen=True)
class FilesQuestion:
    """The guests of a rechecked plan, and the names of all VMs of their job, in rank order."""

    guests: tuple[Guest, ...]
    vms: tuple[JobVm, ...]


@dataclass(frozen=True)
class FilesAnswer:
    """The files, or why there are none; the first answer, unasked, has neither."""

    findings: tuple[ToldFinding, ...]
    files: tuple[Artifact, ...]
