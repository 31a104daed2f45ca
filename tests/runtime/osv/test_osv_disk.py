"""The command line in a root disk: in the overlay and nowhere else, as OSv's boot sector reads it."""

import fcntl
import os
import pwd
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.bad_disks import BAD, qcow2
from vtorque_runtime import disks
from vtorque_runtime.confine import Limits, call_as
from vtorque_runtime.osv import disk as module
from vtorque_runtime.osv.disk import write_command_line
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, Disk

NOBODY = pwd.getpwnam("nobody")
_FILES = "disk=${4#*filename=}; disk=${disk%%,*} image=${4##*filename=}"
"""Where a stand-in for qemu-io finds what it is to write, and what it is to read."""


@pytest.fixture
def overlay(tmp_path: Path) -> Disk:
    base = tmp_path / "base.raw"
    base.write_bytes(b"\xaa" * 65536)
    disk = Disk("vda", str(tmp_path / "root.qcow2"), "qcow2", False, str(base), "raw", None, None)
    disks.make_overlay(disk, 1024**2)
    return disk


def content(overlay: Disk) -> bytes:
    flat = Path(overlay.file).with_suffix(".flat")
    subprocess.run(["qemu-img", "convert", "-O", "raw", overlay.file, flat], check=True)
    return flat.read_bytes()


@pytest.mark.parametrize("length", [0, 1, 511, 512, 32000])
def test_it_is_where_the_boot_sector_reads_it(overlay: Disk, length: int) -> None:
    line = ("--verbose /t \u00e9\n\t" * 4000).encode()[:length].decode("utf-8", "ignore")
    write_command_line(overlay, line)
    found = content(overlay)
    assert found[512:].split(b"\0")[0] == line.encode()
    written = -(-(len(line.encode()) + 1) // 512) * 512
    assert found[:512] + found[512 + written : 65536] == b"\xaa" * (65536 - written)
    assert Path(overlay.backing or "").read_bytes() == b"\xaa" * 65536
    assert sorted(path.name for path in Path(overlay.file).parent.iterdir()) == ["base.raw", "root.flat", "root.qcow2"]


def test_a_qemu_io_that_says_that_it_wrote_is_not_believed(overlay: Disk, stand_in: Path) -> None:
    assert "wrote 512/512" in failed(overlay, stand_in, "echo wrote 512/512 bytes at offset 512")


@pytest.mark.parametrize(
    "name", ["header cut off", "cluster in the header", "compressed outside", "L1 of 32 GiB", "encrypted", "data file"]
)
def test_a_bad_image_is_a_fault(name: str, tmp_path: Path) -> None:
    """One that gets past the inspection; a file that it leads to is out of the writer's reach."""
    base = qcow2(tmp_path / "base.qcow2")
    BAD[name][0](base)
    base.chmod(0o644)
    disk = Disk("vda", str(tmp_path / "root.qcow2"), "qcow2", False, str(base), "qcow2", None, None)
    disks.make_overlay(disk, 4 * MIB)
    with pytest.raises(Fault, match="VT0914: qemu-io could not write") as caught:
        write_command_line(disk, "/t")
    assert caught.value.detail
    assert (os.stat(disk.file).st_uid, os.stat(disk.file).st_mode & 0o777) == (os.geteuid(), 0o600)


# --- who writes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that all may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def stand_in(public: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is started instead of qemu-io, to be written."""
    monkeypatch.setitem(module._ENVIRONMENT, "PATH", f"{public}:{module._ENVIRONMENT['PATH']}")
    return public / "qemu-io"


def failed(overlay: Disk, stand_in: Path, script: str) -> str:
    """What is told of a qemu-io that does this."""
    stand_in.write_text(f"#!/bin/sh\n{_FILES}\n{script}\n")
    stand_in.chmod(0o755)
    with pytest.raises(Fault, match="VT0914: qemu-io ") as caught:
        write_command_line(overlay, "/t")
    return caught.value.detail or ""


@pytest.mark.root
def test_root_has_it_written_by_nobody_with_limits(overlay: Disk, stand_in: Path) -> None:
    told = failed(overlay, stand_in, "cat /proc/self/status /proc/self/limits; env; exit 1")
    user, group = str(NOBODY.pw_uid), str(NOBODY.pw_gid)
    status = dict(re.findall(r"^(Uid|Gid|Groups|CapEff|CapPrm):\t(.*)$", told, re.MULTILINE))
    assert {name: value.split() for name, value in status.items()} == {
        "Uid": [user] * 4, "Gid": [group] * 4, "Groups": [], "CapEff": ["0" * 16], "CapPrm": ["0" * 16],
    }  # fmt: skip
    limits = dict(re.findall(r"^Max (cpu time|address space|core file size|open files) +(\d+) ", told, re.MULTILINE))
    assert limits == {"cpu time": "65", "address space": str(1024 * MIB), "core file size": "0", "open files": "64"}
    assert set(re.findall(r"^(\w+)=", told, re.MULTILINE)) <= {"PATH", "PWD", "disk", "image"}


@pytest.mark.root
def test_what_it_can_do_to_the_nodes_files(overlay: Disk, stand_in: Path) -> None:
    """The overlay grows by no more than it has to; the image and what root made beside it are out of reach."""
    before = os.stat(overlay.file).st_size
    beside = Path(overlay.file).with_name("beside")
    beside.write_text("root's")
    attempt = f'head -c 9999999 /dev/zero >>"$disk"; echo more >>"$image"; echo more >>{beside}; exit 1'
    assert failed(overlay, stand_in, attempt).count("Permission denied") == 2
    assert os.stat(overlay.file).st_size == before + MIB
    assert Path(overlay.backing or "").read_bytes() == b"\xaa" * 65536
    assert beside.read_text() == "root's"
    assert os.stat(overlay.file).st_uid == 0, "it is root's again"


def test_one_that_hangs_is_ended(overlay: Disk, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT_S", 1)
    assert failed(overlay, stand_in, 'exec 9<>"$disk"; flock 9; exec sleep 1000') == ""
    with Path(overlay.file).open("rb") as disk:
        fcntl.flock(disk, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError while it runs


@pytest.mark.root
def test_an_ordinary_user_writes_it_without_root(public: Path) -> None:
    """As in a run on qemu:///session, where spool and overlay are the caller's."""
    base, own = public / "base.raw", public / "own"
    base.write_bytes(b"\xaa" * 65536)
    own.mkdir(mode=0o700)
    os.chown(own, NOBODY.pw_uid, NOBODY.pw_gid)
    disk = Disk("vda", str(own / "root.qcow2"), "qcow2", False, str(base), "raw", None, None)

    def write() -> bytes:
        disks.make_overlay(disk, MIB)
        write_command_line(disk, "/t")
        return b""

    call_as(NOBODY.pw_uid, NOBODY.pw_gid, (), write, limits=Limits(file_bytes=4 * MIB))
    assert content(disk)[512:].split(b"\0")[0] == b"/t"
    assert os.stat(disk.file).st_uid == NOBODY.pw_uid
