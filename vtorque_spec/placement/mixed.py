"""Cores of several widths: whether guests that span given sets of cells can share them out. Exact, by search."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from vtorque_spec.placement.flow import Flow
from vtorque_spec.placement.room import Bag, Room, covers, minus, patterns


@dataclass(frozen=True, slots=True)
class Shared:
    """Per cell the cores of I/O; per guest and cell the cores by width."""

    io: tuple[int, ...]
    cores: tuple[tuple[Bag, ...], ...]


class Shares:
    """Guests with one cell of their own are served per cell by `covers`; those that span more are tried one by one."""

    def __init__(self, room: Room, members: tuple[int, ...]) -> None:
        self.room, self.members = room, members
        self.wide = [index for index, mask in enumerate(members) if mask & (mask - 1)]
        self.single = [members.count(1 << place) for place in range(len(room.cells))]

    def nearest(self, below: int | None = None) -> Shared | None:
        """Serve all with the I/O cores as near as they can be, at least nearer than `below`."""
        room, bags = self.room, tuple(self.room.bags)
        for self.io in ways(room.demand.io_cores, [sum(whole) for whole in room.whole], room.io_cost):
            if below is not None and room.io_distance(self.io) >= below:
                break
            found = self.find(self.io) if self._may_be(0, bags) else None
            if found is not None:
                return found
        return None

    def _may_be(self, done: int, bags: tuple[Bag, ...]) -> bool:
        """Whether all that are left could be served if the threads of a core could be parted."""
        room, threads = self.room, []
        room.steps.spend(8)
        for place, bag in enumerate(bags):
            rest = room.left(bag, tuple(map(min, room.whole[place], bag)), self.io[place])
            carried = sum(width * n for width, n in zip(room.widths, rest or (), strict=False))
            threads.append(carried - self.single[place] * room.demand.vcpus)
        if min(threads) < 0:
            return False
        flow = Flow(threads)
        return all(flow.push(self.members[index], room.demand.vcpus) == room.demand.vcpus for index in self.wide[done:])

    def find(self, io: tuple[int, ...] | None = None) -> Shared | None:
        """Serve all, with `io` cores kept in each cell (None: wherever some can be)."""
        self.io = io or (0,) * len(self.room.cells)
        self.dead: set[tuple[int, tuple[Bag, ...]]] = set()
        found = self._serve(0, tuple(self.room.bags))
        return None if found is None else self._made(*found, io or self._somewhere(found[0]))

    def _serve(self, done: int, bags: tuple[Bag, ...]) -> tuple[tuple[Bag, ...], list[tuple[Bag, ...]]] | None:
        if (done, bags) in self.dead:
            return None
        if not self._may_be(done, bags):
            self.dead.add((done, bags))
            return None
        kept = [self._reserve(place, bag) for place, bag in enumerate(bags)]
        if sum(kept) >= self.room.demand.io_cores and all(k >= n for k, n in zip(kept, self.io, strict=True)):
            if done == len(self.wide):
                return bags, []
            for part in self._parts(done, bags):
                found = self._serve(done + 1, tuple(minus(bag, own) for bag, own in zip(bags, part, strict=True)))
                if found is not None:
                    return found[0], [part, *found[1]]
        self.dead.add((done, bags))
        return None

    def _parts(self, done: int, bags: tuple[Bag, ...]) -> Iterator[tuple[Bag, ...]]:
        """The ways in which a guest can take its cores from the cells of a set, per cell and width.

        First those that take most from cells that no later guest shares.
        """
        widths, vcpus = self.room.widths, self.room.demand.vcpus
        later = [self.members[index] for index in self.wide[done + 1 :]]
        spare = [
            sum(width * count for width, count in zip(widths, bag, strict=True)) - vcpus * self.single[place] - io
            for place, (bag, io) in enumerate(zip(bags, self.io, strict=True))
        ]
        places = self.room.members(self.members[self.wide[done]])
        flat = sorted(
            (sum(other >> place & 1 for other in later), place, -width, i)
            for place in places
            for i, width in enumerate(widths)
            if bags[place][i]
        )
        bag = tuple(bags[place][i] for _, place, _, i in flat)
        for pattern in patterns(bag, tuple(-width for _, _, width, _ in flat), vcpus, widths[0]):
            part = [[0] * len(widths) for _ in bags]
            for count, (_, place, width, i) in zip(pattern, flat, strict=True):
                part[place][i] = count
                spare[place] += count * width
            if min(spare) >= 0:
                yield tuple(tuple(own) for own in part)
            for count, (_, place, width, _) in zip(pattern, flat, strict=True):
                spare[place] -= count * width
            self.room.steps.spend()

    def _reserve(self, place: int, bag: Bag) -> int:
        """How many whole cores a cell can keep for I/O when its own guests are served; -1 if they can't be."""
        most = -1
        while most < self.room.demand.io_cores and self._rest(place, bag, most + 1) is not None:
            most += 1
        return most

    def _rest(self, place: int, bag: Bag, io: int) -> tuple[Bag, ...] | None:
        room = self.room
        lost = sum(room.bags[place]) - sum(bag)
        whole = tuple(min(a, b) for a, b in zip(room.whole[place], bag, strict=True)) if lost else room.whole[place]
        rest = room.left(bag, whole, io)
        return None if rest is None else covers(rest, room.widths, room.demand.vcpus, self.single[place])

    def _somewhere(self, bags: tuple[Bag, ...]) -> tuple[int, ...]:
        """The I/O cores in cells that have enough of them when all guests are served."""
        io, left = [0] * len(bags), self.room.demand.io_cores
        for place in self.room.near():
            io[place] = min(left, self._reserve(place, bags[place]))
            left -= io[place]
        return tuple(io)

    def _made(self, bags: tuple[Bag, ...], parts: list[tuple[Bag, ...]], io: tuple[int, ...]) -> Shared:
        room = self.room
        cores: list[tuple[Bag, ...]] = [()] * len(self.members)
        for index, part in zip(self.wide, parts, strict=True):
            cores[index] = part
        zero = (0,) * len(room.widths)
        for place, bag in enumerate(bags):
            alone = [index for index, mask in enumerate(self.members) if mask == 1 << place]
            for index, own in zip(alone, self._rest(place, bag, io[place]) or (), strict=True):
                cores[index] = tuple(own if at == place else zero for at in range(len(bags)))
        return Shared(io, tuple(cores))


def ways(amount: int, room: list[int], costs: list[int]) -> Iterator[tuple[int, ...]]:
    """All ways to put an amount into cells of limited room, the cheapest first; of equals, most in the lowest cells."""
    order = sorted(range(len(room)), key=lambda place: (costs[place], place))

    def least(at: int, left: int) -> int:
        """What the rest costs at least, from the cell that is the `at`th nearest on."""
        total = 0
        for place in order[at:]:
            total += min(left, room[place]) * costs[place]
            left -= min(left, room[place])
        return total

    queue: list[tuple[int, tuple[int, ...]]] = [(least(0, amount), ())] if amount <= sum(room) else []
    while queue:
        _, way = heappop(queue)
        if len(way) == len(order):
            yield tuple(-way[order.index(place)] for place in range(len(order)))
            continue
        left, place = amount + sum(way), order[len(way)]
        spent = -sum(count * costs[order[at]] for at, count in enumerate(way))
        beyond = sum(room[other] for other in order[len(way) + 1 :])
        for count in range(max(0, left - beyond), min(left, room[place]) + 1):
            total = spent + count * costs[place] + least(len(way) + 1, left - count)
            heappush(queue, (total, (*way, -count)))
