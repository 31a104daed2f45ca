"""A demand on a node as numbers: per cell the cores by width and the pages; how many guests a set of cells can hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Literal

from vtorque_spec.placement.model import MIB, Cell, Core, Demand, Node

Bag = tuple[int, ...]
"""How many cores there are of each of `Room.widths`."""
Unproven = Literal["", "cells", "distance", "I/O", "level"]
"""What of a placement may not be the least, because the search for it ran out of steps."""


@dataclass(frozen=True, slots=True)
class Split:
    """Per cell the cores of I/O; per guest and cell the cores by width, and the pages."""

    io: tuple[int, ...]
    cores: tuple[tuple[Bag, ...], ...]
    pages: tuple[tuple[int, ...], ...]
    unproven: Unproven = ""


class OutOfStepsError(Exception):
    """A search for the best has taken all the steps that it may."""


class Steps:
    """What searches for the best may take: counted, never timed, so that the answer is the same on any machine."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, count: int = 1) -> None:
        """Take steps. Raises OutOfStepsError when there are no more."""
        self.left -= count
        if self.left < 0:
            raise OutOfStepsError


class Room:
    """What the searches compute with. Cells are known by their place in order of id; sets of them are masks.

    Cells that have nothing to give are left out.

    `between` is the distance of two cells there and back, `io_cost` that of each from the adapters.
    """

    def __init__(self, node: Node, demand: Demand) -> None:
        self.demand = demand
        useful = (cell for cell in node.cells if usable_cores(cell, demand) or cell_pages(cell, demand))
        self.cells = tuple(sorted(useful, key=lambda cell: cell.id))
        self.cores = [usable_cores(cell, demand) for cell in self.cells]
        self.widths = tuple(sorted({self.width(core) for cores in self.cores for core in cores}, reverse=True))
        self.bags = [self.bag(cores) for cores in self.cores]
        self.whole = [self.bag([core for core in cores if not core.partial]) for cores in self.cores]
        page = demand.page_bytes or MIB
        self.need_pages = -(-demand.memory_bytes // page)
        self.pages = [cell_pages(cell, demand) for cell in self.cells]
        self.simple = len(self.widths) <= 1 and self.bags == self.whole
        self.share = -(-demand.vcpus // self.widths[0]) if self.widths else 1
        self.io_cost = [nearest(cell, node.nic_cells) for cell in self.cells]
        self.between = [[between(a, b) + between(b, a) for b in self.cells] for a in self.cells]
        self.steps = Steps(0)
        self.threads = [sum(w * n for w, n in zip(self.widths, bag, strict=True)) for bag in self.bags]
        self.held: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._most: dict[int, int] = {}
        self._leftover: dict[int, tuple[int, int]] = {}
        self._distance: dict[int, int] = {0: 0}

    def width(self, core: Core) -> int:
        """How many vCPUs a core can carry."""
        return len(core.cpus) if self.demand.smt == "threads" else 1

    def bag(self, cores: list[Core]) -> Bag:
        """Count cores by width."""
        found = [self.width(core) for core in cores]
        return tuple(found.count(width) for width in self.widths)

    def members(self, mask: int) -> list[int]:
        """The places of the cells of a set."""
        found = []
        while mask:
            low = mask & -mask
            found.append(low.bit_length() - 1)
            mask ^= low
        return found

    def distance(self, mask: int) -> int:
        """Summed over the pairs of cells of a set, there and back."""
        if mask not in self._distance:
            last = mask.bit_length() - 1
            rest = mask & ~(1 << last)
            self._distance[mask] = self.distance(rest) + sum(self.between[last][p] for p in self.members(rest))
        return self._distance[mask]

    def most(self, mask: int) -> int:
        """How many guests the cells of a set can hold between them, as if all else stood empty."""
        if mask not in self._most:
            places = self.members(mask)
            bag = tuple(sum(column) for column in zip(*(self.bags[place] for place in places), strict=True))
            self._most[mask] = self.most_in(bag, sum(self.pages[place] for place in places))
        return self._most[mask]

    def leftover(self, mask: int) -> tuple[int, int]:
        """The threads and the pages that a set of cells has over when it holds `most` guests."""
        if mask not in self._leftover:
            most, places = self.most(mask), self.members(mask)
            threads = sum(self.threads[place] for place in places) - most * self.demand.vcpus
            self._leftover[mask] = threads, sum(self.pages[place] for place in places) - most * self.need_pages
        return self._leftover[mask]

    def serves(self, threads: int, pages: int) -> int:
        """How many guests so much could serve, were all cores alike."""
        most = min(self.demand.guests, threads // self.demand.vcpus)
        return min(most, pages // self.need_pages) if self.need_pages else most

    def most_in(self, bag: Bag, pages: int) -> int:
        """How many guests some cores and pages can hold."""
        most = self.serves(sum(width * count for width, count in zip(self.widths, bag, strict=True)), pages)
        while most and covers(bag, self.widths, self.demand.vcpus, most) is None:
            most -= 1
        return most

    def left(self, bag: Bag, whole: Bag, amount: int) -> Bag | None:
        """Take so many whole cores, the narrowest: in place of a guest's core a wider one does as well."""
        rest = list(bag)
        for index in reversed(range(len(bag))):
            taken = min(amount, whole[index], rest[index])
            rest[index] -= taken
            amount -= taken
        return None if amount else tuple(rest)

    def pool(self) -> tuple[Bag | None, int]:
        """The cores of all cells less those for I/O (None if not even that is there), and the pages of all cells."""
        bag = tuple(sum(column) for column in zip(*self.bags, strict=True))
        whole = tuple(sum(column) for column in zip(*self.whole, strict=True))
        return self.left(bag, whole, self.demand.io_cores), sum(self.pages)

    def has_room(self) -> bool:
        """Whether the demand fits if every guest may span all cells: then some placement is there, and only then."""
        bag, pages = self.pool()
        if bag is None or pages < self.need_pages * self.demand.guests:
            return False
        if self.demand.mode == "none":
            threads = sum(width * count for width, count in zip(self.widths, bag, strict=True))
            return threads >= self.demand.vcpus * self.demand.guests
        return covers(bag, self.widths, self.demand.vcpus, self.demand.guests) is not None

    def io_distance(self, io: tuple[int, ...]) -> int:
        """How far I/O cores are from the adapters, summed; `io` has how many there are in each cell."""
        return sum(count * cost for count, cost in zip(io, self.io_cost, strict=True))

    def near(self) -> list[int]:
        """Cells in the order in which they give I/O cores."""
        return sorted(range(len(self.cells)), key=lambda place: (self.io_cost[place], place))


def usable_cores(cell: Cell, demand: Demand) -> list[Core]:
    """A cell's cores that the job may use, by lowest CPU."""
    usable = [core for core in cell.cores if core.cpus and (demand.smt == "threads" or not core.partial)]
    return sorted(usable, key=lambda core: core.cpus[0])


def by_cores(room: "Room", cores: Sequence[Bag]) -> list[int]:
    """The pages of a guest in the cells that its cores are in, as many to each core."""
    counts = [sum(bag) for bag in cores]
    return [room.need_pages * count // sum(counts) for count in counts]


def cell_pages(cell: Cell, demand: Demand) -> int:
    """How many pages, or MiB, a cell has."""
    return cell.memory_bytes // MIB if demand.page_bytes is None else cell.hugepages.get(demand.page_bytes, 0)


def between(one: Cell, other: Cell) -> int:
    """The distance from one cell to another; 10 and 20, the firmware's defaults, where none is known."""
    return one.distances.get(other.id, 10 if one.id == other.id else 20)


def nearest(cell: Cell, nic_cells: tuple[int, ...]) -> int:
    """The distance of a cell to the nearest of those with adapters; 0 where there are none."""
    found = (cell.distances.get(nic, 10 if nic == cell.id else 20) for nic in nic_cells)
    return min(found, default=0)


@lru_cache(maxsize=2**16)
def covers(bag: Bag, widths: Bag, vcpus: int, guests: int) -> tuple[Bag, ...] | None:
    """Give each guest cores with `vcpus` threads in all; None if they do not suffice. Exact: a search, with memory.

    Of the threads that may be wasted one guest wastes no more than its share, so that one can be served first.
    """
    if guests == 0:
        return ()
    over = sum(width * count for width, count in zip(widths, bag, strict=True)) - vcpus * guests
    if over < 0:
        return None
    if len(widths) == 1:
        share = -(-vcpus // widths[0])
        return ((share,),) * guests if share * guests <= bag[0] else None
    for pattern in patterns(bag, widths, vcpus, over // guests):
        rest = covers(minus(bag, pattern), widths, vcpus, guests - 1)
        if rest is not None:
            return (pattern, *rest)
    return None


def patterns(bag: Bag, widths: Bag, vcpus: int, most_waste: int) -> Iterator[Bag]:
    """All sets of cores that carry `vcpus` and of which none could be left out; those that waste least come first."""
    for waste in range(min(most_waste, max(widths, default=0) - 1) + 1):
        usable = tuple(count if width > waste else 0 for width, count in zip(widths, bag, strict=True))
        yield from _patterns(usable, widths, vcpus + waste)


def _patterns(bag: Bag, widths: Bag, threads: int) -> Iterator[Bag]:
    """All sets of cores with exactly so many threads; those with most cores of the first kinds come first."""
    if not threads:
        yield (0,) * len(bag)
    elif _may_sum(bag, widths, threads):
        for count in range(min(bag[0], threads // widths[0]), -1, -1):
            for rest in _patterns(bag[1:], widths[1:], threads - count * widths[0]):
                yield (count, *rest)


def _may_sum(bag: Bag, widths: Bag, threads: int) -> bool:
    total, step = 0, 0
    for width, count in zip(widths, bag, strict=True):
        if count:
            total += width * count
            step = gcd(step, width)
    return total >= threads and threads % step == 0


def minus(bag: Bag, taken: Bag) -> Bag:
    """What is left of a bag."""
    return tuple(a - b for a, b in zip(bag, taken, strict=True))
