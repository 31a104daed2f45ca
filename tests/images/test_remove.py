"""`vtorque image remove`: not while jobs use an image, or may need it."""

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.images.helpers import Run, entries, stored
from tests.runtime import fakes
from vtorque_runtime.images import store
from vtorque_runtime.images.in_use import users
from vtorque_runtime.iocm import keep_plan
from vtorque_spec.cli import group
from vtorque_spec.fault import Fault
from vtorque_spec.site import builtin


def test_what_queued_jobs_may_need_is_kept(run: Run, two_revisions: None, images: Path, site: Path) -> None:
    result = run("remove", "rocky-9:1")
    assert "error[VT0523]: `rocky-9:1` is still needed" in result.output
    assert "rocky-9:1: current, so that queued jobs may need it" in result.output
    assert ": vtorque image update rocky-9:1 --set state=withdrawn; or" in result.output
    assert (len(stored(images)), len(entries(site))) == (2, 2)


def test_the_help_names_what_update_takes(run: Run, two_revisions: None) -> None:
    """Revisions, whatever was said."""
    digest = json.loads(run("show", "rocky-9:1", "--format", "json").output)[0]["sha256"]
    assert ": vtorque image update rocky-9:1 --set state=withdrawn; or" in run("remove", f"rocky-9@{digest}").output
    assert run("update", "rocky-9:2", "--set", "state=withdrawn").exit_code == 0
    assert ": vtorque image update rocky-9:1 --set state=withdrawn; or" in run("remove", "rocky-9").output


def test_after_its_last_day_queued_jobs_may_still_need_it(run: Run, two_revisions: None) -> None:
    """Nodes ask no clock."""
    assert (
        run("update", "rocky-9:1", "--set", "state=deprecated", "--set", "deprecated_until=2020-01-31").exit_code == 0
    )
    assert "rocky-9:1: deprecated, so that queued jobs may need it" in run("remove", "rocky-9:1").output


def test_a_store_that_is_anothers_is_told_before_the_catalogue_changes(
    run: Run, two_revisions: None, site: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path) != images)
    result = run("remove", "--force", "rocky-9")
    assert f"error[VT0527]: cannot write to {images}: permission denied" in result.output
    assert (len(stored(images)), len(entries(site))) == (2, 2)


def test_what_is_withdrawn_is_removed(run: Run, two_revisions: None, images: Path, site: Path) -> None:
    assert run("update", "rocky-9:1", "--set", "state=withdrawn").exit_code == 0
    result = run("remove", "rocky-9:1")
    assert result.exit_code == 0, result.output
    assert (stored(images), entries(site)) == (["rocky-9"], ["rocky-9@2.yaml"])


def test_force_removes_all_revisions_of_a_name(run: Run, two_revisions: None, images: Path, site: Path) -> None:
    """What a plain `remove` had refused for is said."""
    assert run("update", "rocky-9:1", "--set", "state=withdrawn").exit_code == 0
    result = run("remove", "--force", "rocky-9")
    assert (result.exit_code, result.output.splitlines()) == (
        0,
        [
            "vtorque: removed rocky-9:2",
            "vtorque: removed rocky-9:1",
            "vtorque: removed all the same: rocky-9:2: current, so that queued jobs may need it",
        ],
    )
    assert (stored(images), entries(site)) == ([], [])


def disk_of(run: Run, image: str) -> Path:
    (one,) = json.loads(run("show", image, "--format", "json").output)
    return Path(one["stored"]["disk"])


def test_an_image_that_a_process_has_open_is_named(run: Run, two_revisions: None) -> None:
    assert run("update", "rocky-9:1", "--set", "state=withdrawn").exit_code == 0
    with disk_of(run, "rocky-9:1").open("rb") as disk, subprocess.Popen(["sleep", "600"], stdin=disk) as user:
        disk.close()
        try:
            result = run("remove", "rocky-9:1")
        finally:
            user.kill()
    assert f"rocky-9:1: used by process {user.pid} (sleep)" in result.output
    assert "help: wait for them, or --force" in result.output
    assert run("remove", "rocky-9:1").exit_code == 0


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ("this", "rocky-9:1: used by job 12.server\n"),
        ("other", None),
        ("none", "job 12.server, which is being prepared (it may use another)"),
        ("[]", "job 12.server, whose plan cannot be read (it may use another)"),
        ("{", "job 12.server, whose plan cannot be read (it may use another)"),
    ],
)
def test_a_job_that_uses_an_image_is_named(
    run: Run, two_revisions: None, tmp_path: Path, plan: str, told: str | None
) -> None:
    assert run("update", "rocky-9:1", "--set", "state=withdrawn").exit_code == 0
    spool = tmp_path / "base/jobs/12.server"
    spool.mkdir(parents=True)
    (spool / "job.json").write_text("{}")
    disks = {"this": disk_of(run, "rocky-9:1"), "other": disk_of(run, "rocky-9:2")}
    if plan != "none":
        text = json.dumps({"image": {"disk": str(disks[plan])}}) if plan in disks else plan
        (spool / "plan.json").write_text(text)
    result = run("remove", "rocky-9:1")
    assert result.exit_code == (1 if told else 0), result.output
    assert (told or "removed rocky-9:1") in result.output


def test_an_unknown_image_is_told_with_a_near_one(run: Run, two_revisions: None) -> None:
    result = run("remove", "rocky-9:3")
    assert "error[VT0526]" in result.output
    assert "help: did you mean rocky-9:" in result.output


def test_the_plan_of_a_job_names_its_disk(tmp_path: Path) -> None:
    """As prologue keeps it."""
    job = fakes.reserved(tmp_path)
    plan = fakes.plan(job.context)
    keep_plan(plan, job.spool)
    home = Path(plan.image.disk).parent
    record = next(one for one in store.records(home.parent) if one.directory == home.name)
    (tmp_path / "proc").mkdir()
    assert users(home.parent, record, job.spool.path.parent, tmp_path / "proc") == (f"job {job.spool.path.name}",)


def test_of_the_built_in_catalogue_only_what_is_here_is_removed(images: Path) -> None:
    words = ["image", "remove", "debian-12", "--site", str(builtin())]
    result = CliRunner().invoke(group, words, standalone_mode=False)
    assert isinstance(result.exception, Fault)
    assert str(result.exception).startswith("VT0526: this machine does not have the image `debian-12`")
