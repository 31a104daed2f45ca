"""Killed between any two steps of a prologue, nothing of the job is left after its journal was undone from the disk."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.runtime.fakes import FileHypervisor
from vtorque_runtime import epilogue, prologue
from vtorque_runtime.identity import Reserved
from vtorque_runtime.journal import BuriedError
from vtorque_runtime.reap import reap
from vtorque_runtime.signals import SignalledError
from vtorque_runtime.spool import open_registry
from vtorque_spec.fault import Fault

STEPS = 9
"""plan, owner, filter, network, partition, then for both guests vmN and its domain: each dies after record and act."""

LOOKS = STEPS + 3 + 1
"""A signal is noticed before each step, while a file of the image is read, and before guests' threads are looked at."""

PROGRAM = """
import os, signal, sys
from pathlib import Path
from tests.runtime import fakes
from vtorque_runtime import journal, prologue

directory, deadly = Path(sys.argv[1]), int(sys.argv[2])
passed = 0

def die(act):
    def dying():
        global passed
        passed += 1
        if passed == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        result = act()
        passed += 1
        if passed == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return dying

whole = journal.Journal.step
journal.Journal.step = lambda self, undo, act: whole(self, undo, die(act))
reserved = fakes.reserved(directory, vms=2)
bundle = fakes.bundle(reserved.context)
hypervisor = fakes.FileHypervisor(f"files:{directory}")
prologue.apply(bundle, reserved, hypervisor, lambda: None, fakes.kernel_root(directory, bundle))
print("applied", passed)
"""


def run(directory: Path, deadly: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM, str(directory), str(deadly)]
    return subprocess.run(
        command, env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )


def applied(reserved: Reserved, directory: Path, proceed: Callable[[], None] = lambda: None) -> None:
    bundle = fakes.bundle(reserved.context)
    root = fakes.kernel_root(directory, bundle)
    prologue.apply(bundle, reserved, FileHypervisor(f"files:{directory}"), proceed, root)


def nothing_is_left(directory: Path) -> bool:
    registry = open_registry("system", directory / "base")
    hypervisor = FileHypervisor(f"files:{directory}")
    things = [*hypervisor.domain_uuids(), *hypervisor.network_uuids(), *directory.glob("root/sys/**/vt_*.partition")]
    return not things and [path.name for path in registry.jobs.iterdir()] == [".lock"]


@pytest.mark.parametrize("deadly", range(1, 2 * STEPS + 1))
def test_killed_at_any_point(tmp_path: Path, deadly: int) -> None:
    done = run(tmp_path, deadly)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not nothing_is_left(tmp_path)
    registry = open_registry("system", tmp_path / "base")
    assert reap(registry, FileHypervisor)[1] == []
    assert nothing_is_left(tmp_path)
    assert reap(registry, FileHypervisor) == ([], [])


def test_there_are_no_other_points(tmp_path: Path) -> None:
    done = run(tmp_path, 2 * STEPS + 1)
    assert (done.stdout, done.stderr) == (f"applied {2 * STEPS}\n", "")
    (held,) = open_registry("system", tmp_path / "base").registrations()
    files = {
        str(path.relative_to(tmp_path / "base/jobs" / held.job_id)): oct(path.lstat().st_mode & 0o777)
        for path in (tmp_path / "base/jobs" / held.job_id).rglob("*")
    }
    assert files == {
        "job.json": "0o600",
        "journal.jsonl": "0o600",
        "owner": "0o700",
        "owner/id_ed25519": "0o600",
        "owner/known_hosts": "0o600",
        "plan.json": "0o600",
        **{f"vm{n}": "0o711" for n in (0, 1)},
        **{f"vm{n}/{name}": "0o600" for n in (0, 1) for name in ("initrd.img", "root.qcow2", "seed.iso", "vmlinuz")},
    }
    networks = FileHypervisor(f"files:{tmp_path}").network_uuids()
    assert len(networks) == 1, "the guests of a job share a network"


@pytest.mark.parametrize("stop", range(1, LOOKS + 2))
def test_a_signal_between_steps_leads_to_undoing(tmp_path: Path, stop: int) -> None:
    calls = iter(range(1, 100))

    def proceed() -> None:
        if next(calls) == stop:
            raise SignalledError(signal.SIGTERM)

    with fakes.reserved(tmp_path, vms=2) as reserved:
        try:
            applied(reserved, tmp_path, proceed)
            assert stop > LOOKS
        except SignalledError:
            assert stop <= LOOKS
        epilogue.apply(reserved.registry, reserved.spool, FileHypervisor)
    assert nothing_is_left(tmp_path)


@pytest.mark.root
def test_the_owner_gets_what_is_the_owners(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path, uid=12345) as reserved:
        applied(reserved, tmp_path)
        spool = reserved.spool.path
        given = {str(path.relative_to(spool)) for path in spool.rglob("*") if path.lstat().st_uid == 12345}
        assert given == {"owner", "owner/id_ed25519", "owner/known_hosts"}
        assert {path.lstat().st_gid for path in spool.rglob("*") if path.lstat().st_uid == 12345} == {12345}
        epilogue.apply(reserved.registry, reserved.spool, FileHypervisor)
    assert nothing_is_left(tmp_path)


def test_no_step_after_an_epilogue_has_begun(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path) as reserved:
        reserved.spool.journal.bury()
        with pytest.raises(BuriedError):
            applied(reserved, tmp_path)
    assert nothing_is_left(tmp_path)


def test_an_image_that_changed_is_not_booted(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path) as reserved:
        bundle = fakes.bundle(reserved.context)
        disk = Path(bundle.plan.image.disk)
        disk.chmod(0o644)
        disk.write_bytes(disk.read_bytes() + b"x")
        with pytest.raises(Fault, match="VT0503"):
            prologue.apply(bundle, reserved, FileHypervisor(f"files:{tmp_path}"), lambda: None)


def test_cloud_init_finds_the_seed(tmp_path: Path) -> None:
    """Read back by another program than the one that wrote it."""
    files = {"user-data": "#cloud-config\nä\n", "meta-data": "", "network-config": "x: 1\n", "ssh_config": "Host a\n"}
    image = prologue.seed_image(files)
    (tmp_path / "seed.iso").write_bytes(image)
    label = subprocess.run(
        ["blkid", "-o", "value", "-s", "LABEL", tmp_path / "seed.iso"], capture_output=True, check=True
    )
    assert label.stdout == b"cidata\n"
    command = ["xorriso", "-osirrox", "on", "-indev", tmp_path / "seed.iso", "-extract", "/", tmp_path / "out"]
    subprocess.run(command, capture_output=True, check=True)
    found = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert found == files
