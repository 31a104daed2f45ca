"""What guests share: found without a user's links, bound without set-uid and devices, and taken away without loss."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtorque_runtime import shares
from vtorque_runtime.shares import ShareUndo
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Filesystem, OfferedMount, shares_of

pytestmark = pytest.mark.root
USER, OTHER = 4242, 4343


@pytest.fixture
def srv() -> Iterator[Path]:
    """A directory that root alone changes, on a file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    path = Path(f"/srv/vtorque-test-{os.getpid()}")
    path.mkdir(mode=0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,mode=0755", "none", path], check=True)
    yield path
    subprocess.run(["umount", "--recursive", path], check=True)
    path.rmdir()


@pytest.fixture
def spool(srv: Path) -> Path:
    path = srv / "base/jobs/local-1"
    path.mkdir(parents=True)
    return path


def directory(path: Path, uid: int = 0, mode: int = 0o755) -> Path:
    path.mkdir()
    os.chown(path, uid, uid)
    path.chmod(mode)
    return path


def found(path: Path, uid: int = USER) -> tuple[int, int]:
    """The device and inode that are shared."""
    source = shares.find(str(path), uid)
    try:
        told = os.fstat(source.descriptor)
    finally:
        os.close(source.descriptor)
    return told.st_dev, told.st_ino


def same(path: Path) -> tuple[int, int]:
    return path.stat().st_dev, path.stat().st_ino


def test_a_home_is_found(srv: Path) -> None:
    home = directory(directory(srv / "home") / "alice", USER, 0o700)
    assert found(home) == same(home)


def test_links_of_roots_are_followed(srv: Path) -> None:
    real = directory(directory(srv / "export") / "home", USER)
    (srv / "up").symlink_to("export/../export")
    (srv / "home").symlink_to(srv / "up/home")
    assert found(srv / "home") == same(real)


def test_a_directory_of_the_users_where_all_may_write(srv: Path) -> None:
    own = directory(directory(srv / "scratch", mode=0o1777) / "alice", USER)
    assert found(own) == same(own)


def refused(path: Path | str, why: str) -> None:
    with pytest.raises(Fault, match=rf"VT0942.*{why}"):
        found(Path(path))


def test_what_a_user_put_in_the_way_is_refused(srv: Path) -> None:
    scratch = directory(srv / "scratch", mode=0o1777)
    directory(srv / "secret", OTHER, 0o700)
    (scratch / "alice").symlink_to(srv / "secret")
    os.chown(scratch / "alice", USER, USER, follow_symlinks=False)
    refused(scratch / "alice", "is a link in a directory where all may write")
    directory(scratch / "made-beforehand", OTHER)
    refused(scratch / "made-beforehand", "belongs to another user, the uid 4343")


def test_a_place_that_a_user_can_change_is_refused(srv: Path) -> None:
    directory(directory(srv / "alices", USER) / "inside", USER)
    refused(srv / "alices/inside", "alices belongs to the uid 4242")
    directory(directory(srv / "groups", mode=0o775) / "inside", USER)
    refused(srv / "groups/inside", "groups can be written by others")


def test_what_is_no_directory_is_refused(srv: Path) -> None:
    (srv / "file").write_text("x")
    refused(srv / "file", "not a directory")
    refused(srv / "nothing", f"{srv}/nothing: no such file")
    refused("/", "all of the node")
    (srv / "loop").symlink_to("loop")
    refused(srv / "loop", "too many links")


@contextlib.contextmanager
def bound(source: Path, spool: Path, *, read_only: bool = False) -> Iterator[Path]:
    path = Path(shares_of(str(spool))) / "mount0"
    opened = shares.find(str(source), USER)
    try:
        shares.bind(opened, path, read_only=read_only)
    finally:
        os.close(opened.descriptor)
    try:
        yield path
    finally:
        assert shares.unbind(spool, ShareUndo("share", "mount0")) == []


def test_a_bind_is_that_directory_whatever_comes_to_its_name(srv: Path, spool: Path) -> None:
    home = directory(srv / "alice", USER)
    (home / "file").write_text("kept")
    with bound(home, spool) as path:
        home.rename(srv / "moved")
        directory(srv / "alice", OTHER)
        assert (path / "file").read_text() == "kept"
        (path / "new").write_text("new")
    assert (srv / "moved/new").read_text() == "new"


def test_a_read_only_bind_is_not_written_and_what_is_mounted_keeps_its_options(srv: Path, spool: Path) -> None:
    home = directory(srv / "alice", USER)
    with bound(home, spool, read_only=True) as path, pytest.raises(OSError, match="Read-only"):
        (path / "x").touch()
    subprocess.run(["mount", "--bind", home, home], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro,noexec", home], check=True)
    with bound(home, spool) as path:
        flags = os.statvfs(path).f_flag
        assert flags & os.ST_RDONLY
        assert flags & os.ST_NOEXEC
        assert flags & os.ST_NOSUID
        assert flags & os.ST_NODEV


def test_set_uid_and_devices_do_nothing_in_a_bind(srv: Path, spool: Path) -> None:
    plain = directory(srv / "plain")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "none", plain], check=True)
    subprocess.run(["cp", "/usr/bin/id", plain / "id"], check=True)
    (plain / "id").chmod(0o4755)
    os.mknod(plain / "zero", 0o020666, os.makedev(1, 5))
    with bound(plain, spool) as path:
        path.parent.chmod(0o711)  # else the user does not come that far
        done = subprocess.run([path / "id", "-u"], capture_output=True, text=True, check=True, user=USER, group=USER)
        assert done.stdout == f"{USER}\n"
        with pytest.raises(PermissionError):
            (path / "zero").open("rb")


