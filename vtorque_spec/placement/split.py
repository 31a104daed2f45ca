"""Guests that span several cells: the sets of cells that they span, and who gets what of them.

All guests are alike, so a solution is a multiset of sets of cells. In a set T of cells there fit at most `Room.most(T)`
guests. Where all cores are alike, a multiset can be realised if and only if for each T no more of its members lie
within T (Hall's theorem for flows, for cores and for memory); unions of members that touch one another are the only T
to look at. Where widths are mixed that is only necessary, and `mixed.Shares` decides.

The search (`walk`) is exact as long as its steps last. After that the best that was found is taken, and `unproven` says
so; whether there is a placement at all is never left to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from vtorque_spec.placement.flow import Flow
from vtorque_spec.placement.greedy import greedy
from vtorque_spec.placement.joints import most_joined
from vtorque_spec.placement.mixed import Shared, Shares
from vtorque_spec.placement.room import OutOfStepsError, Room, Split, Steps, Unproven, by_cores
from vtorque_spec.placement.walk import Members, Walk

STEPS = 4_000
"""How far the search goes for the best before it takes the best that it has found: first with the fewest cells that are
possible, with two thirds of the steps that are left, then with one more, and so on."""
FEWEST_STEPS = 100
"""A search with fewer is not begun."""
SLACK = 50
"""The I/O distance may be over the optimum by one part in this many: 2 %."""


def split(room: Room) -> Split:
    """Place guests of which some must span cells. Only for a room in which there is a placement (`Room.has_room`)."""
    search = _Search(room)
    left = STEPS
    while search.distance is None and left > FEWEST_STEPS:
        left = search.attempt(search.least, "distance", left * 2 // 3) + left - left * 2 // 3
        if search.distance is None:
            search.unproven = "cells" if search.unproven else ""
            search.size += 1
    if search.distance is None:
        return greedy(room)
    search.attempt(search.nearest_io, "I/O", STEPS // 2)
    return replace(_made(room, search.members, search.shared), unproven=search.unproven)


class _Search:
    """`members` and `shared` are the best solution so far, `distance` its distance (None: there is no solution yet)."""

    def __init__(self, room: Room) -> None:
        self.room, self.guests = room, room.demand.guests
        room.steps = Steps(STEPS)
        self.size = self._least_size()
        self.members: Members = ()
        self.shared = Shared((), ())
        self.distance: int | None = None
        self.unproven: Unproven = ""

    def attempt(self, search: Callable[[], None], what: Unproven, steps: int) -> int:
        """Search for so many steps; return how many are left."""
        self.room.steps = Steps(steps)
        try:
            search()
        except OutOfStepsError:
            self.unproven = self.unproven or what
        return max(0, self.room.steps.left)

    def _least_size(self) -> int:
        """A bound: guests and cells that hang together, n and k of them, have n + k - 1 cells spanned at least."""
        room, cells = self.room, [1 << place for place in range(len(self.room.cells))]
        joints = next((n for n in range(len(cells)) if most_joined(room, cells, n) >= self.guests), len(cells) - 1)
        threads, pages = (sorted(own, reverse=True) for own in (room.threads, room.pages))
        least = next(n for n in range(1, len(cells) + 1) if room.serves(sum(threads[:n]), sum(pages[:n])))
        return max(self.guests + joints, self.guests * least)

    def least(self) -> None:
        """Find the least distance with so many cells."""
        walk = Walk(self.room, by_io=False)

        def leaf(members: Members, cost: int) -> bool:
            self.room.steps.spend(8)
            shared = _shared(self.room, members)
            if shared is not None:
                self.members, self.shared, self.distance, walk.limit = members, shared, cost, cost - 1
            return False

        walk.run(self.size, None, leaf)

    def nearest_io(self) -> None:
        """Of the solutions of that size and distance, find one whose I/O cores are as near as can be, but for SLACK."""
        room = self.room
        costs = sorted(room.io_cost[p] for p, whole in enumerate(room.whole) for _ in range(sum(whole)))
        bound = sum(costs[: room.demand.io_cores])
        walk = Walk(room, by_io=True)

        def near(least: int) -> bool:
            return room.io_distance(self.shared.io) * SLACK <= least * (SLACK + 1)

        def leaf(members: Members, cost: int) -> bool:
            room.steps.spend(8)
            best = room.io_distance(self.shared.io)
            shared = _shared(room, members) if room.simple else Shares(room, members).nearest(best)
            if shared is not None and room.io_distance(shared.io) < best:
                self.members, self.shared = members, shared
            return near(bound)

        def hopeless(members: Members) -> bool:
            shared = _shared(room, members) if room.simple else None
            room.steps.spend(8 if shared else 0)
            return shared is not None and near(room.io_distance(shared.io))

        if not near(bound) and not leaf(self.members, self.distance or 0):
            walk.hopeless = hopeless
            walk.run(self.size, self.distance, leaf)


def _shared(room: Room, members: Members) -> Shared | None:
    """Share out the cores; where they are all alike, with those of I/O as near as can be."""
    if not room.simple:
        return Shares(room, members).find()
    flow = Flow([sum(bag) for bag in room.bags])
    for mask in members:
        flow.push(mask, room.share)
    io = _each(flow, room.near(), room.demand.io_cores)
    # A cell that was made as free as it can be leaves nothing to the other cells of the guests that still are in it.
    places = sorted(range(len(room.cells)), key=lambda place: (-flow.free[place], -place))
    _each(flow, places, sum(flow.free))
    return Shared(io, tuple(tuple((n,) for n in flow.given[guest]) for guest in range(len(members))))


def _made(room: Room, members: Members, shared: Shared) -> Split:
    """Put the guests in the order of their cells; their memory lies where their cores are, as far as there is room."""
    order = sorted(range(len(members)), key=lambda guest: room.members(members[guest]))
    memory = Flow(room.pages)
    for guest in order:
        memory.add(members[guest], by_cores(room, shared.cores[guest]))
    for asker in range(len(order)):
        memory.top_up(asker, room.need_pages - sum(memory.given[asker]))
    return Split(shared.io, tuple(shared.cores[guest] for guest in order), tuple(map(tuple, memory.given)))


def _each(flow: Flow, order: Sequence[int], amount: int) -> tuple[int, ...]:
    """Push into the cells in that order, into each as much as it takes; return what each got."""
    got = [0] * len(flow.free)
    for place in order:
        got[place] = flow.push(1 << place, amount)
        amount -= got[place]
    return tuple(got)
