"""Whether a job fits on a node, where each of its parts goes, or everything that is short, in the job file's words."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vtorque_spec.diagnostics import Code
from vtorque_spec.placement import model, skvm
from vtorque_spec.placement.demand import demands, memory_bytes, ordinary_bytes, used_slots
from vtorque_spec.placement.devices import too_few_devices
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.placement.pinning_map import misfits
from vtorque_spec.placement.refuse import fits
from vtorque_spec.placement.shortage import (
    Shortage,
    told,
    too_few_slots,
    too_little_memory,
    too_little_ordinary_memory,
)
from vtorque_spec.plan import JobPlan


@dataclass(frozen=True, slots=True)
class Placed:
    """Who gets what, and the demand that was met: its page size is chosen."""

    demand: model.Demand
    placement: model.Placement


def shortages(job: JobPlan, node: HostNode) -> tuple[Shortage, ...]:
    """Return what is short on a node and how to mend it; nothing when the job fits."""
    from vtorque_spec.placement.remedy import remedy  # for a job that does not fit

    def lacking(other: JobPlan) -> set[Code]:
        return {one.code for one in lacks(other, node)}

    return tuple(one if one.help else replace(one, help=remedy(job, one.code, lacking)) for one in lacks(job, node))


def lacks(job: JobPlan, node: HostNode) -> tuple[Shortage, ...]:
    """Return what is short on a node; nothing when the job fits. Exact, and without looking for the best place."""
    found = misfits(job, node)
    room, asked = node.for_engine(), tuple(demands(job, node))
    if not found and not any(fits(room, demand) for demand in asked):
        nearest = max(asked, key=lambda demand: _paged_bytes(room, demand))
        found += told(room, nearest, job, node)
    found += _sums(job, node)
    found += skvm.beyond(job, node)
    first = {one.key: one for one in reversed(found)}
    return tuple(one for one in found if first[one.key] is one)


def place(job: JobPlan, node: HostNode) -> Placed | tuple[Shortage, ...]:
    """Place a job on a node, or return everything that is short."""
    if lacks(job, node):
        return shortages(job, node)
    from vtorque_spec.placement.engine import solve  # who only asks whether it fits does not pay for it

    room = node.for_engine()
    for demand in demands(job, node):
        found = solve(room, demand)
        if isinstance(found, model.Placement):
            return Placed(demand, skvm.lowest_for_io(room, demand, found) if skvm.serves(job) else found)
    raise AssertionError("a job that fits was not placed")


def _sums(job: JobPlan, node: HostNode) -> Iterator[Shortage]:
    """What the batch system gives jobs of the node, whatever lies where."""
    if used_slots(job, node) > node.slots and (node.alike or _placed_slots(job, node) > node.slots):
        yield too_few_slots(job, node)
    if memory_bytes(job, node) > node.memory_bytes:
        yield too_little_memory(job, node)
    yield from too_few_devices(job, node)
    if job.hugepages != "none" and ordinary_bytes(job, node) > node.ordinary_bytes:
        yield too_little_ordinary_memory(job, node)


def _placed_slots(job: JobPlan, node: HostNode) -> int:
    """Where cores have different numbers of threads, the slots of those that the job would be given; 0: of none."""
    from vtorque_spec.placement.engine import solve

    for demand in demands(job, node):
        found = solve(node.for_engine(), demand)
        if isinstance(found, model.Placement):
            cores = [*found.io, *found.floats, *(core for guest in found.guests for core in guest.cores)]
            return len(cores) if node.slot == "core" else sum(len(core.cpus) for core in cores)
    return 0


def _paged_bytes(room: model.Node, demand: model.Demand) -> int:
    return sum(cell.hugepages.get(demand.page_bytes or 0, 0) for cell in room.cells) * (demand.page_bytes or 0)