@pytest.mark.parametrize(("by_qemu", "mode"), [(False, 0o700), (True, 0o711)])
def test_the_way_to_a_bind_is_roots_unless_qemu_goes_it(srv: Path, spool: Path, by_qemu: bool, mode: int) -> None:
    path = Path(shares_of(str(spool))) / "mount0"
    for name in ("mount0", "mount1"):
        source = shares.find(str(directory(srv / name)), USER)
        shares.bind(source, path.with_name(name), read_only=True, by_qemu=by_qemu and name == "mount0")
        os.close(source.descriptor)
    assert path.parent.stat().st_mode & 0o777 == mode
    assert [shares.unbind(spool, ShareUndo("share", name)) for name in ("mount1", "mount0")] == [[], []]


def test_undoing_takes_nothing_of_the_users(srv: Path, spool: Path) -> None:
    """Never made, half made, made, twice, mounted over, in use; and where the mount stays the directory stays."""
    undo, home = ShareUndo("share", "mount0"), directory(srv / "alice", USER)
    (home / "file").write_text("kept")
    assert shares.unbind(spool, undo) == []
    path = Path(shares_of(str(spool))) / "mount0"
    path.mkdir(parents=True)
    assert shares.unbind(spool, undo) == []
    with bound(home, spool) as path:
        subprocess.run(["mount", "--bind", home, path], check=True)
        busy = os.open(path, os.O_RDONLY)
    os.close(busy)
    assert shares.unbind(spool, undo) == []
    assert not path.parent.exists()
    assert (home / "file").read_text() == "kept"
    path.mkdir(parents=True)
    (path / "someone's").touch()
    assert shares.unbind(spool, undo) == [f"mount {path}"]
    assert (path / "someone's").exists()


def test_what_is_mounted_below_later_is_neither_shared_nor_unmounted(srv: Path, spool: Path) -> None:
    """By an automounter, say: mounts of systemd's machines are shared ones (mount_namespaces(7))."""
    subprocess.run(["mount", "--make-shared", srv], check=True)
    own = directory(directory(srv / "data") / "own")
    with bound(srv / "data", spool) as path:
        subprocess.run(["mount", "-t", "tmpfs", "none", own], check=True)
        (own / "file").touch()
        assert list((path / "own").iterdir()) == []
    assert (own / "file").exists()


def test_a_bind_that_libvirt_would_not_see_is_refused(
    srv: Path, spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mountinfo").write_text("22 1 0:5 / /proc rw shared:1 - proc proc rw\n")
    monkeypatch.setattr(shares, "_INIT", tmp_path / "mountinfo")
    with pytest.raises(Fault, match=r"VT0914.*is not seen by the rest of the node"), bound(srv, spool):
        pass
    assert shares.unbind(spool, ShareUndo("share", "mount0")) == []


@pytest.mark.parametrize("name", ["", ".", "..", "../../x", "/etc"])
def test_undoing_stays_in_its_directory(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the name of a share"):
        shares.unbind(tmp_path / "base/jobs/x", ShareUndo("share", name))


@pytest.mark.parametrize(
    ("options", "read_only", "allow_suid", "why"),
    [
        ("nosuid,nodev", False, False, None),
        ("nodev", False, False, "without nosuid"),
        ("nosuid", False, False, "without nodev"),
        ("rw", False, False, "without nosuid and nodev"),
        ("rw", True, False, None),
        ("rw", False, True, None),
    ],
)
def test_who_may_write_to_what(
    srv: Path, spool: Path, options: str, read_only: bool, allow_suid: bool, why: str | None
) -> None:
    data = directory(srv / "data")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0755,{options}", "none", data], check=True)
    path = Path(shares_of(str(spool))) / "mount0"
    share = Filesystem("virtiofs", str(data), str(path), "mount0", "/data", read_only, ())
    offer = OfferedMount("data", "virtiofs", str(data), "/data", True, (), allow_suid)
    with contextlib.nullcontext() if why is None else pytest.raises(Fault, match=rf"VT0942.*{why}$") as caught:
        shares._share(share, offer, USER)
    if caught is not None:
        assert "nosuid,nodev" in str(caught.value.help)
    assert path.exists() == (why is None)
    assert shares.unbind(spool, ShareUndo("share", "mount0")) == []
