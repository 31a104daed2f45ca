"""Where each guest's memory lies, and what of it is the guest's own."""

from collections import Counter

from vtorque_spec.placement import model
from vtorque_spec.placement.fit import Placed
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.plan import GuestCell, GuestMemory, JobPlan

Laid = tuple[tuple[int, int], ...]
"""(cell id, bytes) of one guest."""


def laid(node: HostNode, placed: Placed) -> tuple[Laid, ...]:
    """Return the memory of each guest by cell.

    The engine counts that of guests whose CPUs it did not choose, and does not lay it: it lies where their cores are,
    as far as there is room.
    """
    demand, found = placed.demand, placed.placement
    if any(guest.memory for guest in found.guests):
        return tuple(guest.memory for guest in found.guests)
    page = demand.page_bytes or model.MIB
    cells = node.for_engine().cells
    left = Counter({c.id: c.hugepages.get(page, 0) if demand.page_bytes else c.memory_bytes // page for c in cells})
    home = {core.cpus: cell.id for cell in cells for core in cell.cores}
    return tuple(
        _near([home[core.cpus] for core in guest.cores or found.floats], -(-demand.memory_bytes // page), page, left)
        for guest in found.guests
    )


def _near(homes: list[int], pages: int, page_bytes: int, left: Counter[int]) -> Laid:
    """Take pages from `left`: from the cells of the cores, as many to each; what has no room there, where most is."""
    given: Counter[int] = Counter()
    for cell, count in sorted(Counter(homes).items()):
        given[cell] = min(pages * count // len(homes), left[cell])
    for cell in sorted(left, key=lambda cell: (cell not in homes, -left[cell], cell)):
        given[cell] += min(pages - sum(given.values()), left[cell] - given[cell])
    left.subtract(given)
    return tuple((cell, count * page_bytes) for cell, count in sorted(given.items()) if count)


def guest_memory(job: JobPlan, node: HostNode, guest: model.Guest, lies: Laid, page_bytes: int | None) -> GuestMemory:
    """Return what a guest is told of its memory, which `lies` in these cells of the host with what QEMU has beside."""
    own = _own(lies, job.memory_bytes)
    cells = _guest_cells(node, guest, own) if len(own) > 1 and guest.pins else ()
    return GuestMemory(job.memory_bytes, tuple(cell for cell, _ in lies), cells, page_bytes, node.lock_memory)


def _own(lies: Laid, own_bytes: int) -> dict[int, int]:
    """Take what QEMU has beside the guest's own memory from the largest shares."""
    left = dict(lies)
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
