"""Place a job on a node, or say why it can't be: a pure function, exact (the rules are in `model`)."""

from collections import deque
from dataclasses import replace

from vtorque_spec.placement import mapped
from vtorque_spec.placement.compact import compact
from vtorque_spec.placement.model import MIB, Core, Demand, Guest, Node, Placement, Refusal
from vtorque_spec.placement.reasons import reasons
from vtorque_spec.placement.refuse import fits, refusal
from vtorque_spec.placement.room import Bag, Room, Split
from vtorque_spec.placement.split import split
from vtorque_spec.placement.spread import spread


def solve(node: Node, demand: Demand) -> Placement | Refusal:
    """Return a best placement by the rules of `model`, or a refusal, which means that there is none."""
    if not fits(node, demand):
        return refusal(node, demand)
    room = Room(node, demand)
    unproven = ""
    if demand.mode == "map":
        placed = _mapped(room)
    elif demand.mode == "none":
        placed, unproven = _floating(node, demand)
    else:
        found = spread(room) if demand.mode == "spread" else compact(room) or split(room)
        placed, unproven = _placed(room, found), found.unproven
    return replace(placed, host=node.host, reasons=reasons(node, demand, placed, unproven))


def _mapped(room: Room) -> Placement:
    guests = mapped.guests(room)
    own = {core.cpus for guest in guests for core in guest.cores}
    io = sorted(mapped.io_cores(room)[: room.demand.io_cores], key=lambda core: core.cpus)
    own |= {core.cpus for core in io}
    free = tuple(core for cores in room.cores for core in cores if core.cpus not in own)
    return Placement((), tuple(io), guests, (), free, ())


def _floating(node: Node, demand: Demand) -> tuple[Placement, str]:
    """Guests without pins float over what one large guest would be given."""
    large = replace(demand, mode="auto", guests=1, vcpus=demand.guests * demand.vcpus, memory_bytes=0)
    room = Room(node, large)
    found = compact(room) or split(room)
    placed = _placed(room, found)
    guests = (Guest((), (), (), ()),) * demand.guests
    return replace(placed, guests=guests, floats=placed.guests[0].cores), found.unproven


def _placed(room: Room, found: Split) -> Placement:
    """Give names to numbers: which cores, which CPUs."""
    io: list[Core] = []
    owned: list[list[Core]] = [[] for _ in found.cores]
    free: list[Core] = []
    for place, cores in enumerate(room.cores):
        used = [sum(own[place][index] for own in found.cores) for index in range(len(room.widths))]
        kept = _kept(room, cores, tuple(used), found.io[place])
        io += kept
        rest = {width: deque(c for c in cores if c not in kept and room.width(c) == width) for width in room.widths}
        for own, part in zip(owned, found.cores, strict=True):
            taken = [rest[w].popleft() for w, n in zip(room.widths, part[place], strict=True) for _ in range(n)]
            own += sorted(taken, key=lambda core: core.cpus)
        free += [core for core in cores if core in rest[room.width(core)]]
    guests = tuple(_guest(room, cores, own) for cores, own in zip(owned, found.pages, strict=True))
    return Placement((), tuple(io), guests, (), tuple(free), ())


def _kept(room: Room, cores: list[Core], used: Bag, count: int) -> list[Core]:
    """The cores of a cell that I/O takes: whole, the narrowest that the guests leave, then the lowest."""
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
