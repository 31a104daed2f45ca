"""Images of Red Hat's family: what installs packages there, and where from."""

from pathlib import Path

import pytest

from tests.site.helpers import found as findings
from tests.spec.helpers import ROOT, check
from tests.spec.helpers import site as opened
from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.plan import Packager
from vtorque_spec.site import load_site
from vtorque_spec.site.distros import installs_packages, packager_of
from vtorque_spec.site.image import CatalogueImage

REPOS = "[baseos]\nname=BaseOS\nbaseurl=http://mirror/rocky/9/BaseOS\n"
JOB = "apiVersion: vtorque/v1\nname: x\nimage: {}\npackages: [R, g++]\nrun: hostname\n"


def image(name: str = "rocky-9", *capabilities: str, distro: str | None = None) -> CatalogueImage:
    said = {"name": name, "description": name, "guest": "linux", "arch": "x86_64", "cmdline": "quiet"}
    more = {"sha256": "3" * 64, "min_memory": "512MiB", "min_disk": "1GiB", "capabilities": list(capabilities) or None}
    return CatalogueImage.model_validate({**said, **more, "distro": distro})


@pytest.mark.parametrize(
    ("distro", "capabilities", "packager", "installs"),
    [
        (None, (), "apt", False),
        (None, ("virtiofs", "dnf"), "dnf", True),
        ("debian-12", ("virtiofs",), "apt", False),
        ("ubuntu-24.04", ("apt",), "apt", True),
        ("rocky-9", ("virtiofs",), "dnf", False),
        ("rocky-9.4", ("virtiofs", "dnf"), "dnf", True),
        ("almalinux-8", (), "dnf", False),
        ("centos-9", (), "dnf", False),
        ("fedora-41", (), "dnf", False),
        ("ol-9", (), "dnf", False),
        ("rhel-9", (), "dnf", False),
        ("arch", (), "apt", False),
        ("arch", ("dnf",), "dnf", True),
    ],
)
def test_what_installs_packages(
    distro: str | None, capabilities: tuple[str, ...], packager: Packager, installs: bool
) -> None:
    found = image("x", *capabilities, distro=distro)
    assert (packager_of(found), installs_packages(found)) == (packager, installs)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The site `packages` of the invalid cases, with an image of Rocky Linux and repositories for its guests."""
    source = ROOT / "tests/invalid/sites/packages"
    root = tmp_path / "site"
    (root / "images").mkdir(parents=True)
    for path in (*source.glob("*.yaml"), *source.glob("images/*")):
        (root / path.relative_to(source)).write_text(path.read_text())
    entry = (source / "images/debian-12.yaml").read_text().replace("debian-12", "rocky-9").replace("1" * 64, "3" * 64)
    (root / "images/rocky-9.yaml").write_text(entry.replace("[virtiofs, apt]", "[virtiofs, dnf]"))
    with (root / "site.yaml").open("a") as file:
        file.write("guest: {updates: security, dnf_repos: mirror.repo}\n")
    (root / "mirror.repo").write_text(REPOS)
    return root


def test_a_job_gets_the_packages_of_its_image(site: Path) -> None:
    made, report = check(JOB.format("rocky-9"), at=opened(site))
    assert made is not None, report.items
    setup = made.job.setup
    assert (setup.packager, setup.packages, setup.dnf_repos) == ("dnf", ("R", "g++"), REPOS)
    made, report = check(JOB.format("debian-12"), at=opened(site))
    assert (made, [item.code for item in report.items]) == (None, [Code.BAD_FORMAT])


def test_other_images_that_can_are_named(site: Path) -> None:
    _, report = check(JOB.format("plain"), at=opened(site))
    assert [item.help for item in report.items] == ["remove them, or take an image that can: debian-12, rocky-9"]


def test_repositories_are_read(site: Path) -> None:
    found = load_site(site, Report())
    assert found is not None
    assert (found.setup.dnf_repos, found.setup.apt_sources) == (REPOS, None)
    assert [code for code, _ in findings(site)] == []


@pytest.mark.parametrize("text", ["", "name=x\n", "[]\n", "[a b]\n", " [main]\n"])
def test_what_is_no_repository_is_told(site: Path, text: str) -> None:
    (site / "mirror.repo").write_text(text)
    report = Report()
    assert load_site(site, report) is None
    assert [item.message for item in report.items] == [f"{site}/mirror.repo has no section `[NAME]`"]
