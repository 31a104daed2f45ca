"""The resource partition of a job: a cgroup above all its guests on the node, which caps what they take together.

libvirt starts a domain in the partition that its `<resource>` names, and makes none itself (https://libvirt.org/cgroups.html).
Where systemd-machined runs, /machine/NAME is the slice `machine-NAME.slice`; elsewhere it is the directory
`machine/NAME.partition` in every tree of cgroups that libvirt uses.
"""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vtorque_runtime.cgroups import Tree, fields, numbers, text, trees
from vtorque_runtime.cpulist import list_text
from vtorque_runtime.sysfs import ROOT
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Claim, NodePlan

_LIBVIRT_V1 = frozenset({"blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "net_cls", "perf_event"})
_HANDED_DOWN = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids")
_NEEDED = frozenset({"cpuset", "memory"})
_TASKS_PER_GUEST = 1024
"""Beside its vCPUs. The workers of QEMU and of the virtiofs daemons come to less."""

_PATIENCE_S = 5
_PLACE = re.compile(r".*/(machine/vt_\w{1,200}\.partition|machine\.slice/machine-vt_\w{1,200}\.slice)")
_SYSTEMD = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


@dataclass(frozen=True, slots=True)
class PartitionUndo:
    """Remove these cgroups, and stop the systemd slice that they are, where they are one."""

    kind: Literal["partition"]
    directories: tuple[str, ...]
    slice: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What all guests of a job took of the node, with QEMU's own part and what the host cached of their disks.

    `exact` is false where the kernel keeps no peak: then it is the highest that was seen.
    """

    cpu_time_ns: int
    peak_memory_bytes: int
    exact: bool

    def sentence(self) -> str:
        """Return it for a person."""
        seen = "" if self.exact else ", the highest that was seen"
        cpu, memory = self.cpu_time_ns / 1e9, self.peak_memory_bytes >> 20
        return f"the guests used {cpu:.1f} s of CPU time and at most {memory} MiB of memory{seen}"


def partition(name: str, root: Path = ROOT) -> PartitionUndo:
    """Return what will have to be removed of the partition. Raises Fault VT0937 where the node has no means for one."""
    used = _used(root)
    if missing := _NEEDED.difference(*(tree.controllers for tree in used)):
        raise Fault(
            "VT0937",
            f"this node cannot hold a job to its share: it has no cgroup controller {' or '.join(sorted(missing))}",
            help="mount the cgroups, and start the kernel without cgroup_disable=; some want cgroup_enable=memory",
        )
    slice_ = f"machine-{name}.slice" if _machined(root) else None
    return PartitionUndo("partition", tuple(map(str, _directories(name, root))), slice_)


def make(plan: NodePlan, wanted: PartitionUndo, root: Path = ROOT, outside_bytes: int = 0) -> None:
    """Make the partition, capped at what the job claimed, before any of its domains starts. Raises Fault VT0937.

    `outside_bytes` of the claimed memory are root's to fill, outside of the partition.
    """
    memory_bytes = _ordinary_bytes(plan.claim) - outside_bytes
    tasks = sum(_TASKS_PER_GUEST + guest.machine.vcpus for guest in plan.guests)
    try:
        if left := remove(wanted):
            raise OSError(f"an earlier job's is still there: {left[0]}")
        if wanted.slice:
            _start_slice(wanted.slice, plan.claim, memory_bytes, tasks, root)
        for tree, directory in zip(_used(root), map(Path, wanted.directories), strict=True):
            if tree.version == 2 and wanted.slice:
                _wait_for(directory)  # systemd makes and caps it
                continue
            for path in (directory.parent, directory):
                _make_directory(tree, path)
            for file, value in _caps(tree, directory, plan.claim, memory_bytes, tasks):
                (directory / file).write_text(value, encoding="ascii")
    except OSError as error:
        raise Fault("VT0937", "this node cannot hold the job to its share", help=_HELP, detail=str(error)) from None


_HELP = "see what systemd or another program did to the cgroups named machine, then run it again"


def remove(undo: PartitionUndo) -> list[str]:
    """Remove the partition and the empty cgroups in it; return those that stay, for processes are in them.

    Nothing is killed. Raises ValueError for what is no partition of a job, OSError when systemd does not obey.
    """
    for path in undo.directories:
        if not _PLACE.fullmatch(path):
            raise ValueError(f"not the resource partition of a job: {path!r}")
    directories = [Path(path) for path in undo.directories]
    until = time.monotonic() + _PATIENCE_S
    while left := [path for path in directories if path.is_dir() and not _remove_empty(path)]:
        if time.monotonic() > until:
            break
        time.sleep(0.05)  # a process that was just killed may take a moment to vanish
    if undo.slice and not left:
        _systemd(["systemctl", "stop", undo.slice])
    return [f"cgroup {path}" for path in left]


def enter(name: str, below: str, pid: int, root: Path = ROOT) -> None:
    """Put a process that root starts for the job into the cgroup `below` of its partition. Raises Fault VT0937."""
    try:
        for tree, directory in zip(_used(root), _directories(name, root), strict=True):
            _make_directory(tree, directory / below)
            (directory / below / "cgroup.procs").write_text(str(pid), encoding="ascii")
    except OSError as error:
        raise Fault("VT0937", "this node cannot hold the job to its share", help=_HELP, detail=str(error)) from None


def members(name: str, below: str, root: Path = ROOT) -> set[int]:
    """Return the processes in the cgroup `below` of the job's partition; none where there is no such cgroup."""
    return {int(pid) for path in _directories(name, root) for pid in text(path / below / "cgroup.procs").split()}


def usage(name: str, seen: Usage | None = None, root: Path = ROOT) -> Usage | None:
    """Return what the job has used up to now; `seen` is what this returned before. None: there is no partition."""
    where = [path for path in _directories(name, root) if path.is_dir()]
    if not where:
        return seen
    cpu = [*numbers(where, "cpuacct.usage"), *(1000 * spent for spent in fields(where, "cpu.stat", "usage_usec"))]
    kept = [*numbers(where, "memory.max_usage_in_bytes"), *numbers(where, "memory.peak")]
    now = [*numbers(where, "memory.current"), seen.peak_memory_bytes if seen else 0]
    return Usage(max(cpu, default=0), max(kept or now), bool(kept))


def explained(failure: Fault, name: str, root: Path = ROOT) -> Fault:
    """Return why a guest was lost: Fault VT0938 where the kernel killed one at the job's cap, else `failure` itself."""
    if failure.code not in ("VT0903", "VT0904", "VT0913") or not _killed(_directories(name, root), root):
        return failure
    used = usage(name, None, root)
    return Fault(
        "VT0938",
        "the guests came to the memory that the job holds on this node, so the kernel ended one",
        help="QEMU took more beside the guests' memory than is set aside for it: tell the admin of this site",
        detail="\n".join(filter(None, (failure.message, used.sentence() if used else None, failure.detail))),
    )


def _killed(directories: Sequence[Path], root: Path) -> bool:
    """Whether the kernel's log tells of a process that was killed at the cap of a cgroup as old as this one.

    v1 counts such deaths in the domain's own cgroup alone, which libvirt removes. The log's format is that of
    ABI/testing/dev-kmsg, its words those of mm/oom_kill.c, since 5.0 and before.
    """
    made_ago_s = [time.time() - path.stat().st_ctime for path in directories if path.is_dir()]
    since_us = (time.monotonic() - max(made_ago_s, default=0)) * 1e6
    places = "|".join({re.escape("/".join(path.parts[-2:])) for path in directories})
    at_cap = re.compile(rf"(oom_memcg=|as a result of limit of )/(\S*/)?({places})(,|$)", re.MULTILINE)
    return any(at_cap.search(words) for at_us, words in _kernel_log(root) if at_us > since_us)


def _kernel_log(root: Path) -> Iterator[tuple[int, str]]:
    """Yield the records of the kernel's log: microseconds since the boot, and text. Nothing where it cannot be read."""
    with contextlib.suppress(OSError, ValueError):  # a record that was overwritten meanwhile is an OSError too
        descriptor = os.open(root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        try:
            while record := os.read(descriptor, 8192):
                head, _, words = record.decode("utf-8", "replace").partition(";")
                yield int(head.split(",")[2]), words
        finally:
            os.close(descriptor)


def _used(root: Path) -> tuple[Tree, ...]:
    """The trees that libvirt uses: v2 where it has any controller, v1 where it has one that libvirt knows."""
    return tuple(
        tree for tree in trees(root) if tree.controllers and (tree.version == 2 or _LIBVIRT_V1 & tree.controllers)
    )


def _directories(name: str, root: Path) -> tuple[Path, ...]:
    place = f"machine.slice/machine-{name}.slice" if _machined(root) else f"machine/{name}.partition"
    return tuple(tree.path / place for tree in _used(root))


def _machined(root: Path) -> bool:
    """Whether libvirt asks systemd for its cgroups: systemd runs, and its machined can be started."""
    service = root / "usr/share/dbus-1/system-services/org.freedesktop.machine1.service"
    return (root / "run/systemd/system").is_dir() and service.exists()


def _make_directory(tree: Tree, path: Path) -> None:
    """Make a cgroup. What is in a cpuset of v1 can run nowhere until that is filled."""
    if tree.version == 2:
        for name in tree.controllers.intersection(_HANDED_DOWN):
            with contextlib.suppress(OSError):  # what is needed and is not handed down has no file below
                (path.parent / "cgroup.subtree_control").write_text(f"+{name}", encoding="ascii")
    path.mkdir(mode=0o755, exist_ok=True)
    if tree.version == 1 and "cpuset" in tree.controllers:
        for file in ("cpuset.mems", "cpuset.cpus"):
            if not text(path / file):
                (path / file).write_text(text(path.parent / file), encoding="ascii")


def _wait_for(directory: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not directory.is_dir():
        if time.monotonic() > until:
            raise OSError(f"systemd did not make {directory}")
        time.sleep(0.02)


def _caps(tree: Tree, directory: Path, claim: Claim, memory_bytes: int, tasks: int) -> Iterator[tuple[str, str]]:
    """Yield the files of a partition and what they are to say. Nothing is swapped, or the cap were on a part only."""
    memory = str(memory_bytes)
    caps = {"cpuset.cpus": list_text(claim.cpus)}
    if tree.version == 1:
        # the memory of what is below counts; then the cap, which the one on memory with swap may not be lower than
        caps |= {"memory.limit_in_bytes": memory}
        optional = {"memory.memsw.limit_in_bytes": memory}
        if text(directory / "memory.use_hierarchy") == "0":
            caps = {"memory.use_hierarchy": "1"} | caps
    else:
        caps |= {"memory.max": memory, "pids.max": str(tasks)}
        optional = {"memory.swap.max": "0"} | _huge_pages(directory, claim)
    yield from ((file, value) for file, value in caps.items() if file.partition(".")[0] in tree.controllers)
    yield from ((file, value) for file, value in optional.items() if (directory / file).exists())


def _huge_pages(directory: Path, claim: Claim) -> dict[str, str]:
    """The caps on huge pages (hugetlb.2MB.max) of each size that the kernel has; none of a size that is not claimed."""
    caps = {}
    for file in sorted(path.name for path in directory.glob("hugetlb.*B.max")):
        size = file.split(".")[1]
        page_bytes = int(size[:-2]) << {"K": 10, "M": 20, "G": 30}[size[-2]]
        caps[file] = str(sum(own.pages * page_bytes for own in claim.memory if own.page_bytes == page_bytes))
    return caps


def _ordinary_bytes(claim: Claim) -> int:
    return sum(own.pages for own in claim.memory if own.page_bytes == 1)


def _start_slice(name: str, claim: Claim, memory_bytes: int, tasks: int, root: Path) -> None:
    """Start a transient slice: what systemd is told of it goes when it is stopped.

    With v1, systemd caps no CPUs, and the versions of that time say MemoryLimit.
    """
    unified = {controller for tree in trees(root) if tree.version == 2 for controller in tree.controllers}
    memory = ("t", str(memory_bytes))
    properties: dict[str, tuple[str, ...]] = {"MemoryLimit": memory}
    if "memory" in unified:
        properties = {"MemoryMax": memory, "MemorySwapMax": ("t", "0")}
    if "pids" in unified:
        properties["TasksMax"] = ("t", str(tasks))
    if "cpuset" in unified:
        mask = sum(1 << cpu for cpu in claim.cpus)
        octets = mask.to_bytes(mask.bit_length() // 8 + 1, "little")
        properties["AllowedCPUs"] = ("ay", str(len(octets)), *map(str, octets))
    said = [word for key, value in properties.items() for word in (key, *value)]
    call = ["StartTransientUnit", "ssa(sv)a(sa(sv))", name, "fail", str(len(properties)), *said, "0"]
    _systemd(["busctl", "--quiet", "call", *_SYSTEMD, *call])


def _systemd(argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=30, encoding="utf-8", errors="replace")
    except subprocess.TimeoutExpired:
        raise OSError(f"{argv[0]} took more than 30 s") from None
    if done.returncode:
        raise OSError(f"{argv[0]}: {done.stderr.strip()}")


def _remove_empty(directory: Path) -> bool:
    """Remove the cgroup and those below it; tell whether it is gone. The kernel keeps one that has a process."""
    below = sorted((path for path in directory.rglob("*") if path.is_dir()), reverse=True)
    for path in (*below, directory):
        with contextlib.suppress(OSError):
            rmdir(path)
    return not directory.is_dir()


def rmdir(path: Path) -> None:
    """Remove a cgroup; the kernel takes its files with it. Raises OSError while a process is in it."""
    os.rmdir(path)
