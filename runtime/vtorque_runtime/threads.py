"""Where the guests' threads may run, read from /proc and held against the plan.

libvirt lets QEMU name its threads: `CPU 0/KVM` or `CPU 0/TCG` is a vCPU (`ALL CPUs/TCG` all of them, where emulation
has one thread), `IO iothread1` an I/O thread; every other one, vhost's too, belongs to the emulator.
"""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

from vtorque_runtime.cpulist import list_text, read_list
from vtorque_runtime.log import LOG
from vtorque_runtime.sysfs import ROOT
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Guest, OsvGuest, Pins

_VCPU = re.compile(r"CPU ([0-9]+)/(?:KVM|TCG)")
_IOTHREAD = re.compile(r"IO iothread([0-9]+)")
_ALL_VCPUS = "ALL CPUs/TCG"
_KVM = "kvm-"
"""Threads of KVM's own: since Linux 6.14 `kvm-nx-lpage-re` is a child of the vCPU that was first to run."""
_STATUS = re.compile(r"^Name:\t([^\n]*)$.*^Cpus_allowed_list:\t([^\n]*)$", re.DOTALL | re.MULTILINE)
_KTHREADD = 2


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread, its name, and the CPUs on which the kernel lets it run."""

    tid: int
    name: str
    cpus: frozenset[int]


@dataclass(frozen=True, slots=True)
class Process:
    """One entry of /proc: its name, its arguments (none: a kernel thread), its parent, its start in clock ticks."""

    pid: int
    name: str
    argv: tuple[str, ...]
    parent: int
    start_ticks: int


def verify(guests: Collection[Guest], root: Path = ROOT) -> None:
    """Record that every thread of every guest may run on its CPUs of the plan and on no other.

    An OSv guest may have ended by now: its job is as short as it likes. Raises Fault VT0920 that names each thread for
    which this is not so, or that is not there.
    """
    running = list(processes(root))
    found = qemu_pids({guest.machine.uuid for guest in guests}, running)
    wrong: list[str] = []
    for guest in guests:
        pid = found.get(guest.machine.uuid)
        if pid is None and isinstance(guest, OsvGuest):
            LOG.info("vm%d: has ended already", guest.index)
            continue
        if pid is None:
            wrong.append(f"vm{guest.index}: no process of QEMU runs it")
            continue
        there = [*threads(pid, root), *_vhost(pid, running, root)]
        said = differences(guest, there)
        if isinstance(guest, OsvGuest) and not threads(pid, root):
            said = []  # it ended meanwhile
        wrong += [f"vm{guest.index}: {line}" for line in said]
        LOG.info("%s", _sentence(guest, pid, there, _virtiofsd(pid, running, root)))
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise Fault(
            "VT0920",
            f"a guest does not run where the plan says: {wrong[0]}{more}",
            help="find what moves threads on this node (numad, a taskset, another manager of CPUs), keep it off guests",
            detail="\n".join(wrong),
        )
    plural = "" if len(guests) == 1 else "s"
    LOG.info("verified: every thread of %d guest%s is where the plan says", len(guests), plural)


def spread(guests: Collection[Guest], root: Path = ROOT) -> None:
    """Let the emulator's threads run on all CPUs that they were given while they ran.

    libvirt gives them to the cgroup and to QEMU's main thread; the others stay on those that they inherited.
    """
    running = list(processes(root))
    found = qemu_pids({guest.machine.uuid for guest in guests}, running)
    for guest in guests:
        pins, pid = guest.machine.pins, found.get(guest.machine.uuid)
        for thread in [*threads(pid, root), *_vhost(pid, running, root)] if pid else ():
            if _role(thread.name) in ("vhost", "other"):
                with contextlib.suppress(OSError):  # it has ended, or its cgroup forbids it: verify tells of that
                    os.sched_setaffinity(thread.tid, pins.emulator or pins.cpuset)


def differences(guest: Guest, there: Collection[Thread]) -> list[str]:
    """Return each thread that may run elsewhere than the plan says, and each that is missing, one sentence each."""
    said = []
    for thread in there:
        wanted = _wanted(thread.name, guest.machine.pins)
        if wanted and not thread.cpus <= wanted:
            where = f"may run on CPUs {list_text(thread.cpus)}, its place is {list_text(wanted)}"
            said.append(f"thread {thread.tid} ({thread.name}) {where}")
    names = {thread.name for thread in there}
    vcpus = {int(match[1]) for name in names if (match := _VCPU.fullmatch(name))}
    iothreads = {int(match[1]) for name in names if (match := _IOTHREAD.fullmatch(name))}
    if _ALL_VCPUS not in names:
        said += [f"vCPU {n} has no thread" for n in range(guest.machine.vcpus) if n not in vcpus]
    expected = range(1, len(guest.machine.pins.iothreads) + 1)
    return said + [f"I/O thread {n} is not there" for n in expected if n not in iothreads]


def _wanted(name: str, pins: Pins) -> frozenset[int]:
    """Where a thread of this name may run; empty: anywhere."""
    emulator = pins.emulator or pins.cpuset
    if name == _ALL_VCPUS or name.startswith(_KVM):
        return frozenset(chain(emulator, *pins.vcpus)) if emulator else frozenset()
    if match := _VCPU.fullmatch(name):
        n = int(match[1])
        return frozenset(pins.vcpus[n] if n < len(pins.vcpus) else pins.cpuset)
    if match := _IOTHREAD.fullmatch(name):
        n = int(match[1])
        return frozenset(pins.iothreads[n - 1] if 0 < n <= len(pins.iothreads) else emulator)
    # a helper that an I/O thread started has its affinity
    return frozenset(chain(emulator, *pins.iothreads)) if emulator else frozenset()


def processes(root: Path = ROOT) -> Iterator[Process]:
    """Return all processes that run; one that ends meanwhile is left out (proc(5): cmdline, stat)."""
    for path in root.glob("proc/[0-9]*"):
        try:
            argv = tuple(_read(path / "cmdline").split("\0")[:-1])
            name, _, rest = _read(path / "stat").rpartition(")")
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended, or hides from an ordinary user
            continue
        fields = rest.split()
        yield Process(int(path.name), name.partition("(")[2], argv, int(fields[1]), int(fields[19]))


def qemu_pids(uuids: Collection[str], running: Collection[Process]) -> dict[str, int]:
    """Return the process of each guest that has one.

    Anybody may start a program with any arguments; but nobody knows a guest's UUID before its QEMU has it, so the first
    process that names it is the guest.
    """
    found: dict[str, int] = {}
    for process in sorted(running, key=lambda process: (process.start_ticks, process.pid)):
        for option, value in pairwise(process.argv):
            if option == "-uuid" and value in uuids:
                found.setdefault(value, process.pid)
    return found


def threads(pid: int, root: Path = ROOT) -> list[Thread]:
    """Return the threads of a process, by their numbers; those that end meanwhile are left out."""
    found = []
    for path in (root / "proc" / str(pid) / "task").glob("[0-9]*"):
        try:
            match = _STATUS.search(_read(path / "status"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if match:
            found.append(Thread(int(path.name), match[1], frozenset(read_list(match[2]))))
    return sorted(found, key=lambda thread: thread.tid)


def _vhost(pid: int, running: Collection[Process], root: Path) -> list[Thread]:
    """Threads of the kernel's own that serve the guest: `vhost-PID` before Linux 6.4, which made them QEMU's."""
    own = [one.pid for one in running if one.parent == _KTHREADD and one.name == f"vhost-{pid}"]
    return [thread for number in own for thread in threads(number, root)]


def _virtiofsd(pid: int, running: Collection[Process], root: Path) -> list[Thread]:
    """The main threads of the guest's virtiofsd processes: libvirt puts them in QEMU's cgroup."""
    named = [process.pid for process in running if process.argv and Path(process.argv[0]).name == "virtiofsd"]
    group = _cgroup(pid, root)
    own = [number for number in named if _cgroup(number, root) == group]
    return [thread for number in own for thread in threads(number, root) if thread.tid == number]


def _cgroup(pid: int, root: Path) -> str | None:
    """The group that limits the process's CPUs: that of cgroup v1's cpuset, else v2's only one (cgroups(7))."""
    try:
        lines = _read(root / "proc" / str(pid) / "cgroup").rstrip("\n").split("\n")
    except (FileNotFoundError, ProcessLookupError):
        return None
    groups = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines if ":" in line)}
    return groups.get("cpuset", groups.get(""))


def _read(path: Path) -> str:
    """As it is: a name may hold any byte but the zero and, escaped, the new line."""
    return path.read_bytes().decode("utf-8", "replace")


def _sentence(guest: Guest, pid: int, there: Collection[Thread], beside: Collection[Thread]) -> str:
    roles = Counter(_role(thread.name) for thread in there)
    counted = ", ".join(f"{roles[role]} {role}" for role in ("vCPU", "I/O", "vhost", "other"))
    said = f"vm{guest.index}: process {pid} has {len(there)} threads: {counted}"
    if any(thread.name == _ALL_VCPUS for thread in there):
        said += "; one thread emulates all vCPUs, so none has a CPU of its own"
    return said + "".join(f"; virtiofsd {one.tid} may run on CPUs {list_text(one.cpus)}" for one in beside)


def _role(name: str) -> str:
    if name == _ALL_VCPUS or _VCPU.fullmatch(name):
        return "vCPU"
    if _IOTHREAD.fullmatch(name):
        return "I/O"
    return "vhost" if name.startswith("vhost-") else "other"
