"""What a file that is to be a guest's disk or kernel is, found out before QEMU opens it.

Nobody's process reads the bytes, from a descriptor that the caller opened: OpenStack's format inspectors tell which
formats the file can be taken for, `qcow2` looks at the structure of that one. Whatever they stumble over is a Fault.
"""

import logging
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from vtorque_runtime.confine import Limits, call_as, reader_ids
from vtorque_runtime.images.qcow2 import LARGEST_DISK_BYTES, Qcow2
from vtorque_spec.canonical import canonical_json, from_json
from vtorque_spec.fault import Fault

Format = Literal["qcow2", "raw"]
"""The formats of images."""
GuestKind = Literal["linux", "osv"]

LIMITS = Limits(time_s=60, memory_bytes=1024**3, result_bytes=64 * 1024)
"""Of the process that reads an image. It takes a second or two for 200 GiB of data in clusters of 64 KiB."""

_HEAD_BYTES = 2 * 1024 * 1024
"""All that inspectors look at, but for tables that VHDX may put anywhere, which are not needed to know it."""
_PARTITIONED = {"gpt"}
"""What the inspectors call a disk with a partition table, MBR or GPT: no format of its own."""
_SECTOR_BYTES = 512
_OSV_MARK_AT, _OSV_MARK = 0x1B8, b"VSO"
_ELF_NOTES_LIMIT_BYTES = 1024 * 1024
_PT_NOTE, _OSV_NOTE = 4, 6


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a disk was found to be: its format, the size that a guest sees, and whether OSv's boot loader is on it."""

    format: Format
    disk_bytes: int
    osv: bool


def open_file(path: Path) -> int:
    """Open a plain file for reading, not through a link, and return the descriptor. Raises Fault VT0536."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        what = "is a symbolic link" if path.is_symlink() else f"cannot be read: {(error.strerror or '').lower()}"
        raise Fault("VT0536", f"{path} {what}", help="name the file itself") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Fault("VT0536", f"{path} is not a plain file", help="name the file itself")
    return descriptor


def inspect(descriptor: int, claimed: Format | None, path: str) -> Inspected:
    """Find out what the open file is, and that a guest can have it for a disk; `path` is what messages call it.

    `claimed` is the format that it is said to have, None to take what it has. Raises Fault VT0530 to VT0536, and VT0905
    without the inspectors.
    """
    _inspectors()  # loaded here: nobody may not be able to read the files of this program
    return from_json(Inspected, _confined(descriptor, path, _inspect, claimed))


def kernel_kind(descriptor: int, path: str) -> GuestKind | None:
    """Tell whose kernel the open file is, by Linux's boot header or OSv's ELF note. Raises Fault VT0536."""
    kind = _confined(descriptor, path, _kernel_kind).decode("ascii")
    return kind or None  # type: ignore[return-value] # the child tells no other words


def _confined(descriptor: int, path: str, function: Callable[..., bytes], *arguments: object) -> bytes:
    try:
        return call_as(*reader_ids(), (), function, descriptor, path, *arguments, limits=LIMITS, keep=(descriptor,))
    except Fault as fault:
        if fault.code != "VT0914":
            raise
        hint = "fetch or build the image again; nothing opens one that cannot be inspected"
        raise Fault("VT0536", f"{path} cannot be inspected", help=hint, detail=fault.detail or fault.message) from None


# --- in the confined child --------------------------------------------------------------------------------------------


def _inspect(descriptor: int, path: str, claimed: Format | None) -> bytes:
    logging.disable()  # the inspectors tell their own log what they find
    found = _formats(descriptor)
    told = " and ".join(sorted(found))
    if len(found) > 1:
        hint = "fetch or build the image again: an honest one has one format"
        raise Fault("VT0535", f"{path} can be taken for {told}", help=hint)
    is_format = next(iter(found - _PARTITIONED), "raw")
    if is_format != (claimed or is_format) or is_format not in ("qcow2", "raw"):
        said = f"and is said to be {claimed}" if claimed else "which no guest boots from here"
        hint = f"say `format: {is_format}`" if is_format in ("qcow2", "raw") else "qemu-img convert -O qcow2 OLD NEW"
        raise Fault("VT0530", f"{path} is {is_format}, {said}", help=hint)
    return canonical_json(_qcow2(descriptor, path) if is_format == "qcow2" else _raw(descriptor, path)).encode()


def _formats(descriptor: int) -> set[str]:
    """Return the names of all formats that the file can be taken for; none for a disk without partitions."""
    wrapper = _inspectors().InspectWrapper(_Head(descriptor))
    while wrapper.read(64 * 1024):
        pass
    wrapper.close()
    return {str(one) for one in wrapper.formats} - {"raw"}


class _Head:
    """The first bytes of a file, read without a position that processes would share."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._at = descriptor, 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end."""
        part = os.pread(self._descriptor, min(size, _HEAD_BYTES - self._at), self._at)
        self._at += len(part)
        return part


