"""A store that the program's first version has built into: its images are used, and a build brings them up to date."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.images.helpers import Run, job_gets
from tests.runtime.toy_recipe import SAME, Toy
from vtorque_runtime.images import build as builder
from vtorque_runtime.images import store
from vtorque_spec.canonical import canonical_json
from vtorque_spec.cli import group
from vtorque_spec.site import builtin

FILES = {"disk": "root.qcow2", "kernel": "vmlinuz", "initrd": "initrd.img", "packages": "packages.txt"}


@pytest.fixture
def site() -> Path:
    """The built-in one, which says no digests: a job gets the newest that is here."""
    return builtin()


@pytest.fixture
def earlier(images: Path) -> Callable[..., str]:
    """Put an image into the store as version 1 of its record had it; return its digest."""

    def make(**texts: bytes) -> str:
        digests = {part: hashlib.sha256(texts[part]).hexdigest() for part in FILES}
        home = images / f"debian-12@{digests['disk'][:16]}"
        home.mkdir(parents=True)
        record: dict[str, object] = {part: {"file": FILES[part], "sha256": digests[part]} for part in FILES}
        made_from = {"recipe": "sha256:" + "1" * 64, "archive": "sha256:" + "2" * 64}
        told = {"version": 1, "name": "debian-12", "created": 1700000000, "disk_format": "qcow2", **made_from}
        for part, text in texts.items():
            (home / FILES[part]).write_bytes(text)
        (home / "image.json").write_text(canonical_json({**record, **told}) + "\n")
        for path in home.iterdir():
            path.chmod(0o444)
        return digests["disk"]

    return make


@pytest.fixture
def old(earlier: Callable[..., str], made: Callable[..., Path]) -> str:
    """The digest of an image with a real disk."""
    return earlier(disk=made("old").read_bytes(), kernel=b"k", initrd=b"i", packages=b"bash 5.2")


@pytest.fixture
def build(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    """Build debian-12 by a toy of a recipe."""
    toy = Toy(tmp_path, monkeypatch)
    monkeypatch.setattr(builder, "RECIPES", {"debian-12": builder.RECIPES["toy"]})

    def call(script: str) -> Result:
        toy.script(script)
        return CliRunner().invoke(group, ["image", "build", "debian-12"])

    return call


def test_an_image_of_the_first_version_is_used(run: Run, old: str, images: Path, site: Path) -> None:
    lines = {line.split()[0]: line.split()[1:3] for line in run("list").output.splitlines()}
    assert lines["debian-12"] == ["current", "yes"]
    (shown,) = json.loads(run("show", "debian-12", "--format", "json").output)
    assert (shown["sha256"], shown["stored"]["created"]) == (old, "2023-11-14T22:13:20+00:00")
    assert f"  here             {images}/debian-12@{old[:16]}" in run("show", "debian-12").output
    verified = run("verify", "debian-12")
    assert (verified.exit_code, verified.output) == (0, f"debian-12: sha256:{old}\n")
    assert job_gets("debian-12", site).sha256 == old
    assert len(store.recorded(store.installed(images)[0])) == 3, "what root reads before a guest starts"


def test_a_build_makes_a_new_one_beside_it(
    run: Run, old: str, build: Callable[[str], Result], images: Path, site: Path
) -> None:
    done = build(SAME)
    assert done.exit_code == 0, done.output
    new = store.newest(images)["debian-12"].disk.sha256
    assert done.output.endswith(f"debian-12 sha256:{new}\n")
    assert new != old
    assert job_gets("debian-12", site).sha256 == new
    assert [one["sha256"] for one in json.loads(run("list", "--format", "json").output)][:2] == [new, old]
    assert "reused" in build(SAME).output


LIKE_THE_TOYS = {"disk": b"root.qcow2\n", "kernel": b"vmlinuz\n", "initrd": b"initrd.img\n",
                 "packages": b"linux-image-cloud-amd64\n"}  # fmt: skip


def test_a_build_that_comes_out_as_the_old_one_brings_its_record_up_to_date(
    earlier: Callable[..., str], build: Callable[[str], Result], images: Path
) -> None:
    """Else each build would be done again, and keep nothing."""
    old = earlier(**LIKE_THE_TOYS)
    assert f"came out as debian-12@{old[:16]} again" in build(SAME).output
    (record,) = store.records(images)
    assert (record.disk.sha256, record.provenance is not None) == (old, True)
    home = images / record.directory
    found = {part.file: hashlib.sha256((home / part.file).read_bytes()).hexdigest() for part in record.parts}
    assert found == {part.file: part.sha256 for part in record.parts}
    assert sorted(found) == sorted([*FILES.values(), "contents.txt"])
    assert "reused" in build(SAME).output


def test_the_old_disk_with_another_kernel_is_refused(
    earlier: Callable[..., str], build: Callable[[str], Result], images: Path
) -> None:
    """A guest of the old files is not what was built."""
    old = earlier(**{**LIKE_THE_TOYS, "kernel": b"an older one"})
    raised = build(SAME).exception
    told = "VT0521: the store has the disk of `debian-12` already, with another kernel, initrd or format"
    assert str(raised) == told
    assert f"vtorque image remove debian-12@{old[:16]}" in (getattr(raised, "help", None) or "")
    assert [one.created for one in store.records(images)] == [1700000000]
