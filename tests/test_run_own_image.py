"""A user's own image, in which the job is root: through no mount does that root get what its user has not outside."""

import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boots import BOOT_LIMIT_S, OTHER_USER, Done, finished, installed_for_users, make_user, started
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from tests.test_run import Count, until_not_silent, user
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
def programs() -> Iterator[Path]:
    with installed_for_users(ROOT) as found:
        yield found


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


@pytest.fixture
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


def as_user(user: pwd.struct_passwd, programs: Path, *words: str | Path) -> list[str]:
    path = f"{programs}:/usr/local/bin:/usr/bin:/bin"
    own = ["env", "-i", f"HOME={user.pw_dir}", f"USER={user.pw_name}", f"PATH={path}", "LANG=C.UTF-8"]
    return ["runuser", "-u", user.pw_name, "--", *own, *map(str, words)]


def processes_of(user: pwd.struct_passwd) -> list[str]:
    """Daemons and guests of the user's that run; what ended and was not asked about yet does not."""
    done = subprocess.run(["ps", "-u", str(user.pw_uid), "-o", "stat=,args="], capture_output=True, text=True)
    running = [line for line in done.stdout.splitlines() if not line.startswith("Z")]
    return [line for line in running if "libvirt" in line or "qemu" in line or "virtlog" in line]


def batch_job(user: pwd.struct_passwd, programs: Path, work: Path) -> list[str]:
    """The command that runs the job's script as the batch system would."""
    site, script = work / "site", work / "job.sh"
    words = ("vtorque", "compile", "--batch", "slurm", "--site", site, work / "job.vjob.yaml")
    done = subprocess.run(as_user(user, programs, *words), capture_output=True, text=True, check=True, cwd=work)
    script.write_text(done.stdout)
    variables = ("SLURM_JOB_ID=4711", "SLURMD_NODENAME=n1", f"VTORQUE_SITE={site}")
    return as_user(user, programs, "env", *variables, "bash", script)


def guests_of(user: pwd.struct_passwd) -> set[str]:
    """The jobs of the user's that have a QEMU."""
    return {found[1] for line in processes_of(user) if (found := re.search(r"guest=vt-(local-\w+)-0", line))}


def next_guest(user: pwd.struct_passwd, process: "subprocess.Popen[str]", but: set[str]) -> tuple[str, int]:
    """Wait for a job that has a QEMU and is none of `but`; return its name and the process that has it."""
    while not (new := guests_of(user) - but):
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    (job,) = new
    return job, json.loads(Path(f"/var/tmp/vtorque-{user.pw_uid}/jobs/{job}/job.json").read_text())["pid"]


def left_of(user: pwd.struct_passwd) -> tuple[int, set[str]]:
    """How many libvirts of batch jobs' own the user has, and the jobs in the user's spool."""
    homes = [path for path in Path("/tmp").glob("vt-*") if path.stat().st_uid == user.pw_uid]
    jobs = {path.name for path in Path(f"/var/tmp/vtorque-{user.pw_uid}/jobs").iterdir() if path.is_dir()}
    return len(homes), jobs


def test_the_guests_root_gains_nothing_outside(
    libvirtd: Libvirtd, user: pwd.struct_passwd, programs: Path, shared: Path, work: Path, count_boots: Count
) -> None:
    """As the script of a batch job runs it: in a libvirt of its own, which is gone with it."""
    write_job(
        work,
        f"""\
        cd {work}
        rootsh -p -c 'setpriv --reuid=0 --regid=0 --clear-groups bash as-root.sh' >said.txt 2>refused.txt
        echo "the output of $(id -un) in $PBS_JOBID on $(findmnt -no FSTYPE /shared)"
        echo "a result" >/shared/result
        exit 6""",
    )
    places = {"shared": shared / "shared", "data": shared / "data", "home": work / "home"}
    before = {name: listed(place) for name, place in places.items()}
    batch = batch_job(user, programs, work)

    def attempt() -> Done:
        with started(batch, work) as process:
            return finished(process)

    done = until_not_silent(attempt, count_boots)
    said = (work / "said.txt").read_text() if (work / "said.txt").exists() else ""
    refused = (work / "refused.txt").read_text() if (work / "refused.txt").exists() else ""
    assert done.code == 6, done.err
    assert done.out == f"the output of {user.pw_name} in 4711 on 9p\n", done.err
    assert said.splitlines() == ["0", "1"], said + refused  # root it was, and nothing more did it do
    after = {name: listed(place) for name, place in places.items()}
    assert (after["data"], after["home"]) == (before["data"], before["home"])
    new = {name: after["shared"].pop(name) for name in set(after["shared"]) - set(before["shared"])}
    assert after["shared"] == before["shared"]
    assert new["result"][2] == "a result\n"
    assert new["new/given"][2] == "given\n"
    assert "new/set-uid" in new
    assert {uid for uid, _, _ in new.values()} == {user.pw_uid}
    assert not [name for name, (_, mode, _) in new.items() if stat.S_ISCHR(mode) or stat.S_ISBLK(mode)]
    assert processes_of(user) == []
    assert left_of(user) == (0, set())


def test_what_was_killed_is_undone_by_the_next_job_and_by_reap(
    libvirtd: Libvirtd, user: pwd.struct_passwd, programs: Path, work: Path
) -> None:
    """Guests, daemons, directory and spool of a body that a kill -9 ended; never those of one that lives."""
    write_job(work, "sleep 600")
    batch, reap = batch_job(user, programs, work), as_user(user, programs, "vtorque-runtime", "reap")
    with started(batch, work) as process:
        dead, pid = next_guest(user, process, set())
        os.kill(pid, signal.SIGKILL)
    assert (guests_of(user), left_of(user)) == ({dead}, (1, {dead}))
    with started(batch, work) as process:
        alive, pid = next_guest(user, process, {dead})
        assert (guests_of(user), left_of(user)) == ({alive}, (1, {alive}))
        done = subprocess.run(reap, capture_output=True, text=True, check=True)
        assert f"{alive}: alive" in done.stdout
        assert (guests_of(user), left_of(user), process.poll()) == ({alive}, (1, {alive}), None)
        os.kill(pid, signal.SIGKILL)
        assert f"vtorque: {dead}: its process" in process.communicate()[1]
    done = subprocess.run(reap, capture_output=True, text=True, check=True)
    assert f"{alive}: its process {pid} is gone; undone\n/tmp/vt-" in done.stdout
    assert (processes_of(user), left_of(user)) == ([], (0, set()))


def test_root_boots_none(libvirtd: Libvirtd, user: pwd.struct_passwd, programs: Path, work: Path) -> None:
    job = write_job(work, "echo it ran")
    words = ["--as", user.pw_name, str(job)]
    job.write_text(job.read_text().replace("mounts: [home, shared, data]\n", ""))
    done = subprocess.run([programs / "vtorque", "run", *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert "error[VT0556]" in done.stderr
    assert "it ran" not in done.stdout
