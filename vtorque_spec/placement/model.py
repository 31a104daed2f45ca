"""What the engine is asked and what it answers. No policy, no files: numbers in, numbers out.

The rules of a placement, which the engine keeps and the tests' oracle states again on its own:

* A physical core belongs to one of: the host, the job's I/O, one guest; or it is free. It is never shared.
* Host and I/O take whole cores: a `partial` core, of which another job or nobody has some threads, is not for them.
* `smt="cores"`: a vCPU has a whole core to itself, pinned to its first thread. Partial cores are not used.
* `smt="threads"`: a guest owns cores whose usable threads are together at least its vCPUs; partial cores count with the
  threads that are usable. Threads beyond the vCPUs stay idle.
* Memory is counted in pages of `page_bytes`, or in MiB: a guest's need is rounded up, a cell's room down.
* A guest *spans* the cells in which it has a core or memory.
* `compact`: each guest spans one cell. `auto`: fewest cells spanned (summed over the guests), then least distance:
  summed over guests and over the pairs {a, b} of cells that a guest spans, d(a,b) + d(b,a).
* `spread`: the cell with the most cores of guests has as few of them as can be, and each guest's share of a cell
  differs by at most one core from another's. With cores of several widths, or partial ones, it is only approached.
* `none` and `map`: counts only. The guests are not pinned; what they may use is `Placement.free`.
* Then the I/O cores have the least sum of distances to the nearest of `nic_cells` (within 2 %, see `split.SLACK`).
* Then what is free lies together: the sum over the cells of (free cores) squared is as large as can be where each guest
  spans one cell. Where guests are split, the spans come first, and cells are kept free one after the other, each as
  far as the spans allow.
* Ties go to the lowest ids: in a cell the host has the lowest cores, then I/O, then the guests.
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
    """A node, less what is others'. `nic_cells`: where its adapters hang."""

    name: str
    cells: tuple[Cell, ...]
    nic_cells: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """What a job asks of a node; all guests are alike. `io_cores` is the maximum, `memory_bytes` all of a guest."""

    guests: int
    vcpus: int
    memory_bytes: int
    host_cores: int = 0
    io_cores: int = 0
    page_bytes: int | None = None
    mode: Mode = "auto"
    smt: Smt = "cores"


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest's part. `pins[i]` is the CPU of vCPU i (empty if unpinned); `memory` holds (cell id, bytes)."""

    pins: tuple[int, ...]
    cores: tuple[Core, ...]
    memory: tuple[tuple[int, int], ...]
    cells: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Who gets what; `reasons` says why, a sentence for each choice."""

    host: tuple[Core, ...]
    io: tuple[Core, ...]
    guests: tuple[Guest, ...]
    free: tuple[Core, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """Something that is short: `have` of what is needed (`guests`: how many fit), and where."""

    what: Literal["cores", "threads", "memory", "guests"]
    where: str
    needed: int
    have: int

    @property
    def short(self) -> int:
        """By how much."""
        return self.needed - self.have


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing fits. `fits`: member of Demand -> the nearest value that, alone changed, would fit."""

    terms: tuple[Term, ...]
    fits: Mapping[str, int | str]
    sentences: tuple[str, ...]
