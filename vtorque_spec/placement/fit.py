"""Whether a job fits on a node, where each of its parts goes, or everything that is short, in the job file's words."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vtorque_spec.diagnostics import Code
from vtorque_spec.document import Path
from vtorque_spec.placement import model
from vtorque_spec.placement.demand import beside_bytes, demands, memory_bytes, used_slots
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.placement.reasons import fits, refusal
from vtorque_spec.placement.shortage import (
    CPU_FIELDS,
    MEMORY_FIELDS,
    Shortage,
    less_memory,
    memory_sum,
    rounded,
    told,
)
from vtorque_spec.plan import JobPlan
from vtorque_spec.site.skvm import CPUS_LIMIT, LEAST_CORES, NICS_LIMIT
from vtorque_spec.units import print_size

_SUMS = (CPU_FIELDS[0], MEMORY_FIELDS[0])
"""Where two sums may say that the same thing is short; one of them is told."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Who gets what, and the demand that was met: its page size is chosen."""

    demand: model.Demand
    placement: model.Placement


def shortages(job: JobPlan, node: HostNode) -> tuple[Shortage, ...]:
    """Return what is short on a node; nothing when the job fits. Exact, and without looking for the best place."""
    found = [*_map(job, node)]
    room, asked = node.for_engine(), tuple(demands(job, node))
    if not found and not any(fits(room, demand) for demand in asked):
        nearest = max(asked, key=lambda demand: sum(c.hugepages.get(demand.page_bytes or 0, 0) for c in room.cells))
        found += told(refusal(room, nearest), nearest, job, node)
    if not any(short.code in (Code.TOO_MANY_CPUS, Code.NO_CELL) for short in found):
        found += _slots(job, node)
    found += [*_memory(job, node), *_skvm(job, node)]
    first = {short.code if short.fields[0] in _SUMS else short.message: short for short in reversed(found)}
    return tuple(short for short in found if short in first.values())


def place(job: JobPlan, node: HostNode) -> Placed | tuple[Shortage, ...]:
    """Place a job on a node, or return everything that is short."""
    short = shortages(job, node)
    if short:
        return short
    from vtorque_spec.placement.engine import solve  # who only asks whether it fits does not pay for it

    room = node.for_engine()
    for demand in demands(job, node):
        found = solve(room, demand)
        if isinstance(found, model.Placement):
            return Placed(demand, _lowest_for_io(found) if _by_skvm(job) else found)
    raise AssertionError("a job that fits was not placed")


def _map(job: JobPlan, node: HostNode) -> Iterator[Shortage]:
    owners = dict.fromkeys(node.taken.cpus, "another job's") | dict.fromkeys(node.host_cpus, "the host's own")
    vcpu_of: dict[tuple[int, ...], int] = {}
    core_of = {cpu: core for cell in node.cells for core in cell.cores for cpu in core}
    for index, place in enumerate(job.pinning.map):
        field: tuple[Path, ...] = (("pinning", "map", index),)
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
        other = vcpu_of.setdefault(core, index)
        same_guest = other // job.vcpus == index // job.vcpus
        if other != index and not (same_guest and node.vcpu == "thread"):
            message = f"number {place} of the allotment, CPU {cpu}, is a thread of the core that number "
            message += f"{job.pinning.map[other]} is of"
            why = "a vCPU has a whole core here" if node.vcpu == "core" else "two VMs share no core"
            yield Shortage(Code.MAP_CORE_TWICE, message, f"name a CPU of another core: {why}", field)


def _slots(job: JobPlan, node: HostNode) -> Iterator[Shortage]:
    asked = used_slots(job, node)
    if asked > node.slots:
        unit = {"core": "cores", "thread": "CPUs"}[node.slot]
        message = f"the job takes {asked} {unit}; {node.name} gives jobs {node.slots}"
        yield Shortage(Code.TOO_MANY_CPUS, message, "lower `vcpus`, `vms_per_node` or the I/O cores", CPU_FIELDS)


def _memory(job: JobPlan, node: HostNode) -> Iterator[Shortage]:
    asked = memory_bytes(job)
    if asked > node.memory_bytes:
        message = f"{memory_sum(job)}; {node.name} gives jobs {rounded(node.memory_bytes)}"
        most = node.memory_bytes // job.vms_per_node - beside_bytes(job)
        yield Shortage(Code.TOO_MUCH_MEMORY, message, less_memory(most), MEMORY_FIELDS)
    elif job.hugepages != "none":
        ordinary = sum(cell.memory_bytes for cell in node.for_engine().cells)
        needed = job.vms_per_node * beside_bytes(job)
        if needed > ordinary:
            message = (
                f"QEMU needs {print_size(needed)} beside the huge pages; {node.name} has {rounded(ordinary)} that "
                "are in no huge page"
            )
            yield Shortage(Code.TOO_MUCH_MEMORY, message, "lower `vms_per_node`", (("vms_per_node",), ("hugepages",)))


def _by_skvm(job: JobPlan) -> bool:
    return job.iocm.mode == "skvm" and job.iocm.max_cores > 0


def _lowest_for_io(found: model.Placement) -> model.Placement:
    """The I/O manager of an sKVM kernel takes the job's lowest cores; its guests, not pinned, have the others."""
    cores = sorted((*found.io, *found.floats), key=lambda core: core.cpus)
    return replace(found, io=tuple(cores[: len(found.io)]), floats=tuple(cores[len(found.io) :]))


def _skvm(job: JobPlan, node: HostNode) -> Iterator[Shortage]:
    if not _by_skvm(job):
        return
    cores = [core for cell in node.cells for core in cell.cores]
    cpus = sum(len(core) for core in cores)
    limits = (
        (cpus > CPUS_LIMIT, f"{node.name} has {cpus} CPUs, more than {CPUS_LIMIT}"),
        (len(cores) < LEAST_CORES, f"{node.name} has {len(cores)} cores, fewer than {LEAST_CORES}"),
        (len(node.nics) > NICS_LIMIT, f"{node.name} has {len(node.nics)} adapters to serve, more than {NICS_LIMIT}"),
    )
    cannot = "the site's I/O manager (sKVM) cannot serve this job"
    for broken, why in limits:
        if broken:
            yield Shortage(Code.SKVM_LIMIT, f"{cannot}: {why}", "leave out `iocm`", (("iocm",),))
    if not job.batch.exclusive:
        why, help_ = "it works on the whole node, which this job does not ask for", "write `batch: {exclusive: true}`"
        yield Shortage(Code.SKVM_LIMIT, f"{cannot}: {why}", help_, (("batch", "exclusive"), ("iocm",)))
    if job.pinning.mode != "none":
        why = f"it moves the vCPUs itself, so they cannot be pinned (`{job.pinning.mode}`)"
        yield Shortage(Code.SKVM_LIMIT, f"{cannot}: {why}", "write `pinning: none`", (("pinning", "mode"), ("iocm",)))
