"""The body of a job's script: the job's owner on the first of its nodes, from the hooks' end to the job's exit code.

It waits for the guests of all nodes, tells how far they are, and runs the job in the first one. What root found wrong
is printed here, because this is where the user looks: no batch system shows what a hook said.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from vtorque_runtime import payload, ssh, status, verdict
from vtorque_runtime.batch import adapter
from vtorque_runtime.files import start_ticks
from vtorque_runtime.handover import Handover
from vtorque_runtime.job import Job
from vtorque_runtime.signals import SignalledError, Signals
from vtorque_runtime.spool import Spool, base_directory
from vtorque_runtime.status import FAILED, READY, Status
from vtorque_spec.canonical import from_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import UserPart

NOT_PREPARED_EXIT_CODE = 78
"""EX_CONFIG of sysexits.h."""
TRY_AGAIN_EXIT_CODE = 75

_POLL_S = 0.5
_LOOK_EVERY_S = 2.0
_START_LIMIT_S = 30
_CONNECT_LIMIT_S = 120


class FailedError(Exception):
    """The job cannot run, which was told already; `code` is what the body ends with."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def run(system: str, user: UserPart, environment: Mapping[str, str]) -> int:
    """Run the job of this environment; return the exit code: 75 or 78 of a verdict, else as `job.Job.run` has it."""
    told = Told()
    with Signals() as signals, ExitStack() as stack:
        try:
            spool = _spool(system, environment)
            own = Node(spool, told)
            own.wait_until_ready(signals)
            stack.callback(own.attach().close)
            job = from_json(Handover, spool.handover.read_bytes())
            others = Others(system, job.nodes[1:], told)
            stack.callback(others.end)
            others.wait_until_ready(signals)
            code = _run(job, user, environment, Following(own, others, signals), told, stack)
        except FailedError as failed:
            return failed.code
        except SignalledError as interrupted:
            told.note("stopped by a signal")
            return 128 + interrupted.number
        except Fault as fault:
            found = verdict.of_error(fault, "run")
            told.lines(verdict.lines(found))
            return found.exit_code
        own.tell_usage()
        return code


def follow(system: str, until: str, environment: Mapping[str, str]) -> int:
    """Tell how this node's part of a job gets on; return 0 once the guests are ready (`until` is ready), or at the end.

    For the job's other nodes, as its owner. 75 and 78 are those of a verdict.
    """
    told = Told()
    with Signals() as signals, ExitStack() as stack:
        try:
            spool = _spool(system, environment)
            own = Node(spool, told)
            own.wait_until_ready(signals)
            if until == READY:
                return 0
            stack.callback(own.attach().close)
            while True:
                signals.wait(_LOOK_EVERY_S)
                signals.check()
                own.check()
        except FailedError as failed:
            return failed.code
        except SignalledError:
            return 0
        except Fault as fault:
            told.lines(verdict.lines(verdict.of_error(fault, "run")))
            return TRY_AGAIN_EXIT_CODE


@dataclass
class Told:
    """Writes to the job's standard error."""

    _began: float = field(default_factory=time.monotonic)

    def phase(self, name: str, guest: str = "") -> None:
        """See Progress."""
        self.note(f"{guest}{': ' if guest else ''}{name} ({time.monotonic() - self._began:.0f} s)")

    def note(self, text: str) -> None:
        """See Progress."""
        self.lines([f"vtorque: {text}"])

    def fault(self, fault: Fault) -> None:
        """See Progress."""
        self.lines(verdict.lines(verdict.of_error(fault, "run")))

    def lines(self, lines: Sequence[str]) -> None:
        """Write lines as they are. Who cannot be told (a disk that is full, a reader that went) is told no more."""
        try:
            sys.stderr.write("".join(f"{line}\n" for line in lines))
            sys.stderr.flush()
        except OSError:
            sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as this process lives


@dataclass
class Node:
    """The job on this node, as its supervisor publishes it."""

    spool: Spool
    told: Told
    _shown: set[str] = field(default_factory=set)
    _missing_since: float | None = None

    def wait_until_ready(self, signals: Signals) -> None:
        """Return when all guests here are ready, telling their phases; raises FailedError."""
        while self.check().phase != READY:
            signals.wait(_POLL_S)
            signals.check()

    def check(self) -> Status:
        """Return what is published; raises FailedError for a verdict or a supervisor that is gone, which it tells."""
        now = status.read(self.spool.status)
        if now is None:
            raise self._failed(["vtorque: the job's guests on this node were taken down"])
        self._tell(now)
        if now.phase == FAILED and now.verdict is not None:
            self.told.note(f"{now.node}: failed in phase {now.verdict.phase}")
            self.told.lines(verdict.lines(now.verdict))
            raise FailedError(now.verdict.exit_code)
        if now.pid and start_ticks(now.pid) == now.start_ticks:
            self._missing_since = None
            return now
        self._missing_since = self._missing_since or time.monotonic()
        if time.monotonic() - self._missing_since > (_START_LIMIT_S if now.pid == 0 else _LOOK_EVERY_S):
            raise self._failed(
                [f"vtorque: nothing looks after the job on {now.node} any more; ask the admin of this node"]
            )
        return now

    def attach(self) -> socket.socket:
        """Return a connection to the supervisor, which then knows this process for the job's."""
        own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        own.connect(str(self.spool.attached))
        return own

    def tell_usage(self) -> None:
        """Say what the guests of this node took."""
        now = status.read(self.spool.status)
        if now is not None and now.usage is not None:
            self.told.note(f"{now.node}: {now.usage.sentence()}")

    def _tell(self, now: Status) -> None:
        """Each phase once, for each guest."""
        lines = [f"{now.node}: {now.phase}"] if now.phase not in ("booting", READY, FAILED) else []
        lines += [f"{vm.hostname}: {vm.phase}" for vm in now.vms if now.phase == "booting"]
        for line in [*lines, *now.notes]:
            if line not in self._shown:
                self._shown.add(line)
                self.told.phase(line) if line in lines else self.told.note(line)

    def _failed(self, lines: list[str]) -> FailedError:
        self.told.lines(lines)
        return FailedError(TRY_AGAIN_EXIT_CODE)


