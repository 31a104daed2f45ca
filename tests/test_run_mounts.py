"""`vtorque run` with what a site mounts, the job's own disk, and the site's programs as the guest's root."""

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boots import BOOT_LIMIT_S, GROUP, Done, finished, left_behind, started
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, until_not_silent, user, work, write_job
from vtorque_runtime.images.store import SYSTEM_STORE, installed

__all__ = ["user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]

BOOT_HOOK = """\
#!/bin/sh
# A site's program. For the test it also is what a job would be that had become the guest's root.
echo "the site's boot hook: uid $(id -u)"
touch /run/hooked
cp /usr/bin/id /scratch/set-uid && chmod 4755 /scratch/set-uid
mknod -m 0666 /scratch/zero c 1 5 2>/scratch/mknod-said
mount -o remount,rw /data && touch /data/from-root && touch /run/wrote-to-data
exit 0
"""
SHUTDOWN_HOOK = """\
#!/bin/sh
echo "$(id -u) $(cat /run/vtorque/boot | wc -l)" >/scratch/shutdown-hook
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A site's shared directories, mounted as design and docs ask: what jobs may write to is nosuid,nodev."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    path = Path(f"/srv/vtorque-run-{os.getpid()}")
    path.mkdir(mode=0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,mode=0755", "none", path], check=True)
    (path / "scratch").mkdir()
    (path / "scratch").chmod(0o1777)
    (path / "data").mkdir()
    (path / "data/set").write_text("the data\n")
    yield path
    subprocess.run(["umount", path], check=True)
    path.rmdir()


def make_site(directory: Path, shared: Path, boot_hook: str) -> Path:
    """The built-in site with these mounts and hooks; another site than that needs the image's digest."""
    site = directory / "site"
    (site / "images").mkdir(parents=True)
    for name in ("site.yaml", "images/debian-12.yaml"):
        shutil.copyfile(ROOT / "schemas/local" / name, site / name)
    (image,) = [image for image in installed(SYSTEM_STORE) if image.name == "debian-12"]
    entry = (site / "images/debian-12.yaml").read_text()
    (site / "images/debian-12.yaml").write_text(entry + f"sha256: {image.sha256}\n")
    facts = (site / "site.yaml").read_text().partition("mounts:")[0]
    (site / "site.yaml").write_text(
        f"{facts}guest: {{hooks: {{boot: boot.sh, shutdown: shutdown.sh}}}}\n"
        "networks:\n  default: {kind: isolated}\n"
        "mounts:\n"
        "  home: {source: $HOME, target: $HOME, mode: rw, allow_suid: true}\n"
        f"  scratch: {{source: {shared}/scratch/$USER, target: /scratch, mode: rw}}\n"
        f"  data: {{source: {shared}/data, target: /data, mode: ro}}\n"
    )
    (site / "boot.sh").write_text(boot_hook)
    (site / "shutdown.sh").write_text(SHUTDOWN_HOOK)
    return site


def run(user: pwd.struct_passwd, site: Path, job: Path, count: Count) -> Done:
    def attempt() -> Done:
        command = [sys.executable, "-m", "vtorque_spec", "run", job, "--as", user.pw_name, "--site", site]
        with started(command, ROOT, PYTHONPATH=PYTHONPATH) as process:
            return finished(process)

    return until_not_silent(attempt, count)


JOB = f"""\
mounts: [scratch, data]
disks: [{{name: big, size: 3GiB, mount: /big}}]
timeouts: {{boot: {BOOT_LIMIT_S}s}}
run: |
  echo "hooked: $([ -e /run/hooked ] && echo yes)"
  echo "wrote to data: $([ -e /run/wrote-to-data ] && echo yes || echo no)"
  echo "distro: $DISTRO"
  id -G
  cat /data/set
  touch /data/mine || echo "cannot write to /data"
  touch /scratch/mine
  touch /scratch/of-group && chgrp {GROUP} /scratch/of-group
  /scratch/set-uid -u
  head -c 1 /scratch/zero >/dev/null || echo "no device"
  stat -c '%U %a' /big
  df --output=size -B1 /big | tail -n 1
  head -c 1000 /dev/urandom >/big/file && stat -c %s /big/file
  grep -E ' (/scratch|/data|/big) ' /proc/mounts
"""


def test_mounts_disks_and_hooks(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, shared: Path, tmp_path: Path, count_boots: Count
) -> None:
    own = shared / "scratch" / user.pw_name
    own.mkdir()
    os.chown(own, user.pw_uid, user.pw_gid)
    done = run(user, make_site(tmp_path, shared, BOOT_HOOK), write_job(work, JOB), count_boots)
    assert done.code == 0, done.err
    out = done.out.splitlines()
    assert out[:3] == ["hooked: yes", "wrote to data: no", "distro: SLG"], done.err
    assert set(out[3].split()) == {str(gid) for gid in os.getgrouplist(user.pw_name, user.pw_gid)}
    assert out[4:6] == ["the data", "cannot write to /data"]
    assert out[6:9] == [str(user.pw_uid), "no device", f"{user.pw_name} 755"]
    assert 0.9 * 3 * 2**30 < int(out[9]) < 3 * 2**30
    assert out[10] == "1000"
    mounts = {line.split()[1]: set(line.split()[3].split(",")) for line in out[11:]}
    assert mounts.keys() == {"/scratch", "/data", "/big"}
    assert all({"nosuid", "nodev"} < options for options in mounts.values())
    check_host(user, own, shared / "data")
    assert left_behind() == []
    assert left_mounted() == []


def check_host(user: pwd.struct_passwd, own: Path, data: Path) -> None:
    """What is on the node afterwards: owners as in the guest, and nothing that makes root or a device."""
    assert (own / "mine").stat().st_uid == user.pw_uid
    assert (own / "of-group").group() == GROUP
    assert sorted(path.name for path in data.iterdir()) == ["set"]
    assert (own / "shutdown-hook").read_text() == "0 4\n"
    program, device = own / "set-uid", own / "zero"
    assert (program.stat().st_uid, program.stat().st_mode & 0o7777) == (0, 0o4755), "the guest's root could not try"
    refused = bool((own / "mknod-said").read_text())  # where libvirt has device cgroups virtiofsd can make none
    assert refused != device.exists(), "the guest's root could not try"
    ids = {"user": user.pw_uid, "group": user.pw_gid}
    done = subprocess.run([program, "-u"], capture_output=True, text=True, check=True, **ids)
    assert done.stdout == f"{user.pw_uid}\n"
    with pytest.raises(FileNotFoundError if refused else PermissionError):
        device.open("rb")


def left_mounted() -> list[str]:
    """Mounts and directories of shares that are still there."""
    mounts = re.findall(r"^\S+ (/var/lib/vtorque\S*) ", Path("/proc/mounts").read_text(), re.MULTILINE)
    shares = Path("/var/lib/vtorque/shares")
    return mounts + [str(path) for path in (shares.iterdir() if shares.is_dir() else ())]


def test_a_boot_hook_that_fails_ends_the_boot(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, shared: Path, tmp_path: Path, count_boots: Count
) -> None:
    site = make_site(tmp_path, shared, "#!/bin/sh\necho 'no licence here'\nexit 3\n")
    job = write_job(work, f"timeouts: {{boot: {BOOT_LIMIT_S}s}}\nrun: echo never\n")
    done = run(user, site, job, count_boots)
    assert done.code == 1
    assert "never" not in done.out
    assert "VT0904" in done.err
    assert "failed in the site's boot hook, exit code 3" in done.err
    assert "no licence here" in done.err
    assert left_behind() == []
    assert left_mounted() == []
