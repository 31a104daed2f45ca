"""Run the user's programs in the guest as the user: the prologue hook, the job, the epilogue hook.

Streams are passed on as they come, signals go to the program's process group in the guest, and time is kept:
`grace_s` before the walltime ends (the boot counts) the job is told to stop, at its end it is killed.
"""

import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import IO, Protocol

from vtorque_runtime import payload, ssh
from vtorque_runtime.handover import Handover
from vtorque_runtime.progress import Progress
from vtorque_runtime.signals import ENDING, SignalledError, Signals
from vtorque_runtime.ssh import Access
from vtorque_spec.fault import Fault
from vtorque_spec.plan import UserPart

WALLTIME_EXIT_CODE = 124
"""As timeout(1) has it."""

_UPLOAD_LIMIT_S = 60
_STATUS_LIMIT_S = 30
_SYNC_LIMIT_S = 60
_AFTER_KILL_S = 15
_DRAIN_LIMIT_S = 5.0


class Watcher(Protocol):
    """What looks after the guests of a job while it runs."""

    @property
    def signals(self) -> Signals:
        """The signals that came to this process."""

    def look(self) -> Fault | None:
        """Return why the job cannot go on, None while all its guests run."""

    def lost(self, how: str) -> Fault:
        """Return the Fault for a first guest that does not answer any more."""


@dataclass
class Job:
    """The job in its first guest, over a connection that stands; it ends when any of the guests does.

    `ends` is in time.monotonic's seconds; while the batch system has the job stopped, they do not count.
    """

    job: Handover
    access: Access
    watch: Watcher
    progress: Progress
    ends: float
    _interrupts: int = 0
    _ending: int | None = None
    _late: bool = False
    _messengers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, user: UserPart, archive: bytes) -> int:
        """Run it all and return the job's exit code; 124 when its time was up, 128 + N when signal N came before.

        When the job itself was fine but the epilogue hook was not, the code is 1. Raises Fault VT0910 (the prologue
        hook failed), VT0913, VT0902, and SignalledError on a second Ctrl-C, or when a signal ended the guest too.
        """
        self._upload(archive)
        if user.prologue is not None and (code := self._follow("prologue", self.ends)):
            return self._not_started(code)
        if self._ending is not None:
            return 128 + self._ending
        code = self._follow("run", self.ends)
        if self._late:
            self._tell_walltime()
            code = WALLTIME_EXIT_CODE
        if user.epilogue is not None:
            failed = self._follow("epilogue", max(self.ends, self._now() + self.job.grace_s), stops=False)
            if failed:
                self.progress.fault(Fault("VT0910", f"the epilogue hook failed with exit code {failed}"))
                code = code or 1
        self._sync()
        return code

    def _upload(self, archive: bytes) -> None:
        code, _, said = ssh.call(self.access, payload.UPLOAD, limit_s=_UPLOAD_LIMIT_S, stdin=archive)
        if code:
            why = "the guest was lost before the job ran: the job's files could not be written to it"
            raise self.watch.look() or Fault("VT0913", why, detail=said)

    def _not_started(self, code: int) -> int:
        if self._late:
            self._tell_walltime()
            return WALLTIME_EXIT_CODE
        if self._ending is not None:
            return 128 + self._ending
        raise Fault("VT0910", f"the prologue hook failed with exit code {code}, so the job did not run")

    def _follow(self, part: str, end: float, *, stops: bool = True) -> int:
        """Run one part until `end` and return its exit code; with `stops` it is told to end `grace_s` before."""
        self.progress.phase(part)
        process = ssh.start(self.access, f"exec bash {payload.DIRECTORY}/start {part}")
        assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - both are pipes; for mypy
        pumps = [_Pump(process.stdout, 1, self.watch), _Pump(process.stderr, 2, self.watch)]
        timer = _Timer(end, self.job.grace_s if stops else None)
        drained = _Patience(_DRAIN_LIMIT_S)
        try:
            while process.poll() is None or any(pump.is_alive() for pump in pumps):
                self.watch.signals.wait(1.0)
                self._deliver(part, pumps)
                if lost := self.watch.look():
                    raise self._ended(lost)
                if not self._keep_time(part, timer):
                    return 128 + signal.SIGKILL
                if process.poll() is not None and drained.over(any(pump.writing for pump in pumps)):
                    break  # what still holds the pipes open is none of ours
        finally:
            for one in (process, *self._messengers):
                one.kill()
                one.wait()
            self._messengers.clear()
        broken = process.returncode == ssh.FAILED or process.returncode < 0
        return self._status(part) if broken else process.returncode

    def _keep_time(self, part: str, timer: "_Timer") -> bool:
        """Signal the part when its time is up; False when not even killing it helped."""
        match timer.due(self._now()):
            case "stop":
                self._late = True
                self.progress.note(f"the walltime ends in {self.job.grace_s} s: the job is told to stop")
                self._send("TERM", part)
            case "kill":
                self._late = True
                self._send("KILL", part)
            case "give up":
                return False
        return True

    def _now(self) -> float:
        return time.monotonic() - self.watch.signals.stopped_s

    def _deliver(self, part: str, pumps: list["_Pump"]) -> None:
        """Pass on the signals that came; the second Ctrl-C, or a reader of ours that left, ends everything."""
        for number in self.watch.signals.take():
            self._interrupts += number == signal.SIGINT
            if self._interrupts > 1:
                raise SignalledError(number)
            if number in ENDING:
                self._ending = number
            self._send(signal.Signals(number).name.removeprefix("SIG"), part)
        if any(pump.broken for pump in pumps):
            raise SignalledError(signal.SIGPIPE)

    def _send(self, name: str, part: str) -> None:
        self._messengers.append(ssh.send(self.access, f"exec bash {payload.DIRECTORY}/signal {name} {part}"))

    def _status(self, part: str) -> int:
        """255 is ssh's word for its own failure, but a program may end with it too: ask the guest which it was."""
        command = f"exec cat {payload.DIRECTORY}/{part}.status"
        code, output, said = ssh.call(self.access, command, limit_s=_STATUS_LIMIT_S)
        if code or not re.fullmatch(rb"[0-9]{1,3}\s*", output) or int(output) > 255:
            raise self._ended(self.watch.lost(f"the connection to it broke: {said}"))
        return int(output)

    def _ended(self, lost: Fault) -> Exception:
        """What is told of a guest that is gone: its QEMU may be one of the processes that the same signal came to."""
        return lost if self._ending is None else SignalledError(self._ending)

    def _sync(self) -> None:
        """What the guest has written to the host's directories must be there before the guest is destroyed."""
        if targets := self.job.writable:
            code, _, said = ssh.call(self.access, "exec sync", limit_s=_SYNC_LIMIT_S)
            if code:
                self.progress.note(f"the guest could not flush {', '.join(targets)}: {said}")

    def _tell_walltime(self) -> None:
        limit = self.job.walltime_s
        help_ = "ask for more with `batch: {walltime: ...}`; the boot counts"
        self.progress.fault(Fault("VT0909", f"the job was stopped: its walltime of {limit} s was over", help=help_))