class Others:
    """The job's other nodes, asked through the batch system's own remote start; they print for themselves."""

    def __init__(self, system: str, nodes: Sequence[str], told: Told) -> None:
        self._system, self._nodes, self._told = system, nodes, told
        self._running: list[subprocess.Popen[bytes]] = []

    def wait_until_ready(self, signals: Signals) -> None:
        """Return when the guests of all other nodes are ready; raises FailedError. From then on they are watched."""
        if not self._nodes:
            return
        for process in (waiting := self._start(READY)):
            while process.poll() is None:
                signals.wait(_POLL_S)
                signals.check()
                if any(one.poll() for one in waiting):
                    break
        codes = {process.poll() for process in waiting}
        if any(codes):
            self._told.note(f"the guests on other nodes ({', '.join(self._nodes)}) did not get ready")
            raise FailedError(NOT_PREPARED_EXIT_CODE if NOT_PREPARED_EXIT_CODE in codes else TRY_AGAIN_EXIT_CODE)
        self._start("end")

    def look(self) -> Fault | None:
        """Return why the job cannot go on, because of another node; None while all is well there."""
        ended = [one for one in self._running if one.poll() is not None]
        if not ended:
            return None
        where = ", ".join(self._nodes)
        return Fault(
            "VT0913", f"a guest on another node ({where}) was lost while the job ran", help="see what is said above"
        )

    def end(self) -> None:
        """Let go of them."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _start(self, until: str) -> list[subprocess.Popen[bytes]]:
        command = [shutil.which("vtorque-runtime") or "vtorque-runtime", "follow", self._system, until]
        self._running = [
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno())
            for argv in adapter(self._system).elsewhere(self._nodes, command)
        ]
        return self._running


@dataclass
class Following:
    """A job.Watcher by what is published on this node and what the others say."""

    own: Node
    others: Others
    signals: Signals
    _next: float = 0.0

    def look(self) -> Fault | None:
        """Return why the job cannot go on, None while all its guests run."""
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + _LOOK_EVERY_S
        self.own.check()
        return self.others.look()

    def lost(self, how: str) -> Fault:
        """Return the Fault for a first guest that does not answer any more, unless its node knows more."""
        self.own.check()
        return Fault("VT0913", f"the guest was lost while the job ran: {how}")


def _spool(system: str, environment: Mapping[str, str]) -> Spool:
    """Return where the job of this environment is on this node; raises FailedError when nothing was prepared."""
    own = adapter(system).own_job(environment)
    spool = None if own is None else Spool(base_directory("system") / "jobs" / own[0])
    if own is not None and spool is not None and os.access(spool.status, os.R_OK):  # another user's is none
        return spool
    job = f"job {own[1]}" if own else f"this script, which {system} did not start"
    Told().lines([
        f"vtorque-runtime: nothing was prepared on this node for {job}",
        "  either no vtorque prologue runs here: ask the admin of this node",
        "  or a `-v` on qsub's command line replaced the script's: put your variables into `env:` of the job file",
    ])  # fmt: skip
    raise FailedError(NOT_PREPARED_EXIT_CODE)


def _run(
    job: Handover, user: UserPart, environment: Mapping[str, str], watch: Following, told: Told, stack: ExitStack
) -> int:
    access = job.access(watch.own.spool.owner, f"j{os.getpid()}")
    archive = payload.archive(user, job, environment)
    master = _connected(access, watch)
    stack.callback(ssh.end, master)
    return Job(job, access, watch, told, job.ends_s).run(user, archive)


def _connected(access: ssh.Access, watch: Following) -> subprocess.Popen[bytes]:
    until = time.monotonic() + _CONNECT_LIMIT_S
    while True:
        master = ssh.open_master(access)
        while master.poll() is None and not ssh.is_open(access):
            watch.signals.wait(_POLL_S / 5)
            watch.signals.check()
        if master.poll() is None:
            return master
        said = ssh.left(master.stderr)
        ssh.end(master)
        watch.own.check()
        if time.monotonic() > until:
            raise Fault("VT0913", "the guest was ready, and ssh does not reach it any more", detail=said)
