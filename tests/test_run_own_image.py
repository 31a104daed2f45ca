"""A user's own image, in which the job is root: through no mount does that root get what its user has not outside."""

import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boots import BOOT_LIMIT_S, OTHER_USER, Done, make_user, started
from tests.spec.helpers import ROOT
from tests.support.cluster_site import write_hook, write_site
from tests.support.libvirtd import Libvirtd
from tests.support.slurm_conf import Cluster
from tests.test_run import Count, until_not_silent, user
from tests.test_slurm_jobs import ENDED, KILL_WAIT_S, StartSlurm, World
from vtorque_runtime.images.store import SYSTEM_STORE, installed

__all__ = ["user"]  # a fixture
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root, pytest.mark.session]

CMDLINE = "console=ttyS0 root=LABEL=root rw net.ifnames=0 mitigations=off quiet loglevel=3 systemd.show_status=no"

AS_ROOT = r"""
id -u; grep -c ^root: /etc/shadow
for at in /shared /data; do
  mount -o remount,rw $at
  cat $at/others $at/roots && echo "READ in $at"
  echo taken >>$at/others && echo "WROTE others in $at"
  echo taken >>$at/roots && echo "WROTE roots in $at"
  rm -f $at/others $at/roots
  chmod 0666 $at/others $at/roots && echo "CHMOD in $at"
  chown vttester $at/others
  mknod -m 0666 $at/memory c 1 1 && echo "MKNOD in $at"
  mkdir $at/new
  cp /usr/bin/id $at/new/set-uid && chown 0:0 $at/new/set-uid && chmod 4755 $at/new/set-uid
  echo given >$at/new/given && chown 4711:4711 $at/new/given
done
cat home/others home/roots && echo "READ at home"
echo taken >>home/others && echo "WROTE others at home"
echo taken >>home/roots && echo "WROTE roots at home"
true
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """Directories that a site offers, both of which the job's owner can write to outside."""
    path = Path(f"/srv/vtorque-own-{os.getpid()}")
    path.mkdir(mode=0o755)
    for name in ("shared", "data"):
        with_secrets(path / name)
    yield path
    shutil.rmtree(path)


def with_secrets(directory: Path) -> None:
    """Files that the job's owner cannot read, in a directory where all may write."""
    directory.mkdir()
    directory.chmod(0o1777)
    for file, uid in (("others", make_user(OTHER_USER).pw_uid), ("roots", 0)):
        (directory / file).write_text(f"secret of {uid}\n")
        (directory / file).chmod(0o600)
        os.chown(directory / file, uid, uid)


