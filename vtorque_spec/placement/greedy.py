"""A placement without a search, for a demand whose best one is too far to seek: any that fits, with cells near by."""

from vtorque_spec.placement.room import Bag, Room, Split, by_cores, covers, minus


def greedy(room: Room) -> Split:
    """Give each guest in turn the nearest cells. Only for a room in which there is a placement (`Room.has_room`)."""
    io, bags = io_and_rest(room)
    pool = tuple(sum(column) for column in zip(*bags, strict=True))
    pages, zero = list(room.pages), (0,) * len(pool)
    cores, memory = [], []
    for pattern in covers(pool, room.widths, room.demand.vcpus, room.demand.guests) or ():
        part, lain = [zero] * len(bags), [0] * len(bags)
        need, left, mask = pattern, room.need_pages, 0
        for place in _order(room, bags, pages, pattern):
            got: Bag = tuple(map(min, bags[place], need))
            part[place], bags[place], need = got, minus(bags[place], got), minus(need, got)
            if any(got):
                mask |= 1 << place
        near = sorted(range(len(bags)), key=lambda place: (not mask >> place & 1, _far(room, mask, place), place))
        wanted = by_cores(room, tuple(part))
        for most in (wanted, [left] * len(bags)):
            for place in near:
                more = min(left, most[place], pages[place])
                lain[place] += more
                pages[place] -= more
                left -= more
        cores.append(tuple(part))
        memory.append(tuple(lain))
    return Split(io, tuple(cores), tuple(memory), "cells")


def io_and_rest(room: Room) -> tuple[tuple[int, ...], list[Bag]]:
    """The I/O cores of each cell, of the widths that the guests can best do without, and what is left in each cell."""
    io, bags = [0] * len(room.cells), list(room.bags)
    every = tuple(sum(column) for column in zip(*bags, strict=True))
    rest, _ = room.pool()
    narrow = list(minus(every, rest or every))
    for place in room.near():
        got = tuple(map(min, narrow, room.whole[place]))
        narrow = list(minus(tuple(narrow), got))
        bags[place] = minus(bags[place], got)
        io[place] = sum(got)
    return tuple(io), bags


def _order(room: Room, bags: list[Bag], pages: list[int], need: Bag) -> list[int]:
    """The cells, the nearest to one another first, from the one that has most of what a guest needs."""

    def worth(place: int) -> tuple[int, int, int]:
        there = sum(map(min, bags[place], need))
        return (-there if pages[place] >= room.need_pages else -there // 2, sum(bags[place]), place)

    first = min(range(len(bags)), key=worth)
    return sorted(range(len(bags)), key=lambda place: (place != first, room.between[first][place], worth(place)))


def _far(room: Room, mask: int, place: int) -> int:
    return sum(room.between[place][other] for other in room.members(mask))
