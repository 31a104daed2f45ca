"""I/O cores of running jobs: put to work and taken back between the job's limits, on a node made by hand."""

import json
import logging
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.runtime.fake_kernel import IO, FakeKernel, guest, plan, text
from vtorque_runtime import commands as command
from vtorque_runtime import epilogue, iocm, prologue, threads
from vtorque_runtime.commands import common
from vtorque_runtime.spool import Registry, Spool, open_registry
from vtorque_runtime.steps import undo_all
from vtorque_spec.canonical import canonical_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodePlan


class Node:
    """A registry, a kernel, and a libvirt that pins as libvirt does: the cgroup, the main thread and no other."""

    def __init__(self, directory: Path) -> None:
        self.registry = open_registry("system", directory / "base")
        self.kernel = FakeKernel(directory / "root")
        self.kernel.adapter("eth0", [40, 41])
        self.irqs = [self.kernel.interrupt(number, "0-15") for number in (40, 41)]
        self.pids: dict[str, int] = {}
        self.pinned: list[tuple[str, Collection[int]]] = []

    def start(self, job: NodePlan) -> Spool:
        spool, _ = self.registry.register(job.job_id, os.getuid())
        iocm.keep_plan(job, spool)
        for one in job.guests:
            pid = 4000 + 100 * len(self.pids)
            self.pids[one.machine.uuid] = pid
            self.kernel.qemu(one, pid)
        return spool

    def pin_emulator(self, uuid: str, cpus: Collection[int]) -> None:
        self.pinned.append(("emulator", cpus))
        self.kernel.thread(self.pids[uuid], self.pids[uuid], "qemu-system-x86", text(sorted(cpus)))

    def pin_iothread(self, uuid: str, iothread: int, cpus: Collection[int]) -> None:
        self.pinned.append((f"iothread{iothread}", cpus))
        (there,) = [t for t in threads.threads(self.pids[uuid], self.kernel.root) if t.name == f"IO iothread{iothread}"]
        self.kernel.thread(self.pids[uuid], there.tid, there.name, text(sorted(cpus)))

    def sched_setaffinity(self, tid: int, cpus: Collection[int]) -> None:
        for pid in self.pids.values():
            for there in threads.threads(pid, self.kernel.root):
                if there.tid == tid:
                    self.kernel.thread(pid, tid, there.name, text(sorted(cpus)))

    def set(self, count: int, job: str | None = None) -> str:
        return iocm.set_active(self.registry, job, count, lambda uri: self, self.kernel.root)

    def places(self, pid: int = 4000) -> dict[str, tuple[int, ...]]:
        return {one.name: tuple(sorted(one.cpus)) for one in threads.threads(pid, self.kernel.root)}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node(tmp_path)
    monkeypatch.setattr(os, "sched_setaffinity", node.sched_setaffinity)
    monkeypatch.setattr(common, "registry", lambda: node.registry)
    return node


def begin(node: Node, job: NodePlan) -> Spool:
    spool = node.start(job)
    iocm.begin(job, node.registry, spool, node.kernel.root)
    return spool


def record(spool: Spool) -> list[str]:
    log = spool.path.parents[1] / "log" / f"{spool.path.name}.jsonl"
    return [json.loads(line)["message"] for line in log.read_text().splitlines()]


