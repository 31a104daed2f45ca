"""A libvirt of a batch job's own: gone with the job, or found by the next one where a kill -9 ended it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.runtime.fakes import FileHypervisor
from vtorque_runtime.files import boot_id, start_ticks
from vtorque_runtime.reap import reap, reap_sessions
from vtorque_runtime.session import own_libvirt
from vtorque_runtime.spool import Registry, open_registry
from vtorque_spec.fault import Fault

Clean = Callable[[Registry], tuple[list[str], list[Fault]]]
EITHER = pytest.mark.parametrize("clean", [reap, reap_sessions])

PROGRAM = """
import os, signal, subprocess, sys, time
from contextlib import nullcontext
from pathlib import Path
from vtorque_runtime import session
from vtorque_runtime.session import own_libvirt
from vtorque_runtime.spool import open_registry
from vtorque_runtime.steps import DomainUndo, TreeUndo

directory, job_id, own = Path(sys.argv[1]), sys.argv[2], sys.argv[3].startswith("own")
if sys.argv[3] == "own again":
    whole = session.Session.end
    session.Session.end = lambda found: (os.kill(os.getpid(), signal.SIGTERM), whole(found))
registry = open_registry("session", directory / "base")
with own_libvirt(registry) if own else nullcontext():
    if job_id:
        spool, held = registry.register(job_id, os.getuid())
        spool.journal.step(DomainUndo("domain", f"files:{directory}", "uuid"), lambda: None)
        spool.journal.step(TreeUndo("tree", "vm0"), (spool.path / "vm0").mkdir)
    guest = subprocess.Popen(["sleep", "600"], start_new_session=True)
    print(Path(os.environ["XDG_RUNTIME_DIR"]).parent if own else "/nowhere", guest.pid, flush=True)
    time.sleep(600)
"""


class Body(NamedTuple):
    """The process of a job, the directory of its libvirt, and a process that stands for a guest of that one's."""

    process: "subprocess.Popen[str]"
    home: Path
    guest: int

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry("session", tmp_path / "base")


@contextmanager
def body(registry: Registry, job_id: str, libvirt: str = "own") -> Iterator[Body]:
    command = [sys.executable, "-c", PROGRAM, registry.base.parent, job_id, libvirt]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        home, guest = process.stdout.readline().split()
        try:
            yield Body(process, Path(home), int(guest))
        finally:
            process.kill()
            if runs(int(guest)):
                os.kill(int(guest), signal.SIGKILL)
            shutil.rmtree(home, ignore_errors=True)


def runs(pid: int) -> bool:
    return start_ticks(pid) is not None


def left_in(registry: Registry) -> set[str]:
    """The jobs and the sessions that are registered."""
    sessions = registry.base / "sessions"
    jobs = {path.name for path in registry.jobs.iterdir() if path.is_dir()}
    return jobs | {path.name.partition(".")[0] for path in sessions.iterdir()} if sessions.is_dir() else jobs


@EITHER
def test_what_a_kill_left_is_undone_and_what_lives_is_not_touched(registry: Registry, clean: Clean) -> None:
    """And no libvirt is asked for the guests of one that is gone, for asking starts the user's common one."""
    with body(registry, "local-1") as dead, body(registry, "local-2") as alive:
        dead.kill()
        assert (runs(dead.guest), dead.home.is_dir()) == (True, True)
        names = {one.home.name.removeprefix("vt-") for one in (dead, alive)}
        assert left_in(registry) == {"local-1", "local-2", *names}
        for _ in range(2):
            assert clean(registry)[1] == []
            assert (runs(dead.guest), dead.home.exists()) == (False, False)
            assert (runs(alive.guest), alive.home.is_dir(), alive.process.poll()) == (True, True, None)
            assert left_in(registry) == {"local-2", alive.home.name.removeprefix("vt-")}


@EITHER
def test_killed_before_there_was_a_job(registry: Registry, clean: Clean) -> None:
    with body(registry, "") as dead:
        dead.kill()
        assert clean(registry) == ([f"{dead.home}: its process is gone; removed"], [])
        assert (runs(dead.guest), dead.home.exists(), left_in(registry)) == (False, False, set())


