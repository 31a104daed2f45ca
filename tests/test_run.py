"""`vtorque run` with real guests: that the job really ran in one, and that every way out leaves nothing behind."""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.boots import (
    BOOT_LIMIT_S,
    GROUP,
    Done,
    environment,
    finished,
    left_behind,
    make_user,
    started,
    virsh,
    wait_for,
)
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd

pytestmark = [pytest.mark.boot, pytest.mark.libvirt]
Count = Callable[..., None]
PYTHONPATH = os.pathsep.join(str(ROOT / part) for part in ("", "compilers", "runtime"))


@pytest.fixture(scope="module")
def user() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        pytest.skip("making a user needs root")
    return make_user()


@pytest.fixture
def work(user: pwd.struct_passwd) -> Iterator[Path]:
    """A directory of the user's in its home, which the guests mount."""
    path = Path(user.pw_dir) / f"work-{os.getpid()}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    os.chown(path, user.pw_uid, user.pw_gid)
    yield path
    shutil.rmtree(path)


def write_job(work: Path, text: str) -> Path:
    path = work / "job.vjob.yaml"
    head = "apiVersion: vtorque/v1\nname: test\nimage: debian-12\n"
    path.write_text(head + textwrap.dedent(text))
    return path


def run_as(user: pwd.struct_passwd, job: Path, *, broken_by: str = "") -> list[str]:
    """`vtorque run` as root; `broken_by` is Python that breaks the program first."""
    program = f"{broken_by}\nimport vtorque_spec.cli as c\nc.main(['run', {str(job)!r}, '--as', {user.pw_name!r}])"
    return [sys.executable, "-c", program]


def until_not_silent(attempt: Callable[[], Done], count: Count) -> Done:
    """One reported retry for a boot that printed nothing at all."""
    count()
    done = attempt()
    if done.silent_boot:
        count(retried=True)
        done = attempt()
    return done


@pytest.mark.root
def test_the_job_runs_in_a_guest(libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, count_boots: Count) -> None:
    """From inside: another boot, libvirt's UUID, the run's nonce; the user with all groups; mounts; a signal to
    the run; the exit code.
    """
    (work / "secret.txt").write_text("s3cret\n")
    (work / "pre.sh").write_text("echo hooked > hooked.txt\n")
    job = write_job(
        work,
        f"""\
        mounts: [home]
        timeouts: {{boot: {BOOT_LIMIT_S}s}}
        env: {{QUOTED: "a'b\\"c $HOME `x`", SECRET: {{from_file: secret.txt}}}}
        hooks: {{prologue: pre.sh, epilogue: {{inline: "echo epilogue sees $QUOTED"}}}}
        run: |
          cd {work}
          trap 'echo told to stop; exit 7' TERM
          id -u; id -g; id -G; id -un
          cat /proc/sys/kernel/random/boot_id
          cat /run/vtorque/boot
          echo "quoted=$QUOTED secret=$SECRET hooked=$(cat ~/hooked.txt) distro=$DISTRO np=$PBS_NP job=$PBS_JOBID"
          touch /etc/nope 2>/dev/null && echo "may write /etc"
          sudo -n true 2>/dev/null && echo "may sudo"
          echo "to standard error" >&2
          touch ready
          while :; do sleep 0.2; done
        """,
    )

    def attempt() -> Done:
        (work / "ready").unlink(missing_ok=True)
        with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            if wait_for(work / "ready", process):
                (domain,) = [name for name in virsh("list", "--name").split() if name.startswith("vt-local-")]
                seen.update(uuid=virsh("domuuid", domain), dmi=ask_inside(domain, "/sys/class/dmi/id/product_uuid"))
                seen["spool"] = sorted(path.name for path in Path("/var/lib/vtorque/jobs").iterdir() if path.is_dir())
                seen["owner"] = (work / "ready").stat().st_uid
                process.send_signal(signal.SIGTERM)
            return finished(process)

    seen: dict[str, object] = {}
    done = until_not_silent(attempt, count_boots)
    assert done.code == 7, done.err
    out = done.out.splitlines()
    assert out[:2] == [str(user.pw_uid), str(user.pw_gid)]
    assert set(out[2].split()) == {str(gid) for gid in os.getgrouplist(user.pw_name, user.pw_gid)}
    assert len(out[2].split()) >= 2, f"{GROUP} is missing"
    assert out[3] == user.pw_name
    boot = dict(line.split("=", 1) for line in out if re.match(r"(token|instance_id|product_uuid|boot_id)=", line))
    host_boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert out[4] == boot["boot_id"] != host_boot_id
    assert boot["product_uuid"] == seen["uuid"] == str(seen["dmi"]).lower()
    assert boot["instance_id"] == boot["token"]
    assert re.fullmatch("[0-9a-f]{32}", boot["token"])
    job_id = str(seen["spool"]).strip("[']")
    expected = f"quoted=a'b\"c $HOME `x` secret=s3cret hooked=hooked distro=SLG np=1 job={job_id}"
    assert expected in out
    assert "told to stop" in out
    assert "epilogue sees a'b\"c $HOME `x`" in out
    assert not {"may write /etc", "may sudo"} & set(out)
    assert "to standard error" in done.err.splitlines()
    assert "to standard error" not in out
    assert seen["owner"] == user.pw_uid
    assert left_behind() == []
    images = Path("/var/lib/vtorque/images").glob("*/*")
    assert {path.stat().st_uid for path in images} == {0}, "libvirt gave an image to QEMU's user"
    (Path(user.pw_dir) / "hooked.txt").unlink()


