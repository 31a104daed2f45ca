"""I/O cores on the real qemu:///system: what libvirt was told is what /proc shows, and `iocm set` moves it live."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.compilers.plans import with_machine
from tests.runtime.fake_kernel import guest as any_guest
from tests.runtime.fake_kernel import plan as any_plan
from tests.support.libvirtd import Libvirtd
from vtorque_compilers.domain import compile_domain
from vtorque_runtime import epilogue, iocm, threads
from vtorque_runtime.hypervisor import Hypervisor, connect
from vtorque_runtime.identity import reserve_port
from vtorque_runtime.log import recorded
from vtorque_runtime.spool import Registry, Spool, open_registry
from vtorque_runtime.steps import DomainUndo
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Filesystem, IoCores, LinuxGuest, NodePlan, Pins, UserNic

pytestmark = [pytest.mark.libvirt, pytest.mark.root]

SYSTEM = "qemu:///system"
IO = IoCores("libvirt", ((0,), (1,)), 1, ())
PINS = Pins(((0,), (1,)), (0,), ((0,), (0,)), (0, 1))
FLOATING = Pins((), (), ((0, 1), (0, 1)), (0, 1))


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that QEMU's user reaches."""
    path = Path(tempfile.mkdtemp(prefix="vtorque-test-", dir="/var/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def hypervisor(libvirtd: Libvirtd) -> Iterator[Hypervisor]:
    if os.cpu_count() == 1:
        pytest.skip("this machine has a single CPU")
    found = connect(SYSTEM)
    yield found
    found.close()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry("system", tmp_path / "base")


def start(one: LinuxGuest, io: IoCores, registry: Registry, hypervisor: Hypervisor) -> tuple[NodePlan, Spool]:
    """A job whose guest runs its firmware and nothing else, pinned by libvirt as `one` says."""
    plan = any_plan(one, io=io)
    spool, _ = registry.register(plan.job_id, os.getuid())
    iocm.keep_plan(plan, spool)
    domain = DomainUndo("domain", SYSTEM, one.machine.uuid)
    spool.journal.step(domain, lambda: hypervisor.create_domain(without_kernel(compile_domain(one).text)))
    return plan, spool


def guest(directory: Path, pins: Pins) -> LinuxGuest:
    files = [directory / f"{n}.qcow2" for n in (1, 2)]
    for file in files:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", file, "1M"], check=True)
    disks = [
        replace(disk, file=str(file), backing=None, backing_format=None, queues=2)
        for disk, file in zip(any_guest().machine.disks, files, strict=False)
    ]
    with reserve_port() as port:
        nic = UserNic("user", "52:54:00:12:34:56", port.getsockname()[1], True)
    return with_machine(
        uuid=str(uuid.uuid4()),
        name=f"vt-test-{os.getpid()}",
        pins=pins,
        disks=tuple(disks),
        nic=nic,
        console_log=str(directory / "console.log"),
    )


def without_kernel(xml: str) -> str:
    domain = ElementTree.fromstring(xml)
    boot = domain.find("os")
    assert boot is not None
    for name in ("kernel", "initrd", "cmdline"):
        boot.remove(boot.find(name))  # type: ignore[arg-type]
    return ElementTree.tostring(domain, encoding="unicode")


def virsh(*words: str) -> str:
    return subprocess.run(["virsh", "-q", "-c", SYSTEM, *words], check=True, capture_output=True, text=True).stdout


def pinned(identity: str) -> tuple[str, dict[str, str]]:
    """What virsh says: the emulator's CPUs, and those of each I/O thread."""
    iothreads = dict(line.split() for line in virsh("iothreadinfo", identity).splitlines() if line.strip())
    return virsh("emulatorpin", identity).split()[-1], iothreads


def places(identity: str) -> dict[str, set[int]]:
    """What /proc says, read without our own code: the CPUs of each thread by its name, those of equal name together."""
    argument = f"\0-uuid\0{identity}\0".encode()
    pid = next(path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if argument in path.read_bytes())
    found: dict[str, set[int]] = {}
    for task in (pid / "task").iterdir():
        found.setdefault((task / "comm").read_text().strip(), set()).update(os.sched_getaffinity(int(task.name)))
    return found


def record(spool: Spool) -> list[str]:
    return [
        json.loads(line)["message"]
        for line in (spool.path.parents[1] / "log" / f"{spool.path.name}.jsonl").read_text().splitlines()
    ]


def test_from_one_io_core_to_two_and_back(directory: Path, registry: Registry, hypervisor: Hypervisor) -> None:
    one = guest(directory, PINS)
    identity = one.machine.uuid
    plan, spool = start(one, IO, registry, hypervisor)
    try:
        with recorded(registry.log(spool.path.name)):
            iocm.begin(plan, registry, spool)
        first = places(identity)
        assert pinned(identity) == ("0", {"1": "0", "2": "0"})
        assert first.pop("CPU 1/TCG") == {1}
        assert set(map(frozenset, first.values())) == {frozenset({0})}
        assert {"qemu-system-x86", "CPU 0/TCG", "IO iothread1", "IO iothread2"} <= set(first)

        assert iocm.set_active(registry, None, 2) == "job local-00000001: 2 of 2 I/O cores work, CPUs 0-1"
        moved = places(identity)
        assert pinned(identity) == ("0-1", {"1": "0", "2": "1"})
        assert [moved.pop(name) for name in ("CPU 0/TCG", "CPU 1/TCG", "IO iothread1", "IO iothread2")] == [
            {0}, {1}, {0}, {1},
        ]  # fmt: skip
        assert set(map(frozenset, moved.values())) == {frozenset({0, 1})}

        assert iocm.set_active(registry, plan.job_id, 1) == "job local-00000001: 1 of 2 I/O cores work, CPUs 0"
        assert pinned(identity) == ("0", {"1": "0", "2": "0"})
        assert places(identity)["qemu-system-x86"] == {0}
        said = record(spool)
        assert [line for line in said if "I/O cores work" in line or line.startswith("verified")] == [
            "verified: every thread of 1 guest is where the plan says",
            "verified: every thread of 1 guest is where the plan says",
            "job local-00000001: 2 of 2 I/O cores work, CPUs 0-1",
            "verified: every thread of 1 guest is where the plan says",
            "job local-00000001: 1 of 2 I/O cores work, CPUs 0",
        ]
        assert "threads: 2 vCPU, 2 I/O, 0 vhost" in said[0]
    finally:
        epilogue.apply(registry, spool)


def test_a_wrong_affinity_is_found(directory: Path, registry: Registry, hypervisor: Hypervisor) -> None:
    """A domain that libvirt lets float, put in its place by hand, and one thread of it out of it again."""
    one = guest(directory, FLOATING)
    plan, spool = start(one, IO, registry, hypervisor)
    wanted = replace(plan, guests=(with_machine(one, pins=PINS),))
    try:
        with pytest.raises(Fault, match=r"VT0920: .*may run on CPUs 0-1, its place is [01], and [0-9]+ more"):
            iocm.begin(wanted, registry, spool)
        pid = threads.qemu_pids({one.machine.uuid}, list(threads.processes()))[one.machine.uuid]
        numbers = {thread.name: thread.tid for thread in threads.threads(pid)}
        subprocess.run(["taskset", "-acp", "0", str(pid)], check=True, capture_output=True)
        taskset("1", numbers["CPU 1/TCG"])
        iocm.begin(wanted, registry, spool)

        taskset("0-1", numbers["IO iothread2"])
        with pytest.raises(Fault, match="VT0920") as caught:
            iocm.begin(wanted, registry, spool)
        said = f"vm0: thread {numbers['IO iothread2']} (IO iothread2) may run on CPUs 0-1, its place is 0"
        assert caught.value.detail == said
    finally:
        epilogue.apply(registry, spool)


def taskset(cpus: str, thread: int) -> None:
    subprocess.run(["taskset", "-cp", cpus, str(thread)], check=True, capture_output=True)


def test_virtiofsd_is_told(directory: Path, registry: Registry, hypervisor: Hypervisor) -> None:
    """libvirt puts it beside QEMU, so it has the emulator's CPUs."""
    (directory / "share").mkdir()
    share = Filesystem("virtiofs", str(directory / "share"), str(directory / "share"), "s", "/s", True, ())
    one = with_machine(guest(directory, PINS), filesystems=(share,))
    plan, spool = start(one, IO, registry, hypervisor)
    try:
        with recorded(registry.log(spool.path.name)):
            iocm.begin(plan, registry, spool)
        told = re.findall(r"; virtiofsd ([0-9]+) may run on CPUs 0(?![-,0-9])", record(spool)[0])
        assert told
        for pid in told:
            assert str(directory / "share") in Path(f"/proc/{pid}/cmdline").read_text()
            assert os.sched_getaffinity(int(pid)) == {0}
    finally:
        epilogue.apply(registry, spool)


def test_libvirts_refusal_to_pin(hypervisor: Hypervisor) -> None:
    with pytest.raises(Fault, match="VT0903") as caught:
        hypervisor.pin_emulator(str(uuid.uuid4()), (0,))
    assert "no domain" in str(caught.value.detail).lower()
