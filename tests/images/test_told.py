"""`vtorque image list`, `show` and `verify`."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.images.helpers import Run, add, job_gets, planned
from vtorque_runtime.images import store
from vtorque_spec.cli.images import Known, chosen
from vtorque_spec.fault import Fault


def test_list_shows_the_catalogue_and_the_store(run: Run, two_revisions: None, images: Path, site: Path) -> None:
    (site / "images/rocky-9@1.yaml").unlink()
    lines = run("list").output.splitlines()
    assert lines[0].split() == ["image", "state", "here", "size", "description"]
    called = {line.split()[0]: line.split()[1:3] for line in lines[1:]}
    old = next(name for name in called if name.startswith("rocky-9@"))
    assert (called["rocky-9:2"], called[old], called["debian-12"]) == (
        ["current", "yes"],
        ["unlisted", "yes"],
        ["current", "no"],
    )
    data = json.loads(run("list", "--format", "json").output)
    assert {one["called"] for one in data} == set(called)


def test_show_tells_all(run: Run, two_revisions: None, images: Path) -> None:
    output = run("show", "rocky-9").output
    assert output.index("rocky-9:2\n") < output.index("rocky-9:1\n")
    assert "  min_disk         64MiB\n" in output
    assert f"  here             {images}/rocky-9@" in output
    assert "used by          nothing on this machine" in output
    assert "not on this machine" in run("show", "debian-12").output


def test_an_image_is_named_as_jobs_pin_it(run: Run, two_revisions: None) -> None:
    old, new = (json.loads(run("show", name, "--format", "json").output)[0] for name in ("rocky-9:1", "rocky-9:2"))
    for word in (f"rocky-9@sha256:{old['sha256']}", f"rocky-9:1@sha256:{old['sha256']}"):
        assert [one["called"] for one in json.loads(run("show", word, "--format", "json").output)] == ["rocky-9:1"]
    assert "error[VT0526]" in run("show", f"rocky-9:1@sha256:{new['sha256']}").output
    assert "did you mean rocky-9:2, rocky-9:1?" in run("show", f"rocky-9@{'0' * 64}").output
    assert "error[VT0526]" in run("show", "rocky-9@").output


def test_digits_that_two_images_have_say_neither(two_revisions: None, images: Path) -> None:
    records = [replace(one, disk=replace(one.disk, sha256=f"ab{i}")) for i, one in enumerate(store.records(images))]
    known = [Known(None, record) for record in records]
    assert chosen("rocky-9@ab1", known) == (known[1],)
    with pytest.raises(Fault, match=r"VT0526: `rocky-9@ab` says no one image: rocky-9@ab0, rocky-9@ab1"):
        chosen("rocky-9@ab", known)


def test_a_store_that_others_may_write_to_is_not_to_be_removed(run: Run, two_revisions: None, images: Path) -> None:
    images.chmod(0o777)
    assert f"chown 0 {images} && chmod go-w {images}; else" in run("list").output


def test_a_job_starts_from_the_disk_of_its_entrys_digest_and_no_other(
    run: Run, made: Callable[..., Path], images: Path, site: Path
) -> None:
    """Neither the other revision in the store nor `path`, which `site check --images` alone reads, stands in for it."""
    disk, other = made("rocky"), made("another")
    digests = {"rocky-9:1": add(run, "rocky-9", disk)}
    assert run("update", "rocky-9", other, "--revision", "2").exit_code == 0
    digests["rocky-9:2"] = hashlib.sha256(other.read_bytes()).hexdigest()
    entry, home = site / "images/rocky-9@1.yaml", images / f"rocky-9@{digests['rocky-9:1'][:16]}"
    text = entry.read_text()
    for path in (other, disk):
        entry.write_text(f"{text}path: {path}\n")
        found = {image: job_gets(image, site) for image in digests}
        assert {image: one.sha256 for image, one in found.items()} == digests
        assert found["rocky-9:1"].disk == str(home / "root.qcow2")
    shutil.rmtree(home)
    for command in ("verify", "prefetch"):
        result = run(command, "rocky-9:1")
        assert (result.exit_code, result.output.startswith("rocky-9:1: not ")) == (1, True), result.output
    assert [one.code.id for one in planned("rocky-9:1", site).findings] == ["VT0503"]
    shutil.rmtree(images)
    assert [one.code.id for one in planned("rocky-9:1", site).findings] == ["VT0502"]


def test_verify_finds_what_has_changed(run: Run, two_revisions: None, images: Path) -> None:
    assert run("verify").exit_code == 0
    record = store.newest(images)["rocky-9"]
    path = images / record.directory / record.disk.file
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(70_000)
        file.write(b"x")
    result = run("verify", "rocky-9")
    assert result.exit_code == 1
    assert "error[VT0503]" in result.output
    assert run("verify", "debian-12").exit_code == 1