def ask_inside(domain: str, path: str) -> str:
    """A file's text as root sees it inside, by the guest agent: no seed of ours has a part in this."""

    def agent(**message: object) -> dict[str, object]:
        answer: dict[str, dict[str, object]] = json.loads(virsh("qemu-agent-command", domain, json.dumps(message)))
        return answer["return"]

    arguments = {"path": "/usr/bin/cat", "arg": [path], "capture-output": True}
    pid = agent(execute="guest-exec", arguments=arguments)["pid"]
    while not (status := agent(execute="guest-exec-status", arguments={"pid": pid}))["exited"]:
        time.sleep(0.1)
    import base64

    return base64.b64decode(str(status["out-data"])).decode().strip()


@pytest.mark.root
def test_a_corrupted_seed_breaks_it(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, count_boots: Count
) -> None:
    """Zeros where the volume's files are: cloud-init finds no datasource, and the guest never gets ready."""
    job = write_job(work, "timeouts: {boot: 40s}\nrun: echo it ran\n")
    breaking = """
import vtorque_runtime.prologue as p
whole = p.seed_image
p.seed_image = lambda files: bytes(len(whole(files)))
"""
    count_boots()
    with started(run_as(user, job, broken_by=breaking), ROOT, PYTHONPATH=PYTHONPATH) as process:
        done = finished(process)
    assert done.code == 1
    assert "it ran" not in done.out
    finding = done.err[done.err.index("error[VT0904]") :]
    assert "kernel" in finding, "the last phase is named"
    assert "\n  | " in finding, "the console's tail is shown"
    assert left_behind() == []


@pytest.mark.root
def test_a_wrong_host_key_breaks_it(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, count_boots: Count
) -> None:
    """The guest's sshd answers with another key than the host made for it."""
    job = write_job(work, f"timeouts: {{boot: {BOOT_LIMIT_S}s}}\nrun: echo it ran\n")
    breaking = """
import dataclasses
import vtorque_runtime.planner as p
from vtorque_runtime.keys import FOREVER_S, JobKeys
whole = p.compiled
other = lambda guest: JobKeys.random("other", 1).host_key("node", guest.index, [guest.hostname], FOREVER_S)
p.compiled = lambda guests, vms: whole([dataclasses.replace(guest, host_key=other(guest)) for guest in guests], vms)
"""

    def attempt() -> Done:
        with started(run_as(user, job, broken_by=breaking), ROOT, PYTHONPATH=PYTHONPATH) as process:
            return finished(process)

    done = until_not_silent(attempt, count_boots)
    assert done.code == 1
    assert "it ran" not in done.out
    assert "error[VT0908]" in done.err
    assert left_behind() == []


