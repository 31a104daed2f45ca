"""`vtorque image update`: a new revision beside the old one, or other words about one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.helpers import Run, add, entries, stored
from vtorque_runtime.images import store
from vtorque_spec.diagnostics import Report
from vtorque_spec.site import load_site


def test_an_update_is_a_new_revision_beside_the_old(
    run: Run, made: Callable[..., Path], images: Path, site: Path
) -> None:
    old = add(run, "rocky-9", made("rocky"))
    path = site / "images/rocky-9@1.yaml"
    path.write_text("# ours\n" + path.read_text() + "provenance: first\n")
    result = run("update", "rocky-9", made("rocky-two", size="128M"), "--revision", "2", "--description", "newer")
    assert result.exit_code == 0, result.output
    text = (site / "images/rocky-9@2.yaml").read_text()
    assert text.startswith("# ours\nname: rocky-9\nrevision: '2'\ndescription: newer\n")
    assert "min_disk: 128MiB\n" in text
    assert "provenance" not in text
    assert stored(images) == ["rocky-9", "rocky-9"]
    found = load_site(site, Report())
    assert found is not None
    assert [one.revision for one in found.revisions("rocky-9")] == ["2", "1"]
    assert [one.sha256 for one in found.revisions("rocky-9")][1] == old


def test_an_update_gives_an_entry_without_revision_one(
    run: Run, made: Callable[..., Path], images: Path, site: Path
) -> None:
    add(run, "rocky-9", made("rocky"))
    old = site / "images/rocky-9@1.yaml"
    old.rename(site / "images/rocky-9.yaml")
    (site / "images/rocky-9.yaml").write_text((site / "images/rocky-9.yaml").read_text().replace("revision: '1'\n", ""))
    result = run("update", "rocky-9", made("rocky-two"))
    assert result.exit_code == 0, result.output
    found = load_site(site, Report())
    assert found is not None
    newer, older = found.revisions("rocky-9")
    assert older.revision is not None
    assert newer.revision == f"{older.revision}.2"  # both of today
    assert newer.sha256 == store.newest(images)["rocky-9"].disk.sha256


def test_without_a_file_the_entry_alone_changes(run: Run, made: Callable[..., Path], images: Path, site: Path) -> None:
    add(run, "rocky-9", made("rocky"))
    words = ("--set", "state=deprecated", "--set", "deprecated_until=2099-01-31", "--description", "old")
    assert run("update", "rocky-9:1", *words).exit_code == 0
    found = load_site(site, Report())
    assert found is not None
    assert (found.images["rocky-9"].state, found.images["rocky-9"].description) == ("deprecated", "old")
    assert stored(images) == ["rocky-9"]


def test_the_entry_may_be_said_by_its_digest(run: Run, two_revisions: None, images: Path, site: Path) -> None:
    old = next(one.disk.sha256 for one in store.records(images) if one != store.newest(images)["rocky-9"])
    assert run("update", f"rocky-9@{old[:12]}", "--set", "state=withdrawn").exit_code == 0
    withdrawn = [path.name for path in (site / "images").glob("*.yaml") if "withdrawn" in path.read_text()]
    assert len(withdrawn) == 1
    assert old in (site / "images" / withdrawn[0]).read_text()


def test_a_member_of_a_member_changes_alone(run: Run, made: Callable[..., Path], site: Path) -> None:
    assert run("add", "solver", made("solver", osv=True), "--revision", "1", "--set", "osv.rootfs=zfs").exit_code == 0
    assert run("update", "solver", "--set", "osv.config_sets=[a, b]").exit_code == 0
    text = (site / "images/solver@1.yaml").read_text()
    assert "osv:\n  rootfs: zfs\n  boot: disk\n  config_sets: [a, b]\n" in text
    newer = made("newer", osv=True)
    assert run("update", "solver", newer, "--revision", "2", "--set", "osv.rootfs=").exit_code == 0
    assert "osv:\n  boot: disk\n  config_sets: [a, b]\n" in (site / "images/solver@2.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("rocky-8",), "error[VT0526]: the catalogue has no image `rocky-8`"),
        (("rocky-9",), "say the new disk's FILE"),
        (("rocky-9", "--revision", "2"), "a revision is a disk of its own: say the new disk's FILE too"),
        (("rocky-9:1", "--set", "revision=2"), "a revision is a disk of its own: say the new disk's FILE too"),
        (("rocky-9", "--set", "state=deprecated"), "has no last day"),
        (("rocky-9", "--set", "colour=red"), "write MEMBER=VALUE"),
        (("rocky-9", "--set", "guest=osv"), "write MEMBER=VALUE"),
        (("rocky-9", "--set", "tags=[a"), "is not YAML"),
        (("rocky-9", "--set", "deprecated_until=2027-13-31"), "help: write YYYY-MM-DD, as in 2027-03-31"),
        (("rocky-9", "--set", "osv.boot=kernel"), "follows from the image's files"),
        (("rocky-9", "--set", "osv={boot: disk, rootfs: zfs}"), "follows from the image's files"),
        (("rocky-9", "--description", "two\nlines"), "is not a text of one line"),
        (("rocky-9@sha256:0000", "--set", "tags=[a]"), "did you mean rocky-9:1?"),
    ],
)
def test_an_update_that_says_nothing_or_the_wrong_is_refused(
    run: Run, made: Callable[..., Path], site: Path, words: tuple[str, ...], told: str
) -> None:
    add(run, "rocky-9", made("rocky"))
    before = (site / "images/rocky-9@1.yaml").read_text()
    result = run("update", *words, *(["--description", "x"] if words == ("rocky-8",) else []))
    assert result.exit_code in (1, 2)
    assert told in result.output
    assert (site / "images/rocky-9@1.yaml").read_text() == before


def test_the_same_disk_is_no_update(run: Run, made: Callable[..., Path], images: Path, site: Path) -> None:
    disk = made("rocky")
    add(run, "rocky-9", disk)
    result = run("update", "rocky-9", disk)
    assert "error[VT0521]: `rocky-9:1` is this disk already" in result.output
    assert (stored(images), entries(site)) == (["rocky-9"], ["rocky-9@1.yaml"])
