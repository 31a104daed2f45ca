"""The files of an image: read whole once, then known, and no other ones by the time that guests run."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.bad_disks import MIB, qcow2
from vtorque_runtime.images import digests, opened
from vtorque_runtime.images.digests import Digests
from vtorque_runtime.images.inspect import Format
from vtorque_runtime.images.opened import OpenFiles
from vtorque_spec.fault import Fault

OLD, NEW = b"old" * MIB, b"new" * MIB


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """However young a file is, its times say when it was changed."""
    monkeypatch.setattr(opened, "_SETTLED_NS", -(10**12))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kernel"
    path.write_bytes(OLD)
    return path


def reads(path: Path, content: bytes = OLD, disk_format: Format | None = None) -> bool:
    """Whether the file has to be read for a check, which it passes."""
    looks: list[None] = []
    with OpenFiles(Digests(path.parent), lambda: looks.append(None)) as files:
        files.check(path, sha256(content), disk_format)
    return bool(looks)


# --- the record -------------------------------------------------------------------------------------------------------


def test_a_file_is_read_once(file: Path) -> None:
    assert [reads(file) for _ in range(3)] == [True, False, False]
    record = file.parent / digests.FILE
    assert (record.stat().st_mode & 0o777, json.loads(record.read_text())["version"]) == (0o600, digests.VERSION)


def in_place(file: Path) -> None:
    file.write_bytes(NEW)


def another(file: Path) -> None:
    file.with_name("new").write_bytes(NEW)
    file.with_name("new").rename(file)


def longer(file: Path) -> None:
    with file.open("ab") as end:
        end.write(b"!")


@pytest.mark.parametrize("change", [in_place, another, longer])
def test_a_file_that_was_changed_is_found_whatever_its_mtime_says(file: Path, change: Callable[[Path], None]) -> None:
    assert reads(file)
    before = file.stat()
    change(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(Fault, match=r"VT0503: .*kernel has changed since its digest was recorded") as raised:
        reads(file)
    assert sha256(OLD) in (raised.value.detail or "")


def test_a_file_is_known_by_all_that_stat_says(file: Path) -> None:
    """Each number of the record alone makes it another file's."""
    assert reads(file)
    record = file.parent / digests.FILE
    right = record.read_text()
    names = json.loads(right)["files"][0]["identity"]
    assert set(names) == {"device", "inode", "size", "mtime_ns", "ctime_ns"}
    for name in names:
        told = json.loads(right)
        told["files"][0]["identity"][name] += "0"
        record.write_text(json.dumps(told))
        assert reads(file), name
        record.write_text(right)
        assert not reads(file)


def test_what_was_a_kernel_is_not_known_as_a_disk(tmp_path: Path) -> None:
    """Nobody has inspected it."""
    path = qcow2(tmp_path / "disk")
    assert reads(path, path.read_bytes())
    assert reads(path, path.read_bytes(), "qcow2")
    assert not reads(path, path.read_bytes(), "qcow2")


def test_what_has_just_been_changed_is_not_recorded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be changed once more at what is the same time for the file system."""
    monkeypatch.setattr(opened, "_SETTLED_NS", 3600 * 10**9)
    assert [reads(file) for _ in range(2)] == [True, True]


def linked(record: Path) -> None:
    record.rename(record.with_name("real"))
    record.symlink_to("real")


FORGED: dict[str, Callable[[Path], object]] = {
    "others may write to it": lambda record: record.chmod(0o602),
    "the group may read it": lambda record: record.chmod(0o640),
    "a link": linked,
    "another user's": lambda record: os.chown(record, 12345, 12345),
}


@pytest.mark.root
@pytest.mark.parametrize("name", FORGED)
def test_a_record_that_others_could_have_written_says_nothing(
    name: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that the new bytes have the old digest, as root alone could know."""
    assert reads(file)
    record = file.parent / digests.FILE
    forged = json.loads(record.read_text())
    file.write_bytes(NEW)
    found = file.stat()
    forged["files"][0]["identity"] |= {"mtime_ns": str(found.st_mtime_ns), "ctime_ns": str(found.st_ctime_ns)}
    record.write_text(json.dumps(forged))
    assert not reads(file), "else the next says nothing"
    FORGED[name](record)
    with pytest.raises(Fault, match="VT0503"):
        reads(file)
    assert f"{record} is not read" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version":1}', '{"version":2,"files":[]}', '{"version":1,"files":[{}]}', "[" * 100_000]
)
def test_a_damaged_record_is_written_anew(text: str, file: Path) -> None:
    assert reads(file)
    (file.parent / digests.FILE).write_text(text)
    assert [reads(file), reads(file)] == [True, False]


