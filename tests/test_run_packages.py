"""`vtorque run` with packages of the job's and updates of the site's, from a signed archive on this machine."""

import pwd
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boots import Done, finished, left_behind, started
from tests.spec.helpers import ROOT
from tests.support.archive import Archive, Deb, served
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, until_not_silent, user, work, write_job
from vtorque_runtime.images.store import SYSTEM_STORE, installed

__all__ = ["user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]
BOOT_LIMIT_S = 240
"""apt works here too, and under emulation that takes its time."""

SUITES = {
    "stable": [
        Deb("vttool", "1", ("Depends: vttool-data", "Recommends: vttool-doc")),
        Deb("vttool-data", "1"),
        Deb("vttool-doc", "1"),
        Deb("media-types", "99", ("Multi-Arch: foreign",)),
    ],
    "stable-security": [Deb("netbase", "99", ("Multi-Arch: foreign",))],
}
"""The image has netbase and media-types, older ones."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    if missing := [name for name in ("gpg", "dpkg-deb") if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with served(tmp_path_factory.mktemp("archive"), SUITES) as found:
        yield found


def make_site(directory: Path, archive: Archive) -> Path:
    """The built-in site with this archive, whose guests are updated; jobs may have vttool and one that is not there."""
    site = directory / "site"
    (site / "images").mkdir(parents=True)
    for name in ("site.yaml", "images/debian-12.yaml"):
        shutil.copyfile(ROOT / "schemas/local" / name, site / name)
    image = next(image for image in installed(SYSTEM_STORE) if image.name == "debian-12")
    with (site / "images/debian-12.yaml").open("a") as file:
        file.write(f"sha256: {image.sha256}\n")
    facts = (site / "site.yaml").read_text().partition("mounts:")[0]
    (site / "site.yaml").write_text(
        f"{facts}guest: {{updates: security, apt_sources: test.sources}}\nmounts: {{}}\n"
        "networks:\n  default: {kind: user}\n"
    )
    (site / "test.sources").write_text(archive.sources(list(SUITES)))
    (site / "policy.yaml").write_text("properties: {packages: {items: {enum: [vttool, vtnosuch]}}}\n")
    return site


def run(user: pwd.struct_passwd, site: Path, job: Path, count: Count) -> Done:
    def attempt() -> Done:
        command = [sys.executable, "-m", "vtorque_spec", "run", job, "--as", user.pw_name, "--site", site]
        with started(command, ROOT, PYTHONPATH=PYTHONPATH) as process:
            return finished(process)

    return until_not_silent(attempt, count)


def test_a_package_and_updates(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, archive: Archive, tmp_path: Path, count_boots: Count
) -> None:
    """What is asked for and what it needs, not what it recommends; security updates, not what else is newer."""
    text = f"""\
        packages: [vttool]
        timeouts: {{boot: {BOOT_LIMIT_S}s}}
        run: dpkg-query -W -f '${{db:Status-Status}} ${{Package}} ${{Version}}\\n'
        """
    done = run(user, make_site(tmp_path, archive), write_job(work, text), count_boots)
    assert done.code == 0, done.err
    has = {line.split()[1]: line.split()[2] for line in done.out.splitlines() if line.startswith("installed ")}
    assert {name for name in has if name.startswith("vt")} == {"vttool", "vttool-data"}
    assert has["netbase"] == "99"
    assert has["media-types"] != "99"
    assert left_behind() == []


def test_a_package_that_is_not_there(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, archive: Archive, tmp_path: Path, count_boots: Count
) -> None:
    job = write_job(work, f"packages: [vttool, vtnosuch]\ntimeouts: {{boot: {BOOT_LIMIT_S}s}}\nrun: echo never\n")
    done = run(user, make_site(tmp_path, archive), job, count_boots)
    assert done.code == 1
    assert "never" not in done.out
    assert "VT0904" in done.err
    assert "could not install vtnosuch\n" in done.err
    assert "Unable to locate package vtnosuch" in done.err
    assert left_behind() == []
