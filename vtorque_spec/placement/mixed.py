"""Cores of several widths: whether guests that span given sets of cells can share them out. Exact, by search."""

from collections.abc import Iterator
from dataclasses import dataclass

from vtorque_spec.placement.room import Bag, Room, covers, minus, patterns


@dataclass(frozen=True, slots=True)
class Shared:
    """Per cell the cores of the host and of I/O; per guest and cell the cores by width."""

    host: tuple[int, ...]
    io: tuple[int, ...]
    cores: tuple[tuple[Bag, ...], ...]


class Shares:
    """Guests with one cell of their own are served per cell by `covers`; those that span more are tried one by one."""

    def __init__(self, room: Room, members: tuple[int, ...]) -> None:
        self.room, self.members = room, members
        self.wide = [index for index, mask in enumerate(members) if mask & (mask - 1)]
        self.single = [members.count(1 << place) for place in range(len(room.cells))]

    def nearest(self) -> Shared | None:
        """Serve all with the I/O cores as near as they can be."""
        room = self.room
        order = room.near()
        ways = sorted(
            _ways(room.demand.io_cores, [sum(room.whole[place]) for place in order]),
            key=lambda way: sum(n * room.io_cost[place] for n, place in zip(way, order, strict=True)),
        )
        for way in ways:
            io = [0] * len(order)
            for count, place in zip(way, order, strict=True):
                io[place] = count
            found = self.find(tuple(io))
            if found is not None:
                return found
        return None

    def find(self, io: tuple[int, ...] | None = None) -> Shared | None:
        """Serve all, with at least `io` cores kept in each cell (None: anywhere)."""
        self.io = io or (0,) * len(self.room.cells)
        self.dead: set[tuple[int, tuple[Bag, ...]]] = set()
        found = self._serve(0, tuple(self.room.bags))
        return None if found is None else self._made(*found, io is not None)

    def _serve(self, done: int, bags: tuple[Bag, ...]) -> tuple[tuple[Bag, ...], list[tuple[Bag, ...]]] | None:
        if (done, bags) in self.dead:
            return None
        kept = [self._reserve(place, bag) for place, bag in enumerate(bags)]
        if sum(kept) >= self.room.reserve and all(k >= n for k, n in zip(kept, self.io, strict=True)):
            if done == len(self.wide):
                return bags, []
            for part in self._parts(self.members[self.wide[done]], bags):
                found = self._serve(done + 1, tuple(minus(bag, own) for bag, own in zip(bags, part, strict=True)))
                if found is not None:
                    return found[0], [part, *found[1]]
        self.dead.add((done, bags))
        return None

    def _parts(self, mask: int, bags: tuple[Bag, ...]) -> Iterator[tuple[Bag, ...]]:
        """The ways in which a guest can take its cores from the cells of a set, per cell and width."""
        widths, zero = self.room.widths, (0,) * len(self.room.widths)
        places = self.room.members(mask)
        flat = sorted((-width, place, i) for place in places for i, width in enumerate(widths) if bags[place][i])
        bag = tuple(bags[place][i] for _, place, i in flat)
        for pattern in patterns(bag, tuple(-width for width, _, _ in flat), self.room.demand.vcpus):
            part = [list(zero) for _ in bags]
            for count, (_, place, i) in zip(pattern, flat, strict=True):
                part[place][i] = count
            yield tuple(tuple(own) for own in part)

    def _reserve(self, place: int, bag: Bag) -> int:
        """How many whole cores a cell can keep for host and I/O when its own guests are served; -1 if they can't be."""
        most = -1
        while most < self.room.reserve and self._rest(place, bag, most + 1) is not None:
            most += 1
        return most

    def _rest(self, place: int, bag: Bag, reserve: int) -> tuple[Bag, ...] | None:
        room = self.room
        lost = sum(room.bags[place]) - sum(bag)
        whole = tuple(min(a, b) for a, b in zip(room.whole[place], bag, strict=True)) if lost else room.whole[place]
        rest = room.left(bag, whole, reserve)
        return None if rest is None else covers(rest, room.widths, room.demand.vcpus, self.single[place])

    def _made(self, bags: tuple[Bag, ...], parts: list[tuple[Bag, ...]], given: bool) -> Shared:
        room = self.room
        kept = [self._reserve(place, bag) for place, bag in enumerate(bags)]
        io = list(self.io) if given else [0] * len(bags)
        host, left = [0] * len(bags), room.reserve - sum(io)
        for place in range(len(bags)):
            host[place] = min(left, kept[place] - io[place])
            left -= host[place]
        cores: list[tuple[Bag, ...]] = [()] * len(self.members)
        for index, part in zip(self.wide, parts, strict=True):
            cores[index] = part
        zero = (0,) * len(room.widths)
        for place, bag in enumerate(bags):
            alone = [index for index, mask in enumerate(self.members) if mask == 1 << place]
            for index, own in zip(alone, self._rest(place, bag, host[place] + io[place]) or (), strict=True):
                cores[index] = tuple(own if at == place else zero for at in range(len(bags)))
        return Shared(tuple(host), tuple(io), tuple(cores))


def _ways(amount: int, room: list[int]) -> Iterator[tuple[int, ...]]:
    """All ways to put an amount into cells of limited room."""
    if not room:
        if not amount:
            yield ()
        return
    for count in range(min(amount, room[0]), -1, -1):
        for rest in _ways(amount - count, room[1:]):
            yield (count, *rest)
