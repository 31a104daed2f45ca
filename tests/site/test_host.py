"""What site check looks at on the machine: owners, modes, and the digests of disks."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.site.helpers import SHA256, found, site
from vtorque_spec.cli.site_images import check_disks
from vtorque_spec.diagnostics import Report
from vtorque_spec.site import host, read_files

DISK = b"disk" * 3_000_000
"""Longer than what is read at once."""


@pytest.fixture
def as_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests stands for root, as far as owners go."""
    real = host._changeable

    def changeable(status: os.stat_result) -> str | None:
        owner = 0 if status.st_uid == os.getuid() else status.st_uid
        return real(os.stat_result((status.st_mode, 0, 0, 1, owner, 0, status.st_size, 0, 0, 0)))

    monkeypatch.setattr(host, "_changeable", changeable)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk that only its owner can change."""
    path = tmp_path / "images" / "debian-12.qcow2"
    path.parent.mkdir(mode=0o755)
    path.write_bytes(DISK)
    path.chmod(0o644)
    return path


def images(root: Path, seen: list[tuple[str, int, int]] | None = None) -> list[tuple[str, str]]:
    """Return the codes and messages of `--images`."""
    report = Report()
    files = read_files(root, report)
    assert files is not None, report.items
    host.check_image_files(files, lambda *step: seen.append(step) if seen is not None else None, report)
    assert all(item.span and item.span.line == 9 for item in report.items)
    return [(item.id, item.message) for item in report.sorted()]


def with_disk(tmp_path: Path, path: Path, sha256: str = "") -> Path:
    root = site(tmp_path, file="images/debian-12.yaml", new=f"path: {path}\n")
    image = root / "images/debian-12.yaml"
    image.write_text(image.read_text().replace(SHA256, sha256 or hashlib.sha256(DISK).hexdigest()))
    return root


@pytest.mark.usefixtures("as_roots")
def test_a_good_disk(tmp_path: Path, disk: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    assert images(with_disk(tmp_path, disk), seen) == []
    assert len(seen) > 1
    assert seen[-1] == ("debian-12", len(DISK), len(DISK))


@pytest.mark.usefixtures("as_roots")
def test_a_disk_of_another_digest(tmp_path: Path, disk: Path) -> None:
    digest = hashlib.sha256(DISK).hexdigest()
    assert images(with_disk(tmp_path, disk, SHA256)) == [("VT0748", f"{disk} has the digest {digest}")]


@pytest.mark.usefixtures("as_roots")
def test_a_disk_that_others_can_write(tmp_path: Path, disk: Path) -> None:
    root = with_disk(tmp_path, disk)
    disk.chmod(0o664)
    assert images(root) == [("VT0747", f"whoever changes {disk} changes the image: it can be written by others")]


@pytest.mark.usefixtures("as_roots")
def test_a_directory_on_the_way_that_others_can_write(tmp_path: Path, disk: Path) -> None:
    root = with_disk(tmp_path, disk)
    disk.parent.chmod(0o777)
    assert images(root) == [("VT0747", f"whoever changes {disk.parent} changes the image: it can be written by others")]
    disk.parent.chmod(0o1777)  # like /tmp: nobody can rename what is another's
    assert images(root) == []


@pytest.mark.usefixtures("as_roots")
def test_a_link_leads_to_a_disk_whose_directory_counts(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "link.qcow2").symlink_to(disk)
    root = with_disk(tmp_path, tmp_path / "link.qcow2")
    assert images(root) == []
    disk.parent.chmod(0o777)
    assert [code for code, _ in images(root)] == ["VT0747"]


def test_a_disk_of_an_ordinary_user(tmp_path: Path, disk: Path) -> None:
    root = with_disk(tmp_path, disk)
    if os.getuid() == 0:
        os.chown(disk, 12345, -1)
    uid = disk.stat().st_uid
    assert ("VT0747", f"whoever changes {disk} changes the image: it belongs to the uid {uid}") in images(root)


@pytest.mark.parametrize("kind", ["missing", "directory", "pipe"])
def test_a_disk_that_is_none(kind: str, tmp_path: Path) -> None:
    """A pipe is not waited for."""
    path = tmp_path / "disk"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    why = {
        "missing": f"cannot read {path}: no such file or directory",
        "directory": f"cannot read {path}: is a directory",
        "pipe": f"{path} is not a plain file",
    }
    assert images(with_disk(tmp_path, path)) == [("VT0746", why[kind])]


@pytest.mark.usefixtures("as_roots")
def test_a_disk_that_no_guest_can_have(tmp_path: Path, disk: Path) -> None:
    """It has the digest that the catalogue says, and so is the site's own fault."""
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", disk, "4M"], check=True
    )
    root, report = with_disk(tmp_path, disk, hashlib.sha256(disk.read_bytes()).hexdigest()), Report()
    files = read_files(root, report)
    assert files is not None
    check_disks(files, report)
    (found,) = report.sorted()
    assert (found.id, found.message) == ("VT0531", f"{disk} leads to another file: it has a backing file")
    assert found.span is not None
    assert found.span.line == 9


