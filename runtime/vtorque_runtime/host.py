"""What this host has: CPUs, memory, NUMA cells, devices, and whether KVM really works."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vtorque_runtime import kvm, sysfs
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Cell, Device

_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class HostFacts:
    """`cpus` are those that this process may use and that are online; `memory_bytes` is what is available now.

    Free huge pages are in both `memory_bytes` and `cells`.
    """

    cells: tuple[Cell, ...]
    devices: tuple[Device, ...]
    cpus: tuple[int, ...]
    memory_bytes: int
    virt: Literal["kvm", "qemu"]
    kvm_fault: str | None

    def sentence(self) -> str:
        """Return what was found in one line, for a person."""
        virt = "KVM works" if self.kvm_fault is None else f"KVM unusable ({self.kvm_fault}): emulation"
        plural = "" if len(self.cpus) == 1 else "s"
        return f"{len(self.cpus)} CPU{plural}, {self.memory_bytes / _GIB:.1f} GiB, {virt}"


def facts(hypervisor: kvm.Prober, root: Path = sysfs.ROOT, *, emulated: bool = False) -> HostFacts:
    """Find out; takes up to 3 s, for KVM, where guests are not to be `emulated` anyway. `root` has /sys and /proc.

    Raises Fault VT0905 without QEMU, VT0914.
    """
    cells = read_cells(root)
    try:
        devices = sysfs.devices(root)
        allotted = tuple(sorted(os.sched_getaffinity(0) & sysfs.online_cpus(root)))
        available = sysfs.meminfo(root / "proc/meminfo", "MemAvailable")
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None
    kvm_fault = "the site says `hypervisor: emulation`" if emulated else kvm.fault(hypervisor)
    return HostFacts(
        cells=cells,
        devices=devices,
        cpus=allotted,
        memory_bytes=available + sum(size.size_bytes * size.count for cell in cells for size in cell.hugepages),
        virt="qemu" if kvm_fault else "kvm",
        kvm_fault=kvm_fault,
    )


def read_cells(root: Path = sysfs.ROOT) -> tuple[Cell, ...]:
    """Return the NUMA cells with the huge pages that are free now. Raises Fault VT0914."""
    try:
        return sysfs.cells(root)
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> Fault:
    return Fault("VT0914", f"this host's /sys cannot be understood: {error}", help="see whether /sys is mounted whole")
