"""The node's copies of images: made once, whole or not at all, and removed when nobody needs them and room is short."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from vtorque_runtime import base, disks, iocm, ledger, verdict
from vtorque_runtime.files import locked
from vtorque_runtime.identity import Reserved
from vtorque_runtime.images import bases, prefetch
from vtorque_runtime.signals import SignalledError
from vtorque_runtime.spool import Registry, open_registry
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, Claim, ImageFiles, NodePlan, base_file, copy_name

OTHER_SIDE = "os.link = lambda *_a, **_k: (_ for _ in ()).throw(OSError(errno.EXDEV, 'another file system'))"

PROGRAM = f"""
import errno, os, sys, time
from pathlib import Path
from vtorque_runtime.images import prefetch
from vtorque_runtime.spool import open_registry
from vtorque_spec.plan import ImageFiles

{OTHER_SIDE}
disk, sha256, base, slow = sys.argv[1:]
prefetch._CHUNK_BYTES = 1024 * 1024
image = ImageFiles("tiny", sha256, disk, "raw", None, None)

def look(done, whole):
    if done:
        print("copies", flush=True)
        time.sleep(float(slow))

print("made" if prefetch.prefetch(open_registry("system", Path(base)), image, look) else "found", flush=True)
"""


def nothing(_done: int, _whole: int) -> None:
    """Does not mind."""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry("system", tmp_path / "base")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is on another file system than the spool."""

    def link(*_paths: object, **_options: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", link)


def image(directory: Path, name: str = "tiny", size: int = 3 * MIB) -> ImageFiles:
    """An image whose disk has data, a hole, and data in a last sector that is in the middle of a block."""
    disk = directory / f"{name}.raw"
    content = name.encode() * 1024 + bytes(size) + b"end".rjust(512, b"\0")
    with disk.open("wb") as file:
        file.write(content[: len(name) * 1024])
        file.seek(len(content) - 3)
        file.write(b"end")
    disk.chmod(0o444)
    return ImageFiles(name, hashlib.sha256(content).hexdigest(), str(disk), "raw", None, None)


def copies(registry: Registry) -> list[str]:
    return sorted(path.name for path in bases.directory(registry).iterdir() if path.name not in (".lock", ".used"))


def started(image: ImageFiles, registry: Registry, slow: float = 0.0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM, image.disk, image.sha256, str(registry.base), str(slow)]
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("elsewhere")
def test_a_copy_is_whole_read_only_and_as_sparse(tmp_path: Path, registry: Registry) -> None:
    found = image(tmp_path, size=64 * MIB)
    seen: list[tuple[int, int]] = []
    assert prefetch.prefetch(registry, found, lambda done, whole: seen.append((done, whole)))
    copy = bases.directory(registry) / copy_name(found)
    assert copies(registry) == [copy.name]
    assert copy.read_bytes() == Path(found.disk).read_bytes()
    assert copy.stat().st_mode & 0o7777 == 0o444
    assert copy.stat().st_ino != Path(found.disk).stat().st_ino
    assert copy.stat().st_blocks * 512 < 16 * MIB
    assert seen[0] == (0, 0)
    assert seen[-1] == (64 * MIB, copy.stat().st_size)
    assert not prefetch.prefetch(registry, found, nothing)
    assert str(copy) == base_file(found, "local", str(registry.jobs / "42"))


def test_on_the_stores_own_disk_a_copy_is_a_name(tmp_path: Path, registry: Registry) -> None:
    found = image(tmp_path)
    assert prefetch.prefetch(registry, found, nothing)
    copy = bases.directory(registry) / copy_name(found)
    assert copy.samefile(found.disk)
    Path(found.disk).unlink()
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == found.sha256


def test_who_could_change_the_image_cannot_change_a_copy(tmp_path: Path, registry: Registry) -> None:
    found = image(tmp_path)
    Path(found.disk).chmod(0o664)
    assert prefetch.prefetch(registry, found, nothing)
    assert not (bases.directory(registry) / copy_name(found)).samefile(found.disk)


@pytest.mark.parametrize("linked", [True, False])
def test_a_disk_that_is_not_the_images_is_never_a_copy(
    tmp_path: Path, registry: Registry, linked: bool, request: pytest.FixtureRequest
) -> None:
    if not linked:
        request.getfixturevalue("elsewhere")
    found = replace(image(tmp_path), sha256="0" * 64)
    with pytest.raises(Fault, match=r"VT0503: .* is not the disk of the image `tiny`") as caught:
        prefetch.prefetch(registry, found, nothing)
    assert copies(registry) == []
    assert verdict.of_error(caught.value, "staging").kind == "site"


@pytest.mark.parametrize(
    "make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo, Path.mkdir, lambda _path: None]
)
def test_only_a_plain_file_is_copied(tmp_path: Path, registry: Registry, make: Callable[[Path], object]) -> None:
    found = image(tmp_path)
    Path(found.disk).unlink()
    make(Path(found.disk))
    with pytest.raises(Fault, match="VT0503"):
        prefetch.prefetch(registry, found, nothing)
    assert copies(registry) == []


def test_eight_prologues_cost_one_copy(tmp_path: Path, registry: Registry) -> None:
    found = image(tmp_path)
    programs = [started(found, registry, 0.1) for _ in range(8)]
    told = [program.communicate(timeout=60)[0].splitlines() for program in programs]
    assert sorted(lines[-1] for lines in told) == ["found"] * 7 + ["made"]
    assert sum("copies" in lines for lines in told) == 1
    assert (bases.directory(registry) / copy_name(found)).read_bytes() == Path(found.disk).read_bytes()


def test_a_killed_copier_is_taken_over(tmp_path: Path, registry: Registry) -> None:
    found = image(tmp_path, size=8 * MIB)
    first = started(found, registry, 60.0)
    assert first.stdout is not None
    assert first.stdout.readline() == "copies\n"
    assert copies(registry) == [f".{copy_name(found)}"]
    waits = [started(found, registry) for _ in range(2)]
    time.sleep(0.5)
    assert [one.poll() for one in waits] == [None, None]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert sorted(one.communicate(timeout=60)[0].splitlines()[-1] for one in waits) == ["found", "made"]
    assert copies(registry) == [copy_name(found)]


@pytest.mark.usefixtures("elsewhere")
def test_who_copies_or_waits_can_be_stopped(tmp_path: Path, registry: Registry) -> None:
    found, bases_directory = image(tmp_path, size=16 * MIB), bases.directory(registry)

    def stop(done: int, _whole: int) -> None:
        if done:
            raise SignalledError(signal.SIGTERM)

    with pytest.raises(SignalledError):
        prefetch.prefetch(registry, found, stop)
    assert copies(registry) == []
    looked = threading.Event()

    def stop_waiting(_done: int, _whole: int) -> None:
        if looked.is_set():
            raise SignalledError(signal.SIGTERM)
        looked.set()

    with locked(bases_directory / ".lock"), pytest.raises(SignalledError):
        prefetch.prefetch(registry, found, stop_waiting)


@pytest.mark.usefixtures("elsewhere")
def test_no_room_for_a_copy(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves nothing, and it is nobody's fault: the job may run later."""
    found = image(tmp_path)
    monkeypatch.setattr(disks, "free_bytes", lambda _path: disks.RESERVE_BYTES + 100)
    with pytest.raises(Fault, match=r"VT0966: no room for the copy of the image `tiny`.* has 0 MiB") as caught:
        prefetch.prefetch(registry, found, nothing)
    assert copies(registry) == []
    assert verdict.of_error(caught.value, "staging").kind == "transient"


@pytest.mark.usefixtures("elsewhere")
def test_a_disk_that_fills_up_nevertheless(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Fault, match="VT0966"):
        prefetch.prefetch(registry, image(tmp_path), nothing)
    assert copies(registry) == []


# --- room -------------------------------------------------------------------------------------------------------------


def job(directory: Path, number: int) -> Reserved:
    return fakes.reserved(directory, number=number)


def keep(reserved: Reserved, found: ImageFiles) -> NodePlan:
    """The job's plan, kept: it reads the node's copy of the image."""
    plan = replace(fakes.plan(reserved.context), image=found, backing="local")
    iocm.keep_plan(plan, reserved.spool)
    return plan


def disk(size_bytes: int) -> Claim:
    return Claim((), (), (), size_bytes)


def test_disk_space_is_promised_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thin disks: what a job was promised and has not written yet is no other job's, and what it wrote not twice."""
    holder, other, cells = job(tmp_path, 1), job(tmp_path, 2), fakes.node_cells()
    free = [20 * MIB]
    monkeypatch.setattr(disks, "free_bytes", lambda _path: disks.RESERVE_BYTES + free[0])
    ledger.claim(holder.registry, holder.spool, disk(12 * MIB), cells)
    with pytest.raises(Fault, match=r"VT0966: no room for the job's disks: that may take 9 MiB.*has 8 MiB"):
        ledger.claim(other.registry, other.spool, disk(8 * MIB + 1), cells)
    assert not other.spool.claim.exists()
    (holder.spool.path / "vm0").mkdir()
    with (holder.spool.path / "vm0/root.qcow2").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 10 * MIB)
    free[0] -= 10 * MIB
    ledger.claim(other.registry, other.spool, disk(8 * MIB), cells)
    third = job(tmp_path, 3)
    with pytest.raises(Fault, match=r"VT0966.* has 0 MiB"):
        ledger.claim(third.registry, third.spool, disk(1), cells)
    holder.registry.remove(holder.spool)
    free[0] += 10 * MIB
    ledger.claim(third.registry, third.spool, disk(12 * MIB), cells)


def test_copies_that_no_job_needs_make_room_the_oldest_first(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs, comes = job(tmp_path, 1), job(tmp_path, 2)
    images = {name: image(tmp_path, name) for name in ("first", "second", "third", "needed")}
    for found in images.values():
        prefetch.prefetch(registry, found, nothing)
        time.sleep(0.01)
    base.make(keep(needs, images["needed"]), needs, lambda: None)
    prefetch.prefetch(registry, images["first"], nothing)  # used again
    names = {name: copy_name(found) for name, found in images.items()}

    def free(_path: Path) -> int:
        return disks.RESERVE_BYTES + 10 * MIB * (5 - len(copies(registry)))

    monkeypatch.setattr(disks, "free_bytes", free)
    ledger.claim(registry, comes.spool, disk(10 * MIB), fakes.node_cells())
    assert len(copies(registry)) == 4, "there was room"
    ledger.claim(registry, comes.spool, disk(20 * MIB), fakes.node_cells())
    assert copies(registry) == sorted(names[name] for name in ("first", "third", "needed"))
    with pytest.raises(Fault, match=r"VT0966: no room for the job's disks.* has 40 MiB"):
        ledger.claim(registry, comes.spool, disk(50 * MIB), fakes.node_cells())
    assert copies(registry) == [names["needed"]]
    needs.registry.remove(needs.spool)
    ledger.claim(registry, comes.spool, disk(50 * MIB), fakes.node_cells())
    assert copies(registry) == []


def test_what_a_killed_copier_left_makes_room_unless_one_copies(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefetch.prefetch(registry, image(tmp_path), nothing)
    left = bases.directory(registry) / f".other@{'0' * 16}.qcow2"
    left.touch()
    monkeypatch.setattr(disks, "free_bytes", lambda _path: 0)
    with locked(bases.lock_file(registry)), registry.locked():
        bases.make_room(registry, {}, 1)
        assert copies(registry) == [left.name]
    with registry.locked():
        bases.make_room(registry, {}, 1)
    assert copies(registry) == []


def test_with_a_damaged_plan_no_copy_goes(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its guests may read one."""
    damaged = job(tmp_path, 1)
    prefetch.prefetch(registry, image(tmp_path), nothing)
    damaged.spool.plan.write_text("{")
    monkeypatch.setattr(disks, "free_bytes", lambda _path: 0)
    with registry.locked():
        bases.make_room(registry, {}, 1)
    assert copies(registry) == [copy_name(image_of(tmp_path))]


def image_of(directory: Path) -> ImageFiles:
    content = (directory / "tiny.raw").read_bytes()
    return ImageFiles("tiny", hashlib.sha256(content).hexdigest(), "", "raw", None, None)
