"""Disks that qemu-img writes, and what spoils one: generated, a few hundred KiB each."""

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

MIB = 2**20
DATA = b"\x5a" * 512


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, stdout=subprocess.DEVNULL)


def raw(path: Path, size: int = 4 * MIB, first: bytes = DATA) -> Path:
    """A disk with something at its start, in its middle and at its end."""
    with path.open("wb") as file:
        for at, part in ((0, first), (size // 2, DATA), (size - 512, DATA)):
            file.seek(at)
            file.write(part)
    return path


def qcow2(path: Path, *options: str, first: bytes = DATA, size: int = 4 * MIB) -> Path:
    said = [word for option in options for word in (["-c"] if option == "-c" else ["-o", option])]
    qemu_img("convert", "-f", "raw", "-O", "qcow2", *said, raw(path.with_suffix(".raw"), size, first), path)
    return path


def number(path: Path, offset: int, form: str, value: int | None = None) -> int:
    """The big-endian number at `offset`, which becomes `value`."""
    with path.open("r+b") as file:
        file.seek(offset)
        (before,) = struct.unpack(form, file.read(struct.calcsize(form)))
        if value is not None:
            file.seek(offset)
            file.write(struct.pack(form, value))
    return int(before)


def l1(path: Path) -> int:
    return number(path, 40, ">Q")


def l2(path: Path) -> int:
    return number(path, l1(path), ">Q") & 0x00FFFFFFFFFFFE00


def other(form: str) -> Callable[[Path], object]:
    def convert(path: Path) -> None:
        new = path.with_suffix(".new")
        qemu_img("convert", "-f", "qcow2", "-O", form, path, new)
        new.rename(path)

    return convert


def backed(path: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", path, "4M")


def data_file(path: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={path}.data", path, "4M")


def named_data_file(path: Path) -> None:
    data_file(path)
    number(path, 72, ">Q", 0)  # the name stays in the header's extensions


def snapshot(path: Path) -> None:
    qemu_img("snapshot", "-c", "s", path)


def bitmap(path: Path) -> None:
    qemu_img("bitmap", "--add", "-f", "qcow2", path, "b")


def put(offset: int, form: str, value: int) -> Callable[[Path], object]:
    return lambda path: number(path, offset, form, value)


def in_extensions(kind: int) -> Callable[[Path], object]:
    return lambda path: number(path, number(path, 100, ">I"), ">I", kind)


def in_l1(value: int) -> Callable[[Path], object]:
    return lambda path: number(path, l1(path), ">Q", value)


def in_l2(value: int) -> Callable[[Path], object]:
    return lambda path: number(path, l2(path), ">Q", value)


def cut(size: int) -> Callable[[Path], object]:
    return lambda path: os.truncate(path, size if size > 0 else path.stat().st_size + size)


def iso(path: Path) -> None:
    raw(path)
    with_iso(path)


def with_iso(path: Path) -> None:
    """In a qcow2 file that is where nothing else is."""
    with path.open("r+b") as file:
        file.seek(0x8000)
        file.write(b"\x01CD001\x01\x00")


def with_partitions(path: Path) -> None:
    number(path, 510, ">H", 0x55AA)


BAD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "vmdk": (other("vmdk"), "VT0530", "vmdk"),
    "vdi": (other("vdi"), "VT0530", "vdi"),
    "vhdx": (other("vhdx"), "VT0530", "vhdx"),
    "vpc": (other("vpc"), "VT0530", "vhd"),
    "qed": (other("qed"), "VT0530", "qed"),
    "iso": (iso, "VT0530", "iso"),
    "luks": (lambda path: path.write_bytes(b"LUKS\xba\xbe\x00\x01".ljust(4096, b"\0")), "VT0530", "luks"),
    "backing file": (backed, "VT0531", "a backing file"),
    "name of a backing file": (put(16, ">I", 8), "VT0531", "a backing file"),
    "data file": (data_file, "VT0531", "in another file"),
    "name of a data file": (named_data_file, "VT0531", "names another file"),
    "encrypted": (put(32, ">I", 2), "VT0532", "encrypted"),
    "header of an encryption": (in_extensions(0x0537BE77), "VT0532", "encrypted"),
    "bitmaps": (bitmap, "VT0532", "holds bitmaps"),
    "snapshot": (snapshot, "VT0532", "1 snapshots"),
    "version 1": (put(4, ">I", 1), "VT0532", "version 1"),
    "version 4": (put(4, ">I", 4), "VT0532", "version 4"),
    "unknown feature": (put(72, ">Q", 1 << 5), "VT0532", "knows nothing (0x20)"),
    "subclusters": (put(72, ">Q", 1 << 4), "VT0532", "knows nothing (0x10)"),
    "last unknown feature": (put(72, ">Q", 1 << 63), "VT0532", "knows nothing"),
    "dirty": (put(72, ">Q", 1), "VT0533", "not closed"),
    "corrupt": (put(72, ">Q", 2), "VT0533", "marked as corrupt"),
    "header cut off": (cut(40), "VT0533", "cut off"),
    "half a header": (cut(90), "VT0533", "cut off"),
    "tables cut off": (cut(70_000), "VT0533", "cut off"),
    "last cluster cut off": (cut(-512), "VT0533", "a cluster of its data ends at"),
    "short header": (put(100, ">I", 96), "VT0533", "96 bytes"),
    "header without an end": (put(100, ">I", 0xFFFFFFF8), "VT0533", "bytes"),
    "small L1": (put(36, ">I", 0), "VT0533", "its L1 table has 0"),
    "L1 outside": (put(40, ">Q", 1 << 40), "VT0533", "its L1 table ends"),
    "L1 over the header": (put(40, ">Q", 0), "VT0533", "impossible place 0"),
    "L1 askew": (put(40, ">Q", 65536 + 8), "VT0533", "impossible place"),
    "counts outside": (put(48, ">Q", 1 << 40), "VT0533", "reference counts ends"),
    "L2 outside": (in_l1(1 << 40 | 1 << 63), "VT0533", "an L2 table ends"),
    "L2 with odd bits": (in_l1(65536 | 1), "VT0533", "impossible entry"),
    "cluster outside": (in_l2(1 << 40 | 1 << 63), "VT0533", "a cluster of its data"),
    "cluster with odd bits": (in_l2(65536 | 2), "VT0533", "impossible entry"),
    "cluster in the header": (in_l2(512 | 1 << 63), "VT0533", "impossible place 512"),
    "compressed outside": (in_l2(1 << 62 | 1 << 40), "VT0533", "outside of the file"),
    "no disk": (put(24, ">Q", 0), "VT0534", "0 bytes"),
    "a disk for all of the world": (put(24, ">Q", 2**63 - 512), "VT0534", "9223372036854775296"),
    "clusters of 4 GiB": (put(20, ">I", 32), "VT0534", "2^32"),
    "clusters of no bits": (put(20, ">I", 0), "VT0534", "2^0"),
    "L1 of 32 GiB": (put(36, ">I", 2**32 - 1), "VT0534", "4294967295 entries"),
    "counts of 256 TiB": (put(56, ">I", 2**32 - 1), "VT0534", "table of reference counts"),
    "counts of 2^99 bits": (put(96, ">I", 99), "VT0534", "2^99"),
    "empty": (lambda path: path.write_bytes(b""), "VT0534", "0 bytes"),
    "ragged": (lambda path: path.write_bytes(b"x" * 1000), "VT0533", "its last sector is cut off"),
    "qcow2 and an installation medium": (with_iso, "VT0535", "iso and qcow2"),
    "qcow2 and a partition table": (with_partitions, "VT0535", "gpt and qcow2"),
}
"""What spoils a good qcow2 file; the code and a part of the message that it is refused with."""
