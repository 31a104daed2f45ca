"""What the guest's root can do to the node: here it is the site's own boot hook, elsewhere it would be a break-in.

And what an ordinary user finds in its guest; and that a home is afterwards what it was, but for what was written.
"""

import hashlib
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.boots import BOOT_LIMIT_S, OTHER_USER, USER, Done, finished, left_behind, make_user, started, wait_for
from tests.security.users import User
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, until_not_silent
from vtorque_runtime.images.store import SYSTEM_STORE, installed

pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]

PLANTED = Path("/etc/vttest-planted")
"""On the node, if a link in a share led the guest's root there."""

BOOT_HOOK = """\
#!/bin/sh
# What a job would try that had become the guest's root; each line of the report is one try.
report=/scratch/report home={home} other={other}
say() {{ printf '%s\\n' "$*" >>$report; }}
tried() {{ name=$1; shift; "$@" 2>/dev/null && say "$name yes" || say "$name no"; }}
say "uid $(id -u)"
tried home-as-root cp /bin/true $home/as-root
tried home-as-another sh -c "touch $home/as-another && chown $other $home/as-another"
tried home-by-another setpriv --reuid $other --clear-groups touch $home/by-another
for where in /scratch /data /big; do
  tried "set-uid-root$where" sh -c "cp /usr/bin/id $where/set-uid-root && chmod 4755 $where/set-uid-root"
  tried "set-uid-other$where" sh -c \\
    "cp /usr/bin/id $where/set-uid-other && chown $other $where/set-uid-other && chmod 6755 $where/set-uid-other"
  tried "device$where" mknod -m 0666 $where/zero c 1 5
  tried "disk$where" mknod -m 0666 $where/disk b 254 0
done
tried remount/data sh -c "mount -o remount,rw /data && touch /data/remounted"
ln -s {planted} /scratch/absolute && tried absolute-link sh -c 'echo x >/scratch/absolute'
ln -s ../../../../../../../..{planted}-2 /scratch/relative && tried relative-link sh -c 'echo x >/scratch/relative'
ln -s / /scratch/root && say "host-name $(cat /scratch/root/etc/hostname)"
address=$(ip -4 route show | sed -n 's/.*src \\([0-9.]*\\).*/\\1/p' | head -n 1)
say "address $address"
python3 - "$address" {listening} <<'EOF' >>$report
import ipaddress, socket, sys
# The node has the block's first address: see runtime/README.md.
host = str(ipaddress.ip_address(sys.argv[1]) - 1)
with socket.socket() as probe:
    probe.settimeout(3)
    print("open-to-all", "no" if probe.connect_ex((host, int(sys.argv[2]))) else "yes")
for port in (22, 53, 67, 111, 5900, 5901, 16509, 16514, 49152):
    for kind, name in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.settimeout(1)
            try:
                probe.connect((host, port))
                probe.send(b"x")
                probe.recv(1)
                print(name, port)
            except OSError:
                pass
EOF
say "end yes"
exit 0
"""

JOB = """\
mounts: [home, scratch, data]
disks: [{{name: big, size: 1GiB, mount: /big}}]
timeouts: {{boot: {limit}s}}
run: |
  say() {{ printf '%s\\n' "$*"; }}
  can() {{ name=$1; shift; "$@" >/dev/null 2>&1 && say "$name yes" || say "$name no"; }}
  can seed-disk head -c 1 /dev/vdb
  can seed-label head -c 1 /dev/disk/by-label/cidata
  can root-disk head -c 1 /dev/vda
  can own-disk head -c 1 /dev/vdc
  can user-data cat /var/lib/cloud/instance/user-data.txt
  can instance-data cat /run/cloud-init/instance-data-sensitive.json
  can pickle cat /var/lib/cloud/instance/obj.pkl
  can host-key cat /etc/ssh/ssh_host_ed25519_key
  can shadow cat /etc/shadow
  can sudo sudo -n true
  can su sh -c 'echo | su -c true root'
  can mount mount -t tmpfs none /mnt
  can unshare unshare --mount true
  can scratch-set-uid sh -c '[ "$(/scratch/set-uid-root -u)" = 0 ]'
  can scratch-set-uid-other sh -c '[ "$(/scratch/set-uid-other -u)" = {other} ]'
  can big-set-uid sh -c '[ "$(/big/set-uid-root -u)" = 0 ]'
  can scratch-device head -c 1 /scratch/zero
  can big-device head -c 1 /big/zero
  say "keys $(grep -rlsaE 'BEGIN [A-Z ]*PRIVATE KEY' /etc /run /var/lib /var/log /dev/shm /root /tmp | tr '\\n' ' ')"
  touch ready
  while [ ! -e go ]; do sleep 0.2; done
  printf 'what the job wrote' >~/written
"""


