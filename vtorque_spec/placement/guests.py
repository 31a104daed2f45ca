"""What each guest is told of its placement: pins, memory and NUMA cells, topology, I/O threads."""

from collections import Counter
from dataclasses import dataclass

from vtorque_spec.placement import model
from vtorque_spec.placement.demand import beside_bytes
from vtorque_spec.placement.fit import Placed
from vtorque_spec.placement.nodes import CpuSet, HostNode
from vtorque_spec.plan import CellMemory, Claim, CpuTopology, GuestCell, GuestMemory, IoCores, JobPlan, Pins

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
    """Return the I/O cores in the order in which they are put to work."""
    cores = tuple(core.cpus for core in placed.placement.io)
    return IoCores(job.iocm.mode, cores, job.iocm.min_cores, node.nics if cores else ())


def guest_places(job: JobPlan, node: HostNode, placed: Placed, disks: int) -> tuple[GuestPlace, ...]:
    """Return the place of each guest, which has so many writable disks."""
    io = io_cores(job, node, placed)
    floats = _cpus(placed.placement.floats)
    return tuple(
        GuestPlace(
            pins=_pins(guest, io, floats, disks),
            memory=_memory(job, node, guest, placed),
            topology=_topology(job, guest, node),
            queues=min(job.vcpus, QUEUES_LIMIT) if io.cores and io.mode == "libvirt" else None,
        )
        for guest in placed.placement.guests
    )


def claim(job: JobPlan, node: HostNode, placed: Placed) -> Claim:
    """Return what the job holds of the node: its cores with all their threads, and its memory by cell."""
    found = placed.placement
    cores = (*found.io, *found.floats, *(core for guest in found.guests for core in guest.cores))
    demand, page = placed.demand, placed.demand.page_bytes
    held: Counter[tuple[int, int]] = Counter()
    for guest in found.guests:
        for cell, size in guest.memory:
            held[cell, page or 1] += size // (page or 1)
    if not held:
        held += _anywhere(node, page or 1, -(-demand.memory_bytes // (page or 1)) * demand.guests)
    if page:
        held += _anywhere(node, 1, beside_bytes(job) * demand.guests)
    memory = tuple(CellMemory(cell, size, count) for (cell, size), count in sorted(held.items()))
    return Claim(_cpus(cores), memory, ())


def _anywhere(node: HostNode, page_bytes: int, pages: int) -> Counter[tuple[int, int]]:
    """Memory that is bound to no cell is taken from those that have the most."""
    room = {
        c.id: c.memory_bytes if page_bytes == 1 else c.hugepages.get(page_bytes, 0) for c in node.for_engine().cells
    }
    held: Counter[tuple[int, int]] = Counter()
    for cell in sorted(room, key=lambda cell: (-room[cell], cell)):
        held[cell, page_bytes] = min(pages, room[cell])
        pages -= held[cell, page_bytes]
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


def _memory(job: JobPlan, node: HostNode, guest: model.Guest, placed: Placed) -> GuestMemory:
    page = placed.demand.page_bytes
    nodeset = tuple(cell for cell, _ in guest.memory)
    own = _own_memory(guest.memory, job.memory_bytes)
    cells = _guest_cells(node, guest, own) if len(own) > 1 else ()
    return GuestMemory(job.memory_bytes, nodeset, cells, page, node.lock_memory)


def _own_memory(memory: tuple[tuple[int, int], ...], own_bytes: int) -> dict[int, int]:
    """Take what QEMU has beside the guest's own memory from the largest shares."""
    left = dict(memory)
    beside = sum(left.values()) - own_bytes
    while beside > 0 and left:
        cell = max(left, key=lambda cell: (left[cell], -cell))
        taken = min(beside, left[cell])
        left[cell] -= taken
        beside -= taken
        if not left[cell]:
            del left[cell]
    return left


def _guest_cells(node: HostNode, guest: model.Guest, own: dict[int, int]) -> tuple[GuestCell, ...]:
    """Mirror the host's cells in which the guest has memory; a vCPU elsewhere belongs to the nearest of them."""
    home = {cpu: cell for cell in node.cells for core in cell.cores for cpu in core}
    place = {cell.id: index for index, cell in enumerate(node.cells)}
    vcpus: dict[int, list[int]] = {cell: [] for cell in own}
    for vcpu, cpu in enumerate(guest.pins):
        there = home[cpu]
        distances = there.distances or tuple(10 if cell is there else 20 for cell in node.cells)
        vcpus[min(own, key=lambda cell: (distances[place[cell]], cell))].append(vcpu)
    known = all(node.cells[place[cell]].distances for cell in own)
    return tuple(
        GuestCell(
            cell, tuple(vcpus[cell]), own[cell],
            tuple(node.cells[place[cell]].distances[place[other]] for other in sorted(own)) if known else (),
        )
        for cell in sorted(own)
    )  # fmt: skip


def _topology(job: JobPlan, guest: model.Guest, node: HostNode) -> CpuTopology:
    """The guest sees siblings where its vCPUs are siblings, all cores alike; and a socket for each cell it spans."""
    pinned = set(guest.pins)
    widths = {len(pinned.intersection(core.cpus)) for core in guest.cores}
    threads = widths.pop() if len(widths) == 1 else 1
    home = {cpu: cell.id for cell in node.cells for core in cell.cores for cpu in core}
    loads = set(Counter(home[cpu] for cpu in guest.pins).values())
    sockets = len({home[cpu] for cpu in guest.pins}) if len(loads) == 1 else 1
    return CpuTopology(sockets, job.vcpus // threads // sockets, threads)


def _cpus(cores: tuple[model.Core, ...]) -> CpuSet:
    return tuple(sorted(cpu for core in cores for cpu in core.cpus))
