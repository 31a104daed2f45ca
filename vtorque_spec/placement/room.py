"""A demand on a node as numbers: per cell the cores by width and the pages; how many guests a set of cells can hold."""

from collections.abc import Iterator
from functools import lru_cache

from vtorque_spec.placement.model import MIB, Cell, Core, Demand, Node

Bag = tuple[int, ...]
"""How many cores there are of each of `Room.widths`."""


class Room:
    """What the searches compute with. Cells are known by their place in order of id; sets of them are masks."""

    def __init__(self, node: Node, demand: Demand) -> None:
        self.demand = demand
        self.cells = tuple(sorted(node.cells, key=lambda cell: cell.id))
        self.cores = [usable_cores(cell, demand) for cell in self.cells]
        self.widths = tuple(sorted({self.width(core) for cores in self.cores for core in cores}, reverse=True))
        self.bags = [self.bag(cores) for cores in self.cores]
        self.whole = [self.bag([core for core in cores if not core.partial]) for cores in self.cores]
        page = demand.page_bytes or MIB
        self.need_pages = -(-demand.memory_bytes // page)
        self.pages = [cell_pages(cell, demand) for cell in self.cells]
        self.reserve = demand.host_cores + demand.io_cores
        self.simple = len(self.widths) <= 1 and self.bags == self.whole
        self.share = -(-demand.vcpus // self.widths[0]) if self.widths else 1
        self.all = (1 << len(self.cells)) - 1
        self.io_cost = [_nearest(cell, node.nic_cells) for cell in self.cells]
        self._most: dict[int, int] = {}

    def width(self, core: Core) -> int:
        """How many vCPUs a core can carry."""
        return len(core.cpus) if self.demand.smt == "threads" else 1

    def bag(self, cores: list[Core]) -> Bag:
        """Count cores by width."""
        found = [self.width(core) for core in cores]
        return tuple(found.count(width) for width in self.widths)

    def members(self, mask: int) -> list[int]:
        """The places of the cells of a set."""
        return [place for place in range(len(self.cells)) if mask >> place & 1]

    def distance(self, mask: int) -> int:
        """Summed over the pairs of cells of a set, there and back."""
        cells = [self.cells[place] for place in self.members(mask)]
        pairs = ((a, b) for i, a in enumerate(cells) for b in cells[:i])
        return sum(between(a, b) + between(b, a) for a, b in pairs)

    def most(self, mask: int) -> int:
        """How many guests the cells of a set can hold between them, as if all else stood empty."""
        if mask not in self._most:
            places = self.members(mask)
            bag = tuple(sum(column) for column in zip(*(self.bags[place] for place in places), strict=True))
            self._most[mask] = self.most_in(bag, sum(self.pages[place] for place in places))
        return self._most[mask]

    def most_in(self, bag: Bag, pages: int) -> int:
        """How many guests some cores and pages can hold."""
        most = pages // self.need_pages if self.need_pages else self.demand.guests
        threads = sum(width * count for width, count in zip(self.widths, bag, strict=True))
        most = min(most, self.demand.guests, threads // self.demand.vcpus)
        while most and covers(bag, self.widths, self.demand.vcpus, most) is None:
            most -= 1
        return most

    def left(self, bag: Bag, whole: Bag, reserve: int) -> Bag | None:
        """Take `reserve` whole cores, the narrowest: in place of a guest's core a wider one does as well."""
        rest = list(bag)
        for index in reversed(range(len(bag))):
            taken = min(reserve, whole[index], rest[index])
            rest[index] -= taken
            reserve -= taken
        return None if reserve else tuple(rest)

    def pool(self) -> tuple[Bag | None, int]:
        """The cores of all cells less the reserve (None if not even that is there), and the pages of all cells."""
        bag = tuple(sum(column) for column in zip(*self.bags, strict=True))
        whole = tuple(sum(column) for column in zip(*self.whole, strict=True))
        return self.left(bag, whole, self.reserve), sum(self.pages)

    def has_room(self) -> bool:
        """Whether the demand fits if every guest may span all cells: then some placement is there, and only then."""
        bag, pages = self.pool()
        if bag is None or pages < self.need_pages * self.demand.guests:
            return False
        if self.demand.mode in ("none", "map"):
            threads = sum(width * count for width, count in zip(self.widths, bag, strict=True))
            return threads >= self.demand.vcpus * self.demand.guests
        return covers(bag, self.widths, self.demand.vcpus, self.demand.guests) is not None

    def near(self) -> list[int]:
        """Cells in the order in which they give I/O cores; of equals the last first: the host has the lowest."""
        return sorted(range(len(self.cells)), key=lambda place: (self.io_cost[place], -place))


def usable_cores(cell: Cell, demand: Demand) -> list[Core]:
    """A cell's cores that the job may use, by lowest CPU."""
    usable = [core for core in cell.cores if core.cpus and (demand.smt == "threads" or not core.partial)]
    return sorted(usable, key=lambda core: core.cpus[0])


def cell_pages(cell: Cell, demand: Demand) -> int:
    """How many pages, or MiB, a cell has."""
    return cell.memory_bytes // MIB if demand.page_bytes is None else cell.hugepages.get(demand.page_bytes, 0)


def between(one: Cell, other: Cell) -> int:
    """The distance from one cell to another; 10 and 20, the firmware's defaults, where none is known."""
    return one.distances.get(other.id, 10 if one.id == other.id else 20)


def _nearest(cell: Cell, nic_cells: tuple[int, ...]) -> int:
    found = (cell.distances.get(nic, 10 if nic == cell.id else 20) for nic in nic_cells)
    return min(found, default=0)


@lru_cache(maxsize=2**16)
def covers(bag: Bag, widths: Bag, vcpus: int, guests: int) -> tuple[Bag, ...] | None:
    """Give each guest cores with `vcpus` threads in all; None if they do not suffice. Exact: a search, with memory."""
    if guests == 0:
        return ()
    if sum(width * count for width, count in zip(widths, bag, strict=True)) < vcpus * guests:
        return None
    for pattern in patterns(bag, widths, vcpus):
        rest = covers(minus(bag, pattern), widths, vcpus, guests - 1)
        if rest is not None:
            return (pattern, *rest)
    return None


def patterns(bag: Bag, widths: Bag, vcpus: int) -> list[Bag]:
    """All sets of cores that carry `vcpus` and of which none could be left out; those that waste least come first."""
    found = list(_patterns(bag, widths, vcpus))
    return sorted(found, key=lambda pattern: sum(w * n for w, n in zip(widths, pattern, strict=True)))


def _patterns(bag: Bag, widths: Bag, vcpus: int) -> Iterator[Bag]:
    if vcpus <= 0:
        yield (0,) * len(bag)
    elif bag:
        for count in range(min(bag[0], -(-vcpus // widths[0])), -1, -1):
            for rest in _patterns(bag[1:], widths[1:], vcpus - count * widths[0]):
                yield (count, *rest)


def minus(bag: Bag, taken: Bag) -> Bag:
    """What is left of a bag."""
    return tuple(a - b for a, b in zip(bag, taken, strict=True))
