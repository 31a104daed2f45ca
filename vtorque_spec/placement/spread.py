"""Guests dealt over the cells as evenly as can be, and cores set aside for guests that are not pinned."""

from vtorque_spec.placement.room import Bag, Room, covers, minus
from vtorque_spec.placement.split import Split


def spread(room: Room) -> Split:
    """Deal cores and memory over the cells. Only for a room in which there is a placement (`Room.has_room`)."""
    if not room.simple:
        return _approached(room)
    guests, room_of = room.demand.guests, [sum(bag) for bag in room.bags]
    needed = guests * room.share
    level = next(n for n in range(max(room_of) + 1) if sum(min(n, own) for own in room_of) >= needed)
    spare = sum(min(level, own) for own in room_of) - needed
    left, io, host = list(room_of), [0] * len(room_of), [0] * len(room_of)
    for kept, amount, order in (
        (io, room.demand.io_cores, room.near()),
        (host, room.demand.host_cores, list(range(len(room_of)))),
    ):
        for place in order:
            over = max(0, left[place] - level)
            kept[place] = min(amount, left[place], over + spare)
            spare -= max(0, kept[place] - over)
            amount -= kept[place]
            left[place] -= kept[place]
    loads = _even(left, needed)
    cores = tuple(tuple((n,) for n in own) for own in _dealt(loads, guests))
    return Split(tuple(host), tuple(io), cores, _memory(room, loads))


def unpinned(room: Room) -> Split:
    """Set cores aside for host and I/O only."""
    whole = [list(bag) for bag in room.whole]
    narrow = _narrowest(room)
    io, host = [0] * len(whole), [0] * len(whole)
    for kept, amount, order in (
        (io, room.demand.io_cores, room.near()),
        (host, room.demand.host_cores, list(range(len(whole)))),
    ):
        for place in order:
            for index in reversed(range(len(narrow))):
                got = min(amount, whole[place][index], narrow[index])
                whole[place][index] -= got
                narrow[index] -= got
                kept[place] += got
                amount -= got
    return Split(tuple(host), tuple(io), (), ())


def _narrowest(room: Room) -> list[int]:
    """Of each width, how many cores host and I/O take together."""
    rest, _ = room.pool()
    every = tuple(sum(column) for column in zip(*room.bags, strict=True))
    return list(minus(every, rest)) if rest is not None else []


def _approached(room: Room) -> Split:
    kept = unpinned(room)
    rest, _ = room.pool()
    takes = _narrow_by_cell(room, kept)
    bags = [list(minus(bag, own)) for bag, own in zip(room.bags, takes, strict=True)]
    cores = []
    for pattern in covers(rest or (), room.widths, room.demand.vcpus, room.demand.guests) or ():
        part = [[0] * len(pattern) for _ in bags]
        for index, count in enumerate(pattern):
            for _ in range(count):
                place = max(range(len(bags)), key=lambda place: (bags[place][index], -place))
                bags[place][index] -= 1
                part[place][index] += 1
        cores.append(tuple(tuple(own) for own in part))
    loads = [sum(sum(part[place]) for part in cores) for place in range(len(bags))]
    return Split(kept.host, kept.io, tuple(cores), _memory(room, loads))


def _narrow_by_cell(room: Room, kept: Split) -> list[Bag]:
    """The widths that `unpinned` took, found again in the same order."""
    narrow, takes = _narrowest(room), [[0] * len(room.widths) for _ in room.cells]
    for own, order in ((kept.io, room.near()), (kept.host, list(range(len(room.cells))))):
        for place in order:
            amount = own[place]
            for index in reversed(range(len(narrow))):
                got = min(amount, narrow[index], room.whole[place][index] - takes[place][index])
                takes[place][index] += got
                narrow[index] -= got
                amount -= got
    return [tuple(own) for own in takes]


def _even(room: list[int], amount: int) -> list[int]:
    """Fill cells to one level, as far as their room goes; what is left of the last step goes to the lowest."""
    level = 0
    while sum(min(level + 1, own) for own in room) < amount:
        level += 1
    loads = [min(level, own) for own in room]
    for place, own in enumerate(room):
        loads[place] += own > level and sum(loads) < amount
    return loads


def _memory(room: Room, loads: list[int]) -> tuple[tuple[int, ...], ...]:
    """Pages lie evenly in the cells in which there are cores, and in others when those are full."""
    near = [own if load else 0 for own, load in zip(room.pages, loads, strict=True)]
    far = [0 if load else own for own, load in zip(room.pages, loads, strict=True)]
    amount = room.need_pages * room.demand.guests
    first = min(amount, sum(near))
    given = [a + b for a, b in zip(_level(near, first), _level(far, amount - first), strict=True)]
    return tuple(_dealt(given, room.demand.guests))


def _level(room: list[int], amount: int) -> list[int]:
    """As `_even`, for amounts too large to count up to: the smallest cells first, each at most its share."""
    given = [0] * len(room)
    order = sorted(range(len(room)), key=lambda place: (room[place], place))
    for at, place in enumerate(order):
        given[place] = min(room[place], -(-amount // (len(order) - at)))
        amount -= given[place]
    return given


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
