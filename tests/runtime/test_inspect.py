"""Files that are to be guests' disks and kernels: good ones are known, bad ones never get as far as QEMU."""

import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.bad_disks import BAD, MIB, l1, number, qcow2, qemu_img, raw
from vtorque_runtime.confine import call_as
from vtorque_runtime.images import inspect as module
from vtorque_runtime.images.inspect import Format, GuestKind, Inspected, inspect, kernel_kind, open_file
from vtorque_runtime.images.qcow2 import Qcow2
from vtorque_spec.fault import Fault

OSV_SECTOR = bytes(0x1B8) + b"VSO".ljust(0x48, b"\0")


@contextlib.contextmanager
def opened(path: Path):  # type: ignore[no-untyped-def] # contextlib's own type says nothing more
    descriptor = open_file(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def look(path: Path, claimed: Format | None = None) -> Inspected:
    with opened(path) as descriptor:
        return inspect(descriptor, claimed, str(path))


def told(descriptor: int) -> bytes:
    return str(inspect(descriptor, None, "disk")).encode()


# --- good ones --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-c",),
        ("-c", "compression_type=zstd"),
        ("compat=0.10",),
        ("cluster_size=512",),
        ("cluster_size=2M",),
        ("preallocation=metadata",),
        ("lazy_refcounts=on",),
        ("refcount_bits=1",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("size", [4 * MIB, 3 * MIB + 512], ids=["whole", "odd"])
def test_what_qemu_img_writes_is_good(options: tuple[str, ...], size: int, tmp_path: Path) -> None:
    assert look(qcow2(tmp_path / "disk.qcow2", *options, size=size), "qcow2") == Inspected("qcow2", size, osv=False)


@pytest.mark.root
def test_a_number_without_a_name_inspects_as_well(tmp_path: Path) -> None:
    """The user of a container may have none."""
    uid = 4_242_424
    with opened(raw(tmp_path / "disk")) as descriptor:
        answer = call_as(uid, uid, (), told, descriptor, keep=(descriptor,))
    assert answer.startswith(b"Inspected(format='raw'")


def test_an_empty_disk_is_good(tmp_path: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", tmp_path / "disk", "50G")
    assert look(tmp_path / "disk") == Inspected("qcow2", 50 * 1024 * MIB, osv=False)


def test_a_raw_disk(tmp_path: Path) -> None:
    assert look(raw(tmp_path / "disk"), "raw") == Inspected("raw", 4 * MIB, osv=False)
    assert look(raw(tmp_path / "parted", first=bytes(510) + b"\x55\xaa")).format == "raw"


@pytest.mark.parametrize("options", [(), ("-c",)], ids=["plain", "compressed"])
def test_a_disk_of_osv_is_known(options: tuple[str, ...], tmp_path: Path) -> None:
    assert look(qcow2(tmp_path / "disk.qcow2", *options, first=OSV_SECTOR)).osv
    assert look(tmp_path / "disk.raw").osv


def test_the_position_of_the_descriptor_stays(tmp_path: Path) -> None:
    with opened(raw(tmp_path / "disk")) as descriptor:
        inspect(descriptor, None, "disk")
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0


# --- bad ones ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
def test_a_bad_disk_is_refused(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spoil, code, message = BAD[name]
    path = qcow2(tmp_path / "disk.qcow2")
    assert look(path).format == "qcow2"
    spoil(path)
    with pytest.raises(Fault) as raised:
        look(path)
    assert (raised.value.code, message in raised.value.message) == (code, True), raised.value
    assert str(path) in raised.value.message
    assert raised.value.help
    assert capfd.readouterr() == ("", "")


def test_two_entries_of_one_l2_table_are_refused(tmp_path: Path) -> None:
    """Else a small file could keep its reader busy for ever."""
    path = qcow2(tmp_path / "disk.qcow2", "cluster_size=512")
    number(path, l1(path) + 8, ">Q", number(path, l1(path), ">Q"))
    with pytest.raises(Fault, match=r"VT0533: .* its L1 table has an impossible entry"):
        look(path)


def test_a_disk_that_is_not_what_is_said(tmp_path: Path) -> None:
    path = qcow2(tmp_path / "disk.qcow2")
    with pytest.raises(Fault, match=r"VT0530: .* is qcow2, and is said to be raw"):
        look(path, "raw")
    with pytest.raises(Fault, match=r"VT0530: .* is raw, and is said to be qcow2"):
        look(path.with_suffix(".raw"), "qcow2")


@pytest.mark.parametrize("kind", ["link", "directory", "pipe", "missing"])
def test_what_is_no_plain_file_is_not_opened(kind: str, tmp_path: Path) -> None:
    """A pipe is not waited for."""
    path = tmp_path / "disk"
    make: dict[str, Callable[[], object]] = {
        "link": lambda: path.symlink_to(raw(tmp_path / "real")),
        "directory": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "missing": lambda: None,
    }
    make[kind]()
    with pytest.raises(Fault, match="VT0536: "):
        open_file(path)


_PLACES = st.integers(0, 200) | st.integers(0, 2**19)
"""In the header, or anywhere."""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spots=st.lists(st.tuples(_PLACES, st.integers(0, 255)), min_size=1, max_size=6))
def test_whatever_is_written_over_a_disk_it_is_good_or_refused(spots: list[tuple[int, int]], tmp_path: Path) -> None:
    """No other exception: each would be a file that nobody can say anything about."""
    good = tmp_path / "good.qcow2"
    content = bytearray((good if good.exists() else qcow2(good)).read_bytes())
    for offset, value in spots:
        content[offset % len(content)] = value
    bad = tmp_path / "bad"
    bad.write_bytes(content)
    with opened(bad) as descriptor:
        disk = Qcow2(descriptor, "bad")
        with contextlib.suppress(Fault):
            disk.check()
            assert len(disk.first_bytes(512) or bytes(512)) == 512


# --- the process that reads -------------------------------------------------------------------------------------------


def test_a_reader_that_breaks_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_qcow2", lambda *_: os.abort())
    with pytest.raises(Fault, match=r"VT0536: .* cannot be inspected") as raised:
        look(qcow2(tmp_path / "disk.qcow2"))
    assert raised.value.detail == "the child ended by signal 6"


@pytest.mark.root
def test_the_reader_is_nobody_with_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads root's own file by its descriptor, and could open none."""

    def tell(*_: object) -> Inspected:
        others = set(map(int, os.listdir("/proc/self/fd"))) - {0, 1, 2}
        links = sorted(os.readlink(f"/proc/self/fd/{one}") for one in others if os.path.lexists(f"/proc/self/fd/{one}"))
        raise Fault("VT0536", f"{os.getresuid()} {os.getgroups()} {links} {os.access(tmp_path, os.R_OK)}")

    path = qcow2(tmp_path / "disk.qcow2")
    path.chmod(0o600)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(module, "_qcow2", tell)
    with (tmp_path / "secret").open("w"), pytest.raises(Fault) as raised:
        look(path)
    uid = 65534
    assert raised.value.message.startswith(f"({uid}, {uid}, {uid}) [] ['{path}', 'pipe:[")
    assert raised.value.message.count(",") == 3
    assert raised.value.message.endswith(" False")


# --- kernels ----------------------------------------------------------------------------------------------------------


def elf(*notes: tuple[bytes, int, bytes], kind: int = 4) -> bytes:
    """A 64-bit ELF file with one segment, of notes."""
    text = b""
    for name, number_, content in notes:
        text += struct.pack("<III", len(name), len(content), number_)
        text += name + bytes(-len(name) % 4) + content + bytes(-len(content) % 4)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return header + struct.pack("<IIQQQQQQ", kind, 4, 120, 0, 0, len(text), len(text), 4) + text


OSV_NOTE = (b"Xen\0", 6, b"osv\0")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (bytes(0x202) + b"HdrS" + bytes(512), "linux"),
        (elf(OSV_NOTE), "osv"),
        (elf((b"GNU\0", 3, b"12345"), (b"Xen\0", 0x12, bytes(4)), OSV_NOTE), "osv"),
        (elf((b"Xen\0", 6, b"linux\0")), None),
        (elf((b"GNU\0", 6, b"osv\0")), None),
        (elf(OSV_NOTE, kind=1), None),
        (b"MZ" + bytes(600), None),
        (b"", None),
    ],
)
def test_whose_kernel_it_is(content: bytes, kind: GuestKind | None, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(content)
    with opened(tmp_path / "kernel") as descriptor:
        assert kernel_kind(descriptor, "kernel") == kind


def test_an_elf_file_that_is_cut_off_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(elf(OSV_NOTE)[:80])
    with opened(tmp_path / "kernel") as descriptor, pytest.raises(Fault, match="VT0536"):
        kernel_kind(descriptor, "kernel")
