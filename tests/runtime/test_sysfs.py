"""The node as /sys shows it, on machines that are not alike: what is offline, missing, mixed or far away."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from vtorque_runtime import host, sysfs
from vtorque_runtime.cpulist import list_text, read_list
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Device, Pages

GIB = 1024**3
MIB = 1024**2
Cores = Sequence[Sequence[int]]


class Sys:
    """A directory with /sys and /proc of a machine that is made up."""

    def __init__(self, root: Path, online: str, total_gib: int = 8) -> None:
        self.root = root
        self.put("sys/devices/system/cpu/online", online)
        self.put("proc/meminfo", f"MemTotal: {total_gib * 2**20} kB\nMemAvailable: {2**20} kB")

    def put(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{text}\n")

    def cores(self, *cores: Sequence[int], file: str = "thread_siblings_list") -> None:
        for core in cores:
            for cpu in core:
                self.put(f"sys/devices/system/cpu/cpu{cpu}/topology/{file}", ",".join(map(str, core)))

    def cell(
        self, number: int, cpus: str, gib: int, distances: str, pages: Mapping[int, tuple[int, int]] | None = None
    ) -> None:
        """A cell; `pages` are, by size in KiB, how many there are and how many of these are free."""
        node = f"sys/devices/system/node/node{number}"
        self.put(f"{node}/cpulist", cpus)
        self.put(f"{node}/distance", distances)
        self.put(f"{node}/meminfo", f"Node {number} MemTotal: {gib * 2**20} kB\nNode {number} MemFree: 1 kB")
        for size, (there, free) in (pages or {}).items():
            self.put(f"{node}/hugepages/hugepages-{size}kB/nr_hugepages", str(there))
            self.put(f"{node}/hugepages/hugepages-{size}kB/free_hugepages", str(free))

    def device(self, kind: str, name: str, place: str, **files: str) -> None:
        """A device of a class that hangs on `place` below /sys/devices."""
        (self.root / "sys/devices" / place).mkdir(parents=True, exist_ok=True)
        shown = self.root / "sys/class" / kind / name
        shown.mkdir(parents=True)
        (shown / "device").symlink_to(self.root / "sys/devices" / place)
        for file, text in files.items():
            (shown / file).write_text(text)


def test_two_sockets_with_two_threads(tmp_path: Path) -> None:
    machine = Sys(tmp_path, "0-7")
    machine.cores((0, 4), (1, 5), (2, 6), (3, 7))
    machine.cell(0, "0-1,4-5", 4, "10 21", {2048: (512, 100), 1048576: (1, 1)})
    machine.cell(1, "2-3,6-7", 4, "22 10")
    first, second = sysfs.cells(tmp_path)
    assert (first.cores, second.cores) == (((0, 4), (1, 5)), ((2, 6), (3, 7)))
    assert (first.distances, second.distances) == ((10, 21), (22, 10))
    assert first.hugepages == (Pages(2 * MIB, 100), Pages(GIB, 1))
    assert first.memory_bytes == 4 * GIB - 512 * 2 * MIB - GIB, "a huge page in use is not ordinary memory either"
    assert (second.memory_bytes, second.hugepages) == (4 * GIB, ())


def test_what_is_offline_is_in_no_core(tmp_path: Path) -> None:
    """Old kernels list siblings that are offline; the cell's own list has them always."""
    machine = Sys(tmp_path, "0,2-4")
    machine.cores((0, 1), (2, 3), (4, 5))
    machine.cell(0, "0-5", 1, "10 20")
    machine.cell(1, "", 1, "20 10")
    assert [cell.cores for cell in sysfs.cells(tmp_path)] == [((0,), (2, 3), (4,)), ()]


