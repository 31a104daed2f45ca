"""A disk that is full or read only, files that are damaged, a clock that is set: no job leaks, and the others go on."""

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.runtime.faulty_node import IRQ, IRQ_CPUS, KEY, Node, StandInHook, made_node
from tests.runtime.test_faults import ready, says
from vtorque_runtime import begin, bring_up, forwarding, handover, irq, ledger, reap, status, supervise, teardown
from vtorque_runtime.batch.contract import BatchJob
from vtorque_runtime.files import boot_id, start_ticks
from vtorque_runtime.journal import Journal
from vtorque_runtime.partition import Usage
from vtorque_runtime.signals import SignalledError, Signals
from vtorque_runtime.steps import TreeUndo
from vtorque_runtime.watch import Watches
from vtorque_spec.canonical import from_json
from vtorque_spec.fault import Fault

pytestmark = pytest.mark.root
REAL_WATCH = supervise._Supervisor._watch
DAMAGES = (b"", b"{", b"[]", b'{"version":1}', b"\xff\x00\n", b"9" * 5000)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    with made_node(tmp_path, monkeypatch) as made:
        yield made


@contextmanager
def small_disk(directory: Path, options: str = "size=8m") -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


# --- the disk -------------------------------------------------------------------------------------------------------


def test_the_disk_gets_full_before_any_effect(node: Node) -> None:
    """The supervisor gives the node back itself, as far as it can; the epilogue needs no room."""
    node.begin("0")
    effects = node.in_child(node.supervise)[1]
    node.end("0")
    writes = [number for number, effect in enumerate(effects, 1) if effect.startswith(("open /", "os.mkdir /"))]
    for full_from in writes:
        node.in_child(partial(node.begin, str(full_from)))  # whose process is gone, as a hook's is
        code, _ = node.in_child(partial(_supervised, node), full_from=full_from)
        assert code == 1, effects[full_from - 1]
        assert node.connect().domain_uuids() == set()
        assert node.in_child(partial(node.end, str(full_from)), full_from=1)[0] == 0
        assert node.left() == [], effects[full_from - 1]


def _supervised(node: Node) -> int:
    """As the interpreter has it: what is raised in the end is exit code 1."""
    try:
        return node.supervise()
    except OSError:
        return 1


