"""`vtorque run` where a site has an NFS server, here one in userspace on its bridge, and shares directories by 9p."""

import grp
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boots import BOOT_LIMIT_S, GROUP, Done, finished, left_behind, started
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, until_not_silent, user, work
from tests.test_run_mounts import left_mounted
from tests.test_run_networks import BRIDGE, HOST, bridge, run_at
from vtorque_runtime.identity import node_name
from vtorque_runtime.images.store import SYSTEM_STORE, installed

__all__ = ["bridge", "user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]
IMAGE = "debian-12-mpi"
SILENT_PORT = 2050

GANESHA = """\
NFS_CORE_PARAM {{ Protocols = 4; Bind_addr = {host}; Enable_NLM = false; Enable_RQUOTA = false; }}
NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {directory}/state; Only_Numeric_Owners = true; }}
EXPORT {{
    Export_Id = 1; Path = {directory}/exported; Pseudo = /exported;
    Access_Type = RW; Squash = Root_Squash; SecType = sys; FSAL {{ Name = VFS; }}
}}
"""
"""NFS 4 alone needs no port mapper. https://github.com/nfs-ganesha/nfs-ganesha/wiki/Ganesha-config"""


@pytest.fixture
def server(user: pwd.struct_passwd, bridge: None) -> Iterator[Path]:
    """What an NFS server of the site has: homes, and data that a group may read. It trusts no client's root."""
    if shutil.which("ganesha.nfsd") is None:
        pytest.skip("nfs-ganesha is not installed")
    directory = Path(f"/srv/vtorque-nfs-{os.getpid()}")
    exported = directory / "exported"
    for name in ("home", "data"):
        (exported / name).mkdir(parents=True)
    (directory / "state").mkdir()
    home, data = exported / "home" / user.pw_name, exported / "data/of-group"
    home.mkdir(mode=0o700)
    os.chown(home, user.pw_uid, user.pw_gid)
    data.write_text("the group's data\n")
    os.chown(data, 0, grp.getgrnam(GROUP).gr_gid)
    data.chmod(0o640)
    config, log = directory / "ganesha.conf", directory / "log"
    config.write_text(GANESHA.format(host=HOST, directory=directory))
    command: list[str | Path] = ["ganesha.nfsd", "-F", "-f", config, "-p", directory / "pid", "-L", log]
    with subprocess.Popen(command) as process:
        try:
            wait_for_port(process, log)
            yield exported
        finally:
            process.terminate()
    shutil.rmtree(directory)


def wait_for_port(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((HOST, 2049), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the NFS server does not serve: {log.read_text()}")


@pytest.fixture
def silent_server(bridge: None) -> Iterator[None]:
    """A server that hangs: the kernel takes connections, and nobody answers."""
    with socket.create_server((HOST, SILENT_PORT)):
        yield


def make_site(directory: Path, mounts: str) -> Path:
    """The built-in site with these mounts, on the bridge."""
    site = directory / "site"
    (site / "images").mkdir(parents=True)
    (image,) = [image for image in installed(SYSTEM_STORE) if image.name == IMAGE]
    entry = (ROOT / f"schemas/local/images/{IMAGE}.yaml").read_text()
    (site / f"images/{IMAGE}.yaml").write_text(f"{entry}sha256: {image.sha256}\n")
    facts = (ROOT / "schemas/local/site.yaml").read_text().partition("mounts:")[0]
    (site / "site.yaml").write_text(
        f"{facts}networks:\n"
        f"  default: {{kind: bridge, bridge: {BRIDGE}, subnet: 10.99.0.0/24,\n"
        f"    addresses: {{first: 10.99.0.32, slots: 16, nodes: {node_name()}}}}}\n"
        f"mounts:\n{mounts}"
    )
    return site


def run(user: pwd.struct_passwd, site: Path, work: Path, mounts: str, program: str, count: Count) -> Done:
    job = work / "job.vjob.yaml"
    job.write_text(
        f"apiVersion: vtorque/v1\nname: test\nimage: {IMAGE}\nmounts: [{mounts}]\n"
        f"timeouts: {{boot: {2 * BOOT_LIMIT_S}s}}\nrun: |\n" + "".join(f"  {line}\n" for line in program.splitlines())
    )

    def attempt() -> Done:
        with started(run_at(site, user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            return finished(process)

    return until_not_silent(attempt, count)


PROGRAM = f"""\
pwd; ls
echo mine >mine
touch of-group && chgrp {GROUP} of-group
cat /data/of-group
touch /data/mine || echo "cannot write to /data"
cat /apps/tool; stat -c '%u %g' /apps/tool
touch /apps/mine || echo "cannot write to /apps"
cat /apps/secret || echo "cannot read the secret"
grep -E " ($HOME|/data|/apps) " /proc/mounts
"""


def test_mounts_from_a_server_and_by_9p(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, server: Path, tmp_path: Path, count_boots: Count
) -> None:
    """Uid and groups are those of the job's owner on the server too; read-only is; nothing makes root or a device."""
    home, apps = server / "home" / user.pw_name, server.parent / "apps"
    apps.mkdir()
    (apps / "tool").write_text("a tool\n")
    os.chown(apps / "tool", 4242, 4343)
    (apps / "secret").write_text("root's\n")
    (apps / "secret").chmod(0o600)
    site = make_site(
        tmp_path,
        f'  home: {{type: nfs, source: "{HOST}:/exported/home/$USER", target: $HOME, mode: rw, options: [vers=4.2]}}\n'
        f'  data: {{type: nfs, source: "{HOST}:/exported/data", target: /data, mode: ro}}\n'
        f"  apps: {{type: 9p, source: {apps}, target: /apps, mode: ro}}\n",
    )
    (home / "seen").touch()
    done = run(user, site, work, "home, data, apps", PROGRAM, count_boots)
    assert done.code == 0, done.err
    out = done.out.splitlines()
    assert out[:2] == [user.pw_dir, "seen"]
    assert out[2:4] == ["the group's data", "cannot write to /data"], done.err
    assert out[4:8] == ["a tool", "4242 4343", "cannot write to /apps", "cannot read the secret"], done.err
    mounts = {line.split()[1]: line.split() for line in out[8:]}
    assert {target: (line[0], line[2]) for target, line in mounts.items()} == {
        user.pw_dir: (f"{HOST}:/exported/home/{user.pw_name}", "nfs4"),
        "/data": (f"{HOST}:/exported/data", "nfs4"),
        "/apps": ("mount2", "9p"),
    }
    options = {target: line[3].split(",") for target, line in mounts.items()}
    assert all({"nosuid", "nodev"} < set(said) for said in options.values())
    assert {target: said[0] for target, said in options.items()} == {user.pw_dir: "rw", "/data": "ro", "/apps": "ro"}
    mine, of_group = (home / "mine").stat(), (home / "of-group").stat()
    assert (mine.st_uid, mine.st_gid) == (of_group.st_uid, user.pw_gid) == (user.pw_uid, user.pw_gid)
    assert of_group.st_gid == grp.getgrnam(GROUP).gr_gid
    assert [path.name for path in (server / "data").iterdir()] == ["of-group"]
    assert not (Path(user.pw_dir) / "mine").exists(), "the home of the guest is the node's"
    assert left_behind() == []
    assert left_mounted() == []
    assert " nfs" not in Path("/proc/mounts").read_text()


def test_a_server_that_does_not_answer_is_named(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, silent_server: None, tmp_path: Path, count_boots: Count
) -> None:
    """Long before the boot has taken all its time."""
    source = f"{HOST}:/exported/data"
    options = f"[vers=4.2, port={SILENT_PORT}]"
    site = make_site(
        tmp_path, f'  data: {{type: nfs, source: "{source}", target: /data, mode: ro, options: {options}}}\n'
    )
    done = run(user, site, work, "data", "echo never", count_boots)
    assert done.code == 1
    assert "never" not in done.out
    finding = done.err[done.err.index("error[VT0904]") :]
    assert f"the guest could not mount /data: {source} did not answer within 30 s" in finding
    assert "vtorque-phase: mounts " in finding, "the console tells the phase"
    assert left_behind() == []
    assert left_mounted() == []
