import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.runtime.toy_recipe import ANY, Toy
from tests.spec.helpers import site
from vtorque_runtime.images import archive, build, store
from vtorque_runtime.images.build import Progress, Recipe
from vtorque_spec.fault import Fault


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "images"


# --- what a build needs and asks -------------------------------------------------------------------------------------


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpio").write_text("#!/bin/sh\n")
    (tmp_path / "cpio").chmod(0o755)
    monkeypatch.setattr(build, "SEARCH_PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Fault, match="VT0905: ") as raised:
        build.check_prerequisites()
    assert "debugfs, depmod, mke2fs, mmdebstrap, qemu-img, unshare, zstd, root's rights" in raised.value.message
    assert "cpio" not in raised.value.message
    assert raised.value.help is not None
    assert raised.value.help.endswith("e2fsprogs kmod mmdebstrap qemu-utils util-linux zstd; run this as root")


def test_an_unknown_recipe_is_refused_with_the_known_ones(images: Path) -> None:
    with pytest.raises(Fault, match=r"VT0905: there is no recipe for '\.\./x'") as raised:
        build.build("../x", images, created=1, progress=print)
    assert raised.value.help == "recipes: debian-12, debian-12-mpi"


def test_the_site_mirror_is_taken_from_apt() -> None:
    targets = (
        "trixie main http://mirror.site/debian/\ntrixie contrib http://x/\n"
        "trixie main http://second/\ntrixie-security main https://mirror.site/sec\n$(RELEASE) odd line\n"
    )
    found = archive.choose_mirrors("trixie", targets, "")
    assert (found.debian, found.security) == ("http://mirror.site/debian", "https://mirror.site/sec")
    assert found.origin == "from this machine's apt sources"
    assert "URIs: https://mirror.site/sec\nSuites: bookworm-security\n" in found.sources


def test_a_mirror_that_apt_does_not_name_is_told() -> None:
    found = archive.choose_mirrors("trixie", "trixie main http://mirror.site/debian\n", "")
    assert (found.debian, found.security) == ("http://mirror.site/debian", archive.SECURITY_URI)
    assert "do not name trixie-security" in found.origin
    assert "not Debian" in archive.choose_mirrors("", "jammy main http://mirror.site/ubuntu\n", "").origin


def test_only_settings_that_reach_the_archive_are_kept() -> None:
    dump = (
        'Acquire::http::Proxy "http://proxy:3142";\nAcquire::https::CaInfo "/etc/site.pem";\n'
        'Acquire::Check-Date "false";\nAcquire::AllowInsecureRepositories "true";\n'
        'APT::Install-Recommends "1";\nDPkg::Post-Invoke:: "rm -rf /";\n'
    )
    assert archive.parse_settings(dump) == "".join(dump.splitlines(keepends=True)[:3])


# --- running a recipe -------------------------------------------------------------------------------------------------


def run(script: str) -> list[Progress]:
    seen: list[Progress] = []
    build.run_recipe(["bash", "-euc", script], seen.append)
    return seen


def test_progress_is_passed_on() -> None:
    script = "echo step 1/2 packages; echo part 1/4; echo part 4/4; echo step 2/2 disk; echo an odd line; echo log >&2"
    assert run(script) == [
        Progress(1, 2, "packages"),
        Progress(1, 2, "packages", 0.25),
        Progress(1, 2, "packages", 1.0),
        Progress(2, 2, "disk"),
        Progress(0, 0, "an odd line"),
    ]


def test_a_failed_recipe_shows_the_end_of_its_log() -> None:
    with pytest.raises(Fault, match="VT0905: the recipe failed with exit code 7") as raised:
        run("seq 100 >&2; exit 7")
    assert (raised.value.detail or "").splitlines() == [str(n) for n in range(71, 101)]


def test_an_interrupt_ends_the_recipe_and_all_that_it_started(tmp_path: Path) -> None:
    def interrupt(now: Progress) -> None:
        raise KeyboardInterrupt

    script = f"sleep 600 & echo $! > {tmp_path}/pid; echo step 1/1 waiting; wait"
    with pytest.raises(KeyboardInterrupt):
        build.run_recipe(["bash", "-euc", script], interrupt)
    child = int((tmp_path / "pid").read_text())
    while Path(f"/proc/{child}/stat").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        time.sleep(0.01)


def test_the_callers_environment_does_not_reach_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASH_ENV", "/nowhere")
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    assert [now.text for now in run('echo "${BASH_ENV-unset} $https_proxy $PATH"')] == [
        f"unset http://proxy:1 {build.SEARCH_PATH}"
    ]


def test_one_build_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "DEBS", tmp_path / "debs")
    waiting: list[Progress] = []

    def give_up(now: Progress) -> None:
        waiting.append(now)
        raise KeyboardInterrupt

    with build._one_build(print), pytest.raises(KeyboardInterrupt), build._one_build(give_up):
        pytest.fail("two builds at a time")
    assert waiting == [Progress(0, 0, "waiting for another build to end")]
    with build._one_build(give_up):
        pass


def test_a_build_is_reused_until_its_recipe_or_the_archive_changes(toy: Toy) -> None:
    first = toy.build(1)
    assert toy.said == ["packages", "toy"]
    assert (toy.build(2), toy.said) == (first, ["packages", "reused"])
    toy.script(ANY + "# changed")
    second = toy.build(3)
    assert (second != first, toy.said) == (True, ["packages", "toy"])
    toy.archive = "sha256:" + "1" * 64
    third = toy.build(4)
    assert (third != second, toy.said) == (True, ["packages", "toy"])
    assert store.installed(toy.store) == (third, second, first)
    store.verify(third)


def test_an_image_with_other_packages_is_another(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.build(1)
    monkeypatch.setattr(build, "RECIPES", {"toy": Recipe("toy.sh", ("mpich", "zsh"))})
    image = toy.build(2)
    assert toy.said == ["packages", "toy"]
    assert (Path(image.disk).parent / "packages.txt").read_text() == "mpich zsh\n"


def test_a_recipe_that_fails_installs_nothing(toy: Toy) -> None:
    toy.script(ANY + "exit 1")
    with pytest.raises(Fault, match="VT0905"):
        toy.build(1)
    assert [path.name for path in toy.store.iterdir()] == [".lock"]


# --- the recipes themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", sorted(build.SCRIPTS.iterdir()), ids=lambda path: path.name)
@pytest.mark.parametrize("checker", ["bash -n", "shellcheck"])
def test_a_script_is_sound_shell(script: Path, checker: str) -> None:
    argv = checker.split()
    if shutil.which(argv[0]) is None:
        pytest.skip(f"needs {argv[0]}")
    done = subprocess.run([*argv, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_recipe_has_its_script_and_its_entry_in_the_local_catalogue() -> None:
    assert {recipe.script for recipe in build.RECIPES.values()} == {path.name for path in build.SCRIPTS.iterdir()}
    catalogue = site().images.items()
    assert {name: image.recipe for name, image in catalogue} == {name: name for name in build.RECIPES}