@pytest.mark.root
def test_without_libvirt_it_says_so(libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path) -> None:
    if not libvirtd.ours:
        pytest.skip("this machine's own libvirt is not stopped for a test")
    job = write_job(work, "run: echo it ran\n")
    libvirtd.stop()
    try:
        with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            done = finished(process)
    finally:
        libvirtd.start()
    assert done.code == 1
    assert "it ran" not in done.out
    assert "error[VT0902]" in done.err
    assert "qemu:///system" in done.err
    assert left_behind() == []


@pytest.mark.root
def test_a_killed_run_is_reaped(libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, count_boots: Count) -> None:
    job = write_job(work, "mounts: [home]\nrun: echo it ran\n")
    reap = [sys.executable, "-m", "vtorque_runtime", "reap"]
    count_boots()
    with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
        end = time.monotonic() + 60
        while not [name for name in virsh("list", "--name").split() if name.startswith("vt-")]:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.2)
        alive = subprocess.run(reap, env=environment(PYTHONPATH=PYTHONPATH), capture_output=True, text=True)
        assert alive.returncode == 0
        assert left_behind(), "a live job is left alone"
        process.kill()
        process.wait()
    assert left_behind()
    done = subprocess.run(reap, env=environment(PYTHONPATH=PYTHONPATH), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert left_behind() == []
    again = subprocess.run(reap, env=environment(PYTHONPATH=PYTHONPATH), capture_output=True, text=True)
    assert again.returncode == 0


@pytest.mark.root
@pytest.mark.session
def test_an_ordinary_user_runs_it_too(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, count_boots: Count, installed_programs: Path
) -> None:
    """On qemu:///session, from a wheel in a fresh environment, and with what that lane lacks told."""
    runtime_dir = Path(f"/var/tmp/vtorque-test-run-{os.getpid()}")
    vtorque = installed_programs / "vtorque"
    try:
        runtime_dir.mkdir(mode=0o700)
        os.chown(runtime_dir, user.pw_uid, user.pw_gid)
        job = write_job(work, f"timeouts: {{boot: {BOOT_LIMIT_S}s}}\nrun: id -un; systemd-detect-virt; exit 5\n")
        command = ["runuser", "-u", user.pw_name, "--", "env", f"XDG_RUNTIME_DIR={runtime_dir}", f"HOME={user.pw_dir}"]

        def attempt() -> Done:
            with started([*command, vtorque, "run", job], work) as process:
                return finished(process)

        done = until_not_silent(attempt, count_boots)
        assert done.code == 5, done.err
        assert done.out.splitlines() == [user.pw_name, "qemu"]
        mounting = write_job(work, "mounts: [home]\nrun: echo it ran\n")
        with started([*command, vtorque, "run", mounting], work) as process:
            refused = finished(process)
        assert refused.code == 1
        assert "error[VT0906]" in refused.err
        assert not [path for path in Path(f"/var/tmp/vtorque-{user.pw_uid}/jobs").iterdir() if path.is_dir()]
    finally:
        shutil.rmtree(runtime_dir, ignore_errors=True)


@pytest.mark.root
def test_root_has_no_jobs(libvirtd: Libvirtd, work: Path) -> None:
    job = write_job(work, "run: echo it ran\n")
    for words in (["run", str(job)], ["run", str(job), "--as", "root"]):
        program = [sys.executable, "-m", "vtorque_spec", *words]
        done = subprocess.run(program, env=environment(PYTHONPATH=PYTHONPATH), capture_output=True, text=True)
        assert done.returncode == 1
        assert "error[VT0901]" in done.stderr
        assert "--as" in done.stderr


@pytest.mark.root
def test_root_reads_no_file_that_the_user_cannot(libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path) -> None:
    """A script that is a link to a file of root's is not embedded, and no line of it is shown."""
    (work / "s.sh").symlink_to("/etc/shadow")
    job = write_job(work, "run: {script: s.sh}\n")
    with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
        done = finished(process)
    assert done.code == 1
    assert "error[VT0305]" in done.err
    assert "root:" not in done.out + done.err
    (work / "job.vjob.yaml").unlink()
    (work / "job.vjob.yaml").symlink_to("/etc/shadow")
    with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
        done = finished(process)
    assert done.code == 1
    assert "error[VT0014]" in done.err
    assert "root:" not in done.out + done.err