def _qcow2(descriptor: int, path: str) -> Inspected:
    oslo = _inspectors()
    disk = Qcow2(descriptor, path)
    disk.check()
    try:
        second = oslo.QcowInspector()
        second.eat_chunk(os.pread(descriptor, _SECTOR_BYTES, 0))
        second.safety_check()
    except (oslo.SafetyCheckFailed, oslo.ImageFormatError) as error:
        hint = "qemu-img convert -O qcow2 OLD NEW writes a plain one"
        raise Fault("VT0532", f"{path} cannot be a guest's disk: {error}", help=hint) from None
    sector = disk.first_bytes(_SECTOR_BYTES)
    return Inspected("qcow2", disk.header.size, sector is not None and _osv_disk(sector))


def _raw(descriptor: int, path: str) -> Inspected:
    size = os.fstat(descriptor).st_size
    if not 0 < size <= LARGEST_DISK_BYTES:
        raise Fault("VT0534", f"{path} is of an absurd size: it has {size} bytes", help="fetch or build it again")
    if size % _SECTOR_BYTES:
        hint = "fetch or build the image again: a whole one is a multiple of 512 bytes"
        raise Fault("VT0533", f"{path} is damaged: its last sector is cut off", help=hint)
    return Inspected("raw", size, _osv_disk(os.pread(descriptor, _SECTOR_BYTES, 0)))


def _osv_disk(sector: bytes) -> bool:
    """Whether OSv's boot loader is in a disk's first sector: its mark is where others have the disk's signature."""
    return sector[_OSV_MARK_AT : _OSV_MARK_AT + len(_OSV_MARK)] == _OSV_MARK


def _kernel_kind(descriptor: int, _path: str) -> bytes:
    head = os.pread(descriptor, 4096, 0)
    if head[0x202:0x206] == b"HdrS":  # the kernel's Documentation/arch/x86/boot.rst
        return b"linux"
    if head[:6] == b"\x7fELF\x02\x01" and any(map(_is_osv, _notes(descriptor, head))):
        return b"osv"
    return b""


def _notes(descriptor: int, head: bytes) -> list[bytes]:
    """Return the segments of notes of a 64-bit little-endian ELF file (elf(5))."""
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    found = []
    for index in range(count):
        entry = os.pread(descriptor, 56, table + index * size)
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", entry)
        if kind == _PT_NOTE:
            found.append(os.pread(descriptor, min(length, _ELF_NOTES_LIMIT_BYTES), offset))
    return found


def _is_osv(notes: bytes) -> bool:
    """Whether OSv's note, owner `Xen`, type 6, text `osv`, is among these."""
    at = 0
    while at + 12 <= len(notes):
        name_bytes, text_bytes, kind = struct.unpack_from("<III", notes, at)
        name_at = at + 12
        text_at = name_at + -(-name_bytes // 4) * 4
        name, text = notes[name_at : name_at + name_bytes], notes[text_at : text_at + text_bytes]
        if (name.rstrip(b"\0"), kind, text.rstrip(b"\0")) == (b"Xen", _OSV_NOTE, b"osv"):
            return True
        at = text_at + -(-text_bytes // 4) * 4
    return False


def _inspectors() -> ModuleType:
    """Return oslo.utils' module of format inspectors."""
    try:
        from oslo_utils.imageutils import format_inspector
    except ImportError as error:
        hint = "pip install 'vtorque[runtime]'"
        raise Fault("VT0905", "Python has no oslo_utils module here", help=hint, detail=str(error)) from None
    return format_inspector
