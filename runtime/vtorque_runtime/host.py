"""What this host has: CPUs, memory, NUMA cells, and whether KVM really works."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vtorque_runtime import kvm
from vtorque_spec.plan import Cell

_SYS = Path("/sys/devices/system")
_KIB = 1024
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class HostFacts:
    """`cpus` are those that this process may use and that are online; `memory_bytes` is what is available now."""

    cells: tuple[Cell, ...]
    cpus: tuple[int, ...]
    memory_bytes: int
    virt: Literal["kvm", "qemu"]
    kvm_fault: str | None

    def sentence(self) -> str:
        """Return what was found in one line, for a person."""
        virt = "KVM works" if self.kvm_fault is None else f"KVM unusable ({self.kvm_fault}): emulation"
        plural = "" if len(self.cpus) == 1 else "s"
        return f"{len(self.cpus)} CPU{plural}, {self.memory_bytes / _GIB:.1f} GiB, {virt}"


def facts(hypervisor: kvm.Prober) -> HostFacts:
    """Find out; takes up to 3 s, for KVM. Raises Fault VT0905 without QEMU."""
    online = _online()
    kvm_fault = kvm.fault(hypervisor)
    return HostFacts(
        cells=_cells(online),
        cpus=tuple(sorted(os.sched_getaffinity(0) & online)),
        memory_bytes=_meminfo(Path("/proc/meminfo"), "MemAvailable"),
        virt="qemu" if kvm_fault else "kvm",
        kvm_fault=kvm_fault,
    )


def cpu_list(text: str) -> tuple[int, ...]:
    """Read the kernel's CPU list format: `0-3,8`."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def _online() -> set[int]:
    return set(cpu_list((_SYS / "cpu/online").read_text(encoding="ascii")))


def _cells(online: set[int]) -> tuple[Cell, ...]:
    """The cells that have CPUs; a kernel without NUMA shows no nodes and is one cell."""
    found = []
    for node in sorted(_SYS.glob("node/node[0-9]*"), key=lambda path: int(path.name[4:])):
        cpus = tuple(cpu for cpu in cpu_list((node / "cpulist").read_text(encoding="ascii")) if cpu in online)
        if cpus:
            found.append(Cell(int(node.name[4:]), cpus, _meminfo(node / "meminfo", "MemTotal")))
    if len(found) > 1:
        return tuple(found)
    # memory that was added while the host runs may be in no node's account, so a single cell has all of it
    return (Cell(found[0].id if found else 0, tuple(sorted(online)), _meminfo(Path("/proc/meminfo"), "MemTotal")),)


def _meminfo(path: Path, field: str) -> int:
    match = re.search(rf"\b{field}:\s+(\d+) kB", path.read_text(encoding="ascii"))
    if match is None:
        raise OSError(f"{path} has no {field}")
    return int(match[1]) * _KIB
