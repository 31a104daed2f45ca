"""`vtorque image add`: the files go into the store, their entry into the catalogue."""

import io
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.images.helpers import CMDLINE, Run, add, entries, stored
from vtorque_runtime.images import adding, store
from vtorque_runtime.images.adding import Source
from vtorque_runtime.images.inspect import GuestKind, Inspected
from vtorque_runtime.images.provenance import Provenance
from vtorque_spec.cli import group, progress
from vtorque_spec.cli.progress import file_bars
from vtorque_spec.diagnostics import Report
from vtorque_spec.fault import Fault
from vtorque_spec.site import load_site


def test_an_added_image_is_in_the_store_and_in_the_catalogue(
    run: Run, made: Callable[..., Path], images: Path, site: Path
) -> None:
    digest = add(run, "rocky-9", made("rocky"), "--set", "distro=rocky-9", "--set", "tags=[cfd, mpi]")
    record = store.newest(images)["rocky-9"]
    store.verify(record.files(images))
    assert (record.disk_format, record.provenance) == ("qcow2", None)
    assert (site / "images/rocky-9@1.yaml").read_text() == (
        f"name: rocky-9\nrevision: '1'\ndescription: rocky-9\nguest: linux\ndistro: rocky-9\narch: x86_64\n"
        f"tags: [cfd, mpi]\nsha256: {digest}\nmin_memory: 256MiB\nmin_disk: 64MiB\n"
        f"cmdline: {CMDLINE}\n"
    )
    found = load_site(site, Report())
    assert found is not None
    assert found.images["rocky-9"].sha256 == digest


def test_an_osv_image_is_known_by_its_disk(run: Run, made: Callable[..., Path], images: Path, site: Path) -> None:
    disk = made("solver", osv=True)
    result = run("add", "solver", disk, "--revision", "a", "--set", "osv.rootfs=rofs")
    assert result.exit_code == 0, result.output
    record = store.newest(images)["solver"]
    assert (record.kernel, record.initrd, record.disk_format) == (None, None, "raw")
    text = (site / "images/solver@a.yaml").read_text()
    assert "guest: osv\n" in text
    assert "format: raw\n" in text
    assert "osv:\n  rootfs: rofs\n  boot: disk\n" in text


def test_the_same_disk_again_is_for_this_machine_alone(
    run: Run, made: Callable[..., Path], images: Path, site: Path
) -> None:
    """The catalogue comes to a node with the site's files, the disk by `image add`."""
    disk = made("rocky")
    add(run, "rocky-9", disk)
    shutil.rmtree(images)
    before = (site / "images/rocky-9@1.yaml").read_text()
    result = run("add", "rocky-9", disk)
    assert result.exit_code == 0, result.output
    assert "has this disk of `rocky-9` already" in result.output
    assert stored(images) == ["rocky-9"]
    assert (entries(site), (site / "images/rocky-9@1.yaml").read_text()) == (["rocky-9@1.yaml"], before)


def test_what_is_told_of_a_disk_that_the_catalogue_has_is_not_taken(
    run: Run, made: Callable[..., Path], site: Path
) -> None:
    """Which is said, unless the entry has it so already, as on the next node."""
    disk, words = made("rocky"), ("--set", "min_memory=1GiB", "--description", "Rocky")
    add(run, "rocky-9", disk, *words)
    before = (site / "images/rocky-9@1.yaml").read_text()
    again = run("add", "rocky-9", disk, "--cmdline", CMDLINE, "--revision", "1", *words, "--set", "min_memory=1024MiB")
    assert (again.exit_code, "not taken" in again.output) == (0, False), again.output
    other = run("add", "rocky-9", disk, "--cmdline", "quiet", *words, "--set", "state=deprecated", "--revision", "2")
    assert other.exit_code == 0, other.output
    assert (
        f"vtorque: {site}/images/rocky-9@1.yaml stays as it is, cmdline and state and revision not taken; "
        "to change it: vtorque image update rocky-9:1 --set MEMBER=VALUE\n"
    ) in other.output
    assert (site / "images/rocky-9@1.yaml").read_text() == before


