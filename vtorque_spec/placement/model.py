"""What the engine is asked and what it answers. No policy, no files: numbers in, numbers out.

The rules of a placement, which the engine keeps and the tests' oracle states again on its own:

* A physical core belongs to one of: the host, the job's I/O, one guest; or it is free. It is never shared.
* The host's cores are the node's, whatever the job: they are not in `Cell.cores`, and nothing is chosen about them.
* I/O takes whole cores: a `partial` core, of which another job or nobody has some threads, is not for it.
* `smt="cores"`: a vCPU has a whole core to itself, pinned to its first thread. Partial cores are not used.
* `smt="threads"`: a guest owns cores whose usable threads are together at least its vCPUs; partial cores count with the
  threads that are usable. Threads beyond the vCPUs stay idle.
* Memory is counted in pages of `page_bytes`, or in MiB: a guest's need is rounded up, a cell's room down.
* A guest *spans* the cells in which it has a core or memory.
* `compact`: each guest spans one cell. `auto`: fewest cells spanned (summed over the guests), then least distance:
  summed over guests and over the pairs {a, b} of cells that a guest spans, d(a,b) + d(b,a).
* `spread`: the cell with the most cores of guests has as few of them as can be. Where cores are alike, each guest's
  share of a cell differs by at most one core from another's; with several widths that is only approached. A guest's
  memory lies as its cores do, as far as there is room.
* `none`: the guests are not pinned. They float over the cores that `auto` would give to one guest with all their vCPUs
  and no memory; the memory of the node suffices for all and is not bound to cells.
* `map`: the job names a CPU for each vCPU. No two guests share a core, with `smt="cores"` no two vCPUs; I/O takes whole
  cores of which no CPU is named, the nearest. Memory as with `none`.
* Then the I/O cores have the least sum of distances to the nearest of `nic_cells` (within 2 % where guests are split).
* Then what is free lies together: the sum over the cells of (free cores) squared is as large as can be where each guest
  spans one cell. Where guests are split, no guest could give up a core of a cell for a free one in another of its cells
  that is no freer. Both hold where cores are alike; with several widths they are only approached.
* Whether there is a placement is always exact. Where the search for the best takes too many steps, the best that was
  found is taken, and a reason says what is not proven to be the least.
* Ties go to the lowest ids: in a cell I/O has the lowest cores, then the guests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["auto", "compact", "spread", "none", "map"]
Smt = Literal["cores", "threads"]
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Core:
    """A physical core: its threads that are online and the job's, ascending; `partial` if it has others."""

    cpus: tuple[int, ...]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A NUMA cell: what of it the job may use. `hugepages`: page size in bytes -> pages. `distances` by cell id."""

    id: int
    cores: tuple[Core, ...]
    memory_bytes: int
    hugepages: Mapping[int, int] = field(default_factory=dict)
    distances: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """A node, less what is others'. `nic_cells`: where its adapters hang. `host`: its own cores, in no cell."""

    name: str
    cells: tuple[Cell, ...]
    nic_cells: tuple[int, ...] = ()
    host: tuple[Core, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """What a job asks of a node; all guests are alike. `io_cores` is the maximum, `memory_bytes` all of a guest.

    `mapped`, for the mode `map` alone, has the CPU of each vCPU, guest by guest.
    """

    guests: int
    vcpus: int
    memory_bytes: int
    io_cores: int = 0
    page_bytes: int | None = None
    mode: Mode = "auto"
    smt: Smt = "cores"
    mapped: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest's part. `pins[i]` is the CPU of vCPU i (empty if unpinned); `memory` holds (cell id, bytes)."""

    pins: tuple[int, ...]
    cores: tuple[Core, ...]
    memory: tuple[tuple[int, int], ...]
    cells: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Who gets what. `floats`: the cores of guests without pins; `reasons` says why, a sentence for each choice."""

    host: tuple[Core, ...]
    io: tuple[Core, ...]
    guests: tuple[Guest, ...]
    floats: tuple[Core, ...]
    free: tuple[Core, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """Something that is short: `have` of what is needed, and where.

    `guests`: how many fit. `map`: `where` is what the map gives to `needed` vCPUs (a CPU, a core), of which it can
    carry `have`; or the map itself, which has too few entries.
    """

    what: Literal["cores", "threads", "memory", "guests", "map"]
    where: str
    needed: int
    have: int

    @property
    def short(self) -> int:
        """By how much."""
        return self.needed - self.have


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing fits."""

    terms: tuple[Term, ...]