@pytest.mark.parametrize(
    "cores",
    [
        [(0, 1), (2,), (3, 4, 5, 6)],
        [(0, 7), (1, 6), (2, 5)],
        [(n, n + 8, n + 16, n + 24, n + 32, n + 40, n + 48, n + 56) for n in range(8)],
        [(9, 1033), (40, 41)],
    ],
    ids=["mixed", "crossed", "eight threads", "far apart"],
)
def test_cores_of_any_kind(tmp_path: Path, cores: Cores) -> None:
    cpus = [cpu for core in cores for cpu in core]
    machine = Sys(tmp_path, list_text(cpus))
    machine.cores(*cores, file="core_cpus_list")
    machine.cell(0, list_text(cpus), 1, "10 20")
    machine.cell(5, "", 1, "20 10")
    assert sysfs.cells(tmp_path)[0].cores == tuple(sorted(tuple(core) for core in cores))


def test_cells_without_cpus_without_memory_and_with_odd_numbers(tmp_path: Path) -> None:
    machine = Sys(tmp_path, "0-1,10")
    machine.cores((0, 1), (10,))
    machine.cell(2, "0-1", 0, "10 17 28")
    machine.cell(8, "10", 4, "17 10 28")
    machine.cell(252, "", 64, "28 28 10")
    found = sysfs.cells(tmp_path)
    assert [(cell.id, cell.cores, cell.memory_bytes // GIB, len(cell.distances)) for cell in found] == [
        (2, ((0, 1),), 0, 3),
        (8, ((10,),), 4, 3),
        (252, (), 64, 3),
    ]


def test_a_kernel_without_cells(tmp_path: Path) -> None:
    machine = Sys(tmp_path, "0-1")
    machine.cores((0, 1))
    machine.put("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "8")
    machine.put("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3")
    (cell,) = sysfs.cells(tmp_path)
    assert (cell.id, cell.cores, cell.hugepages) == (0, ((0, 1),), (Pages(2 * MIB, 3),))
    assert cell.memory_bytes == 8 * GIB - 16 * MIB


def test_a_single_cell_has_all_that_the_host_has(tmp_path: Path) -> None:
    """CPUs and memory that were added while it runs may be in no cell's account."""
    machine = Sys(tmp_path, "0-1", total_gib=8)
    machine.cores((0,), (1,))
    machine.cell(0, "0", 2, "10")
    (cell,) = sysfs.cells(tmp_path)
    assert (cell.cores, cell.memory_bytes) == (((0,), (1,)), 8 * GIB)


def test_devices_and_their_cells(tmp_path: Path) -> None:
    machine = Sys(tmp_path, "0")
    machine.put("sys/devices/pci0/0000:81:00.0/numa_node", "1")
    machine.put("sys/devices/pci0/0000:02:00.0/numa_node", "-1")
    machine.put("sys/devices/pci0/0000:02:00.0/virtio1/numa_node", "0")
    machine.device("net", "eth0", "pci0/0000:81:00.0")
    machine.device("net", "eth1", "pci0/0000:02:00.0")
    machine.device("net", "eth2", "pci0/0000:81:00.0/usb1/1-1")
    machine.device("infiniband", "mlx5_0", "pci0/0000:81:00.0")
    machine.device("nvme", "nvme0", "pci0/0000:02:00.0/virtio1", transport="pcie\n")
    machine.device("nvme", "nvme1", "pci0/0000:02:00.0", transport="tcp\n")
    (tmp_path / "sys/class/net/lo").mkdir()
    gpus = tmp_path / "sys/bus/pci/devices"
    for name, kind, vendor in (
        ("0000:c1:00.0", "0x030200", "0x10de"),
        ("0000:03:00.0", "0x030000", "0x1a03"),
        ("0000:81:00.0", "0x020000", "0x15b3"),
    ):
        (gpus / name).mkdir(parents=True)
        (gpus / name / "class").write_text(kind)
        (gpus / name / "vendor").write_text(vendor)
        (gpus / name / "numa_node").write_text("1\n")
    assert sysfs.devices(tmp_path) == (
        Device("0000:c1:00.0", "gpu", 1),
        Device("mlx5_0", "hca", 1),
        Device("eth0", "nic", 1),
        Device("eth1", "nic", None),
        Device("eth2", "nic", 1),
        Device("nvme0", "nvme", 0),
    )


class NoKvm:
    """A hypervisor that is asked nothing."""

    def try_domain(self, xml: str) -> str | None:
        return "no KVM"


def test_facts_of_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Sys(tmp_path, "0-3")
    machine.cores((0, 2), (1, 3))
    machine.cell(0, "0-3", 8, "10", {2048: (10, 4)})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 3, 7})
    monkeypatch.setattr(host.kvm, "fault", lambda _hypervisor: "none")
    found = host.facts(NoKvm(), tmp_path)
    assert found.cpus == (1, 3), "allotted and online"
    assert found.memory_bytes == GIB + 4 * 2 * MIB
    assert found.virt == "qemu"


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.kvm, "fault", lambda _hypervisor: None)
    found = host.facts(NoKvm())
    cpus = {cpu for cell in found.cells for core in cell.cores for cpu in core}
    assert set(found.cpus) <= cpus == set(sysfs.online_cpus())
    assert sum(cell.memory_bytes for cell in found.cells) > 0
    assert len({len(cell.distances) for cell in found.cells}) == 1


