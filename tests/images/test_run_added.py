"""`vtorque run` with an image that was added, and what the commands do while its guest runs."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boots import Done, finished, left_behind, started, wait_for
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, until_not_silent, user, work
from tests.test_run_networks import run_at
from vtorque_runtime.images import store
from vtorque_spec import data
from vtorque_spec.diagnostics import Report
from vtorque_spec.site import load_site

__all__ = ["user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]

NAME = f"added-{os.getpid()}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """The built-in site's facts, and a catalogue that is to come; what is added goes again."""
    (tmp_path / "site/images").mkdir(parents=True)
    shutil.copy(data.schemas() / "local/site.yaml", tmp_path / "site")
    yield tmp_path / "site"
    image(tmp_path / "site", "remove", "--force", NAME)


def image(site: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vtorque_spec", "image", *words, "--site", site]
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)


def test_an_added_image_boots_and_is_kept_while_it_runs(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count, tmp_path: Path
) -> None:
    built, local = store.newest(store.SYSTEM_STORE)["debian-12"].files(store.SYSTEM_STORE), load_site(None, Report())
    assert local is not None
    (tmp_path / "new").mkdir()
    for name, source in (("vmlinuz", built.kernel), ("initrd.img", built.initrd)):
        assert source is not None
        shutil.copy(source, tmp_path / "new" / name)
    newer = tmp_path / "new/disk.qcow2"
    other = ["-O", "qcow2", "-o", "cluster_size=128k"]
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", *other, built.disk, newer], check=True)
    cmdline = local.images["debian-12"].cmdline or ""
    added = image(site, "add", NAME, built.disk, "--cmdline", cmdline, "--set", "distro=debian-12")
    assert added.returncode == 0, added.stderr
    assert "cannot be read" not in added.stderr, "debian-12 has ext4"
    job = work / "job.vjob.yaml"
    job.write_text(
        f"apiVersion: vtorque/v1\nname: test\nimage: {NAME}\nmounts: [home]\ntimeouts: {{boot: 240s}}\nrun: |\n"
        f"  cd {work}; touch ready; while [ ! -e go ]; do sleep 0.2; done\n"
        "  cat /usr/bin/* > /dev/null && echo read\n"
    )
    told: list[str] = []

    def attempt() -> Done:
        for name in ("ready", "go"):
            (work / name).unlink(missing_ok=True)
        with started(run_at(site, user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            if wait_for(work / "ready", process, 300):
                told[:] = [image(site, "update", NAME, newer, "--revision", "z").stderr]
                told.append(image(site, "remove", NAME).stderr)
                (work / "go").touch()
            return finished(process)

    done = until_not_silent(attempt, count_boots)
    assert done.code == 0, done.err
    assert done.out.endswith("read\n")
    updated, refused = told
    assert updated.endswith(f"{NAME} sha256:{store.newest(store.SYSTEM_STORE)[NAME].disk.sha256}\n")
    assert "used by job local-" in refused
    assert "(qemu-system-x86)" in refused
    assert left_behind() == []
    assert image(site, "remove", "--force", NAME).returncode == 0
    assert NAME not in store.newest(store.SYSTEM_STORE)