@pytest.fixture(scope="module")
def world(
    libvirtd: Libvirtd, start_slurm: StartSlurm, user: pwd.struct_passwd, installed_programs: Path
) -> Iterator[World]:
    """A node with root's hooks, to which a job with an own image is an ordinary one."""
    with tempfile.TemporaryDirectory(prefix="vtorque-cluster-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        site = write_site(directory)
        hook = write_hook(directory, site)
        cluster = Cluster(nodes=1, cpus=2, memory_mib=4000, prolog=hook, epilog=hook, kill_wait_s=KILL_WAIT_S)
        slurm = start_slurm(cluster)
        slurm.environment["PATH"] = f"{installed_programs}:{slurm.environment['PATH']}"
        yield World(slurm, user, site)


@pytest.fixture(scope="module")
def work(user: pwd.struct_passwd, shared: Path) -> Iterator[Path]:
    """The owner's directory: a site, a job, and a copy of an image in which the owner put a set-uid shell of root's."""
    path = Path(user.pw_dir) / f"own-{os.getpid()}"
    shutil.rmtree(path, ignore_errors=True)
    (path / "site/images").mkdir(parents=True)
    images = {image.name: image for image in installed(SYSTEM_STORE)}
    mine, plain = images["debian-12-mpi"], images["debian-12"]
    assert mine.kernel
    assert mine.initrd
    subprocess.run(["qemu-img", "convert", "-O", "raw", mine.disk, path / "root.raw"], check=True)
    shutil.copyfile(mine.kernel, path / "vmlinuz")
    shutil.copyfile(mine.initrd, path / "initrd.img")
    put_a_shell(path / "root.raw")
    entry = (ROOT / "schemas/local/images/debian-12.yaml").read_text()
    (path / "site/images/debian-12.yaml").write_text(entry + f"sha256: {plain.sha256}\n")
    facts = (ROOT / "schemas/local/site.yaml").read_text().partition("mounts:")[0]
    (path / "site/site.yaml").write_text(
        f"{facts}networks:\n  default: {{kind: isolated}}\n"
        "mounts:\n"
        "  home: {source: $HOME, target: $HOME, mode: rw}\n"
        f"  shared: {{source: {shared}/shared, target: /shared, mode: rw}}\n"
        f"  data: {{source: {shared}/data, target: /data, mode: ro}}\n"
    )
    subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", path], check=True)
    subprocess.run(["chmod", "-R", "go-w", path], check=True)
    with_secrets(path / "home")
    yield path
    shutil.rmtree(path)


def put_a_shell(disk: Path) -> None:
    shell = Path("/bin/bash").resolve()
    commands = f"write {shell} /usr/bin/rootsh\nset_inode_field /usr/bin/rootsh mode 0104755\n"
    done = subprocess.run(
        ["debugfs", "-w", "-f", "-", disk], input=commands, capture_output=True, text=True, check=True
    )
    assert (
        "rootsh"
        in subprocess.run(["debugfs", "-R", "ls /usr/bin", disk], capture_output=True, text=True, check=True).stdout
    ), done.stderr


def write_job(work: Path, run: str) -> Path:
    (work / "as-root.sh").write_text(AS_ROOT)
    files = f"disk: root.raw, kernel: vmlinuz, initrd: initrd.img, cmdline: {CMDLINE}"
    text = f"""\
apiVersion: vtorque/v1
name: own
image: {{name: mine, {files}}}
mounts: [home, shared, data]
timeouts: {{boot: {BOOT_LIMIT_S}s}}
run: |
"""
    (work / "job.vjob.yaml").write_text(text + "".join(f"  {line}\n" for line in run.splitlines()))
    return work / "job.vjob.yaml"


def listed(directory: Path) -> dict[str, tuple[int, int, str | None]]:
    """Owner, mode, and of a plain file the text."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        text = path.read_text(errors="replace") if stat.S_ISREG(status.st_mode) and path.name != "set-uid" else None
        found[str(path.relative_to(directory))] = (status.st_uid, status.st_mode, text)
    return found


def compiled(world: World, work: Path) -> str:
    """The job's script, as its owner gets it."""
    words = ("vtorque", "compile", "--batch=slurm", f"--site={work}/site", f"{work}/job.vjob.yaml")
    return world.slurm.command(*words, user=world.user) + "\n"


def submit(world: World, work: Path) -> str:
    for name in ("out", "err"):
        (world.slurm.home(world.user) / name).unlink(missing_ok=True)
    export = f"--export=ALL,VTORQUE_SITE={work}/site"
    return world.slurm.submit(compiled(world, work), world.user, "--output=out", "--error=err", export)


def left_of(user: pwd.struct_passwd) -> list[str]:
    """Daemons and guests of the user's that run, and what jobs of theirs left of files."""
    ps = subprocess.run(["ps", "-u", str(user.pw_uid), "-o", "stat=,pid=,args="], capture_output=True, text=True)
    running = [line.split(maxsplit=1) for line in ps.stdout.splitlines()]
    words = ("libvirt", "qemu", "virtlog")
    found = [line for state, line in running if any(word in line for word in words) and state[0] != "Z"]
    found += [str(path) for path in Path("/tmp").glob("vt-*") if path.stat().st_uid == user.pw_uid]
    return found + [str(path) for path in Path(f"/var/tmp/vtorque-{user.pw_uid}/jobs").iterdir() if path.is_dir()]


def by_hand(user: pwd.struct_passwd, programs: Path, work: Path, *words: str | Path) -> list[str]:
    """The command that runs something as the batch system would on another node."""
    path = f"{programs}:/usr/local/bin:/usr/bin:/bin"
    of_batch = ("SLURM_JOB_ID=4711", "SLURMD_NODENAME=n1", f"VTORQUE_SITE={work}/site")
    own = ["env", "-i", f"HOME={user.pw_dir}", f"USER={user.pw_name}", f"PATH={path}", "LANG=C.UTF-8", *of_batch]
    return ["runuser", "-u", user.pw_name, "--", *own, *map(str, words)]


def jobs_of(user: pwd.struct_passwd) -> tuple[set[str], set[str], int]:
    """The jobs of the user's that have a QEMU, those in the user's spool, and how many own libvirts there are."""
    left = left_of(user)
    guests = {found[1] for line in left if (found := re.search(r"guest=vt-(local-\w+)-0", line))}
    jobs = {Path(line).name for line in left if line.startswith("/var/tmp/")}
    return guests, jobs, len([line for line in left if line.startswith("/tmp/")])


def next_guest(user: pwd.struct_passwd, process: "subprocess.Popen[str]", but: set[str]) -> tuple[str, int]:
    """Wait for a job that has a QEMU and is none of `but`; return its name and the process that has it."""
    while not (new := jobs_of(user)[0] - but):
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    (job,) = new
    return job, json.loads(Path(f"/var/tmp/vtorque-{user.pw_uid}/jobs/{job}/job.json").read_text())["pid"]


def test_the_guests_root_gains_nothing_outside(world: World, shared: Path, work: Path, count_boots: Count) -> None:
    """Cancelled, the job in the guest is told; its code is the job's, and all is gone before Slurm would kill it."""
    write_job(
        work,
        f"""\
        cd {work}
        rootsh -p -c 'setpriv --reuid=0 --regid=0 --clear-groups bash as-root.sh' >said.txt 2>refused.txt
        echo "the output of $(id -un) in $PBS_JOBID on $(findmnt -no FSTYPE /shared)"
        trap 'echo told to stop; exit 6' TERM
        echo "a result" >/shared/result
        while :; do sleep 0.2; done""",
    )
    places = {"shared": shared / "shared", "data": shared / "data", "home": work / "home"}
    before = {name: listed(place) for name, place in places.items()}
    others = left_of(world.user)  # a libvirt of the user's own ends when it has long been idle
    jobs: list[str] = []

    def attempt() -> Done:
        job = submit(world, work)
        jobs.append(job)
        goes = lambda: (shared / "shared/result").exists() or world.slurm.state(job) in ENDED  # noqa: E731 - a sentence
        world.slurm.until("the job runs", goes, BOOT_LIMIT_S + 90)
        if world.slurm.state(job) not in ENDED:
            assert [line for line in left_of(world.user) if "qemu-system" in line]
            world.slurm.scancel(job)
        world.finished(job, 90)
        code = re.search(r"ExitCode=(\d+):", world.slurm.command("scontrol", "show", "job", job))
        assert code
        return Done(int(code[1]), world.said("out"), world.said("err"))

    done = until_not_silent(attempt, count_boots)
    said = (work / "said.txt").read_text() if (work / "said.txt").exists() else ""
    refused = (work / "refused.txt").read_text() if (work / "refused.txt").exists() else ""
    assert world.slurm.state(jobs[-1]) == "CANCELLED"
    assert done.code == 6, done.err
    assert done.out == f"the output of {world.user.pw_name} in {jobs[-1]} on 9p\ntold to stop\n", done.err
    assert said.splitlines() == ["0", "1"], said + refused  # root it was, and nothing more did it do
    after = {name: listed(place) for name, place in places.items()}
    assert (after["data"], after["home"]) == (before["data"], before["home"])
    new = {name: after["shared"].pop(name) for name in set(after["shared"]) - set(before["shared"])}
    assert after["shared"] == before["shared"]
    assert new["result"][2] == "a result\n"
    assert new["new/given"][2] == "given\n"
    assert "new/set-uid" in new
    assert {uid for uid, _, _ in new.values()} == {world.user.pw_uid}
    assert not [name for name, (_, mode, _) in new.items() if stat.S_ISCHR(mode) or stat.S_ISBLK(mode)]
    assert [line for line in left_of(world.user) if line not in others] == []


def test_what_was_killed_is_undone_by_the_next_job_and_by_reap(
    world: World, installed_programs: Path, work: Path
) -> None:
    """Guests, daemons, directory and spool of a body that a kill -9 ended; never those of one that lives."""
    write_job(work, "sleep 600")
    user, others = world.user, left_of(world.user)
    script = work / "job.sh"
    script.write_text(compiled(world, work))
    batch = by_hand(user, installed_programs, work, "bash", script)
    reap = by_hand(user, installed_programs, work, "vtorque-runtime", "reap")
    with started(batch, work) as process:
        dead, pid = next_guest(user, process, set())
        os.kill(pid, signal.SIGKILL)
    assert jobs_of(user) == ({dead}, {dead}, 1)
    with started(batch, work) as process:
        alive, pid = next_guest(user, process, {dead})
        assert jobs_of(user) == ({alive}, {alive}, 1)
        done = subprocess.run(reap, capture_output=True, text=True, check=True)
        assert f"{alive}: alive" in done.stdout
        assert (jobs_of(user), process.poll()) == (({alive}, {alive}, 1), None)
        os.kill(pid, signal.SIGKILL)
        assert f"vtorque: {dead}: its process" in process.communicate()[1]
    done = subprocess.run(reap, capture_output=True, text=True, check=True)
    assert f"{alive}: its process {pid} is gone; undone\n/tmp/vt-" in done.stdout
    assert [line for line in left_of(user) if line not in others] == []


def test_root_boots_none(libvirtd: Libvirtd, user: pwd.struct_passwd, installed_programs: Path, work: Path) -> None:
    job = write_job(work, "echo it ran")
    words = ["--as", user.pw_name, str(job)]
    job.write_text(job.read_text().replace("mounts: [home, shared, data]\n", ""))
    done = subprocess.run([installed_programs / "vtorque", "run", *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert "error[VT0556]" in done.stderr
    assert "it ran" not in done.stdout
