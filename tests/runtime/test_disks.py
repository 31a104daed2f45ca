"""A job's further disks: an empty file system of the owner's, and room that nobody else gets."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.runtime import fakes
from vtorque_runtime import disks
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, DataDisk

LOGIN = fakes.login(4242)


def of(path: Path, command: str) -> str:
    """What debugfs says of a file system."""
    done = subprocess.run(["/sbin/debugfs", "-R", command, path], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_disk_is_the_owners_and_its_room_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "vdc.raw"
    disks.make(path, DataDisk("a-name-of-more-than-16", "vdc", 64 * MIB + 1, "/scratch"), LOGIN)
    found = path.stat()
    assert found.st_size == 65 * MIB
    assert found.st_blocks * 512 >= 65 * MIB
    assert found.st_mode & 0o777 == 0o600
    assert "User:  4242   Group:  4242" in of(path, "stat /")
    head = of(path, "stats -h")
    assert "Filesystem volume name:   a-name-of-more-t\n" in head
    assert "has_journal" not in head
    assert "Reserved block count:     0\n" in head
    subprocess.run(["/sbin/e2fsck", "-fn", path], check=True, capture_output=True)


def test_the_smallest_one(tmp_path: Path) -> None:
    disks.make(tmp_path / "vdc.raw", DataDisk("a", "vdc", MIB, "/scratch"), LOGIN)


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs(tmp_path)
    monkeypatch.setattr(disks, "RESERVE_BYTES", free.f_bavail * free.f_frsize - 8 * MIB)
    with pytest.raises(Fault, match="VT0914: no room for the disk `big`"):
        disks.make(tmp_path / "vdc.raw", DataDisk("big", "vdc", 1024 * MIB, "/scratch"), LOGIN)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_formatted(tmp_path: Path) -> None:
    (tmp_path / "vdc.raw").write_text("mine")
    with pytest.raises(FileExistsError):
        disks.make(tmp_path / "vdc.raw", DataDisk("a", "vdc", MIB, "/scratch"), LOGIN)
    assert (tmp_path / "vdc.raw").read_text() == "mine"


def test_mke2fs_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "FEATURES", "none,no_such_feature")
    with pytest.raises(Fault, match="VT0914: mke2fs") as caught:
        disks.make(tmp_path / "vdc.raw", DataDisk("a", "vdc", MIB, "/scratch"), LOGIN)
    assert "no_such_feature" in str(caught.value.detail)
