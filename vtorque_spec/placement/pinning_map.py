"""A job's pinning map against a node: each entry names a CPU that is the job's and on a core of its own."""

from collections.abc import Iterator

from vtorque_spec.diagnostics import Code
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.placement.shortage import Shortage
from vtorque_spec.plan import JobPlan

MOST_TOLD = 3
"""So many entries are told; a map that is wrong everywhere needs no more."""


def misfits(job: JobPlan, node: HostNode) -> list[Shortage]:
    """Return what is wrong with the map on this node, the first entries first."""
    if not job.pinning.map:
        return []
    if node.threads > 1 and not node.allotment_known and not job.batch.exclusive:
        message = f"which CPUs of {node.name} the job gets, and which of them are one core, is known on the node only"
        hint = "ask for the whole node, `batch: {exclusive: true}`, or use another mode of `pinning`"
        return [Shortage(Code.MAP_UNKNOWN, message, hint, (("pinning", "mode"), ("pinning",)))]
    return list(_misfits(job, node))[:MOST_TOLD]


def _misfits(job: JobPlan, node: HostNode) -> Iterator[Shortage]:
    owners = dict.fromkeys(node.taken.cpus, "another job's") | dict.fromkeys(node.host_cpus, "the host's own")
    entry_of: dict[tuple[int, ...], int] = {}
    usable = set(node.allotted).difference(owners)
    core_of = {cpu: core for cell in node.cells for core in cell.cores for cpu in core}
    for index, place in enumerate(job.pinning.map):
        field = (("pinning", "map", index),)
        if place >= node.places:
            most = node.places - 1
            message = f"the map asks for CPU number {place} of the allotment; on {node.name} they go from 0 to {most}"
            yield Shortage(Code.MAP_OUTSIDE, message, f"write a number from 0 to {most}", field)
            continue
        cpu = node.allotted[place]
        if cpu in owners:
            message = f"number {place} of the allotment is the CPU {cpu} of {node.name}, which is {owners[cpu]}"
            yield Shortage(Code.MAP_TAKEN, message, "name another CPU", field)
        core = core_of[cpu]
        earlier = entry_of.setdefault(core, index)
        same_guest = earlier // job.vcpus == index // job.vcpus
        if earlier != index and not (same_guest and node.vcpu == "thread"):
            message = f"number {place} of the allotment, CPU {cpu}, is a thread of the core that number "
            message += f"{job.pinning.map[earlier]} is of"
            why = "a vCPU has a whole core here" if node.vcpu == "core" else "two VMs share no core"
            yield Shortage(Code.MAP_CORE_TWICE, message, f"name a CPU of another core: {why}", field)
        elif node.vcpu == "core" and cpu in usable and not usable.issuperset(core):
            message = f"number {place} of the allotment, CPU {cpu}, is of a core that the job does not have whole"
            yield Shortage(Code.MAP_TAKEN, message, "name a CPU of a whole core", field)
