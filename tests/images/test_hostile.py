"""Files that are made to hurt who takes them in, and users who wait beside the store."""

import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.images.helpers import CMDLINE, Run, stored
from tests.images.test_accounts import FOUND, as_qcow2, file_system
from tests.security.users import User
from vtorque_runtime.images import accounts, adding, store
from vtorque_runtime.images.accounts import read_accounts
from vtorque_runtime.images.adding import Source
from vtorque_runtime.images.inspect import Inspected, inspect, open_file
from vtorque_runtime.images.prefetch import copy
from vtorque_spec.fault import Fault
from vtorque_spec.plan import ImageFiles

MIB = 2**20
CLUSTER_BYTES = 2 * MIB
EXPANDED_BYTES = 64 * 1024 * MIB


def bomb(path: Path, content: bytes, entry: int) -> Path:
    """A qcow2 file of 12 MiB whose disk of 64 GiB is one cluster, again and again; `entry` but for its place."""
    clusters = EXPANDED_BYTES // CLUSTER_BYTES
    table, data = 4 * CLUSTER_BYTES, 5 * CLUSTER_BYTES
    places = (3 * CLUSTER_BYTES, CLUSTER_BYTES)
    numbers = (3, 0, 0, 21, EXPANDED_BYTES, 0, 1, *places, 1, 0, 0, 0, 0, 0, 4, 104)
    parts = {
        0: struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", *numbers),
        CLUSTER_BYTES: struct.pack(">Q", 2 * CLUSTER_BYTES),
        3 * CLUSTER_BYTES: struct.pack(">Q", table | 1 << 63),
        table: struct.pack(">Q", data | entry) * clusters,
        data: content.ljust(CLUSTER_BYTES, b"\0"),
    }
    with path.open("wb") as file:
        for at, part in parts.items():
            file.seek(at)
            file.write(part)
    return path


def same(path: Path) -> Path:
    return bomb(path, b"x" * CLUSTER_BYTES, 1 << 63)


