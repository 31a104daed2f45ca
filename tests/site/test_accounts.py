"""Images with accounts of the site's users, as `site check --images` reads them from the store's records."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.site.helpers import PLAIN, SHA256
from vtorque_runtime.images import store
from vtorque_runtime.images.provenance import Provenance
from vtorque_spec.cli import group
from vtorque_spec.diagnostics import Report
from vtorque_spec.site import read_files
from vtorque_spec.site.accounts import Owned, check_accounts


def told(*owned: Owned) -> list[str]:
    report = Report()
    files = read_files(PLAIN, report)
    assert files is not None
    check_accounts(files, owned, report)
    assert {item.id for item in report.items} <= {"VT0515"}
    return [item.message.removeprefix("the image `debian-12` has numbers of users: ") for item in report.items]


def test_numbers_from_min_uid_on_are_told() -> None:
    assert told(Owned("debian-12", SHA256, (0, 999), (0, 100, 999))) == []
    assert told(Owned("debian-12", SHA256, (0, 1000), (0,))) == ["the uid 1000"]
    assert told(Owned("debian-12", SHA256, (1000, 1001), (0, 5000))) == ["the uids 1000, 1001 and the gid 5000"]


def test_nobody_is_in_every_image() -> None:
    assert told(Owned("debian-12", SHA256, (0, 65534), (65534,))) == []


def test_an_image_of_another_digest_or_name_is_not_this_one() -> None:
    assert told(Owned("debian-12", "2" * 64, (1000,), ()), Owned("debian-13", SHA256, (1000,), ())) == []


def test_site_check_reads_the_records_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SYSTEM_STORE", tmp_path / "store")
    with store.staging(tmp_path / "store") as staging:
        for name in ("root.qcow2", "vmlinuz", "initrd.img", "packages.txt", "contents.txt"):
            (staging / name).write_text(name)
        made = Provenance("", "", (), (0, 1000), (0, 65534))
        image = store.publish(staging, store.describe(staging, "debian-12", created=1, provenance=made))
    site = tmp_path / "site"
    (site / "images").mkdir(parents=True)
    (site / "site.yaml").write_text((PLAIN / "site.yaml").read_text())
    entry = (PLAIN / "images/debian-12.yaml").read_text()
    (site / "images/debian-12.yaml").write_text(entry.replace(SHA256, image.sha256))
    arguments = ["site", "check", str(site)]
    assert CliRunner().invoke(group, arguments, standalone_mode=False).return_value == 0
    other = entry.replace("name: debian-12", "name: other").replace(SHA256, "2" * 64)
    (site / "images/other.yaml").write_text(other)
    done = CliRunner().invoke(group, [*arguments, "--images"], standalone_mode=False)
    assert done.return_value == 1
    assert "the image `debian-12` has numbers of users: the uid 1000\n" in done.stdout
    assert "no record tells of the accounts in other (VT0515)\n" in done.stderr
    assert "VT0515" in done.stdout
