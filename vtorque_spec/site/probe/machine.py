"""What a machine is made of, whoever told it, and the same read back from a node class."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from vtorque_spec.site.cpus import HIGHEST_CPU
from vtorque_spec.site.model import NodeClass, cores_of
from vtorque_spec.units import SIZE_UNITS, parse_size

Kind = Literal["nic", "hca", "gpu", "nvme"]
"""Network interface, InfiniBand adapter, GPU or other accelerator, NVMe controller."""

HUGEPAGE_BYTES = {"2MiB": parse_size("2MiB"), "1GiB": parse_size("1GiB")}
"""The sizes of huge pages that are looked at, in the order of the lists."""


MANAGEMENT_VENDORS = ("1a03", "102b")
"""PCI vendors of the display controllers that boards have for their management, ASPEED and Matrox: no GPUs for jobs."""


class ProbeError(Exception):
    """A machine's description cannot be read, or describes no machine.

    The message is that of a finding. `line` and `column` (from 1) are its place in `source`, a file, where it has one.
    """

    def __init__(
        self, message: str, help: str, source: str | None = None, line: int | None = None, column: int = 1,  # noqa: A002 - the field's name in every finding
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.help = help
        self.source = source
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Device:
    """A device with a place: `name` is the kernel's (eth0, mlx5_0, nvme0), for a GPU its PCI address (0000:3b:00.0)."""

    name: str
    kind: Kind
    cell: int | None
    """The id of its cell; None when the machine does not tell."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A NUMA cell; it may have no CPUs, or no memory."""

    id: int
    cores: tuple[tuple[int, ...], ...]
    """The ids of the CPUs that are on, core by core; both in ascending order."""
    memory_bytes: int
    hugepages: Mapping[str, int] = field(default_factory=dict)
    """How many there are of each size of HUGEPAGE_BYTES; none of zero."""
    distances: tuple[int, ...] = ()
    """The ACPI distance to each cell of the machine, in their order; empty when unknown."""
    socket: int | None = None
    """The kernel's number of the socket that its CPUs are in; None when it has none or they are in several."""

    @property
    def cpus(self) -> list[int]:
        """Its CPUs in ascending order."""
        return sorted(cpu for core in self.cores for cpu in core)


@dataclass(frozen=True, slots=True)
class Machine:
    """Cells in the order of their ids, devices in that of their kinds and names."""

    cells: tuple[Cell, ...]
    devices: tuple[Device, ...] = ()

    @property
    def cores(self) -> list[tuple[int, ...]]:
        """All cores, in the order of their first CPUs."""
        return sorted(core for cell in self.cells for core in cell.cores)

    @property
    def memory_bytes(self) -> int:
        """The memory of all cells."""
        return sum(cell.memory_bytes for cell in self.cells)

    @property
    def built(self) -> tuple[int, int, int] | None:
        """Sockets, cores of a socket and threads of a core; None when sockets or cores are not alike, or not known."""
        sockets: Counter[int] = Counter()
        for cell in self.cells:
            if cell.cores and cell.socket is None:
                return None
            if cell.socket is not None:
                sockets[cell.socket] += len(cell.cores)
        threads = {len(core) for core in self.cores}
        if len(set(sockets.values())) != 1 or len(threads) != 1:
            return None
        return len(sockets), next(iter(sockets.values())), threads.pop()

    def rounded(self) -> "Machine":
        """Return the machine with the memory of each cell rounded down to whole MiB: what site.yaml says."""
        unit = SIZE_UNITS["MiB"]
        cells = (replace(cell, memory_bytes=cell.memory_bytes // unit * unit) for cell in self.cells)
        return replace(self, cells=tuple(cells))


def cpu_list(text: str, most: int = HIGHEST_CPU + 1) -> list[int] | None:
    """Return the CPUs of a list of the kernel, ``0-3,8``; None when it is no such list, or one of more than `most`."""
    cpus: list[int] = []
    for part in text.split(",") if text else ():
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
        more = range(int(match[1]), int(match[2] or match[1]) + 1) if match else ()
        if not more or len(cpus) + len(more) > most:
            return None
        cpus.extend(more)
    return cpus


def machine(cells: Iterable[Cell], devices: Iterable[Device], source: str) -> Machine:
    """Put a machine in order. Raises ProbeError when it has no CPUs or no memory; `source` is who told of it."""
    made = Machine(
        tuple(sorted(cells, key=lambda cell: cell.id)),
        tuple(sorted(set(devices), key=lambda device: (device.kind, device.name))),
    )
    if len(made.cells) == 1:  # then a machine need not tell
        made = replace(made, devices=tuple(replace(device, cell=made.cells[0].id) for device in made.devices))
    if not made.cores:
        raise ProbeError(f"{source} names no CPUs", "describe a node that is up, with its processors", source)
    if not made.rounded().memory_bytes:
        raise ProbeError(f"{source} names no memory", "describe a node that is up, with its memory", source)
    return made


def machine_of(said: NodeClass) -> Machine | None:
    """Return the machine that a node class describes; None when it has no cells."""
    if not said.cells:
        return None
    threads = said.topology.threads if said.topology else 1
    order = sorted(range(len(said.cells)), key=[cell.id for cell in said.cells].__getitem__)
    cells = (
        Cell(
            cell.id, cores_of(cell, threads), cell.memory or 0,
            {size: count for size in HUGEPAGE_BYTES for word, count in (cell.hugepages or {}).items() if word == size},
            tuple(cell.distances[place] for place in order) if cell.distances else (), cell.socket,
        )
        for cell in said.cells
    )  # fmt: skip
    devices = (Device(device.name, device.kind, device.cell) for device in said.devices or ())
    return machine(cells, devices, "the node class")
