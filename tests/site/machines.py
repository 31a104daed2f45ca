"""Machines of the tests, and each as its /sys and as libvirt describe it: files that are written here by hand."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from vtorque_spec.site.cpus import print_cpus
from vtorque_spec.site.probe.machine import HUGEPAGE_BYTES, Cell, Device, Machine

GIB = 2**30


def ranged(count: int, first: int = 0, *, threads: int = 1, step: int = 0) -> tuple[tuple[int, ...], ...]:
    """Cores from the CPU `first` on; their threads lie `step` apart, or side by side."""
    if step:
        return tuple(tuple(first + core + step * thread for thread in range(threads)) for core in range(count))
    return tuple(tuple(range(first + core * threads, first + (core + 1) * threads)) for core in range(count))


def table(count: int) -> list[tuple[int, ...]]:
    """Distances that differ by direction."""
    return [tuple(10 if a == b else 20 + 2 * a + b for b in range(count)) for a in range(count)]


def eight_sockets() -> Machine:
    """512 threads; each socket is two cells."""
    cells = (
        Cell(i, ranged(16, 16 * i, threads=2, step=256), 64 * GIB, {"2MiB": 512, "1GiB": 8}, table(16)[i], i // 2)
        for i in range(16)
    )
    return Machine(tuple(cells), (Device("0000:3b:00.0", "gpu", 3), Device("mlx5_0", "hca", 9)))


ODD = {
    "one core": Machine((Cell(0, ((0,),), GIB, {}, (10,), 0),)),
    "two threads side by side": Machine((Cell(0, ranged(4, threads=2), GIB, {}, (10,), 0),)),
    "threads mixed": Machine((Cell(0, (*ranged(4, threads=2), (8,), (9,), (10,)), GIB, {}, (10,), 0),)),
    "4 and 8 threads": Machine(
        (
            Cell(0, ranged(4, threads=4), GIB, {}, (10, 20), 0),
            Cell(1, ranged(2, 16, threads=8), GIB, {}, (20, 10), 1),
        )
    ),
    "CPUs off": Machine((Cell(0, ((0, 8), (1, 9), (2,), (4, 12), (11,)), 3 * GIB, {}, (10,), 0),)),
    "no memory": Machine(
        (Cell(0, ranged(2), GIB, {"2MiB": 3}, (10, 21), 0), Cell(1, ranged(2, 2), 0, {}, (21, 10), 1))
    ),
    "no CPUs": Machine((Cell(0, ranged(4), GIB, {}, (10, 17), 0), Cell(2, (), 2 * GIB, {"1GiB": 1}, (28, 10)))),
    "ids with gaps": Machine(
        (
            Cell(1, ((3, 103), (7, 107)), GIB, {}, (10, 12), 3),
            Cell(8, ((20, 120), (40, 140)), 5 * GIB, {}, (12, 10), 36),
        ),
        (Device("eth0", "nic", 8), Device("eth1", "nic", None), Device("nvme0", "nvme", 1)),
    ),
    "asymmetric": Machine(tuple(Cell(i, ranged(2, 2 * i), GIB, {}, table(3)[i], i) for i in range(3))),
    "cells within a socket": Machine(
        tuple(Cell(i, ranged(2, 2 * i, threads=2, step=8), GIB, {}, table(4)[i], i // 2) for i in range(4))
    ),
    "8 sockets, 512 threads": eight_sockets(),
}


def write(root: Path, path: str, text: object) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def mask(cpus: Iterable[int]) -> str:
    """A set as the kernel's map: words of 32 bits."""
    digits = f"{sum(1 << cpu for cpu in cpus):0256x}"
    return ",".join(digits[at : at + 8] for at in range(0, len(digits), 8))


