"""The search through the sets of cells that guests may span: in bounds, in order, none twice.

A solution is a multiset of sets of cells, one for each guest. It has a *profile*: how many guests span 2 cells, 3, and
so on. Profiles are tried in the order of the least distance that they could have, so that a good solution comes early
and most of the others are never looked at. Within a profile the sets are taken in ascending order of (size, distance),
those of one cell last, as they cost nothing. Cells that can be exchanged without any effect on what was chosen so far
are taken lowest first, which leaves the first of each family of symmetric solutions.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from math import comb

from vtorque_spec.placement.joints import most_joined
from vtorque_spec.placement.room import Room

Members = tuple[int, ...]
"""The cells that each guest spans, as masks."""
Leaf = Callable[[Members, int], bool]
"""What to do with a solution and its distance; true ends the search."""


class Walk:
    """Depth first through the multisets. `limit` is the largest distance that is still of interest."""

    def __init__(self, room: Room, by_io: bool) -> None:
        self.room, self.guests = room, room.demand.guests
        self.places = range(len(room.cells))
        self.by_io = by_io
        self.same = _exchangeable(room, by_io)
        self.limit: int | None = None
        self.leaf: Leaf
        self.hopeless: Callable[[Members], bool] = lambda members: False
        self._sets: dict[int, list[tuple[int, int]]] = {}
        self._least = {size: _least_distance(room, size) for size in range(1, len(self.places) + 1)}

    def run(self, size: int, limit: int | None, leaf: Leaf) -> bool:
        """Visit the solutions with so many cells in all and at most that distance, until `leaf` says it is enough."""
        self.limit, self.leaf = limit, leaf
        profiles = _profiles(size - self.guests, self.guests, len(self.places))
        for least, wide in sorted((sum(map(self._least.__getitem__, wide)), wide) for wide in profiles):
            if self.limit is not None and least > self.limit:
                break
            if self._down(wide, 0, (), frozenset(), [1 << place for place in self.places], 0):
                return True
        return False

    def sets(self, size: int) -> list[tuple[int, int]]:
        """The sets of so many cells that can hold a guest: distance and mask, in order."""
        if size not in self._sets:
            room, found = self.room, []
            room.steps.spend(comb(len(self.places), size) // 8)
            for chosen in combinations(self.places, size):
                mask = sum(1 << place for place in chosen)
                if room.most(mask):
                    near = -sum(room.io_cost[place] for place in chosen) if self.by_io else 0
                    found.append((room.distance(mask), near, chosen, mask))
            self._sets[size] = [(distance, mask) for distance, _, _, mask in sorted(found)]
        return self._sets[size]

    def _down(
        self, wide: tuple[int, ...], start: int, members: Members, unions: frozenset[int], parts: list[int], cost: int
    ) -> bool:
        """Choose a set for the first guest of `wide`, then for the others; then for those of one cell."""
        if not wide:
            return self._alone(members, unions, parts, cost)
        sets, alike, joints = self.sets(wide[0]), wide.count(wide[0]), sum(wide[1:]) - len(wide) + 1
        rest = sum(self._least[size] for size in wide[alike:])
        marks = self._marks(members)
        for index in range(start, len(sets)):
            price, mask = sets[index]
            if self.limit is not None and cost + alike * price + rest > self.limit:
                break
            self.room.steps.spend()
            if not self._first(mask, marks):
                continue
            joined = _joined(parts, mask)
            if self._lost(joined, joints):
                continue
            grown = self._grown(mask, (*members, mask), unions)
            if grown is None or self.hopeless((*members, mask)):
                continue
            following = index if alike > 1 else 0
            if self._down(wide[1:], following, (*members, mask), grown, joined, cost + price):
                return True
        return False

    def _alone(self, members: Members, unions: frozenset[int], parts: list[int], cost: int) -> bool:
        """Give the guests that have one cell theirs: first the cells that are far from the adapters."""
        room = self.room
        spare = {union: room.most(union) - sum(not m & ~union for m in members) for union in unions}
        marks = self._marks(members)
        order = sorted(self.places, key=lambda place: (-room.io_cost[place] if self.by_io else 0, place))
        counts = [0] * len(order)

        def deal(at: int, left: int) -> bool:
            room.steps.spend()
            if not left:
                alone = tuple(1 << place for place in self.places for _ in range(counts[place]))
                return self.leaf((*alone, *members), cost)
            if left > sum(room.most(1 << place) for place in order[at:]):
                return False
            place = order[at]
            mine = [union for union in spare if union >> place & 1]
            most = min(left, room.most(1 << place), *(spare[union] for union in mine))
            for other in order[:at]:
                if self.same[other][place] and marks[other] == marks[place]:
                    most = min(most, counts[other])
            for count in range(most, -1, -1):
                counts[place] = count
                for union in mine:
                    spare[union] -= count
                done = deal(at + 1, left - count)
                for union in mine:
                    spare[union] += count
                if done or (self.limit is not None and cost > self.limit):
                    return done
            return False

        return deal(0, self.guests - len(members))

    def _lost(self, parts: list[int], joints: int) -> bool:
        """Whether the cells that hang together hold too few guests, even after so many more joints between them."""
        return most_joined(self.room, parts, min(joints, len(parts) - 1)) < self.guests

    def _marks(self, members: Members) -> list[tuple[int, ...]]:
        """What was chosen so far says of each cell: the members that hold it."""
        return [tuple(mask >> place & 1 for mask in members) for place in self.places]

    def _first(self, mask: int, marks: list[tuple[int, ...]]) -> bool:
        """Whether no cell of the set could be exchanged for a lower one outside of it without any effect."""
        for high in self.room.members(mask):
            for low in range(high):
                if self.same[low][high] and not mask >> low & 1 and marks[low] == marks[high]:
                    return False
        return True

    def _grown(self, mask: int, members: Members, unions: frozenset[int]) -> frozenset[int] | None:
        """The unions of members that touch one another, with one more member; None if one of them is overfull."""
        fresh = {mask}
        for union in unions:
            if union & mask:
                fresh |= {one | union for one in fresh}
        self.room.steps.spend(len(fresh) // 4)
        for union in fresh:
            if sum(not member & ~union for member in members) > self.room.most(union):
                return None
        return unions | fresh


def _joined(parts: list[int], member: int) -> list[int]:
    """The groups of cells that hang together, with one more member."""
    return [*(part for part in parts if not part & member), sum(part for part in parts if part & member)]


def _least_distance(room: Room, size: int) -> int:
    """A bound: to the others of a set of so many cells, a cell is as far as to those that are nearest to it."""
    sums = sorted(
        sum(sorted(far for b, far in enumerate(own) if b != a)[: size - 1]) for a, own in enumerate(room.between)
    )
    return -(-sum(sums[:size]) // 2)


def _profiles(joints: int, guests: int, largest: int) -> Iterator[tuple[int, ...]]:
    """All ascending sizes from 2 on, of at most so many sets, that have so many cells more than sets."""

    def parts(left: int, least: int, count: int) -> Iterator[tuple[int, ...]]:
        if not left:
            yield ()
        for size in range(least, min(left + 1, largest) + 1) if count else ():
            for rest in parts(left - size + 1, size, count - 1):
                yield (size, *rest)

    return parts(joints, 2, guests)


def _exchangeable(room: Room, by_io: bool) -> list[list[bool]]:
    """For each two cells whether all that a search looks at is the same of both."""
    places, there = range(len(room.cells)), room.between
    alike = [(room.bags[p], room.whole[p], room.pages[p], by_io and room.io_cost[p]) for p in places]
    return [
        [alike[a] == alike[b] and all(there[a][c] == there[b][c] for c in places if c not in (a, b)) for b in places]
        for a in places
    ]
