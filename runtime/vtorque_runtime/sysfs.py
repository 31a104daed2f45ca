"""The node's cells and devices as Linux shows them in /sys (Documentation/ABI/stable/sysfs-devices-node, -system-cpu).

Every function takes the directory that /sys and /proc lie in, and raises OSError or ValueError for what is not as it
should be.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vtorque_runtime.cpulist import read_list
from vtorque_spec.plan import Cell, Device, Pages

ROOT = Path("/")
_KIB = 1024
_CLASSES: tuple[tuple[str, Literal["nic", "hca", "nvme"]], ...] = (
    ("net", "nic"),
    ("infiniband", "hca"),
    ("nvme", "nvme"),
)
_GPU_CLASSES = ("0x03", "0x12")
"""PCI's display controllers and processing accelerators."""

_MANAGEMENT_VENDORS = frozenset({"0x1a03", "0x102b"})
"""ASPEED and Matrox: the display controllers of boards' management, which compute nothing."""


def online_cpus(root: Path = ROOT) -> frozenset[int]:
    """Return the CPUs that are online."""
    return frozenset(read_list(_text(root / "sys/devices/system/cpu/online")))


def cells(root: Path = ROOT) -> tuple[Cell, ...]:
    """Return the NUMA cells, also those without CPUs or memory; a kernel without NUMA has one.

    Huge pages are those that are free now; the memory of none of them, free or not, is ordinary memory.
    """
    nodes, online = root / "sys/devices/system/node", online_cpus(root)
    ids = sorted(int(path.name[4:]) for path in _listed(nodes) if re.fullmatch(r"node\d{1,6}", path.name))
    if not ids:
        pages = root / "sys/kernel/mm/hugepages"
        return (_cell(0, _cores(root, online), meminfo(root / "proc/meminfo", "MemTotal"), pages, (10,)),)
    found = []
    for number in ids:
        node = nodes / f"node{number}"
        own = online.intersection(read_list(_text(node / "cpulist")))
        distances = tuple(int(word) for word in _text(node / "distance").split())
        memory = meminfo(node / "meminfo", "MemTotal")
        if len(ids) == 1:  # memory that was added while the host runs may be in no node's account
            own, memory = online, meminfo(root / "proc/meminfo", "MemTotal")
        found.append(_cell(number, _cores(root, own), memory, node / "hugepages", distances))
    return tuple(found)


def with_pages(found: Iterable[Cell], more: Mapping[tuple[int, int], int]) -> tuple[Cell, ...]:
    """Return the cells with more huge pages: `more[cell, size in bytes]` of them."""
    return tuple(
        replace(
            cell,
            hugepages=tuple(
                replace(size, count=size.count + more.get((cell.id, size.size_bytes), 0)) for size in cell.hugepages
            ),
        )
        for cell in found
    )


def meminfo(path: Path, field: str) -> int:
    """Return a field of a meminfo file in bytes."""
    match = re.search(rf"\b{field}:\s+(\d+) kB", _text(path))
    if match is None:
        raise ValueError(f"{path} has no {field}")
    return int(match[1]) * _KIB


def devices(root: Path = ROOT) -> tuple[Device, ...]:
    """Return the adapters, GPUs and NVMe disks, by kind and name."""
    return tuple(sorted(_devices(root), key=lambda device: (device.kind, device.name)))


def _cell(id_: int, cores: tuple[tuple[int, ...], ...], memory: int, pages: Path, distances: tuple[int, ...]) -> Cell:
    free, reserved = [], 0
    for directory in _listed(pages):
        size = int(directory.name.removeprefix("hugepages-").removesuffix("kB")) * _KIB
        reserved += size * int(_text(directory / "nr_hugepages"))
        free.append(Pages(size, int(_text(directory / "free_hugepages"))))
    free.sort(key=lambda size: size.size_bytes)
    return Cell(id_, cores, max(0, memory - reserved), tuple(free), distances)


def _cores(root: Path, cpus: frozenset[int]) -> tuple[tuple[int, ...], ...]:
    """The CPUs of each core. What is offline is in no core, whatever the kernel's lists of siblings say."""
    cores = set()
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        names = ("thread_siblings_list", "core_cpus_list")  # the second is the newer name of the same
        path = next((topology / name for name in names if (topology / name).exists()), topology / names[0])
        cores.add(tuple(sorted(cpus.intersection(read_list(_text(path))) | {cpu})))
    return tuple(sorted(cores))


def _devices(root: Path) -> Iterator[Device]:
    for name, kind in _CLASSES:
        for path in _listed(root / "sys/class" / name):
            remote = (path / "transport").exists() and _text(path / "transport") != "pcie"  # NVMe over a network
            if (path / "device").exists() and not remote:
                yield Device(path.name, kind, _place(path / "device"))
    for path in _listed(root / "sys/bus/pci/devices"):
        if _text(path / "class").startswith(_GPU_CLASSES) and _text(path / "vendor") not in _MANAGEMENT_VENDORS:
            yield Device(path.name, "gpu", _place(path))


def _place(device: Path) -> int | None:
    """The cell that the device, or the nearest one that it hangs on, says."""
    real = device.resolve()
    for directory in (real, *real.parents):
        if (directory / "numa_node").exists():
            cell = int(_text(directory / "numa_node"))
            return cell if cell >= 0 else None
    return None


def _listed(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()
