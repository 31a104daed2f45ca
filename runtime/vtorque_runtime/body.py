"""The body of a job's script: the job's owner on the first of its nodes, from the hooks' end to the job's exit code.

It waits for the guests of all nodes, tells how far they are, and runs the job in the first one. What root found wrong
is printed here, because this is where the user looks: no batch system shows what a hook said.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

from vtorque_runtime import payload, ssh, status, verdict
from vtorque_runtime.batch import adapter, remote
from vtorque_runtime.files import runs
from vtorque_runtime.handover import Handover
from vtorque_runtime.job import Job
from vtorque_runtime.osv.job import OsvJob, shown
from vtorque_runtime.signals import SignalledError, Signals
from vtorque_runtime.spool import Spool, base_directory
from vtorque_runtime.status import FAILED, READY, Status
from vtorque_runtime.told import FailedError, Told
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


def run(system: str, user: UserPart, environment: Mapping[str, str]) -> int:
    """Run the job of this environment; return the exit code: 75 or 78 of a verdict, else as `job.Job.run` has it."""
    told = Told()
    with Signals() as signals, ExitStack() as stack:
        try:
            own, others = Node(_spool(system, environment), told), Others(system, told)
            stack.callback(own.close)
            stack.callback(others.end)
            job = _wait_until_ready(own, others, signals)
            stack.callback(os.close, own.alone())
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
            own = Node(_spool(system, environment), told)
            stack.callback(own.close)
            while own.check().phase != READY:
                signals.wait(_POLL_S)
                signals.check()
            job = own.handover()
            if until != READY and job is not None and job.guest == "osv":
                return osv_job(job, own, signals, told).run()
            while until != READY:
                signals.wait(_LOOK_EVERY_S)
                signals.check()
                own.check()
            return 0
        except FailedError as failed:
            return failed.code
        except SignalledError:
            return 0
        except Fault as fault:
            told.lines(verdict.lines(verdict.of_error(fault, "run")))
            return TRY_AGAIN_EXIT_CODE


@dataclass
class Node:
    """The job on this node, as its supervisor publishes it."""

    spool: Spool
    told: Told
    _shown: set[str] = field(default_factory=set)
    _missing_since: float | None = None
    _attached: socket.socket | None = None

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
        if now.pid and runs(now.pid, now.start_ticks):
            self._missing_since = None
            self._attach()
            return now
        self._missing_since = self._missing_since or time.monotonic()
        if time.monotonic() - self._missing_since > (_START_LIMIT_S if now.pid == 0 else _LOOK_EVERY_S):
            raise self._failed(
                [f"vtorque: nothing looks after the job on {now.node} any more; ask the admin of this node"]
            )
        return now

    def alone(self) -> int:
        """Return a lock, a descriptor, that one body of the job can have; raises FailedError when another one has it.

        Torque starts the body of a job twice at the same time when its mom was killed in a prologue.
        """
        lock = os.open(self.spool.owner, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise self._failed(["vtorque: the job runs already, started by the same batch system before"]) from None
        return lock

    def handover(self) -> Handover | None:
        """Return what there is to know of the job; None before it is planned, or when it was taken down."""
        try:
            return from_json(Handover, self.spool.handover.read_bytes())
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Let go of the supervisor."""
        if self._attached is not None:
            self._attached.close()

    def tell_usage(self) -> None:
        """Say what the guests of this node took."""
        now = status.read(self.spool.status)
        if now is not None and now.usage is not None:
            self.told.note(f"{now.node}: {now.usage.sentence()}")

    def ask_to_stop(self) -> None:
        """Ask the supervisor to end the guests (`Attached.asked_to_stop`)."""
        if self._attached is not None:
            with contextlib.suppress(OSError):  # it has ended, which the next look will tell
                self._attached.shutdown(socket.SHUT_WR)

    def _attach(self) -> None:
        """Connect to the supervisor, once it listens, which is when the job is planned: it then stops as this does."""
        if self._attached is None:
            own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                own.connect(str(self.spool.attached))
                self._attached = own
            except OSError:  # not yet; or it has just ended, which the next look will tell
                own.close()

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

    def __init__(self, system: str, told: Told) -> None:
        self._system, self._told = system, told
        self._nodes: Sequence[str] = ()
        self._running: list[subprocess.Popen[bytes]] = []
        self._ready, self._unikernels = True, False

    def follow(self, nodes: Sequence[str], guest: Literal["linux", "osv"] = "linux") -> None:
        """Ask these nodes, if any, how their guests get on."""
        if nodes:
            self._nodes, self._ready, self._unikernels = nodes, False, guest == "osv"
            self._start(READY)

    def ready(self) -> bool:
        """Tell whether the guests of all these nodes are ready, and watch them from then on; raises FailedError.

        OSv guests that were ready may have ended since: then the codes are the job's own.
        """
        codes = {process.poll() for process in self._running}
        if any(codes) and not (self._ready and self._unikernels):
            self._told.note(f"the guests on other nodes ({', '.join(self._nodes)}) did not get ready")
            raise FailedError(NOT_PREPARED_EXIT_CODE if NOT_PREPARED_EXIT_CODE in codes else TRY_AGAIN_EXIT_CODE)
        if not self._ready and None not in codes:
            self._ready = True
            self._start("end")
        return self._ready

    def code(self) -> int | None:
        """Return how the job ended on these nodes, whose guests end by themselves; None while they run."""
        codes = [process.poll() for process in self._running]
        if None in codes:
            return None
        return max((code if code >= 0 else 128 - code for code in codes if code is not None), default=0)

    def stop(self) -> None:
        """Pass on that the job is to end."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

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
        self.stop()
        for process in self._running:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _start(self, until: str) -> None:
        command = [shutil.which("vtorque-runtime") or "vtorque-runtime", "follow", self._system, until]
        self._running = [remote.start(argv) for argv in adapter(self._system).elsewhere(self._nodes, command)]


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


def _wait_until_ready(own: Node, others: Others, signals: Signals) -> Handover:
    """Return the job when the guests of all its nodes are ready, telling their phases; raises FailedError.

    The other nodes are followed as soon as this one tells which they are: a fault of any ends the wait of all.
    """
    job = None
    while True:
        ready = own.check().phase == READY
        if job is None and (job := own.handover()) is not None:
            others.follow(job.nodes[1:], job.guest)
        if others.ready() and ready and job is not None:
            return job
        signals.wait(_POLL_S)
        signals.check()


def _run(
    job: Handover, user: UserPart, environment: Mapping[str, str], watch: Following, told: Told, stack: ExitStack
) -> int:
    if job.guest == "osv":
        return osv_job(job, watch.own, watch.signals, told, watch.others).run()
    access = job.access(watch.own.spool.owner, f"j{os.getpid()}")
    archive = payload.archive(user, job, environment)
    master = _connected(access, watch)
    stack.callback(ssh.end, master)
    return Job(job, access, watch, told, job.ends_s).run(user, archive)


def osv_job(job: Handover, own: Node, signals: Signals, told: Told, others: Others | None = None) -> OsvJob:
    """Return what follows a job in OSv guests on this node, and through `others`, if any, on the job's other nodes."""

    def stop() -> None:
        own.ask_to_stop()
        if others is not None:
            others.stop()

    look = lambda: [vm.ending for vm in own.check().vms]  # noqa: E731 - a sentence
    consoles = shown(own.spool, [vm.hostname for vm in own.check().vms], job)
    return OsvJob(consoles, look, stop, others.code if others is not None else lambda: 0, signals, told)


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
