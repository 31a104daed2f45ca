"""Which uids and gids the accounts and groups of an added image have, read from its disk once that was inspected.

Nothing is mounted: QEMU's converter and e2fsprogs' debugfs read the file, as nobody. The root file system must be ext2,
ext3 or ext4, on the disk itself or on a partition of it.
"""

import errno
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vtorque_runtime.confine import Limits, call_as, reader_ids
from vtorque_runtime.images.inspect import Inspected
from vtorque_runtime.images.qcow2 import Qcow2
from vtorque_spec.canonical import canonical_json, from_json
from vtorque_spec.fault import Fault

_LIMITS = Limits(time_s=60, memory_bytes=1024**3, result_bytes=1024**2)
_CONVERT = ("prlimit", "--as=4294967296", "--core=0", "--", "qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw")
_CONVERT_LIMIT_S = 900
_RESERVE_BYTES = 1024**3
"""What stays free where the disk lies."""
_SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SECTOR_BYTES = 512
_PARTITIONS = 128
_NUMBER = re.compile(rb"[0-9]{1,10}")
_MAGIC_AT, _MAGIC = 1080, b"\x53\xef"
"""Of ext2 to ext4 (the kernel's Documentation/filesystems/ext4/super.rst)."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """The numbers in an image's /etc/passwd and /etc/group, ascending."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]


def read_accounts(disk: Path, found: Inspected) -> Accounts | None:
    """Return the numbers on a disk that was inspected; None where it has no file system that is read so.

    Needs room beside the disk for its data once more, until it returns: without that nothing is known of it either.
    """
    try:
        with disk.open("rb") as file:
            if found.format == "raw":
                return _confined(file.fileno())
            _check_room(file.fileno(), disk)
            with tempfile.TemporaryFile(dir=disk.parent) as raw:
                _convert(file.fileno(), raw.fileno(), found.disk_bytes)
                return _confined(raw.fileno())
    except (OSError, subprocess.SubprocessError, Fault):  # a guest may still have what these programs do not read
        return None


def _check_room(descriptor: int, disk: Path) -> None:
    """Raise OSError where the disk has more data than there is room for: of a few KiB it can have as many TiB."""
    answer = call_as(*reader_ids(), (), _data_bytes, descriptor, limits=_LIMITS, keep=(descriptor,))
    found = os.statvfs(disk.parent)
    if int(answer) > found.f_bavail * found.f_frsize - _RESERVE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), disk)


def _convert(source: int, target: int, disk_bytes: int) -> None:
    """Write a qcow2 disk as its guest sees it; what is only zeros stays a hole."""
    uid, gid = reader_ids()
    os.ftruncate(target, disk_bytes)
    os.fchown(target, uid, gid)
    names = [f"/proc/self/fd/{descriptor}" for descriptor in (source, target)]
    is_root = os.geteuid() == 0
    subprocess.run(
        [*_CONVERT, *names],
        check=True,
        timeout=_CONVERT_LIMIT_S,
        pass_fds=(source, target),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={"PATH": _SEARCH_PATH},
        user=uid if is_root else None,
        group=gid if is_root else None,
        extra_groups=() if is_root else None,
    )


def _confined(disk: int) -> Accounts | None:
    answer = call_as(*reader_ids(), (), _read, disk, limits=_LIMITS, keep=(disk,))
    return from_json(Accounts, answer) if answer else None


# --- in the confined child --------------------------------------------------------------------------------------------


def _data_bytes(disk: int) -> bytes:
    return str(Qcow2(disk, "").data_bytes()).encode()


def _read(disk: int) -> bytes:
    """Return the Accounts as canonical JSON, nothing where no file system has any."""
    uids: set[int] = set()
    gids: set[int] = set()
    for place in _file_systems(disk):
        for user in _entries(disk, place, "/etc/passwd"):
            uids.add(user[0])
            gids.update(user[1:2])
        gids.update(group[0] for group in _entries(disk, place, "/etc/group"))
    return canonical_json(Accounts(tuple(sorted(uids)), tuple(sorted(gids)))).encode() if uids else b""


def _file_systems(disk: int) -> Iterator[int]:
    """Yield where a file system of the ext kind begins, in bytes."""
    for place in dict.fromkeys((0, *_gpt(disk), *_mbr(disk))):
        if os.pread(disk, len(_MAGIC), place + _MAGIC_AT) == _MAGIC:
            yield place


def _mbr(disk: int) -> list[int]:
    table = os.pread(disk, _SECTOR_BYTES, 0)
    if table[510:512] != b"\x55\xaa":
        return []
    return [struct.unpack_from("<I", table, 446 + 16 * number + 8)[0] * _SECTOR_BYTES for number in range(4)]


def _gpt(disk: int) -> list[int]:
    """Return where partitions begin (UEFI 2.10, section 5.3)."""
    header = os.pread(disk, 92, _SECTOR_BYTES)
    if header[:8] != b"EFI PART":
        return []
    first, count, size = struct.unpack_from("<QII", header, 72)
    entries = (os.pread(disk, 48, first * _SECTOR_BYTES + number * size) for number in range(min(count, _PARTITIONS)))
    return [struct.unpack_from("<Q", one, 32)[0] * _SECTOR_BYTES for one in entries if any(one[:16])]


def _entries(disk: int, place: int, path: str) -> Iterator[list[int]]:
    """Yield of each line of a passwd(5) or group(5) file the number in the third field, and the one after it if any."""
    debugfs = shutil.which("debugfs", path=_SEARCH_PATH) or "debugfs"
    argv = [debugfs, "-R", f"cat {path}", f"/proc/self/fd/{disk}?offset={place}"]
    done = subprocess.run(argv, pass_fds=(disk,), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    for line in done.stdout.split(b"\n"):
        fields = line.split(b":")[2:4]
        if fields and _NUMBER.fullmatch(fields[0]):
            yield [int(field) for field in fields if _NUMBER.fullmatch(field)]
