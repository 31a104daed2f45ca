"""Guests dealt over the cells as evenly as can be."""

from collections.abc import Iterator, Sequence

from vtorque_spec.placement.greedy import io_and_rest
from vtorque_spec.placement.mixed import ways
from vtorque_spec.placement.room import Bag, OutOfStepsError, Room, Split, Steps, Unproven, by_cores, covers

STEPS = 2_000
"""How many ways to place the I/O cores are tried, where cores have several widths, before the best of them is taken."""


def spread(room: Room) -> Split:
    """Deal cores and memory over the cells. Only for a room in which there is a placement (`Room.has_room`)."""
    return _alike(room) if room.simple else _several(room)


def _alike(room: Room) -> Split:
    guests, room_of = room.demand.guests, [sum(bag) for bag in room.bags]
    needed = guests * room.share
    level = next(n for n in range(max(room_of) + 1) if sum(min(n, own) for own in room_of) >= needed)
    spare = sum(min(level, own) for own in room_of) - needed
    io, amount = [0] * len(room_of), room.demand.io_cores
    for place in room.near():
        over = max(0, room_of[place] - level)
        io[place] = min(amount, room_of[place], over + spare)
        spare -= max(0, io[place] - over)
        amount -= io[place]
    loads = _even([own - kept for own, kept in zip(room_of, io, strict=True)], needed)
    cores = tuple(tuple((n,) for n in own) for own in _dealt(loads, guests))
    return Split(tuple(io), cores, _memory(room, cores))


def _several(room: Room) -> Split:
    """Cores of several widths: of each cell the guests get the widest, so many in all as its level says."""
    room.steps = Steps(STEPS)
    unproven: Unproven = ""
    try:
        io, bags = next(_levelled(room))
    except OutOfStepsError:
        unproven = "level"
        io, bags = io_and_rest(room)
    cores, left = [], [list(bag) for bag in bags]
    pool = tuple(sum(column) for column in zip(*bags, strict=True))
    for pattern in covers(pool, room.widths, room.demand.vcpus, room.demand.guests) or ():
        part = [[0] * len(pattern) for _ in bags]
        for index in (index for index, count in enumerate(pattern) for _ in range(count)):
            place = max(range(len(bags)), key=lambda place: (left[place][index] > 0, -sum(part[place]), -place))
            left[place][index] -= 1
            part[place][index] += 1
        cores.append(tuple(tuple(own) for own in part))
    return Split(io, tuple(cores), _memory(room, cores), unproven)


def _levelled(room: Room) -> Iterator[tuple[tuple[int, ...], list[Bag]]]:
    """I/O cores of each cell and what guests may take there, the lowest level first, then the nearest I/O cores."""
    whole = [sum(own) for own in room.whole]
    for level in range(1, max(map(sum, room.bags)) + 1):
        if not _serve(room, [_widest(bag, level) for bag in room.bags]):
            continue
        for io in ways(room.demand.io_cores, whole, room.io_cost):
            room.steps.spend()
            rests = [room.left(*own) for own in zip(room.bags, room.whole, io, strict=True)]
            bags = [_widest(rest, level) for rest in rests if rest is not None]
            if _serve(room, bags):
                yield io, bags


def _serve(room: Room, bags: list[Bag]) -> bool:
    pool = tuple(sum(column) for column in zip(*bags, strict=True))
    return covers(pool, room.widths, room.demand.vcpus, room.demand.guests) is not None


def _widest(bag: Bag, amount: int) -> Bag:
    taken = []
    for count in bag:
        taken.append(min(count, amount))
        amount -= taken[-1]
    return tuple(taken)


def _even(room: list[int], amount: int) -> list[int]:
    """Fill cells to one level, as far as their room goes; what is left of the last step goes to the lowest."""
    level = 0
    while sum(min(level + 1, own) for own in room) < amount:
        level += 1
    loads = [min(level, own) for own in room]
    for place, own in enumerate(room):
        loads[place] += own > level and sum(loads) < amount
    return loads


def _memory(room: Room, cores: Sequence[tuple[Bag, ...]]) -> tuple[tuple[int, ...], ...]:
    """A guest's pages lie as its cores do; what finds no room there lies in others of its cells, then anywhere."""
    free, given = list(room.pages), [[0] * len(room.pages) for _ in cores]

    def lay(guest: int, place: int, amount: int) -> None:
        amount = min(amount, free[place], room.need_pages - sum(given[guest]))
        given[guest][place] += amount
        free[place] -= amount

    for guest, part in enumerate(cores):
        for place, amount in enumerate(by_cores(room, part)):
            lay(guest, place, amount)
    for guest, part in enumerate(cores):
        for place in sorted(range(len(free)), key=lambda place: (not any(part[place]), place)):
            lay(guest, place, room.need_pages)
    return tuple(map(tuple, given))


def _dealt(loads: list[int], guests: int) -> list[tuple[int, ...]]:
    """Deal what lies in the cells round the guests: each gets as much as the others, and of each cell, within one."""
    dealt: list[list[int]] = [[] for _ in range(guests)]
    begin = 0
    for load in loads:
        end = begin + load
        for guest, own in enumerate(dealt):
            own.append((end - guest + guests - 1) // guests - (begin - guest + guests - 1) // guests)
        begin = end
    return [tuple(own) for own in dealt]
