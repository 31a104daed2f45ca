"""What each guest is told of its placement: pins, memory and NUMA cells, topology, I/O threads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from vtorque_spec.placement import model
from vtorque_spec.placement.demand import beside_bytes
from vtorque_spec.placement.devices import assigned
from vtorque_spec.placement.fit import Placed
from vtorque_spec.placement.memory import guest_memory, laid
from vtorque_spec.placement.nodes import CpuSet, HostNode
from vtorque_spec.placement.room import nearest
from vtorque_spec.plan import CellMemory, Claim, CpuTopology, GuestMemory, IoCores, JobPlan, Pins

QUEUES_LIMIT = 16
"""Queues of a disk or a card: one for each vCPU up to here; more cost memory and gain nothing."""


@dataclass(frozen=True, slots=True)
class GuestPlace:
    """All that a machine needs of its placement. `queues`: None leaves them to libvirt."""

    pins: Pins
    memory: GuestMemory
    topology: CpuTopology
    queues: int | None


def io_cores(job: JobPlan, node: HostNode, placed: Placed) -> IoCores:
    """Return the I/O cores in the order in which they are put to work: those nearest to the adapters first."""
    room = node.for_engine()
    cost = {core.cpus: nearest(cell, room.nic_cells) for cell in room.cells for core in cell.cores}
    by_distance = job.iocm.mode == "libvirt"  # the manager of an sKVM kernel takes the lowest
    cores = tuple(sorted((c.cpus for c in placed.placement.io), key=lambda cpus: (by_distance and cost[cpus], cpus)))
    return IoCores(job.iocm.mode, cores, job.iocm.min_cores, node.nics if cores else ())


def guest_places(job: JobPlan, node: HostNode, placed: Placed, disks: int) -> tuple[GuestPlace, ...]:
    """Return the place of each guest, which has so many writable disks."""
    io = io_cores(job, node, placed)
    floats = _cpus(placed.placement.floats)
    return tuple(
        GuestPlace(
            pins=_pins(guest, io, floats, disks),
            memory=guest_memory(job, node, guest, lies, placed.demand.page_bytes),
            topology=_topology(job, guest, node),
            queues=min(job.vcpus, QUEUES_LIMIT) if io.cores and io.mode == "libvirt" else None,
        )
        for guest, lies in zip(placed.placement.guests, laid(node, placed), strict=True)
    )


def claim(job: JobPlan, node: HostNode, placed: Placed) -> Claim:
    """Return what the job holds of the node: its cores with all their threads, and its memory by cell."""
    found = placed.placement
    cores = (*found.io, *found.floats, *(core for guest in found.guests for core in guest.cores))
    page, lies = placed.demand.page_bytes or 1, laid(node, placed)
    spans = [[cell for cell, _ in own] for own in lies]
    held: Counter[tuple[int, int]] = Counter()
    for cell, size in (part for own in lies for part in own):
        held[cell, page] += size // page
    if page > 1:
        held += _beside(node, beside_bytes(job, node), spans)
    memory = tuple(CellMemory(cell, size, count) for (cell, size), count in sorted(held.items()))
    devices = (name for own in assigned(job.devices, node, spans) for name in own)
    return Claim(_cpus(cores), memory, tuple(sorted(devices)))


def _beside(node: HostNode, each_bytes: int, spans: Sequence[Sequence[int]]) -> Counter[tuple[int, int]]:
    """What QEMU has beside a guest's huge pages lies in the same cells; what has no room there, where most is."""
    left = {cell.id: cell.memory_bytes for cell in node.for_engine().cells}
    held: Counter[tuple[int, int]] = Counter()
    for own in spans:
        amount = each_bytes
        for cell in sorted(left, key=lambda cell: (cell not in own, -left[cell], cell)):
            taken = min(amount, left[cell])
            held[cell, 1] += taken
            left[cell] -= taken
            amount -= taken
    return +held


def _pins(guest: model.Guest, io: IoCores, floats: CpuSet, disks: int) -> Pins:
    """QEMU's own threads and the I/O threads are on the I/O cores that work, else where the guest itself is."""
    active = io.cores[: io.min_cores] if io.mode == "libvirt" else ()
    own = _cpus(guest.cores) or floats
    serving = tuple(sorted(cpu for core in active for cpu in core))
    threads = min(len(io.cores), disks) if io.mode == "libvirt" else 0
    return Pins(
        vcpus=tuple((cpu,) for cpu in guest.pins),
        emulator=serving or (own if guest.pins else ()),
        iothreads=tuple(tuple(active[index % len(active)]) if active else own for index in range(threads)),
        cpuset=own,
    )


def _topology(job: JobPlan, guest: model.Guest, node: HostNode) -> CpuTopology:
    """The guest sees siblings where its vCPUs are siblings, all cores alike; and a socket for each cell it spans."""
    threads = _even_runs([core.cpus for cpu in guest.pins for core in guest.cores if cpu in core.cpus])
    home = {cpu: cell.id for cell in node.cells for core in cell.cores for cpu in core}
    per_cell = _even_runs([home[cpu] for cpu in guest.pins])
    sockets = job.vcpus // per_cell if per_cell > 1 else 1
    return CpuTopology(sockets, job.vcpus // threads // sockets, threads)


def _even_runs(owners: Sequence[object]) -> int:
    """How many neighbours have the same owner, as many of each and all of one's together; 1 where that is not so."""
    runs = [len(list(run)) for _, run in groupby(owners)]
    return runs[0] if len(set(runs)) == 1 and len(runs) == len(set(owners)) else 1


def _cpus(cores: tuple[model.Core, ...]) -> CpuSet:
    return tuple(sorted(cpu for core in cores for cpu in core.cpus))