OSV = "guest: osv\nosv: {{boot: {}}}\n"
LINUX = "guest: linux\ncmdline: console=ttyS0\n"


@pytest.mark.usefixtures("as_roots")
@pytest.mark.parametrize(
    ("guest", "mark", "told"),
    [
        (OSV.format("disk"), b"", "lacks OSv's boot loader, and the guest is osv"),
        (OSV.format("kernel"), b"", None),
        (OSV.format("disk"), b"VSO", None),
        (OSV.format("kernel"), b"VSO", None),
        (LINUX, b"VSO", "has OSv's boot loader, and the guest is linux"),
        (LINUX, b"", None),
    ],
)
def test_the_disk_of_another_guest(tmp_path: Path, guest: str, mark: bytes, told: str | None) -> None:
    path = tmp_path / "images/disk.raw"
    path.parent.mkdir(mode=0o755)
    path.write_bytes((bytes(0x1B8) + mark).ljust(2**20, b"\0"))
    path.chmod(0o644)
    root, report = site(tmp_path), Report()
    (root / "images/debian-12.yaml").write_text(
        f"name: debian-12\ndescription: x\narch: x86_64\nmin_memory: 1GiB\nmin_disk: 1GiB\nformat: raw\n"
        f"sha256: {hashlib.sha256(path.read_bytes()).hexdigest()}\npath: {path}\n{guest}"
    )
    files = read_files(root, report)
    assert files is not None, report.items
    check_disks(files, report)
    shown = [(item.id, item.message, item.span and item.span.line) for item in report.sorted()]
    assert shown == ([("VT0522", f"{path} {told}", 9)] if told else [])


def test_without_the_inspectors_it_is_said_what_to_install(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, report = with_disk(tmp_path, disk), Report()
    files = read_files(root, report)
    assert files is not None
    monkeypatch.setitem(sys.modules, "oslo_utils.imageutils", None)
    check_disks(files, report)
    (found,) = [item for item in report.sorted() if item.id != "VT0747"]
    assert (found.id, found.help) == ("VT0905", "pip install 'vtorque[runtime]'")


@pytest.mark.usefixtures("as_roots")
def test_the_site_that_root_goes_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = site(tmp_path)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (root / "site.yaml").chmod(0o666)
    (root / "images").chmod(0o775)
    (root / "README").symlink_to("/etc/hostname")
    assert found(root) == []  # any other directory is its owner's affair
    monkeypatch.setattr(host, "SYSTEM", root)
    assert found(root) == [
        ("VT0745", f"{root}/README is a symbolic link"),
        ("VT0745", f"{root}/images can be written by others"),
        ("VT0745", f"{root}/site.yaml can be written by others"),
    ]
    hints = dict(host.changeable(root))
    assert hints[f"{root}/README is a symbolic link"] == "put the file itself in its place"
    assert f"chown -R root: {root} && chmod -R go-w {root}" in hints[f"{root}/images can be written by others"]


def test_a_site_of_an_ordinary_user_s_is_not_root_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = site(tmp_path)
    (root / "site.yaml").chmod(0o644)
    if os.getuid() == 0:
        os.chown(root / "site.yaml", 12345, -1)
    monkeypatch.setattr(host, "SYSTEM", root)
    uid = (root / "site.yaml").stat().st_uid
    assert ("VT0745", f"{root}/site.yaml belongs to the uid {uid}") in found(root)
