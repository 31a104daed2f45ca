"""What tests with real guests share: an installed vtorque, an ordinary user, a job in the background."""

import contextlib
import grp
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, GROUP = "vttester", "vttesters"
OTHER_USER = "vttester2"
BOOT_LIMIT_S = 120


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def silent_boot(self) -> bool:
        """The one failure that is tried again: about one boot in thirty prints nothing (under emulation)."""
        return self.code == 1 and "VT0904" in self.err and "phase `firmware`" in self.err


def make_user(name: str = USER) -> pwd.struct_passwd:
    """An ordinary user with a second group; left on the machine, as a test user."""
    try:
        grp.getgrnam(GROUP)
    except KeyError:
        subprocess.run(["groupadd", GROUP], check=True)
    try:
        pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", "--groups", GROUP, name], check=True)
    return pwd.getpwnam(name)


def environment(**more: str) -> dict[str, str]:
    """As little as a login has; no SUDO_UID, no site of the caller's."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **more}


@contextmanager
def started(command: Sequence[str | Path], cwd: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the background; killed if the test leaves it behind."""
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
        process.communicate()


def finished(process: subprocess.Popen[str], limit_s: int = 400) -> Done:
    """Wait for a process and return how it ended."""
    out, err = process.communicate(timeout=limit_s)
    return Done(process.returncode, out, err)


def wait_for(path: Path, process: subprocess.Popen[str], limit_s: int = BOOT_LIMIT_S + 60) -> bool:
    """Whether the file came to be while the process lived."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if path.exists():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.2)
    return False


def virsh(*words: str) -> str:
    """What virsh says of qemu:///system."""
    done = subprocess.run(["virsh", "-q", "-c", "qemu:///system", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def thread_cpus(domain: str) -> dict[str, str]:
    """Where the kernel lets each thread of the domain's QEMU run, by the thread's name and id."""
    pid = Path(f"/run/libvirt/qemu/{domain}.pid").read_text().strip()
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    allowed = (re.findall(r"^Cpus_allowed_list:\t(.*)$", (task / "status").read_text(), re.MULTILINE) for task in tasks)
    names = (f"{(task / 'comm').read_text().strip()} {task.name}" for task in tasks)
    return {name: found[0] for name, found in zip(names, allowed, strict=True)}


def left_behind() -> list[str]:
    """Everything of vtorque's jobs that is still there, in the system lane."""
    found = [f"domain {name}" for name in virsh("list", "--all", "--name").split() if name.startswith("vt-")]
    found += [f"network {name}" for name in virsh("net-list", "--all", "--name").split() if name.startswith("vt-")]
    jobs = Path("/var/lib/vtorque/jobs")
    found += [str(path) for path in (jobs.iterdir() if jobs.is_dir() else ()) if path.is_dir()]
    links = os.listdir("/sys/class/net")
    return found + [f"link {name}" for name in links if name.startswith("vt-")]


@contextmanager
def installed_for_users(root: Path) -> Iterator[Path]:
    """The programs' directory of a wheel of this project, where ordinary users can run them."""
    venv = Path(f"/var/tmp/vtorque-test-{os.getpid()}")
    try:
        subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True)
        install = [venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", f"{root}[runtime]"]
        subprocess.run(install, check=True)
        yield venv / "bin"
    finally:
        shutil.rmtree(venv, ignore_errors=True)
