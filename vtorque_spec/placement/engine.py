"""Place a job on a node, or say why it can't be: a pure function, exact (the rules are in `model`).

`place` does not call it yet: a few demands whose guests must be split over 16 cells search for many seconds, and a
compile may not.
"""

from collections import deque

from vtorque_spec.placement.compact import compact
from vtorque_spec.placement.model import MIB, Core, Demand, Guest, Node, Placement, Refusal
from vtorque_spec.placement.reasons import reasons, refusal
from vtorque_spec.placement.room import Bag, Room
from vtorque_spec.placement.split import Split, split
from vtorque_spec.placement.spread import spread, unpinned


def solve(node: Node, demand: Demand) -> Placement | Refusal:
    """Return a best placement by the rules of `model`, or a refusal, which means that there is none."""
    room = Room(node, demand)
    if not room.has_room():
        return refusal(node, demand)
    if demand.mode in ("none", "map"):
        return _placed(node, room, unpinned(room))
    if demand.mode == "spread":
        return _placed(node, room, spread(room))
    found = compact(room)
    if found is None and demand.mode == "compact":
        return refusal(node, demand)
    return _placed(node, room, found or split(room))


def _placed(node: Node, room: Room, found: Split) -> Placement:
    """Give names to numbers: which cores, which CPUs."""
    demand = room.demand
    host: list[Core] = []
    io: list[Core] = []
    owned: list[list[Core]] = [[] for _ in found.cores]
    free: list[Core] = []
    for place, cores in enumerate(room.cores):
        used = [sum(own[place][index] for own in found.cores) for index in range(len(room.widths))]
        kept = _kept(room, cores, tuple(used), found.host[place] + found.io[place])
        host += kept[: found.host[place]]
        io += kept[found.host[place] :]
        rest = {width: deque(c for c in cores if c not in kept and room.width(c) == width) for width in room.widths}
        for own, part in zip(owned, found.cores, strict=True):
            taken = [rest[w].popleft() for w, n in zip(room.widths, part[place], strict=True) for _ in range(n)]
            own += sorted(taken, key=lambda core: core.cpus)
        free += [core for core in cores if core in rest[room.width(core)]]
    pages = found.pages or ((0,) * len(room.cells),) * demand.guests
    guests = tuple(_guest(room, cores, own) for cores, own in zip(owned or [[]] * demand.guests, pages, strict=True))
    return Placement(tuple(host), tuple(io), guests, tuple(free), reasons(node, demand, tuple(host), tuple(io), guests))


def _kept(room: Room, cores: list[Core], used: Bag, count: int) -> list[Core]:
    """The cores of a cell that host and I/O take: whole, the narrowest that the guests leave, then the lowest."""
    kept: list[Core] = []
    for index in reversed(range(len(room.widths))):
        alike = [core for core in cores if room.width(core) == room.widths[index]]
        whole = [core for core in alike if not core.partial]
        kept += whole[: min(count - len(kept), len(alike) - used[index])]
    return sorted(kept, key=lambda core: core.cpus)


def _guest(room: Room, cores: list[Core], pages: tuple[int, ...]) -> Guest:
    demand = room.demand
    threads = [cpu for core in cores for cpu in (core.cpus if demand.smt == "threads" else core.cpus[:1])]
    page = demand.page_bytes or MIB
    memory = tuple((cell.id, count * page) for cell, count in zip(room.cells, pages, strict=True) if count)
    own = {core.cpus for core in cores}
    cells = {cell.id for cell, there in zip(room.cells, room.cores, strict=True) if any(c.cpus in own for c in there)}
    spanned = tuple(sorted(cells | {cell for cell, _ in memory}))
    return Guest(tuple(threads[: demand.vcpus]), tuple(cores), memory, spanned)