def write_cpus(root: Path, cores: Sequence[Sequence[int]], socket: int) -> None:
    together = [cpu for core in cores for cpu in core]
    for number, core in enumerate(cores):
        for cpu in core:
            place = f"sys/devices/system/cpu/cpu{cpu}/topology"
            write(root, f"{place}/thread_siblings_list", print_cpus(core))
            write(root, f"{place}/thread_siblings", mask(core))
            write(root, f"{place}/core_siblings", mask(together))
            write(root, f"{place}/physical_package_id", socket)
            write(root, f"{place}/core_id", number)


def write_sysfs(root: Path, machine: Machine) -> None:
    cpus = [cpu for cell in machine.cells for cpu in cell.cpus]
    write(root, "sys/devices/system/cpu/online", print_cpus(cpus))
    write(root, "sys/devices/system/cpu/possible", print_cpus(range(max(cpus) + 3)))
    write(root, "sys/devices/system/node/online", print_cpus(cell.id for cell in machine.cells))
    for socket in {cell.socket for cell in machine.cells} - {None}:
        cores = [core for cell in machine.cells if cell.socket == socket for core in cell.cores]
        write_cpus(root, cores, socket or 0)
    for cell in machine.cells:
        node = f"sys/devices/system/node/node{cell.id}"
        write(root, f"{node}/cpulist", print_cpus(cell.cpus))
        write(root, f"{node}/cpumap", mask(cell.cpus))
        write(root, f"{node}/meminfo", f"Node {cell.id} MemTotal: {cell.memory_bytes // 1024:14} kB\nNode {cell.id} x")
        write(root, f"{node}/distance", " ".join(map(str, cell.distances)))
        write_pages(root, f"{node}/hugepages", cell)
    for device in machine.devices:
        write_device(root, device)


def write_pages(root: Path, place: str, cell: Cell) -> None:
    for size, size_bytes in HUGEPAGE_BYTES.items():
        write(root, f"{place}/hugepages-{size_bytes // 1024}kB/nr_hugepages", cell.hugepages.get(size, 0))


def write_device(root: Path, device: Device) -> None:
    """A PCI device; what the kernel calls it is in its class's directory, a virtio device between them."""
    pci = f"sys/devices/pci0000:00/{device.name if device.kind == 'gpu' else 'of-' + device.name}"
    write(root, f"{pci}/numa_node", -1 if device.cell is None else device.cell)
    if device.kind == "gpu":
        write(root, f"{pci}/class", "0x030200")
        write(root, f"{pci}/vendor", "0x10de")
        (root / "sys/bus/pci/devices").mkdir(parents=True, exist_ok=True)
        (root / "sys/bus/pci/devices" / device.name).symlink_to(root / pci)
        return
    folder = root / "sys/class" / {"nic": "net", "hca": "infiniband", "nvme": "nvme"}[device.kind] / device.name
    folder.mkdir(parents=True)
    (root / pci / "virtio1").mkdir()
    (folder / "device").symlink_to(root / pci / "virtio1")


def capabilities(machine: Machine) -> bytes:
    cells = []
    for cell in machine.cells:
        cpus = "".join(
            f"<cpu id='{cpu}' socket_id='{cell.socket}' die_id='0' core_id='0' siblings='{print_cpus(core)}'/>"
            for core in cell.cores
            for cpu in core
        )
        pages = "".join(
            f"<pages unit='KiB' size='{size_bytes // 1024}'>{cell.hugepages.get(size, 0)}</pages>"
            for size, size_bytes in {"4KiB": 4096, **HUGEPAGE_BYTES}.items()
        )
        distances = "".join(
            f"<sibling id='{other.id}' value='{value}'/>"
            for other, value in zip(machine.cells, cell.distances, strict=True)
        )
        cells.append(
            f"<cell id='{cell.id}'><memory unit='KiB'>{cell.memory_bytes // 1024}</memory>{pages}"
            f"<distances>{distances}</distances><cpus num='9'>{cpus}<cpu id='99'/></cpus></cell>"
        )
    inner = f"<cells num='{len(cells)}'>{''.join(cells)}</cells>"
    return f"<capabilities>\n<host><topology>{inner}</topology></host>\n</capabilities>".encode()
