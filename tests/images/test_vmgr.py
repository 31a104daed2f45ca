"""The program `vmgr`: the old words."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.images.helpers import CMDLINE, Run, entries, stored
from vtorque_spec.fault import Fault


@pytest.fixture
def vmgr(images: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    from vtorque_spec.cli.vmgr import vmgr as program

    monkeypatch.setenv("VTORQUE_SITE", str(site))
    return lambda *words: CliRunner().invoke(program, [*map(str, words)])


def test_the_old_words_do_the_same(vmgr: Run, made: Callable[..., Path], images: Path, site: Path) -> None:
    disk = made("rocky").rename(made("rocky-two").parent.parent / "rocky/rocky-9.qcow2")
    assert vmgr("add", disk, "Rocky Linux", "--cmdline", CMDLINE, "--revision", "1").exit_code == 0
    assert "description      Rocky Linux\n" in vmgr("show", "image", "rocky-9.qcow2").output
    assert "rocky-9:1" in vmgr("show", "images").output
    assert "Node classes" in vmgr("show", "config").output
    assert "no job is suspended" in vmgr("show", "suspended").output
    assert vmgr("update", "rocky-9", "of 2026").exit_code == 0
    assert "description: of 2026\n" in (site / "images/rocky-9@1.yaml").read_text()
    shutil.copytree(disk.parent.parent / "rocky-two", disk.parent.parent / "new")
    newer = (disk.parent.parent / "new/disk.qcow2").rename(disk.parent.parent / "new/rocky-9.qcow2")
    assert vmgr("update", newer, "newer", "--revision", "2").exit_code == 0
    assert (stored(images), entries(site)) == (["rocky-9"] * 2, ["rocky-9@1.yaml", "rocky-9@2.yaml"])
    assert vmgr("delete", "image", "rocky-9", "--force").exit_code == 0
    assert (stored(images), entries(site)) == ([], [])
    assert vmgr("delete", "suspended", "12").exit_code == 2
    assert "qdel 12" in vmgr("delete", "suspended", "12").output


@pytest.mark.parametrize("word", ["/nowhere/rocky-9.qcow2", "nowhere/rocky-9", "rocky-9.qcow2", "rocky-8"])
def test_a_file_that_is_not_there_changes_no_description(
    vmgr: Run, made: Callable[..., Path], site: Path, word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    disk = (old := made("rocky")).rename(old.with_name("rocky-9.qcow2"))
    assert vmgr("add", disk, "Rocky", "--cmdline", CMDLINE, "--revision", "1").exit_code == 0
    before = (site / "images/rocky-9@1.yaml").read_text()
    told = vmgr("update", word, "of December").exception
    assert isinstance(told, Fault)
    assert str(told) == {"rocky-8": "VT0526: the catalogue has no image `rocky-8`, and there is no file rocky-8"}.get(
        word, f"VT0536: {word} cannot be read: no such file or directory"
    )
    assert (site / "images/rocky-9@1.yaml").read_text() == before


def test_vmgr_prints_findings_as_vtorque_does(vmgr: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from vtorque_spec.cli.vmgr import main

    with pytest.raises(SystemExit) as ended:
        main(["show", "image", "nope"])
    assert ended.value.code == 1
    assert "error[VT0526]: neither the catalogue nor this machine has the image `nope`" in capsys.readouterr().err