def test_one_that_was_built_comes_into_the_catalogue(
    run: Run, made: Callable[..., Path], images: Path, site: Path
) -> None:
    with store.staging(images) as staging:
        shutil.copy(made("built"), staging / "root.qcow2")
        shutil.copy(made("x").with_name("vmlinuz-6.1"), staging / "vmlinuz")
        for name in ("initrd.img", "packages.txt", "contents.txt"):
            (staging / name).write_text(name)
        provenance = Provenance("", "", (), (), ())
        built = store.publish(staging, store.describe(staging, "tiny", created=1, provenance=provenance))
    assert run("add", "tiny", built.disk, "--cmdline", CMDLINE, "--revision", "1").exit_code == 0
    (record,) = store.records(images)
    assert (record.provenance, entries(site)) == (provenance, ["tiny@1.yaml"])


def test_holes_stay_holes(run: Run, tmp_path: Path, images: Path, made: Callable[..., Path]) -> None:
    disk = made("sparse", osv=True)
    os.truncate(disk, 200 * 2**20)
    assert run("add", "sparse", disk).exit_code == 0
    record = store.newest(images)["sparse"]
    found = (images / record.directory / record.disk.file).stat()
    assert found.st_size == 200 * 2**20
    assert found.st_blocks * 512 < 20 * 2**20


@pytest.mark.parametrize(
    ("break_it", "words", "code", "told"),
    [
        (lambda disk: disk.unlink(), (), "VT0536", "cannot be read: no such file"),
        (lambda disk: (disk.rename(disk.with_name("a")), disk.symlink_to("a")), (), "VT0536", "is a symbolic link"),
        (lambda disk: (disk.unlink(), os.mkfifo(disk)), (), "VT0536", "is not a plain file"),
        (lambda disk: None, ("--disk-format", "raw"), "VT0530", "is qcow2"),
        (lambda disk: os.truncate(disk, 70_000), (), "VT05", ""),
        (lambda disk: (disk.parent / "vmlinuz-6.1").unlink(), (), "VT0522", "there is none beside"),
        (lambda disk: (disk.parent / "initrd.img-6.1").unlink(), (), "VT0522", "there is no initrd for"),
        (lambda disk: (disk.parent / "vmlinuz-6.1").write_bytes(b"x" * 9000), (), "VT0522", "is no kernel"),
        (lambda disk: (disk.parent / "vmlinuz-5.9").write_bytes(b"x"), (), "VT0522", "vmlinuz-5.9, vmlinuz-6.1 are"),
        (lambda disk: None, ("--cmdline", ""), "VT0522", "needs a kernel command line"),
        (lambda disk: None, ("--set", "min_memory=4"), "VT0701", "`min_memory`: `4` has no unit"),
    ],
    ids=["no-file", "link", "pipe", "format", "cut-off", "no-kernel", "no-initrd", "bad-kernel", "two-kernels",
         "no-cmdline", "no-unit"],
)  # fmt: skip
def test_a_defect_is_a_finding_and_leaves_nothing(
    run: Run, made: Callable[..., Path], images: Path, site: Path,
    break_it: Callable[[Path], object], words: tuple[str, ...], code: str, told: str,
) -> None:  # fmt: skip
    disk = made("rocky")
    break_it(disk)
    result = run("add", "rocky-9", disk, "--cmdline", CMDLINE, *words)
    assert result.exit_code == 1, result.output
    assert f"error[{code}" in result.output
    assert told in result.output
    assert "help: " in result.output
    assert (stored(images), entries(site)) == ([], [])


def test_what_is_swapped_after_the_first_look_is_inspected_too(
    run: Run, made: Callable[..., Path], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner may be somebody who would read root's files."""
    disk, evil = made("rocky"), tmp_path / "evil.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "/etc/shadow", "-F", "raw", evil, "1M"], check=True
    )
    first_look = adding.examine

    def swapped_then(source: Source) -> tuple[Inspected, GuestKind]:
        found = first_look(source)
        if source.disk == disk:
            evil.replace(disk)
        return found

    monkeypatch.setattr(adding, "examine", swapped_then)
    result = run("add", "rocky-9", disk, "--cmdline", CMDLINE)
    assert "error[VT0531]" in result.output
    assert stored(images) == []


def test_another_disk_of_a_name_is_an_update(run: Run, made: Callable[..., Path], images: Path, site: Path) -> None:
    add(run, "rocky-9", made("rocky"))
    result = run("add", "rocky-9", made("rocky-two"), "--cmdline", CMDLINE)
    assert "error[VT0521]: the catalogue has the image `rocky-9`, with another disk" in result.output
    assert (stored(images), entries(site)) == (["rocky-9"], ["rocky-9@1.yaml"])


