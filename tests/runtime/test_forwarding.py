"""The host's switch for passing packets on is left as it was found, whoever ends first."""

from pathlib import Path

import pytest

from tests.runtime import fakes
from vtorque_runtime import forwarding, steps
from vtorque_runtime.forwarding import ForwardingUndo
from vtorque_runtime.journal import Journal


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host that passes nothing on."""
    path = tmp_path / "ip_forward"
    path.write_text("0\n")
    monkeypatch.setattr(forwarding, "SWITCH", path)
    return path


def journal(tmp_path: Path, name: str) -> Journal:
    """The journal of a new job."""
    (tmp_path / "jobs" / name).mkdir(parents=True)
    made = Journal(tmp_path / "jobs" / name / "journal.jsonl")
    made.start()
    return made


def undo(job: Journal) -> list[str]:
    """An epilogue."""
    job.bury()
    return steps.undo_all(job.undos(), job.path.parent, fakes.no_hypervisor)


def test_the_last_nat_network_leaves_the_switch_as_the_first_found_it(tmp_path: Path, switch: Path) -> None:
    first, second = journal(tmp_path, "a"), journal(tmp_path, "b")
    forwarding.note(first)
    switch.write_text("1\n")  # libvirt
    forwarding.note(second)
    assert second.undos() == first.undos() == [{"kind": "forwarding", "found": "0"}]
    assert undo(first) == []
    assert switch.read_text() == "1\n"  # the second job's guests go on
    third = journal(tmp_path, "c")
    forwarding.note(third)
    assert undo(second) == []
    assert switch.read_text() == "1\n"
    assert undo(third) == undo(third) == []
    assert switch.read_text() == "0\n"


def test_two_epilogues_at_once_do_not_wait_for_each_other(tmp_path: Path, switch: Path) -> None:
    first, second = journal(tmp_path, "a"), journal(tmp_path, "b")
    forwarding.note(first)
    switch.write_text("1\n")
    forwarding.note(second)
    first.bury()
    assert undo(second) == []
    assert switch.read_text() == "0\n"


def test_a_host_that_passes_packets_on_goes_on_doing_so(tmp_path: Path, switch: Path) -> None:
    switch.write_text("1\n")
    job = journal(tmp_path, "a")
    forwarding.note(job)
    assert undo(job) == []
    assert switch.read_text() == "1\n"
    assert forwarding.restore(ForwardingUndo("forwarding", "1"), tmp_path / "jobs" / "none") == []
