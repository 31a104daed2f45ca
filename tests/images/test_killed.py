"""`vtorque image add`, `update` and `remove`, killed at every step: what is there is whole, the next mends the rest."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import vtorque_runtime
from tests.test_invalid import INVALID
from vtorque_runtime.images import store
from vtorque_spec.cli import group
from vtorque_spec.diagnostics import Report
from vtorque_spec.site import load_site

CHANGES = ("open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir", "os.truncate", "tempfile.mkdtemp")
"""What Python tells an audit hook before it changes something (its manual, "Audit events table")."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a site, a store that is to come, and a disk with its kernel and initrd."""
    monkeypatch.setattr(store, "SYSTEM_STORE", tmp_path / "store")
    monkeypatch.setattr(vtorque_runtime, "SYSTEM_BASE", str(tmp_path / "base"))
    shutil.copytree(INVALID / "sites" / "plain", tmp_path / "site")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "disk.qcow2", "64M"], check=True)
    (tmp_path / "vmlinuz").write_bytes(bytes(0x202) + b"HdrS" + bytes(9000))
    (tmp_path / "initrd.img").write_bytes(b"initrd")
    return tmp_path


def image(world: Path, *words: str) -> int:
    result = CliRunner().invoke(group, ["image", *words, "--site", str(world / "site")], standalone_mode=False)
    return 1 if result.exception else 0


def add(world: Path) -> int:
    return image(world, "add", "x", str(world / "disk.qcow2"), "--revision", "1", "--cmdline", "root=LABEL=root")


def killed_at(step: int, world: Path, *words: str) -> bool:
    """Run a command in a child that is killed before its change number `step`; False when it has not so many."""
    child = os.fork()
    if child == 0:
        seen = 0
        places = (str(world / "store"), str(world / "site"))

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in CHANGES and any(str(one).startswith(places) for one in arguments[:2]):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        os._exit(add(world) if words == ("add",) else image(world, *words))
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


def state(world: Path) -> tuple[bool, bool]:
    """Whether the image is in the catalogue and in the store, each whole or not at all."""
    found = load_site(world / "site", Report())
    assert found is not None, "a half entry"
    there = store.records(world / "store")
    for record in there:
        store.verify(record.files(world / "store"))
    return "x" in found.images, bool(there)


def left_over(world: Path) -> list[str]:
    found = [*(world / "store").glob(".*"), *(world / "site/images").glob(".*")]
    return [path.name for path in found if path.name != ".lock"]


def test_an_add_that_is_killed_leaves_no_half_image(world: Path) -> None:
    step, seen = 1, set()
    while killed_at(step, world, "add"):
        catalogue, stored = state(world)
        seen.add((catalogue, stored))
        assert stored or not catalogue, f"step {step}: the catalogue has an image that is not there"
        assert add(world) == 0
        assert (state(world), left_over(world)) == ((True, True), [])
        assert image(world, "remove", "--force", "x") == 0
        assert (state(world), left_over(world)) == ((False, False), [])
        step += 1
    assert step > 20
    assert (False, False) in seen


def test_a_removal_that_is_killed_is_done_by_the_next(world: Path) -> None:
    step = 1
    assert add(world) == 0
    while killed_at(step, world, "remove", "--force", "x"):
        catalogue, stored = state(world)
        assert stored or not catalogue, f"step {step}: the catalogue has an image that is not there"
        if stored:
            assert image(world, "remove", "--force", "x") == 0
        assert state(world) == (False, False)
        assert add(world) == 0
        assert left_over(world) == []
        step += 1
    assert step > 5


def test_an_update_that_is_killed_keeps_what_there_is(world: Path) -> None:
    newer = world / "newer.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", newer, "65M"], check=True)
    update = ("update", "x", str(newer), "--revision", "2")
    step = 1
    assert add(world) == 0
    while killed_at(step, world, *update):
        assert state(world) == (True, True)
        entries = {str(path.relative_to(world / "site/images")) for path in (world / "site/images").glob("x@*.yaml")}
        if entries == {"x@1.yaml"}:
            assert image(world, *update) == 0
        found = load_site(world / "site", Report())
        assert found is not None
        digests = {one.disk.sha256 for one in store.records(world / "store")}
        assert {one.sha256 for one in found.revisions("x")} == digests
        assert len(digests) == 2
        assert image(world, "remove", "--force", "x:2") == 0
        assert left_over(world) == [], f"step {step}"
        step += 1
    assert step > 20