def test_a_disk_that_gets_full_costs_no_running_job(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another job's guest that fills it."""
    node.begin()
    (held,) = node.registry.registrations()
    job = from_json(BatchJob, node.registry.spool(KEY).batch.read_bytes())
    looks = iter(range(3))

    class Ticks(Signals):
        def wait(self, seconds: float) -> None:
            if next(looks, None) is None:
                raise SignalledError(signal.SIGTERM)

    class Stopped:
        def stopped(self) -> bool:
            return True

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Ticks() as signals:
        looking = supervise._Supervisor(node.registry, held, job, node.directory, signals)
        stopped = partial(looking._stopped, Stopped())  # type: ignore[arg-type] # a stand-in
        monkeypatch.setattr(status, "replace_file", full)
        monkeypatch.setattr(supervise.partition, "usage", lambda *_: Usage(1, 1, exact=True))
        with pytest.raises(SignalledError):
            REAL_WATCH(looking, Watches((), signals), stopped, "vt_12")
    assert looking.status.now.usage == Usage(1, 1, exact=True)
    assert looking.status.now.suspended
    node.end()


def test_a_line_that_does_not_fit_is_not_acted_upon(tmp_path: Path) -> None:
    """The kernel takes a part of it and says so by a number alone."""
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        journal = Journal(disk / "journal")
        done: list[int] = []
        journal.start()
        with pytest.raises(OSError, match="No space left"):
            steps(journal, done)
        assert len(journal.undos()) == len(done) > 10


def steps(journal: Journal, done: list[int]) -> None:
    for number in range(1000):  # a third of that fills it
        journal.step(TreeUndo("tree", f"{number}-{'x' * 200}"), partial(done.append, number))


def test_a_read_only_spool(node: Node) -> None:
    """The guests end; what cannot be removed is named, and goes when it can."""
    with small_disk(node.directory / "base", "size=64m,mode=755") as disk:
        ready(node)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(Fault, match="VT0911") as caught:
            node.end()
        assert "vm0" in str(caught.value.detail)
        assert node.connect().domain_uuids() == node.connect().network_uuids() == set()
        assert node.start() == "1"
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        node.end()
        assert node.left() == []


def test_a_prologue_on_a_read_only_disk_ends_well(node: Node) -> None:
    with small_disk(node.directory / "base", "size=8m,mode=755") as disk:
        node.begin("0")
        node.end("0")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(OSError, match="Read-only"):  # which `hook.main` takes
            node.begin()
        assert node.supervisors == [KEY]


# --- libvirt --------------------------------------------------------------------------------------------------------


def test_libvirt_is_down_when_the_epilogue_comes(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(node)
    there = node.connect().domain_uuids()
    with monkeypatch.context() as down:
        down.setattr(Node, "connect", lambda _node, uri: fakes.no_hypervisor(uri))
        for _ in range(2):
            with pytest.raises(Fault, match="VT0911"):
                node.end()
    assert node.connect().domain_uuids() == there
    assert node.start() == "1"
    assert ledger.taken(node.registry).cpus, "its guests may run on them"
    says(monkeypatch, "gone")
    clock = time.monotonic
    reap.reap(node.registry, node.connect)
    monkeypatch.setattr(time, "monotonic", lambda: clock() + reap.APART_S)
    assert reap.reap(node.registry, node.connect)[1] == []
    assert node.left() == []


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["job.json", "batch.json", "state.json", "claim.json", "plan.json", "doubt"])
def test_a_damaged_file_is_its_own_jobs_trouble(
    node: Node, name: str, damage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fakes.reserved(node.directory, number=7)
    ready(node)
    (node.registry.spool(KEY).path / name).write_bytes(damage)
    assert other.registration.job_id in [held.job_id for held in node.registry.registrations()]
    ledger.taken(node.registry)
    says(monkeypatch, "gone")
    assert reap.reap(node.registry, node.connect)[1] == []
    assert node.start() == "1"
    node.end()
    other.registry.remove(other.spool)
    assert node.left() == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_job_of_which_nothing_can_be_told(node: Node, damage: bytes) -> None:
    """Reap says so and touches nothing; its epilogue knows which start is over, and its journal what to undo."""
    ready(node)
    there = node.left()
    for name in ("job.json", "batch.json", "state.json", "plan.json", "claim.json"):
        (node.registry.spool(KEY).path / name).write_bytes(damage)
    done, (fault,) = reap.reap(node.registry, node.connect)
    assert (done, fault.code) == ([], "VT0944")
    assert node.left() == there
    node.end()
    assert node.left() == []


def test_a_damaged_registration_does_not_hide_the_supervisor(node: Node) -> None:
    """It is stopped before anything is undone: who it is stands in state.json too."""
    node.begin()
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    held = node.registry.registration(KEY)
    assert held is not None
    spool = node.registry.spool(KEY)
    publisher = status.Publisher(spool, "12", "node", None)
    publisher.publish(pid=child, start_ticks=start_ticks(child))
    spool.registration.write_bytes(b"{")
    node.end()
    found, code = os.waitpid(child, os.WNOHANG)
    if found == 0:
        os.kill(child, signal.SIGKILL)
        pytest.fail("it was not stopped")
    assert os.waitstatus_to_exitcode(code) == -signal.SIGTERM
    assert node.left() == []


def test_a_prologue_over_a_damaged_job(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(node)
    for name in ("job.json", "batch.json"):
        (node.registry.spool(KEY).path / name).write_bytes(b"{")
    monkeypatch.setattr(teardown.end, "__defaults__", (node.connect,))
    node.begin("2")
    assert (node.start(), node.connect().domain_uuids()) == ("2", set())


@pytest.mark.parametrize("damage", [b"{\n", b"[1]\n", b'{"journal":99}\n'])
def test_a_damaged_journal_is_kept_for_a_person(node: Node, damage: bytes) -> None:
    ready(node)
    other = fakes.reserved(node.directory, number=7)
    journal = node.registry.spool(KEY).journal.path
    journal.write_bytes(damage + journal.read_bytes())
    with pytest.raises(Fault, match="VT0911"):
        node.end()
    assert node.start() == "1"
    ledger.taken(other.registry)
    other.registry.remove(other.spool)


def test_a_supervisor_with_a_damaged_job(node: Node) -> None:
    node.begin()
    node.registry.spool(KEY).batch.write_bytes(b'{"system":"slurm"')
    assert node.in_child(node.supervise)[0] == 1
    now = status.read(node.registry.spool(KEY).status)
    assert now is not None
    assert now.verdict is not None
    assert [finding.code for finding in now.verdict.findings] == ["VT0944"]
    node.end()
    assert node.left() == []


def test_what_the_kernel_forgot_in_a_reboot_is_not_undone(node: Node) -> None:
    """An admin, or a program that starts at boot, may have set it anew."""
    ready(node)
    job, affinity = node.registry.spool(KEY).registration, irq._affinity(IRQ, node.directory)
    job.write_text(job.read_text().replace(boot_id(), "9" * 36))
    moved = affinity.read_text()
    assert (forwarding.SWITCH.read_text(), moved != IRQ_CPUS) == ("1\n", True)
    node.end()
    assert (forwarding.SWITCH.read_text(), affinity.read_text()) == ("1\n", moved)
    forwarding.SWITCH.write_text("0\n")
    affinity.write_text(IRQ_CPUS)
    assert node.left() == []


def test_a_machine_part_of_any_bytes_is_kept(node: Node) -> None:
    """A variable of a hook's environment may hold what is no text."""
    begin.begin(node.registry, "slurm", StandInHook(), "VT1.\udcff", str(node.directory))
    assert node.in_child(node.supervise)[0] == 0
    assert from_json(BatchJob, node.registry.spool(KEY).batch.read_bytes()).spec == "VT1.?"
    node.end()


# --- the clock ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [10**9, -(10**9)])
def test_the_clock_is_set(node: Node, monkeypatch: pytest.MonkeyPatch, jump_s: int) -> None:
    """Neither does doubt grow older by that, nor is a registered job's record or tombstone old."""
    ready(node)
    node.registry.end(KEY, "0")
    whole = time.time
    says(monkeypatch, "gone")
    reap.reap(node.registry, node.connect)
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: whole() + jump_s)
        reap.reap(node.registry, node.connect)
        assert node.start() == "1"
        assert node.registry.ended(KEY) == "0"
        assert node.registry.log(KEY).exists()
        node.end()
    assert node.left() == []


def test_the_walltime_ends_when_it_would_have(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps while the guests boot: the body's end does not."""
    node.begin()
    whole, booted = time.time, bring_up.bring_up

    def boot(*arguments: object) -> object:
        monkeypatch.setattr(time, "time", lambda: whole() + 10**8)
        return booted(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(supervise, "bring_up", boot)
    assert node.in_child(node.supervise)[0] == 0
    told = from_json(handover.Handover, node.registry.spool(KEY).handover.read_bytes())
    assert 500 < told.ends_s - time.monotonic() <= 601
    node.end()


def test_effects_are_told_apart(node: Node) -> None:
    """The tests above would pass if nothing were counted."""
    effects = node.in_child(node.begin)[1]
    assert sum(effect.startswith("os.rename") for effect in effects) == 4
    assert json.loads(node.registry.spool(KEY).registration.read_text())["start"] == "1"
