"""What has to be undone is on disk before it is done, and survives every way to die."""

import fcntl
import json
import threading
from pathlib import Path

import pytest

from vtorque_runtime.journal import BuriedError, Journal
from vtorque_spec.fault import Fault


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.start()
    return journal


def test_the_undo_is_on_disk_when_its_act_begins(journal: Journal) -> None:
    seen = journal.step({"kind": "tree", "name": "a"}, lambda: journal.path.read_text())
    assert json.loads(seen.splitlines()[-1]) == {"kind": "tree", "name": "a"}


def test_the_undo_stays_when_its_act_fails(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError):
        journal.step({"name": "a"}, lambda: 1 // 0)
    assert journal.undos() == [{"name": "a"}]


@pytest.mark.parametrize("torn", [b"{", b'{"name":"b"}', b"\xff\x00"])
def test_a_torn_last_line_is_no_record_and_does_not_spoil_the_next(journal: Journal, torn: bytes) -> None:
    journal.step({"name": "a"}, lambda: None)
    with journal.path.open("ab") as file:
        file.write(torn)
    assert journal.undos() == [{"name": "a"}]
    journal.step({"name": "c"}, lambda: None)
    assert journal.undos() == [{"name": "a"}, {"name": "c"}]


@pytest.mark.parametrize("line", [b"{\n", b"3\n", b"\xff\n"])
def test_a_damaged_whole_line_is_told(journal: Journal, line: bytes) -> None:
    with journal.path.open("ab") as file:
        file.write(line)
    with pytest.raises(Fault, match="VT0911"):
        journal.undos()


def test_a_journal_of_another_version_is_told(journal: Journal) -> None:
    journal.path.write_text('{"journal":99}\n')
    with pytest.raises(Fault, match="VT0911"):
        journal.undos()


def test_no_step_after_the_tombstone(journal: Journal) -> None:
    journal.bury()
    with pytest.raises(BuriedError):
        journal.step({"name": "a"}, lambda: pytest.fail("the act ran"))
    assert journal.undos() == []


def test_the_tombstone_waits_for_the_step_that_runs(journal: Journal) -> None:
    inside, leave, order = threading.Event(), threading.Event(), []

    def act() -> None:
        inside.set()
        leave.wait()
        order.append("act ended")

    def bury() -> None:
        journal.bury()
        order.append("buried")

    step = threading.Thread(target=journal.step, args=({"name": "a"}, act))
    step.start()
    inside.wait()
    burial = threading.Thread(target=bury)
    burial.start()
    leave.set()
    step.join()
    burial.join()
    assert order == ["act ended", "buried"]


def test_the_journal_is_locked_while_an_act_runs(journal: Journal) -> None:
    def act() -> None:
        with journal.path.open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    journal.step({"name": "a"}, act)


def test_a_journal_is_started_once(journal: Journal) -> None:
    with pytest.raises(FileExistsError):
        journal.start()