def compressed(path: Path) -> Path:
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    content = packer.compress(b"x" * CLUSTER_BYTES) + packer.flush()
    return bomb(path, content, 1 << 62 | len(content) // 512 << 62 - (21 - 8))


@pytest.mark.parametrize("make", [same, compressed])
def test_a_small_disk_that_expands_is_not_expanded(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a disk that QEMU reads, so that what it holds is bounded by the room alone."""
    disk = make(tmp_path / "disk.qcow2")
    descriptor = open_file(disk)
    found = inspect(descriptor, "qcow2", str(disk))
    os.close(descriptor)
    assert found.disk_bytes == EXPANDED_BYTES
    free = os.statvfs(tmp_path)
    monkeypatch.setattr(accounts, "_RESERVE_BYTES", free.f_bavail * free.f_frsize - 1024 * MIB)
    monkeypatch.setattr(accounts, "_convert", lambda *_: pytest.fail("it was expanded"))
    assert read_accounts(disk, found) is None


def test_an_honest_disk_is_read_where_there_is_room_for_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk.raw").write_bytes(file_system(tmp_path))
    disk = as_qcow2(tmp_path / "disk.raw")
    subprocess.run(["qemu-img", "resize", "-q", disk, "64G"], check=True)
    free = os.statvfs(tmp_path)
    monkeypatch.setattr(accounts, "_RESERVE_BYTES", free.f_bavail * free.f_frsize - 1024 * MIB)
    assert read_accounts(disk, Inspected("qcow2", EXPANDED_BYTES, osv=False)) == FOUND


@pytest.fixture
def scattered(tmp_path: Path) -> Path:
    """A file of 512 MiB with 512 bytes in each 4 MiB."""
    path = tmp_path / "scattered.raw"
    with path.open("wb") as file:
        for at in range(0, 512 * MIB, 4 * MIB):
            file.seek(at)
            file.write(b"x" * 512)
        file.truncate(512 * MIB)
    return path


def used(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_what_is_taken_in_takes_no_more_room_than_it_did(scattered: Path, tmp_path: Path) -> None:
    (tmp_path / "store/new").mkdir(parents=True)
    taken = adding._take(scattered, tmp_path / "store/new/root.raw", lambda *_: None)
    copied = tmp_path / "store/new/root.raw"
    assert used(copied) <= 2 * used(scattered)
    assert store._sha256(scattered) == taken.sha256 == store._sha256(copied)


def test_nor_does_the_nodes_copy(scattered: Path, tmp_path: Path) -> None:
    """It has room set aside for its data, and must not take that of others."""
    image = ImageFiles("x", store._sha256(scattered), str(scattered), "raw", None, None)
    target = tmp_path / "copy.raw"
    target.touch(0o600)
    source = open_file(scattered)
    copy(source, image, target, lambda _done, _size: None)
    os.close(source)
    assert used(target) <= 2 * used(scattered)
    assert store._sha256(target) == image.sha256


def test_a_file_that_grows_as_fast_as_it_is_read(run: Run, made: Callable[..., Path], tmp_path: Path) -> None:
    disk, target = made("rocky"), tmp_path / "taken/new/root.qcow2"
    target.parent.mkdir(parents=True)
    whole = disk.stat().st_size

    def grow(_name: str, done: int, _size: int) -> None:
        assert done <= whole, "it is read for ever"
        os.truncate(disk, disk.stat().st_size + 8 * MIB)

    with pytest.raises(Fault, match=r"VT0520: .* was changed while it was read"):
        adding._take(disk, target, grow)


@pytest.fixture
def linux(tmp_path: Path) -> Source:
    """A Linux image on a raw disk, with many groups."""
    groups = "".join(f"g{number}:x:{number}:\n" for number in range(60_000))
    home = tmp_path / "crowded"
    (home / "root/etc").mkdir(parents=True)
    (home / "root/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (home / "root/etc/group").write_text(groups)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", home / "root", home / "disk.raw", "16M"], check=True)
    (home / "vmlinuz").write_bytes(bytes(0x202) + b"HdrS" + bytes(512))
    (home / "initrd").write_bytes(b"initrd")
    return Source("crowded", home / "disk.raw", "raw", home / "vmlinuz", home / "initrd")


def test_a_record_that_could_not_be_read_again_is_not_written(linux: Source, images: Path) -> None:
    """One of them would close the whole store, for all images and for jobs."""
    with (
        pytest.raises(Fault, match="VT0520: the image `crowded` has so many accounts"),
        adding.staged(images, linux, created=1, progress=lambda *_: None) as staged,
    ):
        staged.publish()
    assert (stored(images), store.records(images)) == ([], ())


@pytest.mark.root
def test_accounts_are_read_whatever_the_umask_is(linux: Source, images: Path) -> None:
    """Nobody's process reads them."""
    before = os.umask(0o077)
    try:
        with adding.staged(images, linux, created=1, progress=lambda *_: None) as staged:
            assert staged.record.accounts is not None
    finally:
        os.umask(before)


def test_an_initrd_that_would_fill_the_memory_of_root(linux: Source, images: Path) -> None:
    assert linux.initrd is not None
    os.truncate(linux.initrd, 2**40)
    with (
        pytest.raises(Fault, match=r"VT0522: .*vmlinuz and its initrd have 1048577 MiB"),
        adding.staged(images, linux, created=1, progress=lambda *_: None),
    ):
        pytest.fail("it was taken")


@pytest.fixture
def open_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where users can look, as they can into /etc and /var/lib."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        Path(made).chmod(0o755)
        monkeypatch.setattr(store, "SYSTEM_STORE", Path(made) / "store")
        yield Path(made)


@pytest.mark.root
def test_a_store_that_is_closed_to_users_is_told(open_directory: Path) -> None:
    """As docs/security.md has it for QEMU's locks, which anybody who can open an image can hold."""
    open_directory.chmod(0o750)
    user = User.make()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
        try:
            store.records(open_directory)
        except Fault as fault:
            os._exit(fault.code == "VT0503" and "you may not look into" in fault.message)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


LOCK_ALL = """
import fcntl, os, sys, time
held = []
for top in sys.argv[1:]:
    for home, _, files in os.walk(top):
        for path in (home, *(os.path.join(home, name) for name in files)):
            try:
                held.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass
print(len(held), flush=True)
time.sleep(600)
"""


@pytest.mark.root
def test_a_user_who_locks_all_that_they_can_open_stops_nobody(
    run: Run, made: Callable[..., Path], open_directory: Path, site: Path
) -> None:
    (site / "images").rename(open_directory / "images")
    (site / "images").symlink_to(open_directory / "images")
    disks = [str(made(name)) for name in ("first", "second")]

    def add(name: str, disk: str) -> list[str]:
        words = ["image", "add", name, disk, "--cmdline", CMDLINE, "--site", str(site)]
        start = "import sys; from pathlib import Path; from vtorque_runtime.images import store;"
        start += f" store.SYSTEM_STORE = Path({str(open_directory / 'store')!r});"
        return [sys.executable, "-c", f"{start} from vtorque_spec.cli import main; sys.exit(main())", *words]

    subprocess.run(add("first", disks[0]), check=True, capture_output=True)
    with User.make().start(LOCK_ALL, open_directory) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 3
        try:
            subprocess.run(add("second", disks[1]), check=True, capture_output=True, timeout=60)
        finally:
            process.kill()
    assert stored(open_directory / "store") == ["first", "second"]
