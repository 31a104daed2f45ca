"""What OSv guests write to, served by a real nfs-ganesha to a network namespace in the place of a guest.

The client is libnfs, which OSv's is made of.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.support import nfs4
from vtorque_runtime import landlock, partition, shares, steps
from vtorque_runtime.journal import Journal
from vtorque_runtime.osv import exports, serve
from vtorque_runtime.shares import ShareUndo
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Filesystem, NodePlan, OsvGuest, TapNic, shares_of
from vtorque_spec.plan.context import partition_name

pytestmark = pytest.mark.root
OWNER, OTHER = 4242, 4343
BRIDGE, GUEST, STRANGER = "vttest-nfs", "vttest-guest", "vttest-other"
HOST, ADDRESS, OTHERS_ADDRESS, SERVER = "10.213.255.1", "10.213.255.2", "10.213.255.3", "10.213.255.6"
URL = f"nfs://{SERVER}/mount0/{{}}?version=4&nfsport=2049"
CLIENT_LIMIT_S = "10"


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


@pytest.fixture
def bridge() -> Iterator[None]:
    """The job's network, with its guest, and a machine that is not of the job."""
    if os.geteuid() != 0 or not Path(serve.GANESHA).exists() or shutil.which("nfs-cp") is None:
        pytest.skip("needs root, nfs-ganesha and libnfs-utils")
    ip(f"link add {BRIDGE} type bridge")
    try:
        ip(f"addr add {HOST}/29 dev {BRIDGE}")
        ip(f"link set {BRIDGE} up")
        for name, address in ((GUEST, ADDRESS), (STRANGER, OTHERS_ADDRESS)):
            ip(f"netns add {name}")
            ip(f"link add {name} type veth peer name eth0 netns {name}")
            ip(f"link set {name} master {BRIDGE} up")
            ip(f"-n {name} addr add {address}/29 dev eth0")
            ip(f"-n {name} link set eth0 up")
        yield
    finally:
        for name in (GUEST, STRANGER):
            subprocess.run(["ip", "link", "del", name], check=False)
            subprocess.run(["ip", "netns", "del", name], check=False)
        ip(f"link del {BRIDGE}")


@dataclass
class Job:
    """A job that may write to `own`, which lies beside `others`, where its owner may not look."""

    plan: NodePlan
    own: Path
    others: Path
    journal: Journal

    def make(self, shared: Path | None = None) -> None:
        bound = Path(self.plan.guests[0].machine.filesystems[0].path)
        descriptor = os.open(shared or self.own, os.O_PATH)
        undo = ShareUndo("share", bound.name)
        try:
            source = shares.Source(descriptor, os.fstatvfs(descriptor).f_flag)
            self.journal.step(undo, lambda: shares.bind(source, bound, read_only=False))
        finally:
            os.close(descriptor)
        exports.make(self.plan, BRIDGE, self.journal, lambda: None)

    def undo(self) -> list[str]:
        return steps.undo_all(self.journal.undos(), Path(self.plan.spool), fakes.no_hypervisor)

    @property
    def server(self) -> int:
        (pid,) = partition.members(partition_name(self.plan.job_id), "exports")
        return pid


def plan_of(directory: Path) -> NodePlan:
    """A plan of one OSv guest that writes to a share."""
    found = fakes.plan(fakes.reserved(directory).context)
    linux = found.guests[0]
    nic = linux.machine.nic
    assert isinstance(nic, TapNic)
    path = f"{shares_of(found.spool)}/mount0"
    share = Filesystem("virtiofs", "/srv", path, "mount0", "/data", False, ())
    machine = replace(
        linux.machine, nic=replace(nic, address=ADDRESS, host_address=HOST, prefix=29), filesystems=(share,)
    )
    guest = OsvGuest(
        "osv", 0, machine, linux.root_disk_bytes, "q35", "kernel", "", False, "job", linux.node, linux.hostname
    )
    login = replace(found.login, uid=OWNER, groups=(replace(found.login.groups[0], gid=OWNER),))
    return replace(found, guests=(guest,), login=login)


