"""`vtorque run` with root disks that are read from the node's copy of the image, and from memory."""

import os
import pwd
from pathlib import Path

import pytest

from tests.boots import Done, finished, left_behind, started, virsh, wait_for
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, run_as, until_not_silent, user, work, write_job
from vtorque_runtime.images.digests import Digests, Whole, identity_of
from vtorque_runtime.images.store import SYSTEM_STORE, installed

__all__ = ["user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]
SPOOL = Path("/var/lib/vtorque")


def disks_of(domain: str) -> list[str]:
    """The files that QEMU has open for the root disk, from libvirt's word: the overlay, and what is below it."""
    pid = Path(f"/run/libvirt/qemu/{domain}.pid").read_text(encoding="ascii").strip()
    opened = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return sorted(name for name in opened if name.endswith(".qcow2"))


def is_known(disk: Path) -> bool:
    """Whether the next job need not read the disk."""
    with disk.open("rb") as file:
        identity = identity_of(file.fileno())
    image = next(one for one in installed(SYSTEM_STORE) if f"{one.name}@{one.sha256[:16]}" in disk.name)
    return Digests(SPOOL).known(Whole(str(disk), identity, image.sha256, image.disk_format))


@pytest.mark.parametrize(("backing", "place"), [("local", r"bases"), ("ram", r"jobs")])
def test_the_guest_reads_its_image_from_there(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, count_boots: Count, backing: str, place: str
) -> None:
    job = write_job(
        work,
        f"""\
        mounts: [home]
        memory: 768MiB
        root_disk: {{backing: {backing}, size: 4GiB}}
        timeouts: {{boot: 240s}}
        run: |
          cd {work}
          df --output=size -B1 / | tail -1
          dd if=/dev/zero of=/var/tmp/written bs=1M count=64 status=none && echo written
          touch ready
          while [ ! -e go ]; do sleep 0.2; done
        """,
    )
    seen: list[str] = []

    def attempt() -> Done:
        for name in ("ready", "go"):
            (work / name).unlink(missing_ok=True)
        with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            if wait_for(work / "ready", process, 300):
                (domain,) = (name for name in virsh("list", "--name").split() if name.startswith("vt-local-"))
                seen[:] = disks_of(domain)
                (work / "go").touch()
            return finished(process)

    done = until_not_silent(attempt, count_boots)
    assert done.code == 0, done.err
    size, written = done.out.split()
    assert written == "written"
    assert 3 * 2**30 < int(size) <= 4 * 2**30
    (base, overlay) = sorted(seen, key=lambda name: name.endswith("/vm0/root.qcow2"))
    assert overlay.startswith(f"{SPOOL}/jobs/")
    assert base.startswith(f"{SPOOL}/{place}/")
    assert "/debian-12@" in base
    assert left_behind() == []
    assert Path(base).exists() == (backing == "local")
    if backing == "local":
        assert is_known(Path(base)), "libvirt and QEMU left its owner, mode and times alone"
    Path(base).unlink(missing_ok=True)
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    assert [path for path in mounted if path.startswith(f"{SPOOL}/jobs/")] == []