def test_nothing_is_made_where_no_site_is(images: Path, made: Callable[..., Path], tmp_path: Path) -> None:
    (empty := tmp_path / "empty").mkdir()
    words = ["image", "add", "rocky-9", str(made("rocky")), "--cmdline", CMDLINE, "--site", str(empty)]
    result = CliRunner().invoke(group, words)
    assert (result.exit_code, list(empty.iterdir())) == (1, [])
    assert "has no site.yaml" in result.output


def test_a_disk_with_another_kernel_is_refused(run: Run, made: Callable[..., Path], images: Path, site: Path) -> None:
    disk = made("rocky")
    add(run, "rocky-9", disk)
    (disk.parent / "initrd.img-6.1").write_bytes(b"another")
    result = run("add", "rocky-9", disk, "--cmdline", CMDLINE)
    assert "error[VT0521]" in result.output
    assert stored(images) == ["rocky-9"]


def test_the_built_in_catalogue_is_not_changed(images: Path, made: Callable[..., Path]) -> None:
    from vtorque_spec.site import builtin

    arguments = ["image", "add", "x", str(made("x")), "--site", str(builtin())]
    result = CliRunner().invoke(group, arguments, standalone_mode=False)
    assert isinstance(result.exception, Fault)
    assert (result.exception.code, stored(images)) == ("VT0525", [])


def test_a_store_that_cannot_be_written_to_is_told(
    run: Run, made: Callable[..., Path], tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(store, "SYSTEM_STORE", tmp_path / "file/store")
    result = run("add", "rocky-9", made("rocky"), "--cmdline", CMDLINE)
    assert f"error[VT0527]: cannot write to {tmp_path}/file/store: not a directory" in result.output
    assert entries(site) == []


def test_bars_are_for_terminals(
    run: Run, made: Callable[..., Path], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = made("rocky")
    digest = add(run, "rocky-9", disk)
    shutil.rmtree(images)
    lines = run("add", "rocky-9", disk).output
    assert "\x1b" not in lines
    assert lines.splitlines()[-1] == f"rocky-9 sha256:{digest}"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with file_bars() as show:
        show("disk.qcow2", 5_000_000, 10_000_000)
    assert "disk.qcow2" in terminal.getvalue()
    assert "5.0/10.0 MB" in terminal.getvalue()


def test_a_large_file_is_told_of_where_there_is_no_bar(
    run: Run, made: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with file_bars() as show:
        for done in (4 * 2**20, 8 * 2**20):
            show("large.raw", done, 9 * 2**40)
            show("small.raw", done, 8 * 2**20)
    assert capsys.readouterr().err == "vtorque: reads large.raw, 9216 GiB: a second or so for each\n"
    monkeypatch.setattr(progress, "LARGE_BYTES", 2**16)
    lines = run("add", "rocky-9", made("rocky"), "--cmdline", CMDLINE).output.splitlines()
    words = [line.removeprefix("vtorque: reads ") for line in lines[:2]]
    assert words == [f"{what}disk.qcow2, 1 GiB: a second or so for each" for what in ("", "accounts in ")]


def test_a_full_disk_is_told_before_it_is_full(
    run: Run, made: Callable[..., Path], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "_RESERVE_BYTES", 2**60)
    result = run("add", "rocky-9", made("rocky"), "--cmdline", CMDLINE)
    assert "error[VT0520]: no room for" in result.output
    assert f"it needs 1 MiB, {images} has 0 MiB to give" in result.output
    assert stored(images) == []


def test_a_capstan_package_is_added_with_its_config_sets(
    run: Run, made: Callable[..., Path], tmp_path: Path, site: Path
) -> None:
    home = made("solver", osv=True).parent
    (home / "disk.img").rename(home / "solver.qemu")
    (home / "meta").mkdir()
    (home / "meta/package.yaml").write_text("name: solver\ntitle: A solver\nauthor: Mike\n")
    (home / "meta/run.yaml").write_text("runtime: native\nconfig_set:\n  a: {bootcmd: /a}\n  b: {bootcmd: /b}\n")
    result = run("add", "solver", "--capstan", home, "--revision", "1", "--set", "osv.rootfs=zfs")
    assert result.exit_code == 0, result.output
    found = load_site(site, Report())
    assert found is not None
    image = found.images["solver"]
    assert (image.description, image.guest, image.osv and image.osv.boot) == ("A solver", "osv", "disk")
    assert image.osv is not None
    assert (image.osv.config_sets, image.osv.rootfs) == (("a", "b"), "zfs")
    (home / "meta/package.yaml").write_text("name: solver\n")
    assert "error[VT0524]: " in run("add", "other", "--capstan", home).output