@EITHER
def test_what_cannot_be_undone_is_told_once_and_tried_again(
    registry: Registry, clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(directory: Path, name: str) -> None:
        raise OSError(f"{directory / name} stays")

    with body(registry, "local-1") as dead:
        dead.kill()
        with monkeypatch.context() as patch:
            patch.setattr("vtorque_runtime.steps.remove_entry", refused)
            assert [fault.code for fault in clean(registry)[1]] == ["VT0911"]
        assert not runs(dead.guest)
        assert left_in(registry) == {"local-1", dead.home.name.removeprefix("vt-")}
        assert clean(registry)[1] == []
        assert (dead.home.exists(), left_in(registry)) == (False, set())


def test_a_run_in_the_users_common_libvirt_is_for_reap_alone(registry: Registry) -> None:
    """A batch job does not ask that one, because it would start there and end with the job."""
    with body(registry, "local-1", "common") as dead:
        dead.kill()
        assert reap_sessions(registry) == ([], [])
        assert left_in(registry) == {"local-1"}
        assert reap(registry, FileHypervisor)[1] == []
        assert (runs(dead.guest), left_in(registry)) == (True, set())  # its libvirt ends a real guest


@pytest.mark.parametrize("holder", ["1.{boot}", "{ticks}.00000000-0000-0000-0000-000000000000"])
def test_a_process_of_the_same_number_is_another(registry: Registry, holder: str) -> None:
    """One that came later, or in an earlier boot; it is not ended, and nor is who cleans."""
    with body(registry, "local-1") as alive:
        pid = alive.process.pid
        record = f"0badf00d.{pid}.{holder.format(ticks=start_ticks(pid), boot=boot_id())}"
        (registry.base / "sessions" / record).touch()
        assert reap_sessions(registry) == (["/tmp/vt-0badf00d: its process is gone; removed"], [])
        assert left_in(registry) == {"local-1", alive.home.name.removeprefix("vt-")}
        assert alive.process.poll() is None


@pytest.mark.parametrize("name", ["a.b.c.d", "0badf00d.x.1.b", "0badf00d..1.b", ".nfs1.2.3.4"])
def test_what_is_no_record_is_left(registry: Registry, name: str) -> None:
    place = registry.base / "sessions" / Path(name).name
    place.parent.mkdir()
    place.touch()
    assert reap_sessions(registry) == ([], [])
    assert place.exists()


@pytest.mark.parametrize("again", ["once", "again"])
def test_a_batch_system_that_ends_the_job_leaves_nothing(registry: Registry, again: str) -> None:
    """However often it tells it to end."""
    with body(registry, "", f"own {again}") as ended:
        ended.process.terminate()
        assert ended.process.wait(30) == 143
        assert (runs(ended.guest), ended.home.exists(), left_in(registry)) == (False, False, set())


def test_a_libvirt_of_ones_own_leaves_nothing(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was started in it is ended, its directory is gone; the environment is what it was."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/4711")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    before = subprocess.Popen(["sleep", "600"])
    with own_libvirt(registry):
        at = Path(os.environ["XDG_RUNTIME_DIR"])
        assert at.parent.stat().st_mode & 0o777 == 0o700
        assert len(f"{at.parent}/c/libvirt/qemu/channel/target/domain-10-{'n' * 20}/org.qemu.guest_agent.0") <= 107
        daemon = subprocess.Popen(["sleep", "600"])
    assert daemon.wait(5) == -signal.SIGTERM
    assert before.poll() is None
    before.kill()
    before.wait()
    assert not at.parent.exists()
    assert left_in(registry) == set()
    assert os.environ["XDG_RUNTIME_DIR"] == "/run/user/4711"
    assert "XDG_CONFIG_HOME" not in os.environ


def test_a_directory_that_is_there_is_not_taken(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with body(registry, "local-1") as alive:
        name = alive.home.name.removeprefix("vt-")
        monkeypatch.setattr("secrets.token_hex", lambda _: name)
        with pytest.raises(Fault, match="VT0914: no place"), own_libvirt(registry):
            pytest.fail("it was taken")
        assert reap_sessions(registry) == ([], [])
        assert (runs(alive.guest), alive.home.is_dir(), left_in(registry)) == (True, True, {"local-1", name})


def test_what_does_not_end_by_itself_is_killed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtorque_runtime.session._ENDINGS", ((signal.SIGTERM, 0.1), (signal.SIGKILL, 10.0)))
    with own_libvirt(registry):
        ready = "trap '' TERM; echo ready; while :; do sleep 600; done"
        daemon = subprocess.Popen(["bash", "-c", ready], stdout=subprocess.PIPE)
        assert daemon.stdout is not None
        daemon.stdout.readline()
    assert daemon.wait(5) == -signal.SIGKILL
    daemon.stdout.close()
