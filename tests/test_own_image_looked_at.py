"""A user's own image is looked at where its job is compiled, by its owner: what the node would refuse is told there."""

import json
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.runtime.bad_disks import MIB, backed, cut, qcow2
from tests.spec.helpers import ROOT
from vtorque_runtime.confine import call_as
from vtorque_runtime.images import inspect, opened, own
from vtorque_spec.cli import compile as compile_command
from vtorque_spec.cli import group, lint, plan, submit
from vtorque_spec.node import load_everything

LOADED = (compile_command, lint, plan, submit)
"""Here, because a child that is the owner may not be able to read this program."""
LOCAL = str(ROOT / "schemas/local")
JOB = """\
apiVersion: vtorque/v1
name: x
image:
  name: mine
  disk: d.qcow2
  kernel: vmlinuz
  initrd: initrd
  cmdline: root=/dev/vda
root_disk: {size: 64MiB}
run: hostname
"""
PLACES = {"disk": "5:9", "kernel": "6:11", "initrd": "7:11", "root_disk": "9:19"}


@pytest.fixture
def home() -> Iterator[Path]:
    """The owner's directory, with a job and its image; pytest's own ones are closed to others."""
    load_everything()
    inspect._inspectors()
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    qcow2(path / "d.qcow2")
    (path / "vmlinuz").write_bytes(b"\0" * 0x202 + b"HdrS" + b"\0" * 100)
    (path / "initrd").write_bytes(b"an initrd")
    (path / "job.vjob.yaml").write_text(JOB)
    for file in path.iterdir():
        file.chmod(0o644)
    yield path
    shutil.rmtree(path)


def owner() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def invoked(home: Path, command: str, *options: str) -> tuple[int, str, str]:
    """The exit code of a command, what it printed, and its findings."""
    arguments = [command, "--site", LOCAL, *options, str(home / "job.vjob.yaml")]
    done = CliRunner().invoke(group, arguments, standalone_mode=False, catch_exceptions=False)
    return done.return_value or 0, done.stdout, done.stdout if command == "lint" else done.stderr


def by_owner(home: Path, command: str, *options: str) -> tuple[int, str, str]:
    """The same, done by the owner of the files, who is not root."""
    me = owner()
    for path in (home, *home.iterdir()):
        os.chown(path, me.pw_uid, me.pw_gid, follow_symlinks=False)

    def child() -> bytes:
        return json.dumps(invoked(home, command, *options)).encode()

    code, out, told = json.loads(call_as(me.pw_uid, me.pw_gid, (), child))
    return code, out, told


def spoil_all(home: Path) -> None:
    backed(home / "d.qcow2")
    (home / "vmlinuz").write_bytes(b"\x7fELF")
    (home / "initrd").chmod(0o664)


@pytest.mark.parametrize("command", ["compile", "submit", "plan", "lint"])
def test_all_at_once_each_in_its_place(home: Path, command: str) -> None:
    spoil_all(home)
    code, out, told = by_owner(home, command)
    assert code == 1
    found = {"disk": "VT0531", "kernel": "VT0557", "initrd": "VT0557"}
    for member, number in found.items():
        assert f"job.vjob.yaml:{PLACES[member]}: error[{number}]: {home}/" in told
    assert told.count("error[") == 3
    assert told.count("  help: ") == 3
    assert "hostname" not in out


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/shadow")


def larger(path: Path) -> None:
    path.unlink()
    qcow2(path, size=65 * MIB)
    path.chmod(0o644)


@pytest.mark.parametrize(
    ("spoil", "number", "place"),
    [
        (cut(-512), "VT0533", "disk"),
        (a_directory, "VT0536", "disk"),
        (a_link, "VT0536", "disk"),
        (lambda path: path.chmod(0), "VT0536", "disk"),
        (larger, "VT0505", "root_disk"),
    ],
    ids=["truncated", "directory", "link", "closed", "larger than the root disk"],
)
def test_a_bad_disk(home: Path, spoil: Callable[[Path], object], number: str, place: str) -> None:
    spoil(home / "d.qcow2")
    code, _, told = by_owner(home, "compile")
    assert code == 1
    assert f"job.vjob.yaml:{PLACES[place]}: error[{number}]: " in told
    assert told.count("error[") == 1


@pytest.mark.parametrize("command", ["compile", "lint"])
def test_what_is_not_there_is_a_warning(home: Path, command: str) -> None:
    for name in ("d.qcow2", "vmlinuz"):
        (home / name).unlink()
    (home / "initrd").write_bytes(b"")
    code, _, told = by_owner(home, command)
    assert code == 1
    assert f":{PLACES['disk']}: warning[VT0559]: {home}/d.qcow2 is not there" in told
    assert f":{PLACES['kernel']}: warning[VT0559]: {home}/vmlinuz is not there" in told
    assert f":{PLACES['initrd']}: error[VT0557]: " in told
    (home / "initrd").unlink()
    code, out, told = by_owner(home, command)
    assert (code, told.count("warning["), told.count("error[")) == (0, 3, 0)
    assert command == "lint" or out.startswith("#!/bin/")


def test_a_good_one_is_not_read_whole(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened.OpenFiles, "_digest", lambda *_: pytest.fail("it was read whole"))
    code, out, told = by_owner(home, "compile")
    assert (code, told) == (0, "")
    assert out.startswith("#!/bin/")


def test_without_the_inspectors_that_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_all(home)
    monkeypatch.setitem(sys.modules, "oslo_utils.imageutils", None)
    _, _, told = by_owner(home, "compile")
    assert f":{PLACES['disk']}: warning[VT0559]: {home}/d.qcow2 was not looked at: Python has no oslo_utils" in told
    assert "pip install 'vtorque[runtime]'" in told
    assert told.count("error[VT0557]") == 2


def never(*_: object) -> None:
    raise AssertionError("a file was opened")


def test_for_another_user_nothing_is_opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_all(home)
    monkeypatch.setattr(own, "open_file", never)
    code, _, told = by_owner(home, "compile", "--as", "alice", "--groups", "users")
    assert (code, told.count("VT0559"), told.count("error[")) == (0, 1, 0)
    assert f":{PLACES['disk']}: warning[VT0559]: the image `mine` was not looked at: its files are for alice" in told


@pytest.mark.parametrize("command", ["compile", "plan", "lint"])
def test_root_opens_nothing(home: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    spoil_all(home)
    monkeypatch.setattr(own, "open_file", never)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    code, _, told = invoked(home, command)
    assert (code, told.count("VT0559"), told.count("error[")) == (0, 1, 0)
    assert "the image `mine` was not looked at: root opens no file of a user's" in told