@pytest.fixture
def job(bridge: None, tmp_path: Path) -> Iterator[Job]:
    """At its end nothing of it may be left."""
    own, others = tmp_path / "files/own", tmp_path / "files/others"
    for path, uid in ((own, OWNER), (others, OTHER)):
        path.mkdir(parents=True)
        os.chown(path, uid, uid)
    (others / "secret").write_text("another's\n")
    others.chmod(0o700)
    plan = plan_of(tmp_path)
    journal = Journal(Path(plan.spool) / "journal.jsonl")
    undo = partition.partition(partition_name(plan.job_id))
    for tree, directory in zip(partition._used(Path("/")), map(Path, undo.directories), strict=True):
        for path in (directory.parent, directory):
            partition._make_directory(tree, path)
    yield Job(plan, own, others, journal)
    left = [record for record in journal.undos() if record["kind"] in ("exports", "share")]
    assert steps.undo_all(left, Path(plan.spool), fakes.no_hypervisor) == []
    assert partition.remove(undo) == []
    assert not Path(f"/sys/class/net/{BRIDGE}-nfs").exists()


def at(name: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a program in that namespace, or with the node's own network."""
    inside = ["ip", "netns", "exec", name] if name else []
    return subprocess.run(
        [*inside, "timeout", CLIENT_LIMIT_S, *argv], capture_output=True, text=True, check=False, cwd="/"
    )


def in_guest(call: str) -> str:
    """Return what `nfs4` tells when it is asked from where the guest is."""
    program = f"from pathlib import Path; from tests.support import nfs4; print({call})"
    done = subprocess.run(
        ["ip", "netns", "exec", GUEST, sys.executable, "-c", program], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_a_guest_writes_is_the_owners_whoever_it_says_it_is(job: Job, tmp_path: Path) -> None:
    job.make()
    result = tmp_path / "result"
    result.write_text("42\n")
    for number, claim in enumerate(("", "&uid=0&gid=0", f"&uid={OTHER}&gid={OTHER}")):
        done = at(GUEST, "nfs-cp", str(result), URL.format(f"r{number}") + claim)
        assert done.returncode == 0, done.stderr
    assert {(path.name, path.stat().st_uid, path.stat().st_gid) for path in job.own.iterdir()} == {
        (f"r{number}", OWNER, OWNER) for number in range(3)
    }
    assert (job.own / "r0").read_text() == "42\n"
    private = job.own / "roots"
    private.write_text("root's\n")
    private.chmod(0o600)
    assert "root's" not in at(GUEST, "nfs-cat", URL.format("roots") + "&uid=0&gid=0").stdout


def test_nothing_outside_is_reached(job: Job) -> None:
    (job.own / "up").symlink_to("../others")
    (job.own / "fine").write_text("fine\n")
    job.make()
    assert at(GUEST, "nfs-cat", URL.format("fine")).stdout == "fine\n"
    for path in ("../others/secret", "up/secret", "../../etc/hostname"):
        done = at(GUEST, "nfs-cat", URL.format(path))
        assert done.returncode != 0
        assert done.stdout == ""
    listed = at(GUEST, "nfs-ls", f"nfs://{SERVER}/?version=4&nfsport=2049").stdout
    assert [line.split()[-1] for line in listed.splitlines()] == ["mount0"]


def test_a_handle_that_the_guest_made_up_opens_nothing(job: Job) -> None:
    """The secret may be read by all; what keeps others from it is the directory above, which a handle leads past."""
    (job.own / "fine").write_text("fine\n")
    job.make()
    at(GUEST, "nfs-ls", URL.format(""))
    root = bytes.fromhex(in_guest(f"nfs4.root_handle({SERVER!r}, 'mount0').hex()"))
    known = nfs4.kernel_handle(job.own)
    assert known in root, "the server's handle has the kernel's in it"

    def forged(path: Path) -> bytes:
        return root.replace(known, nfs4.kernel_handle(path))

    assert in_guest(f"nfs4.read({SERVER!r}, {forged(job.own / 'fine')!r})") == repr(b"fine\n")
    assert in_guest(f"nfs4.read({SERVER!r}, {forged(job.others / 'secret')!r})").isdecimal()
    assert in_guest(f"nfs4.names({SERVER!r}, {forged(job.others)!r})").isdecimal()


def test_nobody_else_reaches_it(job: Job) -> None:
    """Neither another machine on the bridge, nor a program of the node's."""
    job.make()
    assert at(GUEST, "nfs-ls", URL.format("")).returncode == 0
    for name in (STRANGER, ""):
        assert at(name, "nfs-ls", URL.format("")).returncode != 0


def test_the_server_is_the_owner_and_can_little_more(job: Job) -> None:
    job.make()
    status = Path(f"/proc/{job.server}/status").read_text()
    said = {line.split(":")[0]: line.split()[1:] for line in status.splitlines()}
    assert said["Uid"] == said["Gid"] == [str(OWNER)] * 4
    assert said["Groups"] == []
    assert {name: int(said[name][0], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == dict.fromkeys(
        ("CapPrm", "CapEff", "CapBnd"), 1 << 2
    ), "CAP_DAC_READ_SEARCH alone"
    assert said["NoNewPrivs"] == ["1"]
    ipv6 = Path(f"/proc/{job.server}/net/if_inet6")
    assert not ipv6.exists() or ipv6.read_text() == "", "its way to all on the bridge"
    for space in ("net", "mnt"):
        assert os.readlink(f"/proc/{job.server}/ns/{space}") != os.readlink(f"/proc/self/ns/{space}")
    assert sorted(os.listdir(f"/proc/{job.server}/root/etc")) != sorted(os.listdir("/etc"))
    assert partition_name(job.plan.job_id) in Path(f"/proc/{job.server}/cgroup").read_text()


def test_a_server_that_ends_is_told(job: Job) -> None:
    watch = exports.Watch(job.plan)
    job.make()
    assert watch.look() is None
    assert job.undo() == []
    lost = watch.look()
    assert lost is not None
    assert lost.code == "VT0957"
    assert job.undo() == [], "it works twice"


@pytest.mark.parametrize("moment", ["before it has a cgroup", "before it serves", "when it serves"])
def test_the_supervisor_killed_while_it_starts_one(job: Job, moment: str) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            if moment == "before it has a cgroup":
                partition.enter = die
            elif moment == "before it serves":
                exports._wait = die
            job.make()
            die()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert job.undo() == []
    until = time.monotonic() + 60
    while servers():  # one without a cgroup ends when it reads that its supervisor has
        assert time.monotonic() < until, servers()
        time.sleep(0.05)


def servers() -> list[str]:
    """The processes that are such a server, or are to become one."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [file.parent.name] * (serve.SERVE.encode() in file.read_bytes().split(b"\0"))
    return found


def test_a_server_that_cannot_serve_is_told(job: Job) -> None:
    """The kernel's own files have no handles."""
    with pytest.raises(Fault, match="VT0956") as caught:
        job.make(Path("/proc/sys/kernel"))
    assert "CRIT" in str(caught.value.detail)
    assert job.undo() == []


def test_a_kernel_that_cannot_hold_it_serves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setattr(exports, "GANESHA", "/")
    monkeypatch.setattr(exports, "MODULE", Path("/"))
    with pytest.raises(Fault, match=r"VT0956.*Landlock"):
        exports.check()
    monkeypatch.setattr(exports, "GANESHA", "/no/such/program")
    with pytest.raises(Fault, match=r"VT0956.*nfs-ganesha"):
        exports.check()


def test_undoing_what_never_began() -> None:
    assert exports.end(exports.ExportsUndo("exports", "vt_no_such_job")) == []


def test_a_job_that_writes_nowhere_has_no_server(tmp_path: Path) -> None:
    plan = fakes.plan(fakes.reserved(tmp_path).context)
    exports.make(plan, BRIDGE, Journal(tmp_path / "none"), lambda: None)
    assert exports.Watch(plan).look() is None
