"""The ssh clients run as the job's owner, who may stop them, kill them, hold their pipes or answer without end."""

import os
import subprocess
import time

import pytest

from tests.runtime.test_boot import World, part, world
from vtorque_runtime import job, ssh
from vtorque_spec.fault import Fault

__all__ = ["world"]  # a fixture


def test_an_answer_without_end_is_cut_off(world: World) -> None:
    code, output, said = ssh.call(world.access, "exec cat /dev/zero", limit_s=30)
    assert (code, output, said) == (ssh.FAILED, b"", "the answer is too long")


def test_an_answer_that_never_comes_is_given_up(world: World) -> None:
    assert ssh.call(world.access, "exec sleep 100", limit_s=0.3)[::2] == (ssh.FAILED, "no answer within 0 s")
    assert ssh.call(world.access, "exec cat >&2", limit_s=30, stdin=b"x" * 50_000) == (0, b"", "x" * 50_000)
    assert ssh.call(world.access, "exec true", limit_s=30, stdin=b"x" * 5_000_000)[0] == 0


def test_a_client_whose_pipe_is_held_is_let_go(world: World) -> None:
    """The holder lives on; the end of the client is not the end of its streams."""
    reader, writer = os.pipe()
    process = subprocess.Popen(["sleep", "100"], stdout=writer, stderr=subprocess.PIPE)
    began = time.monotonic()
    ssh.end(process)
    assert process.returncode == -9
    assert time.monotonic() - began < 30
    os.close(reader)
    os.close(writer)


def test_a_client_is_out_of_the_terminals_session(world: World) -> None:
    process = ssh.start(world.access, "exec sleep 100")
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    ssh.end(process)


@pytest.mark.parametrize("status", ["9" * 5000, "-1", "256", "", "0x1"])
def test_a_forged_status_is_no_exit_code(world: World, status: str) -> None:
    forge = f"printf %s '{status}' >{world.run_directory}/job/run.status; kill -9 $PPID"
    with pytest.raises(Fault, match="VT0913"):
        world.run(part(forge))


def test_pipes_that_somebody_holds_do_not_hold_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is killed while a process of the owner's keeps its streams open."""
    monkeypatch.setattr(job, "_DRAIN_LIMIT_S", 0.5)
    monkeypatch.setattr(
        ssh, "start", lambda *_: subprocess.Popen(["sh", "-c", "sleep 30 & kill -9 $$"], stdout=-1, stderr=-1)
    )
    began = time.monotonic()
    with pytest.raises(Fault, match="VT0913"):
        world.run(part("true"))
    assert time.monotonic() - began < 25, "it waited for the holder"
