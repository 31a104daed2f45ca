"""The structure of a qcow2 file, checked before QEMU opens it (QEMU's docs/interop/qcow2.txt has the format).

Beyond what format inspectors look at: each table lies in the file, each cluster that a guest can read does too, nothing
leads to another file. For disks that are read only, so that reference counts are looked at no closer.
"""

import os
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB

LARGEST_DISK_BYTES = 64 * 1024 * 1024 * MIB
"""No image of a batch job comes near; a larger one is a mistake, or made to exhaust what opens it."""

CLUSTER_BITS = range(9, 22)
"""What QEMU reads: clusters of 512 bytes to 2 MiB."""

_TABLE_LIMIT_BYTES = 32 * MIB
"""QEMU's limit for the L1 table; that for the table of reference counts is a quarter of it."""

_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_V2_BYTES, _V3_BYTES = 72, 104
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION = 1, 2, 4, 8
_END, _DATA_FILE_NAME, _ENCRYPTION_HEADER, _BITMAPS = 0, 0x44415441, 0x0537BE77, 0x23852875
_OFFSET = 0x00FFFFFFFFFFFE00
_L1_RESERVED, _L2_RESERVED, _REFCOUNT_RESERVED = 0x7F000000000001FF, 0x3F000000000001FE, 0x1FF
_COMPRESSED = 1 << 62
_SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says, in the format's own words; for version 2 what version 3 takes that to mean."""

    magic: bytes
    version: int
    backing_file_offset: int
    backing_file_size: int
    cluster_bits: int
    size: int
    crypt_method: int
    l1_size: int
    l1_table_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    nb_snapshots: int
    snapshots_offset: int
    incompatible_features: int
    compatible_features: int
    autoclear_features: int
    refcount_order: int
    header_length: int

    @property
    def cluster_bytes(self) -> int:
        """The size of a cluster, which is that of an L2 table too."""
        return 1 << self.cluster_bits


