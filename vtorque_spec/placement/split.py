"""Guests that span several cells: the exact search for the sets of cells that they span.

All guests are alike, so a solution is a multiset of N sets of cells. In a set T of cells there fit at most
`Room.most(T)` guests. Where all cores are alike, a multiset can be realised if and only if for each T no more of its
members lie within T (Hall's theorem for flows, for cores and for memory); unions of members that touch one another are
the only T to look at. Where widths are mixed that is only necessary, and `mixed.Shares` decides.

The search takes members in ascending order of (size, distance). Cells that can be exchanged without any effect on what
was chosen so far are taken lowest first, which leaves the first of each family of symmetric solutions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from vtorque_spec.placement.flow import Flow
from vtorque_spec.placement.mixed import Shares
from vtorque_spec.placement.room import Bag, Room, between

SLACK = 50
"""The I/O distance may be over the optimum by one part in this many: 2 %."""


@dataclass(frozen=True, slots=True)
class Split:
    """Per cell the cores of the host and of I/O; per guest and cell the cores by width, and the pages."""

    host: tuple[int, ...]
    io: tuple[int, ...]
    cores: tuple[tuple[Bag, ...], ...]
    pages: tuple[tuple[int, ...], ...]


def split(room: Room) -> Split:
    """Place guests of which some must span cells. Only for a room in which there is a placement (`Room.has_room`)."""
    search = _Search(room)
    size = search.least_size()
    while not search.found(size):
        size += 1
    distance = search.nearest(size)
    return search.with_io(size, distance)


Members = tuple[int, ...]


class _Search:
    def __init__(self, room: Room) -> None:
        self.room = room
        self.guests = room.demand.guests
        self.places = range(len(room.cells))
        self.distances: dict[int, int] = {}
        self.held = self._held()
        self.least = next(size for size in range(1, len(self.places) + 1) if self._of_size(size))

    def _of_size(self, size: int) -> list[int]:
        masks = (sum(1 << place for place in chosen) for chosen in combinations(self.places, size))
        return [mask for mask in masks if self.room.most(mask)]

    def _sets(self, size: int, key: Callable[[int], tuple[int, ...]]) -> list[tuple[int, int, int]]:
        """The sets that a guest may span in a solution of that size, with their sizes and first keys, in order."""
        largest = min(size - (self.guests - 1) * self.least, len(self.places))
        found = []
        for one in range(self.least, largest + 1):
            ordered = sorted(self._of_size(one), key=lambda mask: (key(mask), self.room.members(mask)))
            found += [(mask, one, key(mask)[0]) for mask in ordered]
        return found

    def least_size(self) -> int:
        """A bound: guests and cells that hang together, n and k of them, have n + k - 1 cells spanned at least."""
        cells = (1,) * len(self.places)
        joints = next(n for n in range(len(cells) + 1) if _reach(cells, n, self.held) >= self.guests)
        return max(self.guests + joints, self.guests * self.least)

    def _held(self) -> tuple[int, ...]:
        """How many guests k cells can hold at most, for each k."""
        room = self.room
        threads = sorted((sum(w * n for w, n in zip(room.widths, bag, strict=True)) for bag in room.bags), reverse=True)
        pages = sorted(room.pages, reverse=True)
        return tuple(
            min(
                self.guests,
                sum(threads[:k]) // room.demand.vcpus,
                sum(pages[:k]) // room.need_pages if room.need_pages else self.guests,
            )
            for k in range(len(self.places) + 1)
        )

    def found(self, size: int) -> bool:
        """Whether there is a solution in which the guests span so many cells in all."""
        alike = [(self.room.bags[p], self.room.whole[p], self.room.pages[p]) for p in self.places]
        same = [[alike[a] == alike[b] for b in self.places] for a in self.places]
        walk = _Walk(self.room, self.held, self._sets(size, lambda mask: (0,)), same)
        return walk.run(size, 0, lambda members, cost: bool(self.shares(members)))

    def nearest(self, size: int) -> int:
        """The least distance of the solutions of that size."""
        walk = _Walk(
            self.room, self.held, self._sets(size, lambda mask: (self._distance(mask),)), self._exchangeable(False)
        )

        def leaf(members: Members, cost: int) -> bool:
            if self.shares(members):
                walk.limit = cost - 1
            return False

        walk.run(size, None, leaf)
        assert walk.limit is not None  # noqa: S101 - `found` said that there is one
        return walk.limit + 1

    def with_io(self, size: int, distance: int) -> Split:
        """Of the solutions of that size and distance, one whose I/O cores are as near as can be (within the slack)."""
        room, io = self.room, self.room.demand.io_cores
        costs = [room.io_cost[p] for p in room.near() for _ in range(sum(room.whole[p]))]
        bound = sum(costs[:io])
        best: list[tuple[int, Members]] = []
        sets = self._sets(size, lambda mask: (self._distance(mask), -sum(room.io_cost[p] for p in room.members(mask))))
        walk = _Walk(room, self.held, sets, self._exchangeable(True))

        def leaf(members: Members, cost: int) -> bool:
            found = self._io_cost(members)
            if found is not None and (not best or found < best[0][0]):
                best[:] = [(found, members)]
            return bool(best) and best[0][0] * SLACK <= bound * (SLACK + 1)

        def hopeless(members: Members) -> bool:
            return bool(best) and room.simple and best[0][0] * SLACK <= (self._io_cost(members) or 0) * (SLACK + 1)

        walk.hopeless = hopeless
        walk.run(size, distance, leaf)
        return self._made(best[0][1])

    def _distance(self, mask: int) -> int:
        if mask not in self.distances:
            self.distances[mask] = self.room.distance(mask)
        return self.distances[mask]

    def _exchangeable(self, with_io: bool) -> list[list[bool]]:
        room = self.room
        there = [[between(a, b) + between(b, a) for b in room.cells] for a in room.cells]
        alike = [(room.bags[p], room.whole[p], room.pages[p], with_io and room.io_cost[p]) for p in self.places]
        return [
            [
                alike[a] == alike[b] and all(there[a][c] == there[b][c] for c in self.places if c not in (a, b))
                for b in self.places
            ]
            for a in self.places
        ]

    def shares(self, members: Members) -> bool:
        """Whether a multiset that keeps within the bounds can be realised."""
        return self.room.simple or Shares(self.room, members).find() is not None

    def _io_cost(self, members: Members) -> int | None:
        room = self.room
        if not room.simple:
            found = Shares(room, members).nearest()
            return None if found is None else sum(n * c for n, c in zip(found.io, room.io_cost, strict=True))
        flow = self._flow(members)
        left, cost = room.demand.io_cores, 0
        for place in room.near():
            got = flow.push(1 << place, left)
            left, cost = left - got, cost + got * room.io_cost[place]
        return cost

    def _flow(self, members: Members) -> Flow:
        flow = Flow([sum(bag) for bag in self.room.bags])
        for mask in members:
            flow.push(mask, self.room.share)
        return flow

    def _made(self, members: Members) -> Split:
        members = tuple(sorted(members, key=self.room.members))
        room = self.room
        memory = Flow(room.pages)
        for mask in members:
            memory.push(mask, room.need_pages)
        pages = tuple(tuple(given) for given in memory.given)
        if not room.simple:
            found = Shares(room, members).nearest()
            assert found is not None  # noqa: S101 - `with_io` has found it
            return Split(found.host, found.io, found.cores, pages)
        flow = self._flow(members)
        io = _each(flow, room.near(), room.demand.io_cores)
        kept = sum(flow.free) - room.demand.host_cores
        for place in sorted(self.places, key=lambda place: (-flow.free[place], -place)):
            kept -= flow.push(1 << place, kept)
        flow.push(room.all, room.demand.host_cores)
        cores = tuple(tuple((n,) for n in flow.given[guest]) for guest in range(self.guests))
        return Split(tuple(flow.given[-1]), io, cores, pages)


@lru_cache(maxsize=2**16)
def _reach(sizes: tuple[int, ...], joints: int, held: tuple[int, ...]) -> int:
    """How many guests groups of cells can hold at most, when so many times two of them may be joined."""
    best = sum(held[size] for size in sizes)
    if joints and len(sizes) > 1:
        for one, other in set(combinations(sizes, 2)):
            rest = list(sizes)
            rest.remove(one)
            rest.remove(other)
            best = max(best, _reach(tuple(sorted((*rest, one + other))), joints - 1, held))
    return best


def _each(flow: Flow, order: Sequence[int], amount: int) -> tuple[int, ...]:
    """Push into the cells in that order, into each as much as it takes; return what each got."""
    got = [0] * len(flow.free)
    for place in order:
        got[place] = flow.push(1 << place, amount)
        amount -= got[place]
    return tuple(got)


class _Walk:
    """Depth first through the multisets, none twice."""

    def __init__(
        self, room: Room, held: tuple[int, ...], sets: list[tuple[int, int, int]], same: list[list[bool]]
    ) -> None:
        self.room, self.held, self.sets, self.same = room, held, sets, same
        self.limit: int | None = None
        self.leaf: Callable[[Members, int], bool]
        self.hopeless: Callable[[Members], bool] = lambda members: False
        self.cheapest: dict[tuple[int, int], int | None] = {}
        self.least_of: dict[int, int] = {}
        for _, size, cost in sets:
            self.least_of[size] = min(cost, self.least_of.get(size, cost))

    def run(self, size: int, limit: int | None, leaf: Callable[[Members, int], bool]) -> bool:
        """Visit the solutions of that size and at most that cost (None: any) until `leaf` says that it is enough."""
        self.limit, self.leaf = limit, leaf
        return self._down(0, (), frozenset(), size, 0)

    def _down(self, start: int, members: Members, unions: frozenset[int], size: int, cost: int) -> bool:
        left = self.room.demand.guests - len(members)
        if not left:
            return size == 0 and self.leaf(members, cost)
        marks = self._marks(members)
        for index in range(start, len(self.sets)):
            mask, own, price = self.sets[index]
            if own * left > size:
                break
            if self._dear(left - 1, size - own, cost + price) or not self._first(mask, marks):
                continue
            grown = self._grown(mask, (*members, mask), unions)
            if grown is None or self._lost((*members, mask), size - own - left + 1) or self.hopeless((*members, mask)):
                continue
            if self._down(index, (*members, mask), grown, size - own, cost + price):
                return True
        return False

    def _dear(self, left: int, size: int, cost: int) -> bool:
        rest = self._cheapest(left, size)
        return rest is None or (self.limit is not None and cost + rest > self.limit)

    def _cheapest(self, left: int, size: int) -> int | None:
        """The least that `left` sets of `size` cells in all can cost, were each free to be any."""
        if left == 0:
            return 0 if size == 0 else None
        if (left, size) not in self.cheapest:
            rests = ((cost, self._cheapest(left - 1, size - own)) for own, cost in self.least_of.items() if own <= size)
            self.cheapest[left, size] = min((cost + rest for cost, rest in rests if rest is not None), default=None)
        return self.cheapest[left, size]

    def _lost(self, members: Members, joints: int) -> bool:
        """Whether the cells that hang together hold too few guests, even after so many more joints between them."""
        parts = [1 << place for place in range(len(self.room.cells))]
        for member in members:
            if member & (member - 1):
                touched = [part for part in parts if part & member]
                parts = [part for part in parts if not part & member]
                parts.append(sum(touched))
        sizes = tuple(sorted(part.bit_count() for part in parts))
        return _reach(sizes, joints, self.held) < self.room.demand.guests

    def _marks(self, members: Members) -> list[tuple[int, ...]]:
        """What was chosen so far says of each cell: guests that have it alone, and the wider members that hold it."""
        wide = [mask for mask in members if mask & (mask - 1)]
        return [
            (members.count(1 << place), *(mask >> place & 1 for mask in wide)) for place in range(len(self.room.cells))
        ]

    def _first(self, mask: int, marks: list[tuple[int, ...]]) -> bool:
        """Whether no cell of the set could be exchanged for a lower one outside of it without any effect."""
        for high in self.room.members(mask):
            for low in range(high):
                if not mask >> low & 1 and self.same[low][high] and marks[low] == marks[high]:
                    return False
        return True

    def _grown(self, mask: int, members: Members, unions: frozenset[int]) -> frozenset[int] | None:
        """The unions of members that touch one another, with one more member; None if one of them is overfull."""
        fresh = {mask}
        for union in unions:
            if union & mask:
                fresh |= {one | union for one in fresh}
        for union in fresh:
            if sum(1 for member in members if not member & ~union) > self.room.most(union):
                return None
        return unions | fresh
