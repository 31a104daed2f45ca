"""The machine as Linux describes it in /sys and /proc (Documentation/ABI/stable/sysfs-devices-node and -system-cpu)."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from vtorque_spec.site.probe.machine import (
    HUGEPAGE_BYTES,
    MANAGEMENT_VENDORS,
    Cell,
    Device,
    Kind,
    Machine,
    ProbeError,
    cpu_list,
    machine,
)


def read_sysfs(root: Path = Path("/")) -> Machine:
    """Return the machine whose /sys and /proc lie in `root`. Raises ProbeError, which names the file."""
    nodes = root / "sys/devices/system/node"
    online = set(_cpus(root / "sys/devices/system/cpu/online"))
    ids = sorted(int(path.name[4:]) for path in _listed(nodes) if re.fullmatch(r"node[0-9]{1,9}", path.name))
    cells = [_cell(root, nodes / f"node{number}", number, online) for number in ids]
    if not ids:  # a kernel without NUMA: all is one cell, as libvirt and hwloc have it
        hugepages = root / "sys/kernel/mm/hugepages"
        cores, socket = _cores(root, online)
        cells = [Cell(0, cores, _memory(root / "proc/meminfo"), _hugepages(hugepages), (10,), socket)]
    homeless = online.difference(*(cell.cpus for cell in cells))
    if homeless:
        message = f"the CPU {min(homeless)} is online but in no cell of {nodes}"
        raise ProbeError(message, "try again: a CPU may have come or gone meanwhile")
    return machine(cells, _devices(root), str(root / "sys"))


def _cell(root: Path, node: Path, number: int, online: set[int]) -> Cell:
    cores, socket = _cores(root, online.intersection(_cpus(node / "cpulist")))
    distances = tuple(_number(node / "distance", word) for word in _text(node / "distance").split())
    return Cell(number, cores, _memory(node / "meminfo"), _hugepages(node / "hugepages"), distances, socket)


def _cores(root: Path, cpus: set[int]) -> tuple[tuple[tuple[int, ...], ...], int | None]:
    """Return the cores of a cell's CPUs, and their socket where it is one alone."""
    cores, sockets = set(), set()
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        cores.add(tuple(sorted(cpus.intersection(_cpus(topology / "thread_siblings_list")))) or (cpu,))
        package = topology / "physical_package_id"
        sockets.add(_number(package, _text(package)))
    return tuple(sorted(cores)), sockets.pop() if len(sockets) == 1 and min(sockets) >= 0 else None


def _memory(path: Path) -> int:
    """Return MemTotal; a node's own file puts `Node 0` before it."""
    found = re.search(r"^(?:Node \d+ )?MemTotal:\s+(\d+) kB$", _text(path), re.MULTILINE)
    if found is None:
        raise ProbeError(f"{path} has no MemTotal", "see whether it is a Linux kernel's file", str(path))
    return int(found[1]) * 1024


def _hugepages(directory: Path) -> dict[str, int]:
    found = {}
    for size, size_bytes in HUGEPAGE_BYTES.items():
        path = directory / f"hugepages-{size_bytes // 1024}kB/nr_hugepages"
        count = _number(path, _text(path)) if path.exists() else 0
        if count:
            found[size] = count
    return found


# --- devices --------------------------------------------------------------------------------------------------------


def _devices(root: Path) -> Iterator[Device]:
    named: tuple[tuple[str, Kind], ...] = (("net", "nic"), ("infiniband", "hca"), ("nvme", "nvme"))
    for name, kind in named:
        for path in _listed(root / "sys/class" / name):
            over_network = (path / "transport").exists() and _text(path / "transport") != "pcie"
            if (path / "device").exists() and not over_network:
                yield Device(path.name, kind, _place(path / "device"))
    for path in _listed(root / "sys/bus/pci/devices"):
        is_gpu = _text(path / "class").startswith(("0x03", "0x12"))  # display controllers, processing accelerators
        if is_gpu and _text(path / "vendor").removeprefix("0x") not in MANAGEMENT_VENDORS:
            yield Device(path.name, "gpu", _place(path))


def _place(device: Path) -> int | None:
    """Return the cell of a device: what it says itself, or the nearest device that it hangs on."""
    for directory in (real := device.resolve(), *real.parents):
        path = directory / "numa_node"
        if path.exists():
            cell = _number(path, _text(path))
            return cell if cell >= 0 else None
        if directory.name in ("devices", "sys"):
            break
    return None


# --- files ----------------------------------------------------------------------------------------------------------


def _listed(directory: Path) -> list[Path]:
    """The entries of a directory in order; none when it is not there."""
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(directory, error) from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace").strip()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> ProbeError:
    why = (error.strerror or str(error)).lower()
    return ProbeError(f"{path}: {why}", "run it on the node itself, outside of containers that hide /sys", str(path))


def _number(path: Path, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,15}", text):
        raise ProbeError(f"{path}: `{text[:40]}` is not a number", "see whether it is a Linux kernel's file", str(path))
    return int(text)


def _cpus(path: Path) -> Iterable[int]:
    """Return the CPUs of a kernel's list; an empty file has none."""
    text = _text(path)
    cpus = cpu_list(text)
    if cpus is None:
        message = f"{path}: `{text[:40]}` is not a list of CPUs"
        raise ProbeError(message, "see whether it is a Linux kernel's file", str(path))
    return cpus