@pytest.fixture
def user() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        pytest.skip("making users needs root")
    make_user()
    return make_user(OTHER_USER)


@pytest.fixture
def shared(user: pwd.struct_passwd) -> Iterator[Path]:
    """A site's shared directories, mounted as docs/mounts.md asks."""
    path = Path(f"/srv/vtorque-security-{os.getpid()}")
    path.mkdir(mode=0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,mode=0755", "none", path], check=True)
    for directory in (path / "scratch", path / "scratch" / user.pw_name, path / "data"):
        directory.mkdir(mode=0o755)
    os.chown(path / "scratch" / user.pw_name, user.pw_uid, user.pw_gid)
    (path / "data/set").write_text("the data\n")
    yield path
    subprocess.run(["umount", path], check=True)
    path.rmdir()


@pytest.fixture
def work(user: pwd.struct_passwd) -> Iterator[Path]:
    """The user's home, with an .ssh that must not change; what the test leaves there is removed."""
    home = Path(user.pw_dir)
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "config").write_text("Host *\n  StrictHostKeyChecking yes\n")
    (ssh / "authorized_keys").write_text("# nobody\n")
    for path in (ssh, *ssh.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
    yield home
    for name in ("ready", "go", "written", "as-root", "as-another", "by-another", "job.vjob.yaml"):
        (home / name).unlink(missing_ok=True)


def make_site(directory: Path, shared: Path, boot_hook: str) -> Path:
    """The built-in site with these mounts and this hook."""
    site = directory / "site"
    (site / "images").mkdir(parents=True)
    (image,) = [image for image in installed(SYSTEM_STORE) if image.name == "debian-12"]
    entry = (ROOT / "schemas/local/images/debian-12.yaml").read_text()
    (site / "images/debian-12.yaml").write_text(f"{entry}sha256: {image.sha256}\n")
    facts = (ROOT / "schemas/local/site.yaml").read_text().partition("mounts:")[0]
    (site / "site.yaml").write_text(
        f"{facts}guest: {{hooks: {{boot: boot.sh}}}}\n"
        "networks:\n  default: {kind: isolated}\n"
        "mounts:\n"
        "  home: {source: $HOME, target: $HOME, mode: rw, allow_suid: true}\n"
        f"  scratch: {{source: {shared}/scratch/$USER, target: /scratch, mode: rw}}\n"
        f"  data: {{source: {shared}/data, target: /data, mode: ro}}\n"
    )
    (site / "boot.sh").write_text(boot_hook)
    return site


def tree(directory: Path) -> dict[str, tuple[int, int, int, str]]:
    """All below a directory: owner, group, mode, and what it holds."""
    found = {}
    for path in (directory, *sorted(directory.rglob("*"))):
        now = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        digest = hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
        found[str(path.relative_to(directory))] = (now.st_uid, now.st_gid, now.st_mode, digest)
    return found


def listening() -> set[str]:
    """Protocol and address of all that this node takes connections or packets at, beyond its loopback (proc(5))."""
    found = set()
    for table in ("tcp", "udp", "tcp6", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            local, open_to_all = fields[1], fields[3] == "0A" or (table.startswith("udp") and fields[3] == "07")
            if open_to_all and not local.startswith(("0100007F", "00000000000000000000000001000000")):
                found.add(f"{table} {local}")
    return found


@contextmanager
def listener() -> Iterator[int]:
    """A service of the node's that is open to all: its port."""
    with socket.create_server(("", 0)) as service:
        yield service.getsockname()[1]


def check_node(user: pwd.struct_passwd, other: pwd.struct_passwd, own: Path) -> None:
    """What the guest's root could do in the guest is nothing on the node."""
    report = dict(line.split(" ", 1) for line in (own / "report").read_text().splitlines())
    home = Path(user.pw_dir)
    assert report["uid"] == "0"
    assert report["end"] == "yes", "it stopped on its way"
    assert (home / "as-root").stat().st_uid == 0
    assert (home / "as-another").stat().st_uid == other.pw_uid
    assert (report["home-as-root"], report["home-as-another"], report["home-by-another"]) == ("yes", "yes", "no")
    refused = {name for name, said in report.items() if name.endswith("/data") and said == "no"}
    assert refused == {f"{what}/data" for what in ("set-uid-root", "set-uid-other", "device", "disk", "remount")}
    assert (report["set-uid-root/scratch"], report["set-uid-other/scratch"]) == ("yes", "yes")
    for name, owner in (("set-uid-root", 0), ("set-uid-other", other.pw_uid)):
        assert (own / name).stat().st_uid == owner
        assert (own / name).stat().st_mode & 0o4000, "it could not try"
        said = subprocess.check_output(
            [own / name, "-u"], text=True, user=user.pw_uid, group=user.pw_gid, extra_groups=[]
        )
        assert said == f"{user.pw_uid}\n"
    for name in ("zero", "disk"):
        with pytest.raises((FileNotFoundError, PermissionError)):
            (own / name).open("rb")
    assert (report["absolute-link"], report["relative-link"]) == ("yes", "yes"), "the guest's own /etc"
    assert (own / "absolute").is_symlink()
    assert not PLANTED.exists()
    assert not Path(f"{PLANTED}-2").exists()
    assert report["host-name"] != Path("/etc/hostname").read_text().strip()
    assert report["open-to-all"] == "yes", "what a node opens to all is open to guests: else the next says nothing"
    assert {"tcp", "udp"}.isdisjoint(report)


def check_others(owner: pwd.struct_passwd) -> None:
    """While a guest runs: nobody reaches libvirt, QEMU or the spool, and its owner has its own files alone."""
    users = {name: User.make(name) for name in (USER, OTHER_USER)}
    jobs = [path for path in Path("/var/lib/vtorque/jobs").glob("*/*") if not path.name.startswith(".")]
    assert {"owner", "vm0", "job.json", "console.log"} <= {path.name for path in jobs}
    sockets = list(Path("/var/lib/libvirt/qemu").glob("domain-*/monitor.sock"))
    assert sockets
    for path in (*jobs, *(file for one in jobs if one.name == "vm0" for file in one.iterdir())):
        own = path.lstat().st_uid == owner.pw_uid and path.name in ("owner", "console.log")
        for name, user in users.items():
            assert user.reads(path) == ("yes" if own and name == owner.pw_name else "PermissionError"), path
    for user in users.values():
        assert user.does(CONNECT, sockets[0]) == "PermissionError"
        assert "failed" in user.does(VIRSH, "list"), "a user commands the node's libvirt"


CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
VIRSH = (
    "import subprocess, sys; done = subprocess.run(['/usr/bin/virsh', '-c', 'qemu:///system', *sys.argv[1:]],"
    " capture_output=True, text=True); print('failed' if done.returncode else done.stdout)"
)


def check_user(out: str, user: pwd.struct_passwd) -> None:
    """In the guest an ordinary user has its own disk and key, and nothing of root's."""
    found = dict(line.split(" ", 1) for line in out.splitlines())
    assert found.pop("keys").split() == [f"/etc/ssh/vtorque/{user.pw_name}.key"]
    assert {name for name, said in found.items() if said != "no"} == set()


def test_guest_root_and_an_ordinary_user(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, shared: Path, tmp_path: Path, count_boots: Count
) -> None:
    other = pwd.getpwnam(USER)
    own = shared / "scratch" / user.pw_name
    (work / "job.vjob.yaml").write_text(
        "apiVersion: vtorque/v1\nname: test\nimage: debian-12\n" + JOB.format(limit=BOOT_LIMIT_S, other=other.pw_uid)
    )
    with listener() as port:
        hook = BOOT_HOOK.format(home=user.pw_dir, other=other.pw_uid, planted=PLANTED, listening=port)
        site = make_site(tmp_path, shared, hook)
        before, before_data = tree(work), tree(shared / "data")
        opened: set[str] = set()

        def attempt() -> Done:
            quiet = listening()
            command = [sys.executable, "-m", "vtorque_spec", "run", str(work / "job.vjob.yaml"), "--as", user.pw_name]
            with started([*command, "--site", str(site)], ROOT, PYTHONPATH=PYTHONPATH) as process:
                if wait_for(work / "ready", process):
                    opened.update(listening() - quiet)
                    check_others(user)
                    (work / "go").touch()
                return finished(process)

        done = until_not_silent(attempt, count_boots)
    assert done.code == 0, done.err
    check_node(user, other, own)
    assert tree(shared / "data") == before_data
    check_user(done.out, user)
    after = tree(work)
    gone = {"ready", "go"}
    assert {name for name in after if after[name] != before.get(name)} - gone == {"written", "as-root", "as-another"}
    assert before.keys() <= after.keys()
    assert opened == set()
    assert left_behind() == []