def test_nobody_asks_for_kvm_where_the_site_wants_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.kvm, "fault", lambda _hypervisor: None)
    found = host.facts(NoKvm(), emulated=True)
    assert found.virt == "qemu"
    assert "the site says" in found.sentence()
    assert host.facts(NoKvm()).virt == "kvm"


@pytest.mark.parametrize(
    "breaking",
    [
        lambda machine: (machine.root / "sys/devices/system/cpu/online").unlink(),
        lambda machine: machine.put("sys/devices/system/cpu/online", "0-x"),
        lambda machine: machine.put("sys/devices/system/cpu/online", "0-1,"),
        lambda machine: (machine.root / "sys/devices/system/cpu/cpu0/topology/thread_siblings_list").unlink(),
        lambda machine: machine.put("sys/devices/system/node/node0/distance", "ten"),
        lambda machine: machine.put("proc/meminfo", ""),
        lambda machine: machine.put("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "8"),
    ],
)
def test_a_sys_that_is_not_whole_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaking: object) -> None:
    machine = Sys(tmp_path, "0")
    machine.cores((0,))
    machine.cell(0, "0", 8, "10")
    monkeypatch.setattr(host.kvm, "fault", lambda _hypervisor: None)
    assert host.facts(NoKvm(), tmp_path)
    breaking(machine)  # type: ignore[operator] # a function
    with pytest.raises(Fault, match=r"VT0914.*/sys"):
        host.facts(NoKvm(), tmp_path)


@pytest.mark.parametrize(("text", "cpus"), [("0\n", (0,)), ("0-3,8", (0, 1, 2, 3, 8)), ("", ()), ("\n", ())])
def test_lists(text: str, cpus: tuple[int, ...]) -> None:
    assert read_list(text) == cpus
    assert list_text(reversed(cpus)) == text.strip()


@pytest.mark.parametrize("text", ["a", "1-", "-1", ",", "1,,2", "1 2", "^3", "1-2-3", "٣", "1" * 9])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match="not a list"):
        read_list(text)


@pytest.mark.parametrize("text", ["0-65535," * 9000 + "0", "0-65535", "8192", "0-8192", "1,1", "0-3,2", "3-2", "5,4",
                                  "9" * 400_000, "0," * 400_000 + "0"])  # fmt: skip
def test_no_list_is_longer_than_the_kernels_or_descends(text: str) -> None:
    with pytest.raises(ValueError, match="not a list"):
        read_list(text)


def test_the_longest_lists() -> None:
    assert read_list("0-8191") == tuple(range(8192))
    assert read_list(",".join(map(str, range(8192)))) == tuple(range(8192))
