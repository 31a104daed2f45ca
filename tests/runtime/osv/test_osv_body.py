"""A batch script's body whose guests run OSv: what it shows and asks of the supervisor, on a made-up spool."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.runtime import fakes
from vtorque_runtime import body
from vtorque_runtime.attached import Attached
from vtorque_runtime.body import Node
from vtorque_runtime.osv.verdict import Ending
from vtorque_runtime.spool import Spool
from vtorque_runtime.status import READY, Publisher, VmStatus
from vtorque_spec.plan import JobVm, UserPart
from vtorque_spec.plan.answer import ToldFinding

USER = UserPart(1, None, None, None, ())
ENVIRONMENT = {"SLURM_JOB_ID": "41", "SLURMD_NODENAME": "n1"}
CRASH = Ending(134, ToldFinding("VT0953", "error", "the program crashed", "look", "Aborted"))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    """What a supervisor (this process) publishes of job 41, with one VM on each of n1 and n2; n1 is this node."""
    spool = Spool(tmp_path / "jobs/41.n1")
    (spool.path / "owner").mkdir(parents=True)
    monkeypatch.setattr(body, "base_directory", lambda lane: tmp_path)
    told = Publisher(spool, "41", "n1", (os.getuid(), os.getgid()))
    told.supervised()
    told.publish(phase=READY, vms=(VmStatus("vn1-0", "running"),))
    vms = (JobVm("n1", 0, "vn1-0", None),)
    job = SimpleNamespace(nodes=("n1",), guest="osv", console="job", vms=vms)
    monkeypatch.setattr(Node, "handover", lambda _self: job)
    return told


@pytest.fixture
def attached(published: Publisher) -> Iterator[Attached]:
    login = replace(fakes.login(), uid=os.getuid())
    found = Attached(published.spool.attached, login)
    yield found
    found.close()


def test_the_whole_way(published: Publisher, attached: Attached, capfd: pytest.CaptureFixture[str]) -> None:
    published.spool.console_copy(0).write_bytes(b"OSv v0.57\r\nCmdline: /t\r\nhello\r\nAborted\r\n")
    published.ended("vn1-0", CRASH)
    assert body.run("slurm", USER, ENVIRONMENT) == 134
    said = capfd.readouterr()
    assert said.out == "hello\nAborted\n"
    assert said.err.splitlines()[-3:] == ["error[VT0953]: the program crashed", "  Aborted", "help: look"]


def test_a_signal_asks_the_supervisor(published: Publisher, attached: Attached) -> None:
    """The body says so without a word: it shuts its side down, and stays until the guests have ended."""
    seen: list[bool] = []

    def supervise() -> None:
        while not attached._peers:
            attached.stopped()
            time.sleep(0.01)
        seen.append(attached.asked_to_stop())
        os.kill(os.getpid(), signal.SIGTERM)
        while not attached.asked_to_stop():
            time.sleep(0.01)
        seen.append(attached.asked_to_stop())
        published.ended("vn1-0", Ending(0, None))

    supervisor = threading.Thread(target=supervise)
    supervisor.start()
    assert body.run("slurm", USER, ENVIRONMENT) == 128 + signal.SIGTERM
    supervisor.join()
    assert seen == [False, True]
    assert not attached.asked_to_stop(), "who has gone asks for nothing"


def test_another_node_follows_its_own_guests(
    published: Publisher, attached: Attached, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the batch system starts there prints with the VM's name, and ends with the code of what it follows."""
    vms = (JobVm("n0", 0, "vn0-0", None), JobVm("n1", 0, "vn1-0", None))
    job = SimpleNamespace(nodes=("n0", "n1"), guest="osv", console="job", vms=vms)
    monkeypatch.setattr(Node, "handover", lambda _self: job)
    published.spool.console_copy(0).write_bytes(b"Cmdline: /t\r\nhello\r\n")
    published.ended("vn1-0", Ending(5, None))
    assert body.follow("slurm", READY, ENVIRONMENT) == 0
    assert capfd.readouterr().out == ""
    assert body.follow("slurm", "end", ENVIRONMENT) == 5
    assert capfd.readouterr().out == "vn1-0: hello\n"
