"""A job's resource partition in cgroups of either version: made and capped, read, and removed whatever had happened."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.fake_cgroups import V1, V2, cgroups, written
from tests.runtime.fake_kernel import guest
from tests.runtime.fake_kernel import plan as any_plan
from tests.runtime.fakes import no_hypervisor
from vtorque_runtime import partition
from vtorque_runtime.partition import PartitionUndo, Usage
from vtorque_runtime.steps import undo_all
from vtorque_spec.canonical import canonical_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, CellMemory, Claim

GIB = 1024 * MIB
NAME = "vt_12_2esrv"
PLACE = f"machine/{NAME}.partition"
SLICE = f"machine-{NAME}.slice"
CLAIM = Claim((2, 3, 4, 5, 6, 8), (CellMemory(0, 1, GIB), CellMemory(0, 2 * MIB, 512), CellMemory(1, 1, MIB)), ())
PLAN = any_plan(guest(0), guest(1), claim=CLAIM)
TASKS = str(2 * (1024 + 4))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "_PATIENCE_S", 0)


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    return cgroups(tmp_path, V1)


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    return cgroups(tmp_path, v2=V2)


def made(root: Path) -> PartitionUndo:
    undo = partition.partition(NAME, root)
    partition.make(PLAN, undo, root)
    return undo


def record(undo: PartitionUndo) -> dict[str, Any]:
    """As it stands in a journal."""
    return dict(json.loads(canonical_json(undo)))


def kernel_makes(monkeypatch: pytest.MonkeyPatch, *files: str, says: str = "") -> None:
    """Let each new directory have these files, as a cgroup has from the start."""
    whole = Path.mkdir

    def mkdir(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        whole(self, mode, parents, exist_ok)
        for file in files:
            (self / file).write_text(says)

    monkeypatch.setattr(Path, "mkdir", mkdir)


def test_version_1(v1: Path) -> None:
    undo = made(v1)
    assert undo.slice is None
    assert [Path(path).relative_to(v1 / "sys/fs/cgroup").parts[0] for path in undo.directories] == [
        "cpu,cpuacct", "cpuset", "memory", "devices",
    ]  # fmt: skip
    assert written(v1, f"memory/{PLACE}") == {"memory.limit_in_bytes": str(GIB + MIB)}
    assert written(v1, f"cpuset/{PLACE}") == {"cpuset.cpus": "2-6,8", "cpuset.mems": "0-1"}
    assert written(v1, "cpuset/machine") == {"cpuset.cpus": "0-31", "cpuset.mems": "0-1"}
    assert written(v1, f"devices/{PLACE}") == written(v1, f"cpu,cpuacct/{PLACE}") == {}


def test_version_1_with_accounts_of_swap_and_no_hierarchy(v1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_makes(monkeypatch, "memory.use_hierarchy", "memory.memsw.limit_in_bytes", says="0\n")
    made(v1)
    found = written(v1, f"memory/{PLACE}")
    assert found["memory.use_hierarchy"] == "1"
    assert found["memory.limit_in_bytes"] == found["memory.memsw.limit_in_bytes"] == str(GIB + MIB)


def test_version_2(v2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_makes(monkeypatch, "memory.swap.max", "hugetlb.2MB.max", "hugetlb.1GB.max", "hugetlb.2MB.rsvd.max")
    undo = made(v2)
    assert undo == PartitionUndo("partition", (str(v2 / "sys/fs/cgroup" / PLACE),), None)
    assert {file: text for file, text in written(v2, PLACE).items() if text} == {
        "cpuset.cpus": "2-6,8",
        "hugetlb.1GB.max": "0",
        "hugetlb.2MB.max": str(GIB),
        "memory.max": str(GIB + MIB),
        "memory.swap.max": "0",
        "pids.max": TASKS,
    }


def test_controllers_are_handed_down(v2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the root to machine, from there to the partition; none that neither the caps nor libvirt need."""
    asked: list[tuple[str, str]] = []
    whole = Path.write_text

    def write_text(self: Path, data: str, *args: str, **kwargs: str) -> int:
        if self.name == "cgroup.subtree_control":
            asked.append((self.parent.name, data))
        return whole(self, data, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", write_text)
    made(v2)
    wanted = {f"+{name}" for name in set(V2) - {"rdma"}}
    assert sorted(asked) == sorted((level, name) for level in ("cgroup", "machine") for name in wanted)


def test_both(tmp_path: Path) -> None:
    """Where v2 has a controller libvirt uses it too; where it has none it is systemd's alone."""
    assert len(made(cgroups(tmp_path / "a", V1, ("hugetlb",))).directories) == 5
    assert written(tmp_path / "a", f"unified/{PLACE}") == {}
    assert len(made(cgroups(tmp_path / "b", V1, ())).directories) == 4


@pytest.mark.parametrize(
    ("v1", "v2", "missing"),
    [((), None, "cpuset or memory"), (("memory",), (), "cpuset"), ((), ("cpuset", "pids"), "memory")],
)
def test_a_node_that_can_cap_nothing(
    tmp_path: Path, v1: tuple[str, ...], v2: tuple[str, ...] | None, missing: str
) -> None:
    with pytest.raises(Fault, match=f"VT0937: this node cannot .* no cgroup controller {missing}$") as caught:
        partition.partition(NAME, cgroups(tmp_path, v1, v2))
    assert caught.value.help is not None
    assert "cgroup_enable=memory" in caught.value.help


def test_a_cap_that_the_kernel_refuses(v2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.write_text

    def write_text(self: Path, data: str, *args: str, **kwargs: str) -> int:
        if self.name == "memory.max":
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self, data, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(Fault, match="VT0937: this node cannot hold the job to its share") as caught:
        made(v2)
    assert caught.value.detail is not None
    assert "memory.max" in caught.value.detail
    assert partition.remove(partition.partition(NAME, v2)) == []
    assert not (v2 / "sys/fs/cgroup" / PLACE).exists()


@pytest.mark.parametrize("version", [1, 2])
def test_remove(tmp_path: Path, version: int) -> None:
    """Whatever of it is there, in any order, twice; and nothing beside it."""
    root = cgroups(tmp_path, V1) if version == 1 else cgroups(tmp_path, v2=V2)
    undo = partition.partition(NAME, root)
    assert partition.remove(undo) == []  # its act never began
    made(root)
    other = [Path(path).with_name("vt_13_2esrv.partition") for path in undo.directories]
    for path in other:
        path.mkdir()
    (Path(undo.directories[0]) / "qemu-1-x.libvirt-qemu/emulator").mkdir(parents=True)
    if version == 1:
        partition.rmdir(Path(undo.directories[-1]))  # half of it is gone
    for _ in range(2):
        assert undo_all([record(undo)], tmp_path, no_hypervisor) == []
        assert not any(Path(path).exists() for path in undo.directories)
    assert all(path.is_dir() for path in other)


def test_a_process_in_it_is_told_and_lives(v1: Path) -> None:
    undo = made(v1)
    inside = Path(undo.directories[2]) / "qemu-1-x.libvirt-qemu"
    inside.mkdir()
    (inside / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert partition.remove(undo) == [f"cgroup {v1}/sys/fs/cgroup/memory/{PLACE}"]
    assert not Path(undo.directories[1]).exists()
    with pytest.raises(Fault, match="VT0937") as caught:  # another job does not start in it
        partition.make(PLAN, undo, v1)
    assert "still there" in str(caught.value.detail)
    (inside / "cgroup.procs").unlink()
    assert partition.remove(undo) == []


@pytest.mark.parametrize(
    "path", ["/sys/fs/cgroup/machine", "/home/alice/x", f"/sys/{PLACE}/..", "/sys/machine/vt_.partition", f"/{PLACE}/x"]
)
def test_nothing_else_is_removed(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "rmdir", lambda path: pytest.fail(f"{path} was to go"))
    (left,) = undo_all([record(PartitionUndo("partition", (path,), None))], tmp_path, no_hypervisor)
    assert "not the resource partition of a job" in left


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[list[str]]]:
    """A node of systemd with machined, with cgroups of a version; what is called is kept, and makes v2's slice."""
    called: list[list[str]] = []

    def node(version: int) -> list[list[str]]:
        root = cgroups(tmp_path, V1) if version == 1 else cgroups(tmp_path, v2=V2)
        (root / "run/systemd/system").mkdir(parents=True)
        services = root / "usr/share/dbus-1/system-services"
        services.mkdir(parents=True)
        (services / "org.freedesktop.machine1.service").touch()
        if version == 1:
            for top in (root / "sys/fs/cgroup").iterdir():
                (top / "machine.slice").mkdir()

        def call(argv: list[str]) -> None:
            called.append(argv)
            if argv[0] == "busctl" and version == 2:
                (root / "sys/fs/cgroup/machine.slice" / SLICE).mkdir(parents=True)

        monkeypatch.setattr(partition, "_systemd", call)
        return called

    return node


START = ["busctl", "--quiet", "call", *partition._SYSTEMD, "StartTransientUnit", "ssa(sv)a(sa(sv))", SLICE, "fail"]


def test_a_slice_of_version_2(tmp_path: Path, systemd: Callable[[int], list[list[str]]]) -> None:
    called = systemd(2)
    undo = made(tmp_path)
    assert undo == PartitionUndo("partition", (f"{tmp_path}/sys/fs/cgroup/machine.slice/{SLICE}",), SLICE)
    memory = ["MemoryMax", "t", str(GIB + MIB), "MemorySwapMax", "t", "0"]
    cpus = ["AllowedCPUs", "ay", "2", str(0b01111100), str(0b1)]
    assert called == [
        ["systemctl", "stop", SLICE],
        [*START, "4", *memory, "TasksMax", "t", TASKS, *cpus, "0"],
    ]
    assert written(tmp_path, f"machine.slice/{SLICE}") == {}, "the values are systemd's to write"
    assert partition.remove(undo) == []
    assert called[2:] == [["systemctl", "stop", SLICE]]


def test_a_slice_of_version_1(tmp_path: Path, systemd: Callable[[int], list[list[str]]]) -> None:
    called = systemd(1)
    made(tmp_path)
    assert called[1] == [*START, "1", "MemoryLimit", "t", str(GIB + MIB), "0"]
    assert written(tmp_path, f"memory/machine.slice/{SLICE}") == {"memory.limit_in_bytes": str(GIB + MIB)}
    assert written(tmp_path, f"cpuset/machine.slice/{SLICE}")["cpuset.cpus"] == "2-6,8"


def test_a_slice_with_a_process_is_not_stopped(tmp_path: Path, systemd: Callable[[int], list[list[str]]]) -> None:
    called = systemd(2)
    undo = made(tmp_path)
    inside = Path(undo.directories[0]) / "machine-qemu.scope"
    inside.mkdir()
    (inside / "cgroup.procs").write_text("1\n")
    assert partition.remove(undo) == [f"cgroup {undo.directories[0]}"]
    assert len(called) == 2


def fill(root: Path, *files: tuple[str, str]) -> None:
    for file, text in files:
        (root / "sys/fs/cgroup" / file).write_text(text)


def test_usage_of_version_1(v1: Path) -> None:
    made(v1)
    fill(v1, (f"cpu,cpuacct/{PLACE}/cpuacct.usage", "5000000123\n"))
    fill(v1, (f"memory/{PLACE}/memory.max_usage_in_bytes", f"{700 * MIB}\n"))
    assert partition.usage(NAME, None, v1) == Usage(5000000123, 700 * MIB, exact=True)


def test_usage_of_version_2(v2: Path) -> None:
    made(v2)
    fill(v2, (f"{PLACE}/cpu.stat", "usage_usec 7000001\nuser_usec 1\n"), (f"{PLACE}/memory.current", f"{9 * MIB}\n"))
    before = partition.usage(NAME, None, v2)
    assert before == Usage(7000001000, 9 * MIB, exact=False)
    fill(v2, (f"{PLACE}/memory.current", f"{4 * MIB}\n"))
    assert partition.usage(NAME, before, v2) == before, "the highest that was seen"
    fill(v2, (f"{PLACE}/memory.peak", f"{11 * MIB}\n"))
    assert partition.usage(NAME, before, v2) == Usage(7000001000, 11 * MIB, exact=True)


def test_usage_with_both(tmp_path: Path) -> None:
    """libvirt leaves v1's cpuacct alone where it has v2: that one says 0."""
    root = cgroups(tmp_path, V1, ("hugetlb",))
    made(root)
    fill(root, (f"cpu,cpuacct/{PLACE}/cpuacct.usage", "0\n"), (f"unified/{PLACE}/cpu.stat", "usage_usec 3\n"))
    fill(root, (f"memory/{PLACE}/memory.max_usage_in_bytes", "4096\n"))
    assert partition.usage(NAME, None, root) == Usage(3000, 4096, exact=True)


def test_usage_of_what_is_gone(v2: Path) -> None:
    seen = Usage(1, 2, exact=False)
    assert (partition.usage(NAME, None, v2), partition.usage(NAME, seen, v2)) == (None, seen)


def test_usage_in_words() -> None:
    said = "the guests used 61.2 s of CPU time and at most 700 MiB of memory"
    assert Usage(61234000000, 700 * MIB, exact=True).sentence() == said
    assert Usage(61234000000, 700 * MIB, exact=False).sentence() == f"{said}, the highest that was seen"


OOM = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=emulator,mems_allowed=0,oom_memcg={},task=qemu,pid=9"
OLD = "Task in /machine/x/emulator killed as a result of limit of {}"
LOST = Fault("VT0913", "the guest was lost while the job ran", detail="its console's tail")


def log(root: Path, *words: str, seconds: float = 5) -> None:
    (root / "dev").mkdir()
    stamp = int((time.monotonic() + seconds) * 1e6)
    (root / "dev/kmsg").write_text("".join(f"6,339,{stamp},-;{line}\n" for line in words))


@pytest.mark.parametrize("words", [OOM, OLD])
def test_a_guest_that_was_killed_at_the_cap(v2: Path, words: str) -> None:
    made(v2)
    fill(v2, (f"{PLACE}/memory.peak", f"{GIB}\n"))
    log(v2, "usb 1-1: new device", words.format(f"/{PLACE}"))
    found = partition.explained(LOST, NAME, v2)
    assert (found.code, str(found.detail).splitlines()) == (
        "VT0938",
        [LOST.message, "the guests used 0.0 s of CPU time and at most 1024 MiB of memory", "its console's tail"],
    )


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (f"/machine/{NAME}0.partition", 5),
        ("/machine/vt_13_2esrv.partition", 5),
        ("/", 5),
        (f"/{PLACE}/x", 5),
        (f"/{PLACE}", -3600),
    ],
)
def test_a_guest_that_was_lost_otherwise(v2: Path, words: str, seconds: int) -> None:
    """Another job's cap, that of the whole host, one below ours, or ours of an earlier job of the same name."""
    made(v2)
    log(v2, OOM.format(words), seconds=seconds)
    assert partition.explained(LOST, NAME, v2) is LOST


def test_other_failures_are_left_alone(v2: Path) -> None:
    made(v2)
    assert partition.explained(LOST, NAME, v2) is LOST, "there is no log"
    log(v2, OOM.format(f"/{PLACE}"))
    other = Fault("VT0909", "the walltime is over")
    assert partition.explained(other, NAME, v2) is other