class Qcow2:
    """An open qcow2 file. `check` comes first; it raises the Faults VT0531 to VT0534."""

    def __init__(self, descriptor: int, path: str) -> None:
        """Read the header; `path` is what messages call the file."""
        self._descriptor, self._path = descriptor, path
        self._file_bytes = os.fstat(descriptor).st_size
        if self._file_bytes < _V2_BYTES:
            self._damaged("its header is cut off")
        raw = os.pread(descriptor, _HEADER.size, 0).ljust(_HEADER.size, b"\0")
        header = Header(*_HEADER.unpack(raw))
        if header.version == 2:
            header = Header(*_HEADER.unpack(raw[:_V2_BYTES] + struct.pack(">QQQII", 0, 0, 0, 4, _V2_BYTES)))
        self.header = header

    def check(self) -> None:
        """Raise Fault unless QEMU can read this disk from this file alone, whole."""
        self._check_features()
        self._check_sizes()
        self._check_extensions()
        self._check_refcounts()
        self._check_clusters()

    def data_bytes(self) -> int:
        """Return how much of the disk is data: many of its clusters can be one of the file."""
        data = sum(1 for _, entry in self._entries() if entry & _COMPRESSED or (entry & _OFFSET and not entry & 1))
        return data * self.header.cluster_bytes

    def first_bytes(self, length: int) -> bytes | None:
        """Return the first bytes of this file's disk, of one cluster at most; None when zstd has compressed them."""
        header, zeros = self.header, bytes(length)
        table = self._numbers(header.l1_table_offset, 1)[0] & _OFFSET
        entry = self._numbers(table, 1)[0] if table else 0
        if entry & _COMPRESSED:
            offset, end = self._compressed(entry)
            try:
                unpacked = zlib.decompressobj(-12).decompress(self._read(offset, end - offset), length)
            except zlib.error:
                return None
            return unpacked.ljust(length, b"\0")
        if entry & 1 or not entry & _OFFSET:
            return zeros
        return self._read(entry & _OFFSET, length).ljust(length, b"\0")

    # --- the header ---------------------------------------------------------------------------------------------------

    def _check_features(self) -> None:
        header, features = self.header, self.header.incompatible_features
        if header.version not in (2, 3):
            self._unsupported(f"it is qcow2 of version {header.version}")
        if header.backing_file_offset or header.backing_file_size:
            self._leads("it has a backing file")
        if features & _DATA_FILE:
            self._leads("its data is in another file")
        if header.crypt_method:
            self._unsupported("it is encrypted")
        if features & (_DIRTY | _CORRUPT):
            why = "it is marked as corrupt" if features & _CORRUPT else "it was not closed by what wrote it last"
            self._damaged(why)
        unknown = features & ~_COMPRESSION
        if unknown:
            self._unsupported(f"it has incompatible features of which this program knows nothing ({unknown:#x})")
        if header.nb_snapshots:
            self._unsupported(f"it holds {header.nb_snapshots} snapshots")

    def _check_sizes(self) -> None:
        header = self.header
        if header.cluster_bits not in CLUSTER_BITS:
            self._absurd(f"its clusters have 2^{header.cluster_bits} bytes")
        if not 0 < header.size <= LARGEST_DISK_BYTES:
            self._absurd(f"its disk has {header.size} bytes")
        if header.refcount_order > 6:
            self._absurd(f"its reference counts have 2^{header.refcount_order} bits")
        least = _V2_BYTES if header.version == 2 else _V3_BYTES
        if header.header_length % 8 or not least <= header.header_length <= header.cluster_bytes:
            self._damaged(f"its header has {header.header_length} bytes")
        needed = -(-header.size // (header.cluster_bytes * (header.cluster_bytes // 8)))
        if header.l1_size * 8 > _TABLE_LIMIT_BYTES:
            self._absurd(f"its L1 table has {header.l1_size} entries")
        if header.l1_size < needed:
            self._damaged(f"its L1 table has {header.l1_size} entries, and its disk needs {needed}")
        refcount_bytes = header.refcount_table_clusters * header.cluster_bytes
        if refcount_bytes > _TABLE_LIMIT_BYTES // 4:
            self._absurd(f"its table of reference counts has {refcount_bytes} bytes")
        self._check_place(header.l1_table_offset, header.l1_size * 8, "its L1 table")
        self._check_place(header.refcount_table_offset, refcount_bytes or 1, "its table of reference counts")

    def _check_extensions(self) -> None:
        at = self.header.header_length
        end = min(self.header.cluster_bytes, self._file_bytes)
        while at + 8 <= end:
            kind, length = struct.unpack(">II", self._read(at, 8))
            if kind == _END:
                return
            if kind == _DATA_FILE_NAME:
                self._leads("its header names another file for its data")
            if kind == _ENCRYPTION_HEADER:
                self._unsupported("it is encrypted")
            if kind == _BITMAPS:  # QEMU reads each into memory, as large as its table says
                self._unsupported("it holds bitmaps of what was written")
            at += 8 + -(-length // 8) * 8
        if at > end:
            self._damaged("a header extension does not end")

    # --- tables and clusters ------------------------------------------------------------------------------------------

    def _check_refcounts(self) -> None:
        header = self.header
        count = header.refcount_table_clusters * header.cluster_bytes // 8
        for entry in self._numbers(header.refcount_table_offset, count):
            if entry:
                if entry & _REFCOUNT_RESERVED:
                    self._damaged("its table of reference counts has an impossible entry")
                self._check_place(entry, header.cluster_bytes, "a block of reference counts")

    def _check_clusters(self) -> None:
        allowed_bits = ~_L2_RESERVED if self.header.version > 2 else ~(_L2_RESERVED | 1)
        for first_guest, entry in self._entries():
            if entry & _COMPRESSED:
                offset, end = self._compressed(entry)
                if offset < self.header.cluster_bytes or end - _SECTOR_BYTES >= self._file_bytes:
                    self._damaged("a compressed cluster lies outside of the file: it may be cut off")
                continue
            if entry & ~allowed_bits:
                self._damaged("an L2 table has an impossible entry")
            if entry & _OFFSET:
                used = min(self.header.cluster_bytes, self.header.size - first_guest)
                self._check_place(entry & _OFFSET, used, "a cluster of its data")

    def _entries(self) -> Iterator[tuple[int, int]]:
        """Yield the allocated L2 entries of the disk, each with its place in the disk in bytes."""
        header, seen = self.header, set()
        per_table = header.cluster_bytes // 8
        clusters = -(-header.size // header.cluster_bytes)
        for index, l1_entry in enumerate(self._numbers(header.l1_table_offset, header.l1_size)):
            table = l1_entry & _OFFSET
            if l1_entry & _L1_RESERVED or table in seen:
                self._damaged("its L1 table has an impossible entry")
            first = index * per_table
            if not table:
                continue
            seen.add(table)
            self._check_place(table, header.cluster_bytes, "an L2 table")
            for number, entry in enumerate(self._numbers(table, per_table)[: max(clusters - first, 0)], first):
                if entry:
                    yield number * header.cluster_bytes, entry

    def _compressed(self, entry: int) -> tuple[int, int]:
        """Return where a compressed cluster begins, and the end of its last sector."""
        bits = 62 - (self.header.cluster_bits - 8)
        offset = entry & ((1 << bits) - 1)
        sectors = ((entry & (_COMPRESSED - 1)) >> bits) + 1
        return offset, offset // _SECTOR_BYTES * _SECTOR_BYTES + sectors * _SECTOR_BYTES

    def _check_place(self, offset: int, length: int, what: str) -> None:
        if offset % self.header.cluster_bytes or offset < self.header.cluster_bytes:
            self._damaged(f"{what} is at the impossible place {offset}")
        if offset + length > self._file_bytes:
            self._damaged(f"{what} ends at {offset + length}, after the file's {self._file_bytes} bytes: it is cut off")

    def _numbers(self, offset: int, count: int) -> "array[int]":
        numbers = array("Q", self._read(offset, count * 8))
        numbers.byteswap()  # the format is big-endian, and the runtime's hosts (x86) are little-endian
        return numbers

    def _read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    # --- the Faults ---------------------------------------------------------------------------------------------------

    def _leads(self, why: str) -> NoReturn:
        hint = "qemu-img convert -O qcow2 OLD NEW writes all of it into one file; trust what it leads to first"
        raise Fault("VT0531", f"{self._path} leads to another file: {why}", help=hint)

    def _unsupported(self, why: str) -> NoReturn:
        hint = "qemu-img convert -O qcow2 OLD NEW writes a plain one"
        raise Fault("VT0532", f"{self._path} cannot be a guest's disk: {why}", help=hint)

    def _damaged(self, why: str) -> NoReturn:
        hint = "fetch or build the image again; qemu-img check tells more of one that you trust"
        raise Fault("VT0533", f"{self._path} is damaged: {why}", help=hint)

    def _absurd(self, why: str) -> NoReturn:
        raise Fault("VT0534", f"{self._path} is of an absurd size: {why}", help="fetch or build the image again")
