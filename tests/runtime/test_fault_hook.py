"""A hook waits for nobody, ends well whatever happens, and what it starts outlives it."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtime.faulty_node import KEY, Node, StandInHook, made_node
from tests.runtime.test_faults import ready
from vtorque_runtime import begin, epilogue, hook, reap, status, supervise, teardown
from vtorque_runtime.batch.contract import BatchJob
from vtorque_spec.fault import Fault

pytestmark = pytest.mark.root
REAL_START = begin._start_supervisor

HANGING = """#!{python}
import json, os, signal, sys
from pathlib import Path
sys.path[:0] = {path!r}
here = Path({directory!r})
from vtorque_runtime import supervise
streams = {{n: os.readlink(f"/proc/self/fd/{{n}}") for n in sorted(map(int, os.listdir("/proc/self/fd")))[:-1]}}
told = {{
    "argv": sys.argv[1:], "session": os.getsid(0), "group": os.getpgrp(), "pid": os.getpid(), "streams": streams,
    "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
    "environment": sorted(os.environ), "cwd": os.getcwd(),
}}
supervise.detach()
told["blocked afterwards"] = [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
told["ignored afterwards"] = [int(n) for n in (signal.SIGCHLD, signal.SIGPIPE) if signal.getsignal(n) == signal.SIG_IGN]
(here / "told.new").write_text(json.dumps(told))
(here / "told.new").rename(here / "told")
open(here / "fifo").read()
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    os.mkfifo(tmp_path / "fifo")
    with made_node(tmp_path, monkeypatch) as made:
        yield made


def until(found: Callable[[], object]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def codes(node: Node) -> list[str]:
    now = status.read(node.registry.spool(KEY).status)
    assert now is not None
    return [finding.code for finding in now.verdict.findings] if now.verdict else []


def test_a_libvirt_that_hangs_does_not_hold_the_prologue(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start before this one waits to be undone: this start gets nothing, and its body says why."""
    ready(node)
    there, end = node.connect().domain_uuids(), teardown.end

    def hang(*_: object) -> None:
        (node.directory / "hangs").touch()
        (node.directory / "fifo").read_text()
        end(node.registry, KEY, "1", node.connect)

    with monkeypatch.context() as hanging:
        hanging.setattr(teardown, "end", hang)
        node.begin("2")
    assert (node.directory / "hangs").exists()
    assert (node.start(), codes(node), node.supervisors) == ("1", ["VT0943"], [KEY])
    before = status.read(node.registry.spool(KEY).state)
    assert before is not None
    assert before.verdict is None, "it is not the start before that failed: its accounting is still to be written"
    assert node.connect().domain_uuids() == there
    (node.directory / "fifo").write_text("on")  # as soon as libvirt is back
    until(lambda: node.left() == [])
    node.begin("3")
    assert node.start() == "3"


def test_a_libvirt_that_hangs_does_not_hold_the_epilogue(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does whatever a user left to be removed: it goes on when the hook's group was killed."""
    ready(node)
    monkeypatch.setattr(hook, "_registry", lambda: node.registry)
    monkeypatch.setattr(hook, "_END_LIMIT_S", 0.3)

    def hang(uri: str) -> object:
        if not (node.directory / "hangs").exists():
            (node.directory / "hangs").touch()
            (node.directory / "fifo").read_text()
        return node.connect(uri)

    monkeypatch.setattr(teardown.end, "__defaults__", (hang,))
    hook_pid = os.fork()
    if hook_pid == 0:
        try:
            os.setpgid(0, 0)
            hook._end(StandInHook())
            (node.directory / "returned").touch()
            os.kill(0, signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(hook_pid, 0)[1]) == -signal.SIGKILL
    until((node.directory / "hangs").exists)
    assert (node.directory / "returned").exists()
    assert node.registry.ended(KEY) == "1"
    assert node.connect().domain_uuids()
    (node.directory / "fifo").write_text("on")
    until(lambda: node.left() == [])


def test_an_epilogue_that_takes_long_does_not_hold_the_prologue(node: Node) -> None:
    node.begin("0")
    node.end("0")
    with node.registry.alone(KEY):
        node.begin()
    assert (node.start(), node.supervisors) == (None, [KEY])


def test_a_batch_system_that_does_not_answer_is_a_verdict(node: Node) -> None:
    def silent(spec: str) -> BatchJob:
        raise Fault("VT0930", "slurmctld does not answer")

    node.begin(answer=silent)
    assert (codes(node), node.supervisors) == (["VT0930"], [])
    (held,) = node.registry.registrations()
    assert (held.batch_id, held.node) == ("12", "node"), "which reap can ask about"
    node.end()
    assert node.left() == []


def test_a_supervisor_that_cannot_be_started_is_a_verdict(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(begin, "_start_supervisor", REAL_START)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(begin, "Path", NoSystemd)
    node.begin()
    assert codes(node) == ["VT0914"]


class NoSystemd(type(Path())):  # type: ignore[misc] # pathlib's own class for this system
    """A Path on a machine without systemd, which would start the program in its own way."""

    def is_dir(self) -> bool:
        return str(self) != "/run/systemd/system" and super().is_dir()


def test_what_the_hook_starts_outlives_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs at once, the hook has all signals blocked, and its group is killed when it ends, as moms do."""
    program = node.directory / "python"
    program.write_text(HANGING.format(python=sys.executable, path=sys.path, directory=str(node.directory)))
    program.chmod(0o755)
    monkeypatch.setattr(begin, "_start_supervisor", REAL_START)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(begin, "Path", NoSystemd)
    hook_pid = os.fork()
    if hook_pid == 0:
        try:
            os.setpgid(0, 0)
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1))
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 77)
            os.set_inheritable(77, True)
            node.begin()
            (node.directory / "returned").touch()
            os.kill(0, signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(hook_pid, 0)[1]) == -signal.SIGKILL
    assert (node.directory / "returned").exists()
    until((node.directory / "told").exists)
    told = json.loads((node.directory / "told").read_text())
    try:
        assert told["session"] == told["group"] == told["pid"]
        assert told["argv"] == ["-I", "-m", "vtorque_runtime", "supervise", KEY, "--site", str(node.directory)]
        assert set(told["streams"].values()) == {"/dev/null"}
        assert set(told["streams"]) == {"0", "1", "2"}
        assert told["blocked"], "the test itself: the mask is handed down"
        assert (told["blocked afterwards"], told["ignored afterwards"], told["cwd"]) == ([], [signal.SIGPIPE], "/")
        assert set(told["environment"]) <= {"PATH", "SLURM_CONF", "LC_CTYPE"}
    finally:
        os.kill(told["pid"], signal.SIGKILL)


def test_the_supervisor_leaves_the_cgroup_of_the_job(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "leave_job_cgroup", lambda job_id: (node.directory / "left").write_text(job_id))
    node.begin()
    assert node.in_child(node.supervise)[0] == 0
    assert (node.directory / "left").read_text() == "12"
    node.end()


def test_the_epilogue_stops_a_supervisor_in_any_state(node: Node) -> None:
    """One that does not even answer TERM, for a step of its hangs; its guests go, and nothing begins any more."""
    node.begin()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        node.registry.adopt(node.registry.registration(KEY))  # type: ignore[arg-type]
        os.write(writer, b"x")
        while True:
            signal.pause()
    os.read(reader, 1)
    node.end()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert node.left() == []


def test_a_step_that_hangs_does_not_hold_the_epilogue(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epilogue, "_STEP_LIMIT_S", 0.1)
    node.begin()
    child = os.fork()
    if child == 0:
        held = node.registry.registration(KEY)
        assert held is not None
        node.registry.adopt(held)
        journal = node.registry.spool(KEY).journal
        journal.step({"kind": "tree", "name": "half"}, lambda: (node.directory / "fifo").read_text())
        os._exit(0)
    until(lambda: node.registry.spool(KEY).journal.undos())
    node.end()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    assert node.left() == []


@pytest.mark.parametrize("part", ["prologue", "epilogue"])
@pytest.mark.parametrize("words", [[], ["--site"], ["--site", "x"], ["nonsense"], ["torque"], ["slurm", "x"]])
def test_a_hook_ends_well_whatever_it_is_given(
    part: str, words: list[str], node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "_registry", lambda: node.registry)
    assert hook.main(part, words) == 0
    assert (node.left(), node.supervisors) == ([], [])
    if words != ["torque"]:  # whose prologue is one of a job without a spec
        assert "failed" in node.registry.log("hooks").read_text()


def test_a_hook_ends_well_without_a_disk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hook, "_registry", full)
    assert hook.main("prologue", ["nonsense"]) == 0
    assert "no batch system is called" in capsys.readouterr().err


def test_a_prologue_and_an_epilogue_at_the_same_time(node: Node) -> None:
    """In whatever order they come to the lock, the job is over in the end; the prologue may be stopped on its way."""
    for start in map(str, range(20)):
        child = os.fork()
        if child == 0:
            try:
                node.begin(start)
            finally:
                os._exit(0)
        node.end(start)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (0, -signal.SIGTERM)
        assert (node.start(), node.registry.ended(KEY)) == (None, start), node.registry.log(KEY).read_text()
    assert reap.reap(node.registry, node.connect)[1] == []
    assert node.left() == []
