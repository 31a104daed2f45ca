"""`vtorque image add`: OSv's mark on a disk decides whose image it is, whatever lies beside it."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.images.helpers import CMDLINE, Run, add, entries, stored
from vtorque_runtime.images import store
from vtorque_spec.cli import group


@pytest.fixture
def solver(made: Callable[..., Path]) -> Path:
    """A disk of OSv's, with a Linux kernel and an initrd beside it."""
    disk, linux = made("solver", osv=True), made("rocky").parent
    for name in ("vmlinuz-6.1", "initrd.img-6.1"):
        shutil.copy(linux / name, disk.parent)
    return disk


@pytest.fixture
def loader(solver: Path) -> Path:
    """OSv's own kernel beside them: an ELF file with its note."""
    note = struct.pack("<III", 4, 4, 6) + b"Xen\0osv\0"
    head = b"\x7fELF\x02\x01" + bytes(26) + struct.pack("<Q", 64) + bytes(14) + struct.pack("<HH", 56, 1) + bytes(6)
    table = struct.pack("<IIQQQQQQ", 4, 0, 120, 0, 0, len(note), len(note), 4)
    path = solver.with_name("loader.elf")
    path.write_bytes(head + table + note)
    return path


def boot_of(images: Path, name: str) -> tuple[bool, bool]:
    """Tell whether the stored image has a kernel, and an initrd."""
    record = store.newest(images)[name]
    return record.kernel is not None, record.initrd is not None


def test_neighbours_are_for_linux(run: Run, solver: Path, images: Path, site: Path) -> None:
    (solver.parent / "vmlinuz-6.2").touch()  # nor is one of two chosen
    result = run("add", "solver", solver, "--revision", "1")
    assert result.exit_code == 0, result.output
    assert boot_of(images, "solver") == (False, False)
    assert "guest: osv\n" in (site / "images/solver@1.yaml").read_text()
    result = run("update", "solver", solver)
    assert "error[VT0521]: `solver:1` is this disk already" in result.output


def test_the_kernel_of_osv_may_be_named(run: Run, solver: Path, loader: Path, images: Path, site: Path) -> None:
    """Beside a disk with the mark, and one without it, whose neighbours are not taken either."""
    unmarked = solver.with_name("unmarked.raw")
    unmarked.write_bytes(bytes(2**20))
    for name, disk in (("marked", solver), ("unmarked", unmarked)):
        result = run("add", name, disk, "--kernel", loader, "--revision", "1")
        assert result.exit_code == 0, result.output
        assert boot_of(images, name) == (True, False)
        assert "osv:\n  boot: kernel\n" in (site / f"images/{name}@1.yaml").read_text()


@pytest.mark.parametrize("words", [(), ("--cmdline", CMDLINE), ("--capstan", ".")])
@pytest.mark.parametrize("files", [("kernel",), ("initrd",), ("kernel", "initrd")])
def test_what_contradicts_the_disk_is_told(
    run: Run, solver: Path, images: Path, site: Path, files: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (solver.parent / "meta").mkdir()
    (solver.parent / "meta/package.yaml").write_text("name: solver\ntitle: A solver\nauthor: Mike\n")
    names = {"kernel": solver.with_name("vmlinuz-6.1"), "initrd": solver.with_name("initrd.img-6.1")}
    named = [word for file in files for word in (f"--{file}", names[file])]
    result = run("add", "solver", solver, *named, *(solver.parent if word == "." else word for word in words))
    assert result.exit_code == 1, result.output
    assert f"error[VT0522]: {solver} is OSv's, and {names[files[0]]} is for Linux" in result.output
    assert (stored(images), entries(site)) == ([], [])


def test_another_kernel_is_no_update(run: Run, solver: Path, site: Path) -> None:
    add(run, "rocky-9", solver.parents[1] / "rocky/disk.qcow2")
    result = run("update", "rocky-9", solver, "--kernel", solver.with_name("vmlinuz-6.1"))
    assert "error[VT0522]: " in result.output
    assert entries(site) == ["rocky-9@1.yaml"]


@pytest.mark.parametrize(
    ("disk", "words", "told"),
    [
        ("solver", ("--cmdline", CMDLINE), "which takes no command line of the image"),
        ("rocky", ("--cmdline", CMDLINE, "--set", "osv.rootfs=zfs"), "is no disk of OSv"),
        ("rocky", ("--cmdline", CMDLINE, "--capstan", "."), "is no disk of OSv"),
    ],
)
def test_words_of_another_guest_are_told_of_the_file(
    run: Run, solver: Path, images: Path, disk: str, words: tuple[str, ...], told: str
) -> None:
    """Not of an entry that nobody wrote."""
    home = solver.parents[1] / disk
    (home / "meta").mkdir()
    (home / "meta/package.yaml").write_text("name: solver\ntitle: A solver\nauthor: Mike\n")
    file = solver if disk == "solver" else home / "disk.qcow2"
    result = run("add", "x", file, *(home if word == "." else word for word in words))
    assert f"error[VT0522]: {file}" in result.output
    assert told in result.output
    assert stored(images) == []


def test_an_entry_of_another_guest_is_found(run: Run, solver: Path, site: Path, images: Path) -> None:
    """Also of a disk in the store."""
    assert run("add", "solver", solver, "--revision", "1").exit_code == 0
    add(run, "rocky-9", solver.parents[1] / "rocky/disk.qcow2")
    check = ["site", "check", "--images", str(site)]
    assert "VT0522" not in CliRunner().invoke(group, check, standalone_mode=False).output
    osv, linux = site / "images/solver@1.yaml", site / "images/rocky-9@1.yaml"
    osv.write_text(
        osv.read_text().replace("guest: osv", "guest: linux").replace("osv:\n  boot: disk", "cmdline: quiet")
    )
    words = ("guest: linux", "guest: osv"), (f"cmdline: {CMDLINE}", "osv: {boot: disk}")
    for old, new in words:
        linux.write_text(linux.read_text().replace(old, new))
    output = CliRunner().invoke(group, check, standalone_mode=False).output
    assert f"{osv}:4:8: error[VT0522]: {images}/solver@" in output
    assert "root.raw has OSv's boot loader, and the guest is linux" in output
    assert f"{linux}:4:8: error[VT0522]: {images}/rocky-9@" in output
    assert "root.qcow2 lacks OSv's boot loader, and the guest is osv" in output
