"""Interrupts of adapters go to the I/O cores and come back, whatever the kernel and other jobs do meanwhile."""

import os
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.runtime.fake_kernel import FakeKernel
from vtorque_runtime import irq
from vtorque_runtime.irq import IrqUndo
from vtorque_runtime.journal import BuriedError, Journal
from vtorque_runtime.steps import undo_all
from vtorque_spec.fault import Fault


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    kernel = FakeKernel(tmp_path / "root")
    kernel.adapter("eth0", [40, 41, 42])
    for number in (1, 40, 41, 42):
        kernel.interrupt(number, "0-15")
    return kernel


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return journal_of(tmp_path, "job-1")


def journal_of(directory: Path, job: str) -> Journal:
    (directory / "jobs" / job).mkdir(parents=True)
    journal = Journal(directory / "jobs" / job / "journal.jsonl")
    journal.start()
    return journal


def places(kernel: FakeKernel) -> list[str]:
    """Where the three interrupts of eth0 may run, and that of the port above it."""
    return [(kernel.root / f"proc/irq/{n}/smp_affinity_list").read_text().strip() for n in (40, 41, 42, 1)]


def refusing(monkeypatch: pytest.MonkeyPatch, *files: Path) -> None:
    """Let writing to these files fail as the kernel does it for an interrupt that it manages."""
    write = Path.write_text

    def refuse(self: Path, *arguments: str, **named: str) -> int:
        if self in files:
            raise OSError(5, os.strerror(5))
        return write(self, *arguments, **named)

    monkeypatch.setattr(Path, "write_text", refuse)


@pytest.mark.parametrize(("kind", "virtio"), [("net", False), ("net", True), ("infiniband", False)])
def test_an_adapters_own_interrupts(tmp_path: Path, kind: str, virtio: bool) -> None:
    """Not those of the port above it, nor of one whose name begins in the same way."""
    kernel = FakeKernel(tmp_path)
    kernel.adapter("dev1", [52, 7, 130], kind, virtio=virtio)
    kernel.adapter("dev10", [60], kind)
    assert irq.interrupts("dev1", tmp_path) == (7, 52, 130)


def test_an_adapter_without_interrupts(kernel: FakeKernel, journal: Journal) -> None:
    (kernel.root / "sys/class/net/bond0").mkdir()
    assert irq.move(["bond0", "gone0"], (2,), journal, kernel.root) == [
        "bond0 has no message-signalled interrupts to move",
        "gone0 has no message-signalled interrupts to move",
    ]
    assert journal.undos() == []


@pytest.mark.parametrize("name", ["", ".", "..", "../class", "eth0/device", "a\0b", "-", "x" * 65])
def test_what_is_no_name(kernel: FakeKernel, name: str) -> None:
    with pytest.raises(Fault, match="VT0912"):
        irq.interrupts(name, kernel.root)


def test_there_and_back(kernel: FakeKernel, journal: Journal) -> None:
    said = irq.move(["eth0"], (3, 2, 12), journal, kernel.root)
    assert said == ["interrupts of eth0 on CPUs 2-3,12: 40-42"]
    assert places(kernel) == ["2-3,12"] * 3 + ["0-15"]
    assert journal.undos() == [asdict(IrqUndo("irq", n, "0-15", "2-3,12")) for n in (40, 41, 42)]
    for _ in range(2):
        assert irq.give_back(journal, kernel.root) == []
        assert places(kernel) == ["0-15"] * 4


