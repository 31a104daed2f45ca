"""Every guest within one cell: how many go where, exactly, by a table over the cells."""

from vtorque_spec.placement.room import Bag, Room, Split, covers

Value = tuple[int, int, tuple[int, ...], tuple[int, ...]]
"""What is minimised, in this order: I/O distance, less the squares of what is free, and per cell less the cores of I/O
and less the guests, so that ties go to the lowest cells."""


def compact(room: Room) -> Split | None:
    """Place every guest within one cell; None if there is no way."""
    table: dict[tuple[int, int], Value] = {(0, 0): (0, 0, (), ())}
    for place in range(len(room.cells)):
        options = _options(room, place)
        fresh: dict[tuple[int, int], Value] = {}
        for (guests, io), (cost, squares, kept, held) in table.items():
            for more, own, free in options:
                state = guests + more, io + own
                if state[0] > room.demand.guests or state[1] > room.demand.io_cores:
                    continue
                value = cost + own * room.io_cost[place], squares - free * free, (*kept, -own), (*held, -more)
                if state not in fresh or value < fresh[state]:
                    fresh[state] = value
        table = fresh
    found = table.get((room.demand.guests, room.demand.io_cores))
    return None if found is None else _made(room, [-own for own in found[2]], [-own for own in found[3]])


def most_compact(room: Room) -> int:
    """How many of the guests find a cell for themselves, with I/O served."""
    table = {0: 0}
    for place in range(len(room.cells)):
        fresh: dict[int, int] = {}
        for own in range(room.demand.io_cores + 1):
            most = _most(room, place, own)
            for io, guests in table.items():
                if most is not None and io + own <= room.demand.io_cores:
                    fresh[io + own] = max(fresh.get(io + own, 0), guests + most)
        table = fresh
    return min(room.demand.guests, table.get(room.demand.io_cores, 0))


def _rest(room: Room, place: int, io: int) -> Bag | None:
    return room.left(room.bags[place], room.whole[place], io)


def _most(room: Room, place: int, io: int) -> int | None:
    rest = _rest(room, place, io)
    return None if rest is None else room.most_in(rest, room.pages[place])


def _options(room: Room, place: int) -> list[tuple[int, int, int]]:
    """What a cell can do: guests, cores of I/O, cores free after that."""
    found = []
    for io in range(room.demand.io_cores + 1):
        rest, most = _rest(room, place, io), _most(room, place, io)
        if rest is None or most is None:
            break
        for guests in range(most + 1):
            used = sum(map(sum, covers(rest, room.widths, room.demand.vcpus, guests) or ()))
            found.append((guests, io, sum(rest) - used))
    return found


def _made(room: Room, io: list[int], held: list[int]) -> Split:
    places = range(len(room.cells))
    cores: list[tuple[Bag, ...]] = []
    pages: list[tuple[int, ...]] = []
    for place in places:
        rest = _rest(room, place, io[place])
        for own in covers(rest or (), room.widths, room.demand.vcpus, held[place]) or ():
            cores.append(tuple(own if at == place else (0,) * len(own) for at in places))
            pages.append(tuple(room.need_pages if at == place else 0 for at in places))
    return Split(tuple(io), tuple(cores), tuple(pages))