def test_a_record_that_cannot_be_written_costs_no_job(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_path: Path, _text: str) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(digests, "write_private", full)
    assert [reads(file), reads(file)] == [True, True]
    assert "will be read again: no space left" in caplog.text


def test_files_that_are_no_more_are_forgotten(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(OLD)
    assert [reads(file), reads(other), reads(file)] == [True, True, False]
    other.unlink()
    file.touch()
    assert reads(file)
    assert [one["path"] for one in json.loads((file.parent / digests.FILE).read_text())["files"]] == [str(file)]


def test_what_a_killed_writer_left_goes(file: Path) -> None:
    left = file.with_name(f".{digests.FILE}.4711")
    left.touch()
    assert reads(file)
    assert not left.exists()


def test_a_file_with_two_names_is_read_once(file: Path) -> None:
    other = file.with_name("other")
    os.link(file, other)
    assert [reads(file), reads(other)] == [True, False]


# --- until the guests run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [in_place, another, longer, Path.unlink])
def test_a_file_that_is_swapped_after_its_check_is_found(file: Path, change: Callable[[Path], None]) -> None:
    with OpenFiles(Digests(file.parent), lambda: None) as files:
        files.check(file, sha256(OLD))
        files.check_same()
        change(file)
        with pytest.raises(Fault, match="VT0503"):
            files.check_same()
        assert len(files.content(file)) >= len(OLD), "what was opened is what is read"


def test_the_same_bytes_in_another_file_are_found_too(file: Path) -> None:
    """Nobody knows what was there meanwhile."""
    with OpenFiles(Digests(file.parent), lambda: None) as files:
        files.check(file, sha256(OLD))
        file.rename(file.with_name("away"))
        file.write_bytes(OLD)
        with pytest.raises(Fault, match=r"VT0503: .*kernel was changed while a job was made ready with it"):
            files.check_same()


def test_another_name_of_a_file_is_no_change(file: Path) -> None:
    """A job whose root disk has the backing `local` may give it one meanwhile."""
    looks: list[None] = []
    with OpenFiles(Digests(file.parent), lambda: looks.append(None)) as files:
        files.check(file, sha256(OLD))
        time.sleep(0.01)  # a tick of the file system's clock
        os.link(file, file.with_name("copy"))
        looks.clear()
        files.check_same()
        assert looks, "it was read again"
        looks.clear()
        files.check_same()
        assert not looks


@pytest.mark.parametrize("change", [in_place, longer])
def test_a_file_that_is_changed_while_it_is_read_is_refused(file: Path, change: Callable[[Path], None]) -> None:
    def proceed() -> None:
        time.sleep(0.01)
        change(file)

    with OpenFiles(Digests(file.parent), proceed) as files, pytest.raises(Fault, match="VT0503"):
        files.check(file, sha256(OLD))
    assert not (file.parent / digests.FILE).exists()


def test_who_reads_can_be_stopped(file: Path) -> None:
    def stop() -> None:
        raise InterruptedError

    with OpenFiles(Digests(file.parent), stop) as files, pytest.raises(InterruptedError):
        files.check(file, sha256(OLD))


def test_the_files_are_closed_in_the_end(file: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with OpenFiles(Digests(file.parent), lambda: None) as files:
        files.check(file, sha256(OLD))
        assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    assert os.listdir("/proc/self/fd") == before
