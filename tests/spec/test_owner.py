"""Whose job `vtorque run` runs; nobody's as root."""

import os
import pwd
from pathlib import Path

import pytest

from vtorque_spec.cli.run import _check_site, _owner
from vtorque_spec.fault import Fault


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_UID", raising=False)


@pytest.mark.usefixtures("as_root")
def test_root_names_a_user_or_came_by_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    assert _owner("nobody") == nobody
    monkeypatch.setenv("SUDO_UID", str(nobody.pw_uid))
    assert _owner(None) == nobody
    assert _owner("daemon") == pwd.getpwnam("daemon")


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    ("user", "sudo_uid"), [(None, ""), ("root", ""), (None, "0"), (None, "x"), ("no-such-user", "")]
)
def test_root_itself_is_refused(monkeypatch: pytest.MonkeyPatch, user: str | None, sudo_uid: str) -> None:
    monkeypatch.setenv("SUDO_UID", sudo_uid)
    with pytest.raises(Fault, match="VT0901"):
        _owner(user)


def test_others_run_their_own_jobs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "geteuid", lambda: nobody.pw_uid)
    assert _owner(None) == _owner("nobody") == nobody
    with pytest.raises(Fault, match="VT0901"):
        _owner("daemon")


def test_a_number_without_a_name_runs_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container."""
    monkeypatch.setattr(os, "geteuid", lambda: 4_242_424)
    with pytest.raises(Fault, match="VT0901: this machine knows no user of the number 4242424"):
        _owner(None)


@pytest.mark.usefixtures("as_root")
def test_root_goes_by_roots_own_site_only(tmp_path: Path) -> None:
    if tmp_path.stat().st_uid != 0:
        pytest.skip("only root can make a site of root's")
    site = tmp_path / "site"
    (site / "images").mkdir(parents=True, mode=0o755)
    (site / "site.yaml").write_text("")
    _check_site(site)
    (site / "site.yaml").chmod(0o666)
    with pytest.raises(Fault, match="VT0704"):
        _check_site(site)
    (site / "site.yaml").chmod(0o644)
    (site / "policy.yaml").symlink_to("/etc/hostname")
    with pytest.raises(Fault, match="VT0704"):
        _check_site(site)
