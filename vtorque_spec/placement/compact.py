"""Every guest within one cell: how many go where, exactly, by a table over the cells."""

from vtorque_spec.placement.room import Bag, Room, covers
from vtorque_spec.placement.split import Split

Value = tuple[int, int, int, int]
"""What is minimised, in this order: I/O distance, less the squares of what is free, places of reserve and of guests."""
Chosen = tuple[tuple[int, int, int], ...]
"""Place of a cell, its guests, and the cores that it reserves for host and I/O."""


def compact(room: Room) -> Split | None:
    """Place every guest within one cell; None if there is no way."""
    table: dict[tuple[int, int], tuple[Value, Chosen]] = {(0, 0): ((0, 0, 0, 0), ())}
    for place in room.near():
        options = _options(room, place)
        fresh: dict[tuple[int, int], tuple[Value, Chosen]] = {}
        for (guests, reserve), (value, chosen) in table.items():
            for more, kept, free in options:
                state = guests + more, reserve + kept
                if state[0] > room.demand.guests or state[1] > room.reserve:
                    continue
                io = max(0, min(kept, room.demand.io_cores - reserve))
                worth = (
                    value[0] + io * room.io_cost[place],
                    value[1] - free * free,
                    value[2] + kept * place,
                    value[3] + more * place,
                )
                if state not in fresh or worth < fresh[state][0]:
                    fresh[state] = worth, (*chosen, (place, more, kept))
        table = fresh
    found = table.get((room.demand.guests, room.reserve))
    return None if found is None else _made(room, found[1])


def most_compact(room: Room) -> int:
    """How many of the guests find a cell for themselves, with host and I/O served."""
    table = {0: 0}
    for place in range(len(room.cells)):
        fresh: dict[int, int] = {}
        for kept in range(room.reserve + 1):
            most = _most(room, place, kept)
            for reserve, guests in table.items():
                if most is not None and reserve + kept <= room.reserve:
                    fresh[reserve + kept] = max(fresh.get(reserve + kept, 0), guests + most)
        table = fresh
    return min(room.demand.guests, table.get(room.reserve, 0))


def _rest(room: Room, place: int, kept: int) -> Bag | None:
    return room.left(room.bags[place], room.whole[place], kept)


def _most(room: Room, place: int, kept: int) -> int | None:
    rest = _rest(room, place, kept)
    return None if rest is None else room.most_in(rest, room.pages[place])


def _options(room: Room, place: int) -> list[tuple[int, int, int]]:
    """What a cell can do: guests, cores kept, cores free after that."""
    found = []
    for kept in range(room.reserve + 1):
        rest, most = _rest(room, place, kept), _most(room, place, kept)
        if rest is None or most is None:
            break
        for guests in range(most + 1):
            used = sum(map(sum, covers(rest, room.widths, room.demand.vcpus, guests) or ()))
            found.append((guests, kept, sum(rest) - used))
    return found


def _made(room: Room, chosen: Chosen) -> Split:
    cells = len(room.cells)
    host, io, left = [0] * cells, [0] * cells, room.demand.io_cores
    cores: list[tuple[Bag, ...]] = []
    pages: list[tuple[int, ...]] = []
    for place, _, kept in chosen:
        io[place] = min(kept, left)
        left -= io[place]
        host[place] = kept - io[place]
    for place, guests, kept in sorted(chosen):
        for own in covers(_rest(room, place, kept) or (), room.widths, room.demand.vcpus, guests) or ():
            cores.append(tuple(own if at == place else (0,) * len(own) for at in range(cells)))
            pages.append(tuple(room.need_pages if at == place else 0 for at in range(cells)))
    return Split(tuple(host), tuple(io), tuple(cores), tuple(pages))
