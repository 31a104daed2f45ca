"""A libvirt that goes away while a real guest runs: the job goes on when it is back, and nothing is left otherwise."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.boots import BOOT_LIMIT_S, Done, environment, finished, left_behind, started, virsh, wait_for
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, run_as, until_not_silent, user, work, write_job

__all__ = ["user", "work"]
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]

AWAY_S = 3


def reaped() -> Done:
    """`vtorque-runtime reap` as root."""
    command = [sys.executable, "-c", "import sys; from vtorque_runtime.__main__ import main; sys.exit(main(['reap']))"]
    done = subprocess.run(command, env=environment(PYTHONPATH=PYTHONPATH), capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def test_libvirt_is_restarted_while_the_job_runs(libvirtd: Libvirtd, user, work: Path, count_boots: Count) -> None:  # type: ignore[no-untyped-def] # fixtures
    """As an update of its package does."""
    if not libvirtd.ours:
        pytest.skip("the machine's own libvirtd is not ended")
    job = write_job(
        work,
        f"""\
        mounts: [home]
        timeouts: {{boot: {BOOT_LIMIT_S}s}}
        run: |
          touch {work}/ready
          while [ ! -e {work}/go ]; do sleep 0.2; done
          echo goes on
          exit 7
        """,
    )

    def attempt() -> Done:
        for name in ("ready", "go"):
            (work / name).unlink(missing_ok=True)
        with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            if wait_for(work / "ready", process):
                libvirtd.stop()
                try:
                    time.sleep(AWAY_S)  # it is looked at several times meanwhile
                finally:
                    libvirtd.start()
                (work / "go").touch()
            return finished(process)

    done = until_not_silent(attempt, count_boots)
    assert (done.code, done.out) == (7, "goes on\n"), done.err
    assert left_behind() == []


def test_libvirt_is_down_when_the_job_is_undone(libvirtd: Libvirtd, user, work: Path) -> None:  # type: ignore[no-untyped-def] # fixtures
    """The job's process is killed, and libvirt too: the spool stays until what it lists can be ended."""
    if not libvirtd.ours:
        pytest.skip("the machine's own libvirtd is not ended")
    job = write_job(work, "run: echo it ran\n")
    with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
        end = time.monotonic() + 60
        while not (names := [name for name in virsh("list", "--name").split() if name.startswith("vt-local-")]):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    libvirtd.stop()
    try:
        done = reaped()
    finally:
        libvirtd.start()
    assert done.code == 1
    assert "error[VT0911]" in done.err
    assert virsh("list", "--name").split() == names, "the guest lives, and is known"
    assert reaped().code == 0
    assert left_behind() == []
