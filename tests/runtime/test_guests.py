"""Several guests: they boot at the same time, each proves itself, and none may be lost while the job runs."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.test_boot import World, part
from vtorque_runtime import ssh
from vtorque_runtime.signals import SignalledError, Signals
from vtorque_spec.fault import Fault


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with Signals() as signals:
        yield World(tmp_path, signals, monkeypatch, vms=3)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """All ssh clients that were started."""
    whole, found = ssh._start, []

    def start(*arguments: object, **more: object) -> subprocess.Popen[bytes]:
        found.append(whole(*arguments, **more))
        return found[-1]

    monkeypatch.setattr(ssh, "_start", start)
    return found


def test_all_have_to_arrive(world: World, clients: list[subprocess.Popen[bytes]]) -> None:
    """The first is ready last; of the connections only its own is left."""
    later = threading.Timer(1.0, world.is_ready)
    world.is_ready(1)
    world.is_ready(2)
    later.start()
    world.wait()
    later.join()
    assert world.ui.phases[:3] == ["vnode-0: firmware", "vnode-1: firmware", "vnode-2: firmware"]
    assert set(world.ui.phases[3:]) == {"vnode-0: ready", "vnode-1: ready", "vnode-2: ready"}
    assert [client.poll() is None for client in clients].count(True) == 0


def test_one_that_never_comes_fails_all(world: World, clients: list[subprocess.Popen[bytes]]) -> None:
    world.is_ready(0)
    world.is_ready(2)
    world.says("kernel", "here it stays", index=1)
    with pytest.raises(Fault, match=r"VT0904: vnode-1 was not ready.*`kernel`") as caught:
        world.wait(limit_s=4)
    assert "here it stays" in (caught.value.detail or "")
    assert clients
    assert all(client.poll() is not None for client in clients), "connections are let go"


def test_the_limit_is_for_those_that_are_not_there(world: World) -> None:
    """A guest that has arrived may wait in phase `ready` for the others for longer than it might have stayed there."""
    world.is_ready(0)
    world.is_ready(1)
    timer = threading.Timer(3.0, world.is_ready, (2,))
    timer.start()
    world.says("kernel", f"cloud-init {world.guests[2].nonce}", index=2)
    world.wait(limit_s=5)
    timer.join()


def test_no_time_goes_by_for_guests_that_are_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour each time that is asked whether they are; and a guest that was paused is none that ended."""
    ahead, whole, answers = [0.0], time.monotonic, iter([False, True, True, False])
    monkeypatch.setattr(time, "monotonic", lambda: whole() + ahead[0])

    def stopped() -> bool:
        answer = next(answers, False)
        world.domains.state = "paused" if answer else "running"
        if answer:
            ahead[0] += 3600
            for index in range(3):
                world.is_ready(index)
        return answer

    world.stopped = stopped
    world.wait(limit_s=60)
    assert ahead == [7200]


def test_guests_that_are_stopped_can_be_ended(world: World) -> None:
    world.stopped = lambda: os.kill(os.getpid(), signal.SIGTERM) is None
    with pytest.raises(SignalledError):
        world.wait()


def test_signals_tell_for_how_long_this_process_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead, whole = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: whole() + ahead[0])
    with Signals() as signals:
        for hours in (1, 2):
            signals.wait(0)
            ahead[0] += 3600
            os.kill(os.getpid(), signal.SIGCONT)
            signals.wait(0)
            assert round(signals.stopped_s / 3600) == hours
        ahead[0] += 3600
        signals.wait(0)
        assert round(signals.stopped_s / 3600) == 2, "that was work"


@pytest.mark.parametrize(("stopped_s", "code"), [(3600.0, 0), (0.0, 124)])
def test_the_time_for_which_a_job_was_stopped_is_none_of_its_walltime(
    world: World, stopped_s: float, code: int
) -> None:
    """It would have been over 50 minutes ago."""
    world.signals.stopped_s = stopped_s
    assert world.run(part("sleep 1", epilogue="true"), walltime_s=-3000) == code


def test_one_that_dies_after_it_arrived_fails_the_boot(world: World) -> None:
    world.is_ready(1)
    timer = threading.Timer(1.5, world.domains.others.__setitem__, (world.guests[1].machine.uuid, None))
    timer.start()
    with pytest.raises(Fault, match="VT0904: vnode-1 ended in phase `ready`"):
        world.wait()
    timer.join()


@pytest.mark.parametrize("index", [0, 1, 2])
def test_each_has_to_prove_itself(world: World, index: int) -> None:
    for number in range(3):
        world.is_ready(number, **({"token": "another"} if number == index else {}))
    with pytest.raises(Fault, match=r"VT0908.*token"):
        world.wait()


def test_one_may_not_answer_for_another(world: World) -> None:
    for number in range(3):
        world.is_ready(number)
    second, third = (world.directory / f"run{number}/boot" for number in (1, 2))
    third.write_text(second.read_text())
    with pytest.raises(Fault, match="VT0908"):
        world.wait()


def test_a_token_that_never_ends_holds_up_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from vtorque_runtime import boot

    monkeypatch.setattr(boot, "_TOKEN_LIMIT_S", 0.5)
    for number in range(3):
        world.is_ready(number)
    token = world.directory / "run1/boot"
    token.unlink()
    token.symlink_to("/dev/zero")
    with pytest.raises(Fault, match="VT0904: vnode-1") as caught:
        world.wait(limit_s=4)
    assert "no answer" in (caught.value.detail or "")


@pytest.mark.parametrize("index", [0, 2])
def test_any_guest_that_dies_fails_the_job(world: World, index: int) -> None:
    world.says("its last words", index=index)
    uuid = world.guests[index].machine.uuid
    timer = threading.Timer(0.5, world.domains.others.__setitem__, (uuid, "crashed"))
    timer.start()
    began = time.monotonic()
    with pytest.raises(Fault, match=f"VT0913: vnode-{index} was lost.*crashed") as caught:
        world.run(part("sleep 20"))
    assert time.monotonic() - began < 20
    assert "its last words" in (caught.value.detail or "")
    timer.join()
