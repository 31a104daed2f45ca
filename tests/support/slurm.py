"""A throw-away Slurm with several nodes on this machine, in a directory of its own: nothing in /etc is read or written.

Its munged, slurmctld and slurmds run in the foreground, as systemd runs them, and end with the block. What a test run
that was killed left behind is ended by the next start.
"""

import contextlib
import fcntl
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.processes import end_started_with, started_with
from tests.support.slurm_conf import Cluster

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
CONTROLLER = "slurmctld"
PREFIX = "vtorque-slurm-"
"""Of the directories in the temporary directory."""

_PATIENCE_S = 30
_PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections."""


class SlurmError(Exception):
    """A command of Slurm's failed, or something did not happen in time; the text says what was seen."""


class Slurm:
    """A running Slurm. Jobs are called by their numbers, as text; nodes and the controller by their names."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory
        self.environment = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "SLURM_CONF": str(directory / "slurm.conf")}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._namespace, self._host, self._address = _own_name()
        self._ports = _free_ports(self._address, 1 + cluster.nodes)

    def start(self) -> None:
        """Write the configuration, start everything and return when all nodes can take jobs. Raises SlurmError."""
        slurm_user = _slurm_user()
        for name, owner in (("munge", "root"), ("controller", slurm_user), ("spool", "root"), ("log", slurm_user)):
            (self.directory / name).mkdir(mode=0o755)
            shutil.chown(self.directory / name, owner)
        key = self.directory / "munge/key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        text = self.cluster.configuration(self.directory, self._host, self._address, slurm_user, self._ports)
        Path(self.environment["SLURM_CONF"]).write_text(text)
        self.start_daemon("munged")
        self.until("munged listens", (self.directory / "munge/socket").exists)
        for name in (CONTROLLER, *self.cluster.names):
            self.start_daemon(name)
        self.settle()

    def stop(self) -> None:
        """Cancel all jobs, let their Epilogs run, and end whatever was started, by Slurm or here."""
        try:
            if self._listens() and (jobs := self.command("squeue", "--noheader", "--format=%A").split()):
                self.command("scancel", *jobs)
                self.until("all jobs end", lambda: not self.command("squeue", "--noheader"), limit_s=15)
        except SlurmError as error:
            print(f"this Slurm is ended by force: {error}", file=sys.stderr)
        for name in self.cluster.names:
            self.end_daemon(name, limit_s=5)
        end_started_with("SLURM_CONF", self.environment["SLURM_CONF"])
        for process in self._running.values():
            process.wait()

    def start_daemon(self, name: str) -> None:
        """Start munged, slurmctld or the slurmd of a node; `settle` waits until the nodes are back."""
        directory = self.directory
        command = {
            "munged": [
                "munged",
                "--foreground",
                f"--key-file={directory}/munge/key",
                f"--socket={directory}/munge/socket",
            ]
            + [f"--{file}-file={directory}/munge/{file}" for file in ("pid", "seed", "log")],
            CONTROLLER: [CONTROLLER, "-D", "-s", "-i"],
        }.get(name, ["slurmd", "-D", "-s", "-N", name])
        with (directory / f"log/{name}.out").open("ab") as output:
            self._running[name] = subprocess.Popen(
                [*self._namespace, *command],
                cwd=directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the tests, which then end the daemons in order
            )

    def end_daemon(self, name: str, *, signal_number: int = signal.SIGTERM, limit_s: float = _PATIENCE_S) -> None:
        """End one, by force after `limit_s`; what it started may stay: slurmstepds do, and Prologs after SIGKILL."""
        if not self._lives(name):
            return
        process = self._running[name]
        process.send_signal(signal_number)
        try:
            process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def settle(self) -> None:
        """Return when every node can take jobs. Raises SlurmError when a daemon has ended or it takes too long."""
        self.until("the controller listens", self._listens)  # commands that do not find it sleep before they try again
        self.until("all nodes are idle", lambda: {self.node_state(name) for name in self.cluster.names} == {"IDLE"})

    def processes(self) -> dict[int, str]:
        """Return number and name of each process of this Slurm: daemons, steps, and what they started."""
        return started_with("SLURM_CONF", self.environment["SLURM_CONF"])

    def home(self, user: pwd.struct_passwd) -> Path:
        """Return the directory, the user's own, where its commands run and its jobs start."""
        path = self.directory / "home" / user.pw_name
        if not path.exists():
            path.mkdir(parents=True, mode=0o700)
            os.chown(path, user.pw_uid, user.pw_gid)
        return path

    def run(
        self, *argv: str, user: pwd.struct_passwd | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Slurm's as root or as the user, with all its groups; whether it failed is for the caller."""
        if user is None:
            return subprocess.run(
                argv, cwd=self.directory, env=self.environment, input=stdin, capture_output=True, text=True, check=False
            )
        login = {"HOME": str(self.home(user)), "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": "/bin/bash"}
        return subprocess.run(
            argv,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=os.getgrouplist(user.pw_name, user.pw_gid),
            cwd=self.home(user),
            env=self.environment | login,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def command(self, *argv: str, user: pwd.struct_passwd | None = None, stdin: str = "") -> str:
        """Run it and return what it says, stripped. Raises SlurmError with its words when it fails."""
        done = self.run(*argv, user=user, stdin=stdin)
        if done.returncode:
            raise SlurmError(f"{' '.join(argv)}: exit code {done.returncode}: {(done.stderr + done.stdout).strip()}")
        return done.stdout.strip()

    def submit(self, script: str, user: pwd.struct_passwd, *options: str) -> str:
        """Submit this text as the user does, in its directory, and return the job's number. Raises SlurmError."""
        return self.command("sbatch", "--parsable", *options, user=user, stdin=script)

    def state(self, job: str) -> str:
        """Return a job's state as squeue writes it: PENDING, RUNNING, SUSPENDED, COMPLETING, COMPLETED, ..."""
        return self.command("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def wait(self, job: str, *states: str, limit_s: float = 60) -> str:
        """Return the job's state when it is one of these. Raises SlurmError with the job's record."""
        try:
            self.until(f"job {job} is {' or '.join(states)}", lambda: self.state(job) in states, limit_s)
        except SlurmError as error:
            raise SlurmError(f"{error}\n{self.command('scontrol', 'show', 'job', job)}") from None
        return self.state(job)

    def output(self, job: str) -> str:
        """Return what the job has written to its standard output so far."""
        found = re.search(r"^ *StdOut=(.+)$", self.command("scontrol", "show", "job", job), re.MULTILINE)
        if not found:
            raise SlurmError(f"job {job} has no output file")
        path = Path(found[1])
        return path.read_text() if path.exists() else ""

    def scancel(self, job: str) -> None:
        """Cancel a job."""
        self.command("scancel", job)

    def suspend(self, job: str) -> None:
        """Stop a job's processes, as only an operator may."""
        self.command("scontrol", "suspend", job)

    def resume(self, job: str) -> None:
        """Let a suspended job go on."""
        self.command("scontrol", "resume", job)

    def node_state(self, node: str) -> str:
        """Return a node's state as scontrol writes it: IDLE, MIXED, ALLOCATED, IDLE+DRAIN, DOWN*, ...

        What sinfo says can be old: after a restart of the controller a node with no job any more stays "mixed" there.
        """
        said = self.command("scontrol", "show", "node", node)
        return next(word.removeprefix("State=") for word in said.split() if word.startswith("State="))

    def resume_node(self, node: str) -> None:
        """Put a drained node back into service."""
        self.command("scontrol", "update", f"nodename={node}", "state=resume")

    def until(self, what: str, holds: Callable[[], bool], limit_s: float = _PATIENCE_S) -> None:
        """Return when it holds. Raises SlurmError, with the daemons' logs, when one has ended or it takes too long."""
        deadline = time.monotonic() + limit_s
        while True:
            if ended := [name for name in self._running if not self._lives(name)]:
                raise SlurmError(f"waiting until {what}: {', '.join(ended)} ended\n{self._logs()}")
            with contextlib.suppress(SlurmError):  # no answer yet
                if holds():
                    return
            if time.monotonic() > deadline:
                raise SlurmError(f"not within {limit_s} s: {what}\n{self._logs()}")
            time.sleep(0.05)

    def _lives(self, name: str) -> bool:
        return name in self._running and self._running[name].poll() is None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self._address, self._ports[0])) == 0

    def _logs(self) -> str:
        """The last lines of what each daemon has said."""
        tails = {file: file.read_text(errors="replace").splitlines()[-8:] for file in self.directory.glob("log/*.out")}
        return "\n".join(f"== {file.stem}\n" + "\n".join(tail) for file, tail in sorted(tails.items()))


@contextlib.contextmanager
def running_slurm(cluster: Cluster) -> Iterator[Slurm]:
    """Yield a Slurm that takes jobs, for root; it is gone after the block, with its directory. Raises SlurmError."""
    _end_abandoned()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, (Path(name) / "lock").open("w") as lock:
        Path(name).chmod(0o755)
        fcntl.flock(lock, fcntl.LOCK_EX)
        slurm = Slurm(cluster, Path(name))
        try:
            slurm.start()
            yield slurm
        finally:
            slurm.stop()


def missing_programs() -> list[str]:
    """Return what is not installed of what a Slurm needs."""
    return [program for program in PROGRAMS if shutil.which(program, path=SYSTEM_PATH) is None]


def _end_abandoned() -> None:
    """End each Slurm whose test run is gone: it no longer holds the lock, which it took before slurm.conf was there."""
    for configuration in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/slurm.conf"):
        directory = configuration.parent
        if directory.stat().st_uid != os.geteuid():
            continue
        with contextlib.suppress(BlockingIOError, FileNotFoundError), (directory / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            print(f"ending what a killed test run left of {directory}", file=sys.stderr)
            end_started_with("SLURM_CONF", str(configuration))
            shutil.rmtree(directory)


def _own_name() -> tuple[list[str], str, str]:
    """Return how to start a daemon, and its host's name and address: a daemon listens on what its host's name means.

    Where that is no loopback address, or nothing, they get a UTS namespace in which the host is called localhost.
    """
    host = socket.gethostname().partition(".")[0]
    with contextlib.suppress(socket.gaierror):
        if (address := socket.gethostbyname(host)).startswith("127."):
            return [], host, address
    print(f"{host} is no name of the loopback: this Slurm calls the host localhost", file=sys.stderr)
    return ["unshare", "--uts", "sh", "-c", 'hostname localhost && exec "$@"', "sh"], "localhost", "127.0.0.1"


def _slurm_user() -> str:
    try:
        return pwd.getpwnam("slurm").pw_name
    except KeyError:
        return "root"


def _free_ports(address: str, count: int) -> list[int]:
    """Return ports of the address on which nothing listens."""
    with contextlib.ExitStack() as stack:
        free: list[int] = []
        for port in random.sample(_PORTS, k=len(_PORTS)):
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((address, port))
                free.append(port)
            if len(free) == count:
                return free
    raise SlurmError("no free ports")