def test_the_start(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vtorque"):
        spool = begin(node, plan())
    assert [path.read_text() for path in node.irqs] == ["2-3", "2-3"]
    assert caplog.messages[-2:] == [
        "verified: every thread of 1 guest is where the plan says",
        "interrupts of eth0 on CPUs 2-3: 40-41",
    ]
    assert [undo["kind"] for undo in spool.journal.undos()] == ["tree", "irq", "irq"]
    assert oct(spool.plan.stat().st_mode & 0o777) == "0o600"
    assert iocm.read_plan(spool) == plan()


def test_a_thread_in_the_wrong_place_leaves_the_interrupts_alone(node: Node) -> None:
    spool = node.start(plan())
    node.kernel.thread(4000, 4003, "CPU 0/KVM", "0-15")
    with pytest.raises(Fault, match="VT0920"):
        iocm.begin(plan(), node.registry, spool, node.kernel.root)
    assert [path.read_text() for path in node.irqs] == ["0-15\n"] * 2


@pytest.mark.parametrize("cpus", ["8,24", "0-31"])
def test_the_prologue_looks_before_it_ends(tmp_path: Path, cpus: str) -> None:
    with fakes.reserved(tmp_path) as reserved:
        bundle = fakes.bundle(reserved.context, io_cores=2)
        root, hypervisor = fakes.kernel_root(tmp_path, bundle), fakes.FileHypervisor(f"files:{tmp_path}")
        kernel = FakeKernel(root)
        kernel.thread(4000, 4000, "qemu-system-x86", cpus)
        kernel.adapter("eth0", [40])
        where = kernel.interrupt(40, "0-31")
        if cpus == "8,24":
            prologue.apply(bundle, reserved, hypervisor, lambda: None, root)
            assert where.read_text() == "8,24"
            assert iocm.read_plan(reserved.spool) == bundle.plan
        else:
            with pytest.raises(Fault, match="VT0920"):
                prologue.apply(bundle, reserved, hypervisor, lambda: None, root)
            assert where.read_text() == "0-31\n"
        epilogue.apply(reserved.registry, reserved.spool, fakes.FileHypervisor)


def test_more_and_fewer(node: Node) -> None:
    job = plan(guest(0), guest(1))
    spool = begin(node, job)
    assert node.set(3) == "job local-00000001: 3 of 3 I/O cores work, CPUs 2-3,12-15"
    all_io = (2, 3, 12, 13, 14, 15)
    assert node.pinned == [("emulator", all_io), ("iothread1", (2, 3)), ("iothread2", (12, 13))] * 2
    for number, pid in enumerate(node.pids.values()):
        places = node.places(pid)
        assert {places[name] for name in ("qemu-system-x86", "qemu-event", "IO mon_iothread")} == {all_io}
        assert [places[f"CPU {n}/KVM"] for n in range(4)] == [(4 + 4 * number + n,) for n in range(4)]
    assert [path.read_text() for path in node.irqs] == ["2-3,12-15"] * 2
    assert [row.active for row in iocm.rows(node.registry)] == [3]
    assert record(spool)[-2:] == [
        "verified: every thread of 2 guests is where the plan says",
        "job local-00000001: 3 of 3 I/O cores work, CPUs 2-3,12-15",
    ]

    node.set(1, "local-00000001")
    assert node.places()["qemu-event"] == (2, 3)
    assert [path.read_text() for path in node.irqs] == ["2-3"] * 2
    assert [row.active for row in iocm.rows(node.registry)] == [1]
    assert undo_irqs(node, spool) == ["0-15"] * 2


def undo_irqs(node: Node, spool: Spool) -> list[str]:
    """Undo the job as the epilogue does, on the node's own /proc."""
    assert iocm.irq.give_back(spool.journal, node.kernel.root) == []
    rest = [undo for undo in spool.journal.undos() if undo["kind"] != "irq"]
    assert undo_all(rest, spool.path, lambda uri: pytest.fail(uri)) == []
    assert not spool.plan.exists()
    assert not spool.io_state.exists()
    return [path.read_text() for path in node.irqs]


def test_none_from_the_start(node: Node) -> None:
    """With `min: 0` a guest serves itself until there is more to do, and again afterwards."""
    one = guest(emulator=(4, 5, 6, 7), iothreads=((4, 5, 6, 7), (4, 5, 6, 7)))
    spool = begin(node, plan(one, io=replace(IO, min_cores=0)))
    assert [path.read_text() for path in node.irqs] == ["0-15\n"] * 2
    assert iocm.rows(node.registry)[0].active_cpus == ()
    node.set(2)
    assert node.places()["IO iothread2"] == (12, 13)
    assert [path.read_text() for path in node.irqs] == ["2-3,12-13"] * 2
    assert node.set(0) == "job local-00000001: 0 of 3 I/O cores work"
    assert node.places()["IO iothread2"] == node.places()["qemu-event"] == (4, 5, 6, 7)
    assert [path.read_text() for path in node.irqs] == ["0-15"] * 2
    assert record(spool)[-4] == "interrupts are where they were before the job"
    node.set(1)
    assert undo_irqs(node, spool) == ["0-15"] * 2


def test_an_ordinary_users_job_keeps_its_hands_off_interrupts(node: Node) -> None:
    spool = begin(node, plan(lane="session"))
    node.set(2)
    assert [path.read_text() for path in node.irqs] == ["0-15\n"] * 2
    assert "interrupts stay where they are: an ordinary user cannot move them" in record(spool)


@pytest.mark.parametrize("count", [-1, 0, 4, 99])
def test_outside_the_limits(node: Node, count: int) -> None:
    begin(node, plan())
    with pytest.raises(Fault, match=rf"VT0921: job local-00000001 cannot have {count} .* limits are 1 to 3"):
        node.set(count)
    assert node.pinned == []


def test_which_job(node: Node) -> None:
    with pytest.raises(Fault, match="VT0923: say which job: none runs on this node"):
        node.set(2)
    for number in (1, 2):
        node.start(plan(replace(guest(number)), job_id=f"{number}.srv"))
    node.registry.register("3.srv", os.getuid())  # it has not got as far as a plan
    with pytest.raises(Fault, match=r"VT0923: say which job: there is 1\.srv, 2\.srv$"):
        node.set(2)
    with pytest.raises(Fault, match=r"VT0923: no job '3\.srv' with guests runs here: there is 1\.srv, 2\.srv$"):
        node.set(2, "3.srv")
    with pytest.raises(Fault, match=r"VT0923: no job .\.\./x."):
        node.set(2, "../x")
    assert node.set(2, "2.srv").startswith("job 2.srv: 2 of 3")


@pytest.mark.parametrize(
    ("io", "why"),
    [(replace(IO, cores=(), min_cores=0), "has no I/O cores"), (replace(IO, mode="skvm"), "are sKVM's")],
)
def test_a_job_whose_io_cores_do_not_move(node: Node, io: object, why: str) -> None:
    node.start(plan(io=io))  # type: ignore[arg-type]
    with pytest.raises(Fault, match=f"VT0923.*{why}"):
        node.set(1)


def test_a_job_that_is_being_undone(node: Node) -> None:
    begin(node, plan()).journal.bury()
    with pytest.raises(Fault, match=r"VT0923.*is being undone"):
        node.set(2)


def test_a_job_that_ends_meanwhile(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = begin(node, plan())
    monkeypatch.setattr(node, "pin_emulator", lambda uuid, cpus: node.registry.remove(spool))
    with pytest.raises(Fault, match=r"VT0923.*has just ended"):
        node.set(2)
    assert iocm.rows(node.registry) == []


def test_a_move_that_does_not_hold_is_not_written_down(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A libvirt that says yes and does nothing."""
    begin(node, plan())
    monkeypatch.setattr(node, "pin_iothread", lambda uuid, iothread, cpus: None)
    with pytest.raises(Fault, match=r"VT0920: .*\(IO iothread2\) may run on CPUs 2-3, its place is 12-13$"):
        node.set(2)
    assert [row.active for row in iocm.rows(node.registry)] == [1]


def test_a_set_that_was_killed_while_it_wrote(node: Node) -> None:
    spool = begin(node, plan())
    (spool.path / ".iocm.json.new").write_text("{")
    node.set(2)
    assert [row.active for row in iocm.rows(node.registry)] == [2]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (canonical_json(replace(plan(), version=2)), "version 2"),
        ('{"version":7,"else":1}', "version 7, this runtime reads version 1"),
        ("", "Expecting value"),
        ("[]", "no attribute"),
        ('{"version":1}', "members missing"),
        ("\xff", "ascii"),
    ],
)
def test_a_plan_that_cannot_be_read(node: Node, text: str, why: str) -> None:
    spool = node.start(plan())
    spool.plan.write_text(text, encoding="latin-1")
    with pytest.raises(Fault, match=f"VT0924: the plan of job local-00000001 cannot be read: .*{why}"):
        node.set(2)


def test_a_state_that_cannot_be_read_is_mended_by_saying_it_anew(node: Node) -> None:
    spool = begin(node, plan())
    spool.io_state.write_text("{}")
    with pytest.raises(Fault, match="VT0924"):
        iocm.rows(node.registry)
    node.set(2)
    assert [row.active for row in iocm.rows(node.registry)] == [2]


def test_the_command(node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    whole = iocm.set_active
    monkeypatch.setattr(
        iocm, "set_active", lambda registry, job, count: whole(registry, job, count, lambda uri: node, node.kernel.root)
    )
    assert command.run(["iocm", "show"]) == 0
    assert capsys.readouterr().out == "no job with I/O cores runs here\n"
    node.start(plan())
    node.start(plan(guest(1), job_id="2.srv", io=replace(IO, mode="skvm", cores=((8,), (9,)), min_cores=0)))
    assert command.run(["iocm", "set", "2", "--job", "local-00000001"]) == 0
    assert capsys.readouterr().out == "job local-00000001: 2 of 3 I/O cores work, CPUs 2-3,12-13\n"
    assert command.run(["iocm", "show"]) == 0
    assert capsys.readouterr().out == (
        "JOB             MODE     MIN  MAX  ACTIVE  ACTIVE CPUS    ALL CORES\n"
        "2.srv           skvm     0    2    -       its manager's  8 9\n"
        "local-00000001  libvirt  1    3    2       2-3,12-13      2-3 12-13 14-15\n"
    )
    assert command.run(["iocm", "show", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[1] == {
        "job": "local-00000001",
        "mode": "libvirt",
        "min": 1,
        "max": 3,
        "active": 2,
        "active_cpus": [2, 3, 12, 13],
        "cores": [[2, 3], [12, 13], [14, 15]],
    }
    assert command.run(["iocm", "set", "2"]) == 1
    assert "error[VT0923]: say which job: there is 2.srv, local-00000001" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["iocm"], ["iocm", "set"], ["iocm", "set", "two"], ["iocm", "show", "--format", "x"]])
def test_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.run(argv)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_another_registry_is_another_node(tmp_path: Path, node: Node) -> None:
    node.start(plan())
    assert iocm.rows(Registry(open_registry("system", tmp_path / "other").base, "system")) == []
