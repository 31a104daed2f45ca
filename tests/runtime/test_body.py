"""What a batch script's body tells the job's owner, on a made-up spool: phases, and why a job cannot run or go on."""

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from vtorque_runtime import body, boot
from vtorque_runtime.attached import Attached
from vtorque_runtime.body import FailedError, Following, Node, Others, Told
from vtorque_runtime.confined import RefusedError
from vtorque_runtime.partition import Usage
from vtorque_runtime.spool import Spool
from vtorque_runtime.status import FAILED, READY, REGISTERED, Publisher, VmStatus
from vtorque_runtime.verdict import of_error
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Group, Login, Script, UserPart
from vtorque_spec.plan.answer import ToldFinding

USER = UserPart(1, Script("true", ()), None, None, ())
ENVIRONMENT = {"SLURM_JOB_ID": "41", "SLURMD_NODENAME": "n1"}
TAIL = "[    1.2] VFS: Cannot open root device\n[    1.3] Kernel panic - not syncing"
BOOT = Fault("VT0904", "vn1-0 was not ready after 120 s", help="allow more time", detail=TAIL)
REFUSED = ToldFinding("VT0301", "error", "vcpus: 99 are too many", "ask for 64 or less", None)


class Steps:
    """Signals that nobody sends; each wait is a step of the test's."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self._steps = list(steps)

    def check(self) -> None:
        """None came."""

    def wait(self, limit_s: float) -> None:
        if not self._steps:
            raise AssertionError("the body waits for what never comes")
        self._steps.pop(0)()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    """What a supervisor (this process) publishes of job 41 on the node n1."""
    spool = Spool(tmp_path / "jobs/41.n1")
    spool.path.mkdir(parents=True)
    monkeypatch.setattr(body, "base_directory", lambda lane: tmp_path)
    told = Publisher(spool, "41", "n1", (os.getuid(), os.getgid()))
    told.supervised()
    return told


def node(published: Publisher) -> Node:
    return Node(published.spool, Told())


def planned(monkeypatch: pytest.MonkeyPatch, *nodes: str) -> None:
    """Let the node know the job, which is on these nodes."""
    monkeypatch.setattr(Node, "handover", lambda _self: SimpleNamespace(nodes=nodes, guest="linux"))


def plain(text: str) -> list[str]:
    """Lines without the time that has passed; all can be read where no terminal is."""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    return [re.sub(r" \(\d+ s\)$", "", line) for line in text.splitlines()]


# --- while the guests boot ------------------------------------------------------------------------------------------


def test_each_phase_is_told_once(
    published: Publisher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vms = (VmStatus("vn1-0", "staging"), VmStatus("vn1-1", "staging"))
    steps = [
        lambda: published.phase("planning"),
        lambda: published.note("the policy has changed"),
        lambda: published.publish(phase="staging", vms=vms),
        lambda: published.phase("kernel", "vn1-0"),
        lambda: None,
        lambda: published.phase("kernel", "vn1-1"),
        lambda: planned(monkeypatch, "n1"),
        lambda: published.phase(READY),
    ]
    body._wait_until_ready(node(published), Others("slurm", Told()), Steps(*steps))
    assert plain(capsys.readouterr().err) == [
        "vtorque: n1: registered",
        "vtorque: n1: planning",
        "vtorque: the policy has changed",
        "vtorque: n1: staging",
        "vtorque: vn1-0: kernel",
        "vtorque: vn1-1: staging",
        "vtorque: vn1-1: kernel",
    ]


@pytest.mark.parametrize(
    ("error", "phase", "code", "words"),
    [
        (RefusedError([REFUSED]), "planning", 78, ["error[VT0301]: vcpus: 99 are too many", "help: ask for 64"]),
        (Fault("VT0502", "the image is not on n1", help="ask the admin"), "planning", 78, ["error[VT0502]"]),
        (Fault("VT0935", "there is no cluster key"), "planning", 78, ["error[VT0935]"]),
        (Fault("VT0902", "no libvirt", help="start it"), "staging", 75, ["error[VT0902]: no", "help: start it"]),
        (BOOT, "booting", 75, ["error[VT0904]: vn1-0 was not", "  [    1.3] Kernel panic", "help: allow more time"]),
        (KeyError("x"), "staging", 75, ["error[VT0914]: a step on this node failed"]),
    ],
    ids=["user", "site's image", "site's key", "node", "transient", "unforeseen"],
)  # fmt: skip
def test_why_a_job_cannot_run(
    published: Publisher, capsys: pytest.CaptureFixture[str], error: Exception, phase: str, code: int, words: list[str]
) -> None:
    """A verdict of each kind: phase, code, what is wrong, what to do, and what the console said last."""
    published.publish(phase=FAILED, verdict=of_error(error, phase))
    assert body.run("slurm", USER, ENVIRONMENT) == code
    said = plain(capsys.readouterr().err)
    assert said[0] == f"vtorque: n1: failed in phase {phase}"
    for word in words:
        assert any(line.startswith(word) for line in said), said


def test_the_console_comes_before_the_help(published: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    published.publish(phase=FAILED, verdict=of_error(BOOT, "booting"))
    body.run("slurm", USER, ENVIRONMENT)
    assert plain(capsys.readouterr().err)[1:] == [
        "error[VT0904]: vn1-0 was not ready after 120 s",
        *(f"  {line}" for line in TAIL.splitlines()),
        "help: allow more time",
    ]


def test_a_boot_that_fails_brings_its_phase_and_its_console() -> None:
    """The fault of a boot is what its guest printed, with the phase in its words."""

    class Watch:
        name = "vn1-0"
        console = type("C", (), {"failure": None, "phase": "kernel", "tail": lambda _self: TAIL})()

        def look(self) -> str:
            return "shut off"

    nothing = type("P", (), {"phase": lambda *_: None})()
    with pytest.raises(Fault) as caught:
        boot._Clock(120, Watch(), nothing, "vn1-0").look()  # type: ignore[arg-type] # stand-ins
    assert (caught.value.code, caught.value.detail) == ("VT0904", TAIL)
    assert "in phase `kernel`" in caught.value.message


def test_a_supervisor_that_is_gone(
    published: Publisher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published.publish(phase="booting", pid=2**22, start_ticks=1)
    now = iter((100.0, 100.0, 100.5, 103.0))
    own = node(published)
    monkeypatch.setattr(body.time, "monotonic", lambda: next(now))
    own._shown.add("n1: booting")
    own.check()
    own.check()
    with pytest.raises(FailedError) as caught:
        own.check()
    assert caught.value.code == 75
    assert plain(capsys.readouterr().err)[-1].startswith("vtorque: nothing looks after the job on n1 any more; ask")


def test_a_supervisor_has_time_to_start(published: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    published.publish(phase=REGISTERED, pid=0, start_ticks=0)
    own = node(published)
    own._shown.add("n1: registered")
    now = iter((100.0, 100.0, 129.0, 131.0))
    monkeypatch.setattr(body.time, "monotonic", lambda: next(now))
    own.check()
    own.check()
    with pytest.raises(FailedError):
        own.check()


def test_guests_that_were_taken_down(published: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    """An epilogue was faster: qdel during the boot."""
    own = node(published)
    published.spool.status.unlink()
    with pytest.raises(FailedError) as caught:
        own.check()
    assert (caught.value.code, "were taken down" in capsys.readouterr().err) == (75, True)


def test_a_suspended_job_is_not_a_lost_one(published: Publisher) -> None:
    published.publish(phase=READY, suspended=True)
    following = Following(node(published), Others("slurm", Told()), Steps())
    assert following.look() is None


def test_the_supervisor_knows_the_body_from_the_plan_on(published: Publisher) -> None:
    """While guests boot, too, they stop with the job; on another node with what follows it there."""
    published.phase("planning")
    own = node(published)
    own.check()
    login = Login(pwd.getpwuid(os.getuid()).pw_name, os.getuid(), (Group("own", os.getgid()),), "/")
    attached = Attached(published.spool.attached, login)
    published.phase("staging")
    own.check()
    own.check()
    assert not attached.stopped()
    assert list(attached._peers.values()) == [os.getpid()]
    own.close()
    assert not attached.stopped()
    assert not attached._peers
    attached.close()


def test_a_job_has_one_body(published: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    """Torque runs two where its mom was killed in a prologue: the second one ends, until the first is over."""
    published.spool.owner.mkdir()
    own, again = node(published), node(published)
    lock = own.alone()
    with pytest.raises(FailedError) as caught:
        again.alone()
    assert (caught.value.code, "the job runs already" in capsys.readouterr().err) == (75, True)
    os.close(lock)
    os.close(again.alone())


def test_a_damaged_status_is_a_finding(published: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    published.spool.status.unlink()
    published.spool.status.write_text('{"phase":"ready"}')
    assert body.run("slurm", USER, ENVIRONMENT) == 75
    assert "error[VT0914]" in capsys.readouterr().err


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": "42", "SLURMD_NODENAME": "n1"}])
def test_nothing_was_prepared(
    published: Publisher, capsys: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    assert body.run("slurm", USER, environment) == 78
    said = capsys.readouterr().err
    assert "no vtorque prologue runs here" in said
    assert "`-v`" in said


# --- while the job runs ---------------------------------------------------------------------------------------------


def test_a_guest_that_is_lost(published: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    """The node's verdict is told, with the console, in the place of ssh's words."""
    lost = Fault("VT0913", "vn1-0 was lost while the job ran: shut off", detail=TAIL)
    published.publish(phase=FAILED, verdict=of_error(lost, "ready"))
    following = Following(node(published), Others("slurm", Told()), Steps())
    with pytest.raises(FailedError) as caught:
        following.lost("ssh ended with 255")
    said = capsys.readouterr().err
    assert caught.value.code == 75
    assert "error[VT0913]" in said
    assert "Kernel panic" in said
    published.publish(phase=READY, verdict=None)
    assert following.lost("ssh ended with 255").message.endswith("ssh ended with 255")


def test_what_the_guests_used(published: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    published.publish(phase=READY, usage=Usage(1_500_000_000, 512 * 1024**2, exact=True))
    node(published).tell_usage()
    assert plain(capsys.readouterr().err) == [
        "vtorque: n1: the guests used 1.5 s of CPU time and at most 512 MiB of memory"
    ]


def test_follow_tells_this_nodes_part(published: Publisher, capsys: pytest.CaptureFixture[str]) -> None:
    published.publish(phase=READY)
    assert body.follow("slurm", "ready", ENVIRONMENT) == 0
    published.publish(phase=FAILED, verdict=of_error(BOOT, "booting"))
    for until in ("ready", "end"):
        assert body.follow("slurm", until, ENVIRONMENT) == 75
        assert "error[VT0904]" in capsys.readouterr().err


def test_nobody_reads(published: Publisher) -> None:
    """A closed standard error is no traceback: batch systems close it when a job is deleted."""
    program = (
        "import os, sys\nfrom vtorque_runtime.body import Told\n"
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)\nTold().note('x')\nprint('fine')"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("fine\n", 0)


def test_kinds_are_the_verdicts(published: Publisher) -> None:
    kinds = {
        of_error(error, "x").kind for error in (RefusedError([REFUSED]), BOOT, Fault("VT0902", ""), Fault("VT0502", ""))
    }
    assert kinds == {"user", "transient", "node", "site"}
    assert replace(published.now, phase="x").job_id == "41"
