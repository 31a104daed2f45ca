"""`vtorque run` with root disks that are read from the node's copy of an added image, and from memory."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boots import Done, finished, left_behind, started, virsh, wait_for
from tests.spec.helpers import ROOT
from tests.support import osv_guest
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, until_not_silent, user, work
from tests.test_run_networks import run_at
from vtorque_runtime.images.digests import Digests, Whole, identity_of
from vtorque_runtime.images.store import SYSTEM_STORE, newest
from vtorque_spec import data
from vtorque_spec.diagnostics import Report
from vtorque_spec.site import load_site

__all__ = ["user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]
SPOOL = Path("/var/lib/vtorque")
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


def another(built: Path, directory: Path) -> Path:
    """An image with the same files in other bytes, its kernel and initrd beside it."""
    directory.mkdir()
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(built.parent / name, directory)
    disk = directory / "disk.qcow2"
    other = ["-O", "qcow2", "-o", "cluster_size=128k"]
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", *other, built, disk], check=True)
    return disk


def disks() -> tuple[str, str]:
    """The files that the guest's QEMU has open for its root disk: what is below, and the overlay."""
    (domain,) = (name for name in virsh("list", "--name").split() if name.startswith("vt-local-"))
    pid = Path(f"/run/libvirt/qemu/{domain}.pid").read_text(encoding="ascii").strip()
    opened = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    (overlay,) = (name for name in opened if name.startswith(f"{SPOOL}/jobs/") and name.endswith("/vm0/root.qcow2"))
    (base,) = (name for name in opened - {overlay} if name.startswith(str(SPOOL)) and "@" in name)
    return base, overlay


def is_known(disk: Path) -> bool:
    """Whether the next job need not read the disk."""
    with disk.open("rb") as file:
        identity = identity_of(file.fileno())
    record = newest(SYSTEM_STORE)[NAME]
    return Digests(SPOOL).known(Whole(str(disk), identity, record.disk.sha256, record.disk_format))


def test_an_added_image_is_read_from_the_nodes_copy_and_kept_while_it_runs(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count, tmp_path: Path
) -> None:
    built = Path(newest(SYSTEM_STORE)["debian-12"].files(SYSTEM_STORE).disk)
    newer, local = another(built, tmp_path / "new"), load_site(None, Report())
    assert local is not None
    cmdline = local.images["debian-12"].cmdline or ""
    added = image(site, "add", NAME, built, "--cmdline", cmdline, "--set", "distro=debian-12")
    assert added.returncode == 0, added.stderr
    assert "cannot be read" not in added.stderr, "debian-12 has ext4"
    job = work / "job.vjob.yaml"
    job.write_text(
        f"apiVersion: vtorque/v1\nname: test\nimage: {NAME}\nmounts: [home]\nmemory: 768MiB\n"
        "root_disk: {backing: local, size: 4GiB}\ntimeouts: {boot: 240s}\nrun: |\n"
        f"  cd {work}; df --output=size -B1 / | tail -1\n"
        "  dd if=/dev/zero of=/var/tmp/written bs=1M count=64 status=none && echo written\n"
        "  touch ready; while [ ! -e go ]; do sleep 0.2; done\n"
        "  cat /usr/bin/* > /dev/null && echo read\n"
    )
    told: list[str] = []
    known: list[bool] = []

    def attempt() -> Done:
        for name in ("ready", "go"):
            (work / name).unlink(missing_ok=True)
        with started(run_at(site, user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            if wait_for(work / "ready", process, 300):
                told[:] = disks()
                known[:] = [is_known(Path(told[0]))]
                told.append(image(site, "update", NAME, newer, "--revision", "z").stderr)
                told.append(image(site, "remove", NAME).stderr)
                (work / "go").touch()
            return finished(process)

    done = until_not_silent(attempt, count_boots)
    assert done.code == 0, done.err
    size, *said = done.out.split()
    assert said == ["written", "read"]
    assert 3 * 2**30 < int(size) <= 4 * 2**30
    base, _overlay, updated, refused = told
    assert base.startswith(f"{SPOOL}/bases/{NAME}@")
    assert known == [True], "libvirt and QEMU left its owner, mode and times alone"
    assert updated.endswith(f"{NAME} sha256:{newest(SYSTEM_STORE)[NAME].disk.sha256}\n")
    assert "used by job local-" in refused
    assert "(qemu-system-x86)" in refused
    assert left_behind() == []
    assert Path(base).exists()
    Path(base).unlink()
    assert image(site, "remove", "--force", NAME).returncode == 0
    assert NAME not in newest(SYSTEM_STORE)


def test_a_guest_reads_its_image_from_memory(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count
) -> None:
    """It has come from there when its program speaks; the memory is given back with the job."""
    count_boots()
    job = work / "job.vjob.yaml"
    job.write_text(
        f"apiVersion: vtorque/v1\nname: test\nimage: {osv_guest.IMAGES['disk']}\nvcpus: 1\nmemory: 64MiB\n"
        "root_disk: {backing: ram}\nrun: {command: [/t, sleep, '600']}\n"
    )
    with osv_guest.published(site), started(run_at(site, user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(4)][-1] == "SLEEP 600\n"
        base, overlay = disks()
        mounted = subprocess.check_output(["findmnt", "-no", "FSTYPE", "-T", base], text=True)
        process.send_signal(signal.SIGTERM)
        done = finished(process)
    assert done.code == 128 + signal.SIGTERM, done.err
    assert Path(base).parent != Path(overlay).parent
    assert mounted == "tmpfs\n"
    assert not Path(base).exists()
    assert left_behind() == []
    points = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    assert [path for path in points if path.startswith(f"{SPOOL}/jobs/")] == []