class _Pump(threading.Thread):
    """Passes one stream on, byte by byte as it comes, so that a slow reader of ours holds up nothing but the job."""

    def __init__(self, source: IO[bytes], target: int, watch: Watcher) -> None:
        super().__init__(daemon=True)
        self.broken = False
        self.writing = False
        self._source, self._target, self._watch = source, target, watch
        self.start()

    def run(self) -> None:
        """Copy until the stream ends or its reader is gone."""
        try:
            with self._source:
                while part := os.read(self._source.fileno(), 65536):
                    self.writing = True
                    while part:
                        part = part[os.write(self._target, part) :]
                    self.writing = False
        except OSError:
            self.broken = True
        self._watch.signals.wake()


class _Patience:
    """Runs out after `limit_s` in which nothing happened."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since: float | None = None

    def over(self, busy: bool) -> bool:
        """Tell whether it ran out; being `busy` starts it anew."""
        now = time.monotonic()
        if busy or self._since is None:
            self._since = now
        return now - self._since > self._limit_s


class _Timer:
    """Says once each when to stop, when to kill, and when to give up."""

    def __init__(self, end: float, grace_s: int | None) -> None:
        self._due = [(end, "kill"), (end + _AFTER_KILL_S, "give up")]
        if grace_s is not None:
            self._due.insert(0, (end - grace_s, "stop"))

    def due(self, now: float) -> str | None:
        """Return what is due, or None."""
        if self._due and now >= self._due[0][0]:
            return self._due.pop(0)[1]
        return None