def test_where_it_was_is_on_disk_before_it_moves(
    kernel: FakeKernel, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[list[object]] = []
    monkeypatch.setattr(irq, "_write", lambda path, cpus: written.append([u["irq"] for u in journal.undos()]))
    irq.move(["eth0"], (2,), journal, kernel.root)
    assert written == [[40], [40, 41], [40, 41, 42]]


def test_nothing_moves_once_the_job_is_undone(kernel: FakeKernel, journal: Journal) -> None:
    journal.bury()
    with pytest.raises(BuriedError):
        irq.move(["eth0"], (2,), journal, kernel.root)
    assert places(kernel) == ["0-15"] * 4


@pytest.mark.parametrize("moves", [[(2,), (2, 3), (2,)], [(2,), (2, 3)], [(2, 3), (3,)], [(2,), (3,), (2,)]])
def test_moved_several_times(kernel: FakeKernel, journal: Journal, moves: list[tuple[int, ...]]) -> None:
    """More, fewer, none, and some again: the end is as before the job."""
    for cpus in moves:
        irq.move(["eth0"], cpus, journal, kernel.root)
    assert irq.give_back(journal, kernel.root) == []
    assert places(kernel) == ["0-15"] * 4
    irq.move(["eth0"], (2, 3, 4), journal, kernel.root)
    assert irq.give_back(journal, kernel.root) == []
    assert places(kernel) == ["0-15"] * 4


def test_what_the_kernel_does_not_move_is_told(
    kernel: FakeKernel, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, kernel.root / "proc/irq/41/smp_affinity_list")
    assert irq.move(["eth0"], (2,), journal, kernel.root) == [
        "interrupts of eth0 on CPUs 2: 40,42; "
        "41 stays on CPUs 0-15, for the kernel does not move it: Input/output error"
    ]
    assert places(kernel) == ["2", "0-15", "2", "0-15"]
    assert irq.give_back(journal, kernel.root) == []


def test_what_cannot_be_given_back_is_told(
    kernel: FakeKernel, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    irq.move(["eth0"], (2,), journal, kernel.root)
    refusing(monkeypatch, kernel.root / "proc/irq/42/smp_affinity_list")
    assert irq.give_back(journal, kernel.root) == ["interrupt 42 on CPUs 2 instead of 0-15: Input/output error"]
    assert places(kernel) == ["0-15", "0-15", "2", "0-15"]


def test_an_interrupt_that_is_gone(kernel: FakeKernel, journal: Journal) -> None:
    (kernel.root / "proc/irq/40/smp_affinity_list").unlink()
    assert irq.move(["eth0"], (2,), journal, kernel.root) == ["interrupts of eth0 on CPUs 2: 41-42; 40 is gone"]
    (kernel.root / "proc/irq/41/smp_affinity_list").unlink()
    assert irq.give_back(journal, kernel.root) == []
    assert not (kernel.root / "proc/irq/41/smp_affinity_list").exists()


def test_what_somebody_else_moved_meanwhile_stays(kernel: FakeKernel, journal: Journal) -> None:
    """An irqbalance, or an admin: they would not see it undone. Within the job's own CPUs it is undone."""
    irq.move(["eth0"], (2, 3), journal, kernel.root)
    (kernel.root / "proc/irq/40/smp_affinity_list").write_text("8-15\n")
    (kernel.root / "proc/irq/41/smp_affinity_list").write_text("3\n")
    assert irq.give_back(journal, kernel.root) == []
    assert places(kernel) == ["8-15", "0-15", "0-15", "0-15"]


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_two_jobs_and_one_adapter(tmp_path: Path, kernel: FakeKernel, first_ends_first: bool) -> None:
    first, second = journal_of(tmp_path, "job-1"), journal_of(tmp_path, "job-2")
    irq.move(["eth0"], (2,), first, kernel.root)
    (said,) = irq.move(["eth0"], (6,), second, kernel.root)
    assert said.startswith("interrupts of eth0 on CPUs 6: none; 40 stays with the job that moved it before")
    assert places(kernel) == ["2"] * 3 + ["0-15"]
    for journal in (first, second) if first_ends_first else (second, first):
        assert irq.give_back(journal, kernel.root) == []
    assert places(kernel) == ["0-15"] * 4


def test_the_journal_knows_the_undo(journal: Journal) -> None:
    """By steps.undo_all, on the real /proc, where no kernel has such an interrupt."""
    journal.step(IrqUndo("irq", 2**31, "0", "1"), lambda: None)
    assert undo_all(journal.undos(), journal.path.parent, lambda uri: pytest.fail(uri)) == []


def real_interrupts() -> dict[int, Path]:
    """Those of this machine's adapters, and the files that say where they run; a virtual machine may have none."""
    names = [path.name for path in Path("/sys/class/net").iterdir() if (path / "device").exists()]
    return {n: Path(f"/proc/irq/{n}/smp_affinity_list") for name in names for n in irq.interrupts(name)}


def test_this_machines_adapters() -> None:
    """The kernel's own table has each of them, as one of an adapter. Nothing is moved."""
    table = dict(line.split(":", 1) for line in Path("/proc/interrupts").read_text().splitlines() if ":" in line)
    known = {int(number): line for number, line in table.items() if number.strip().isdigit()}
    for number, path in real_interrupts().items():
        assert "MSI" in known[number]
        assert path.read_text().strip()


@pytest.mark.root
def test_this_machines_interrupts_move_and_come_back(journal: Journal) -> None:
    """To the first CPU that each may run on, and at once back, by the journal."""
    before = {number: path.read_text() for number, path in real_interrupts().items()}
    names = [path.name for path in Path("/sys/class/net").iterdir() if (path / "device").exists()]
    try:
        irq.move(names, (min(os.sched_getaffinity(0)),), journal)
        moved = {number: path.read_text() for number, path in real_interrupts().items()}
        left = undo_all(journal.undos(), journal.path.parent, lambda uri: pytest.fail(uri))
        after = {number: path.read_text() for number, path in real_interrupts().items()}
    finally:  # whatever is wrong with our undo, the machine is as it was
        for number, path in real_interrupts().items():
            if path.read_text() != before[number]:
                path.write_text(before[number])
    assert {undo["irq"] for undo in journal.undos()} == {n for n in before if before[n] != moved[n]}
    assert (left, after) == ([], before)
