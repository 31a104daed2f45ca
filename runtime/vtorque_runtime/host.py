"""What this host has: CPUs, memory, NUMA cells, and whether KVM really works."""

import os
import re
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from vtorque_spec.fault import Fault
from vtorque_spec.plan import Cell

_SYS = Path("/sys/devices/system")
_KIB = 1024
_GIB = 1024**3


class Prober(Protocol):
    """What finding out about KVM needs of a hypervisor."""

    def try_domain(self, xml: str) -> str | None:
        """Start a domain without running it and end it; return None, or why it can't start."""


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


def facts(hypervisor: Prober) -> HostFacts:
    """Find out; takes about a second where KVM works. Raises Fault VT0905 without QEMU."""
    online = _online()
    kvm_fault = _kvm_fault(hypervisor)
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


def _kvm_fault(hypervisor: Prober) -> str | None:
    """/dev/kvm may exist and not work, so a machine is started with its CPUs stopped: by us, then by libvirt.

    QEMU alone answers at once when the kernel can't; libvirt then tells whether QEMU may, as the user it runs it as.
    """
    if not Path("/dev/kvm").exists():
        return "no /dev/kvm"
    words = _qemu_fault() or hypervisor.try_domain(_PROBE.format(uuid=uuid.uuid4()))
    return None if words is None else re.sub(r"^.*qemu-system-x86_64: ", "", words.strip().splitlines()[-1])[:100]


def _qemu_fault() -> str | None:
    try:
        done = subprocess.run(
            _QEMU,
            input=_QUIT,
            capture_output=True,
            timeout=_QEMU_LIMIT_S,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError:
        raise Fault("VT0905", f"this host has no {_QEMU[0]}", help="apt install qemu-system-x86") from None
    except subprocess.TimeoutExpired:
        return f"QEMU did not start within {_QEMU_LIMIT_S} s"
    return None if done.returncode == 0 else done.stderr.strip() or f"QEMU ended with {done.returncode}"


_QEMU_LIMIT_S = 10
_QEMU = (
    *("qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "32"),
    *("-nodefaults", "-display", "none", "-S", "-qmp", "stdio"),
)
_QUIT = '{"execute": "qmp_capabilities"}{"execute": "quit"}'
_PROBE = """\
<domain type='kvm'>
  <name>vt-probe-{uuid}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu mode='host-passthrough'/>
  <devices><memballoon model='none'/></devices>
</domain>
"""
