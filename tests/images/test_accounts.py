"""What `vtorque image add` finds out of an image's accounts."""

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.helpers import CMDLINE, Run, entries, stored
from vtorque_runtime.images import store
from vtorque_runtime.images.accounts import Accounts, read_accounts
from vtorque_runtime.images.inspect import Inspected

PASSWD = "root:x:0:0:root:/root:/bin/sh\n+::::::\nme:x:1000:1001:,,,:/home/me:/bin/sh\nno number:x:x:7::\n"
GROUP = "root:x:0:\nusers:x:100:me,7\nnogroup:x:65534:\n"
FOUND = Accounts((0, 1000), (0, 100, 1001, 65534))

PARTITION = 2**20


def file_system(home: Path, passwd: str = PASSWD) -> bytes:
    """Return an ext4 file system with these accounts."""
    (home / "root/etc").mkdir(parents=True)
    (home / "root/etc/passwd").write_text(passwd)
    (home / "root/etc/group").write_text(GROUP)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", home / "root", home / "ext4", "8M"], check=True)
    return (home / "ext4").read_bytes()


def mbr(content: bytes) -> bytes:
    entry = struct.pack("<B3sB3sII", 0x80, b"", 0x83, b"", PARTITION // 512, len(content) // 512)
    return (bytes(446) + entry.ljust(64, b"\0") + b"\x55\xaa").ljust(PARTITION, b"\0") + content


def gpt(content: bytes, count: int = 128, size: int = 128) -> bytes:
    protective = struct.pack("<B3sB3sII", 0, b"", 0xEE, b"", 1, 0xFFFFFFFF)
    table = bytes(446) + protective.ljust(64, b"\0") + b"\x55\xaa"
    header = (b"EFI PART" + bytes(64) + struct.pack("<QII", 2, count, size)).ljust(512, b"\0")
    entry = b"\1" * 16 + bytes(16) + struct.pack("<QQ", PARTITION // 512, (PARTITION + len(content)) // 512 - 1)
    return (table + header + bytes(128) + entry).ljust(PARTITION, b"\0") + content


def as_qcow2(raw: Path, *options: str) -> Path:
    disk = raw.with_suffix(".qcow2")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, disk], check=True)
    return disk


@pytest.mark.parametrize("around", [bytes, mbr, gpt], ids=["plain", "mbr", "gpt"])
def test_the_numbers_are_those_of_passwd_and_group(tmp_path: Path, around: Callable[[bytes], bytes]) -> None:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(around(file_system(tmp_path)))
    size = raw.stat().st_size
    assert read_accounts(raw, Inspected("raw", size, osv=False)) == FOUND
    for options in ((), ("-c",), ("-c", "-o", "compression_type=zstd")):
        assert read_accounts(as_qcow2(raw, *options), Inspected("qcow2", size, osv=False)) == FOUND
    assert {path.name for path in tmp_path.iterdir()} == {"root", "ext4", "disk.raw", "disk.qcow2"}


@pytest.mark.parametrize(
    "content",
    [
        bytes(2**20),
        b"x" * 2**20,
        mbr(bytes(4096)),
        mbr(bytes(1080) + b"\x53\xef" + bytes(3000)),
        gpt(bytes(4096), count=2**32 - 1, size=2**32 - 1),
        gpt(bytes(4096))[:700],
    ],
    ids=["empty", "junk", "no-file-system", "no-ext4", "absurd-table", "cut-off"],
)
def test_of_a_disk_that_cannot_be_read_nothing_is_known(tmp_path: Path, content: bytes) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(content)
    assert read_accounts(disk, Inspected("raw", len(content), osv=False)) is None
    disk.with_suffix(".qcow2").write_bytes(content)
    assert read_accounts(disk.with_suffix(".qcow2"), Inspected("qcow2", 2**20, osv=False)) is None


@pytest.fixture
def disk(tmp_path: Path, made: Callable[..., Path]) -> Callable[[str], Path]:
    """Make a Linux image with these accounts."""

    def make(passwd: str) -> Path:
        old = made("rocky")
        raw = old.with_name("disk.raw")
        raw.write_bytes(file_system(tmp_path, passwd))
        return as_qcow2(raw)

    return make


def test_an_image_with_a_number_of_users_is_not_added(
    run: Run, disk: Callable[[str], Path], images: Path, site: Path
) -> None:
    result = run("add", "rocky-9", disk(PASSWD), "--cmdline", CMDLINE)
    assert "error[VT0515]: the image `rocky-9` has numbers of users: the uid 1000 and the gid 1001\n" in result.output
    assert "help: remove these accounts in it" in result.output
    assert (stored(images), entries(site)) == ([], [])


def test_its_numbers_are_recorded(run: Run, disk: Callable[[str], Path], images: Path) -> None:
    result = run("add", "rocky-9", disk("root:x:0:0::/:\nsys:x:900:999::/:\nnobody:x:65534:65534::/:\n"),
                 "--cmdline", CMDLINE)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "cannot be read" not in result.output
    assert store.newest(images)["rocky-9"].accounts == Accounts((0, 900, 65534), (0, 100, 999, 65534))


def test_what_cannot_be_read_is_told(run: Run, made: Callable[..., Path], images: Path) -> None:
    result = run("add", "rocky-9", made("rocky"), "--cmdline", CMDLINE)
    assert "the accounts in `rocky-9` cannot be read here: see that none has a number from 1000 on" in result.output
    assert store.newest(images)["rocky-9"].accounts is None
