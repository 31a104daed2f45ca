"""The programs by which a body asks the job's other nodes: what they end with, and who reads what they say."""

import os
import signal
from pathlib import Path

import pytest

from tests.runtime.batch.installed import program
from vtorque_runtime.batch import remote


@pytest.fixture
def pbsdsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the test puts its pbsdsh; this ends with 0 always, as the real one was read to."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "pbsdsh"


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ("pbsdsh: spawned task 1\npbsdsh: task 1 exit status 0", 0),
        ("pbsdsh: spawned task 1\npbsdsh: task 1 exit status 78", 78),
        ("pbsdsh3: task 0 exit status 271", 271),
        ("pbsdsh: spawn failed on node 1 err TM_ESYSTEM", 255),
        ("pbsdsh: spawned task 1\npbsdsh: error 17000 on spawn", 255),
        ("", 255),
    ],
)
def test_how_a_command_ended_is_in_what_pbsdsh_says(
    pbsdsh: Path, capsys: pytest.CaptureFixture[str], says: str, code: int
) -> None:
    program(pbsdsh, f"#!/bin/sh\necho '{says}' >&2\n")
    process = remote.start(["pbsdsh", "-v", "-h", "n2", "true"])
    process.wait(10)
    assert [process.poll(), process.poll()] == [code, code]
    assert capsys.readouterr().err == (f"{says}\n" if code else "")


def test_one_that_runs_can_be_ended(pbsdsh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(pbsdsh, "#!/bin/sh\nexec sleep 60\n")
    process = remote.start(["pbsdsh", "-v", "-h", "n2", "true"])
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    assert process.poll() == 255
    process.send_signal(signal.SIGTERM)  # there is no such process any more


def test_others_end_as_their_command_does(capfd: pytest.CaptureFixture[str]) -> None:
    """Their output is the job's: it is what OSv guests of another node print."""
    process = remote.start(["sh", "-c", "echo said; exit 75"])
    process.wait(10)
    assert process.poll() == 75
    assert capfd.readouterr().out == "said\n"
