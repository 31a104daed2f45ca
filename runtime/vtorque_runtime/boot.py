"""Wait for the boot token: what only the guest that finished this very boot can tell.

Each guest says on its console how far it is. Once it says `ready`, the token is read over ssh, whose host key was made
before the boot, and compared: the nonce of the seed, the domain's UUID as the guest's firmware shows it, and a kernel
boot that is not the host's.
"""

import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from vtorque_runtime import ssh
from vtorque_runtime.files import boot_id
from vtorque_runtime.progress import Progress
from vtorque_runtime.signals import Signals
from vtorque_runtime.ssh import Access
from vtorque_runtime.watch import TICK_S, Watch
from vtorque_spec.fault import Fault
from vtorque_spec.plan import LinuxGuest

TOKEN_FILE = "/run/vtorque/boot"  # noqa: S105 - a path

PHASE_LIMITS = {
    "firmware": 1 / 3,
    "kernel": 1 / 2,
    "cloud-init": 3 / 4,
    "mounts": 1 / 2,
    "updates": 1,
    "packages": 1,
    "hooks": 1,
    "ready": 1 / 2,
}
"""How long a guest may stay in each phase, as a share of the plan's `boot_timeout_s`, which bounds them together.

firmware: no word from the initrd yet; kernel: from the initrd to cloud-init's first command; cloud-init: until all is
mounted; mounts: until all the rest begins, each of which may take the time that is left (updates: security updates;
packages: the job's; hooks: the site's boot hook), or until the guest has written its token; ready: until the token was
read over ssh. Staging, the work before the domain starts, takes as long as reading the image once.
"""

_TOKEN_LIMIT_S = 30
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Boot:
    """One guest that boots: how its job's owner reaches it, and who looks after it."""

    guest: LinuxGuest
    access: Access
    watch: Watch


def wait(
    boots: Sequence[Boot], boot_timeout_s: int, signals: Signals, progress: Progress, stopped: Callable[[], bool]
) -> subprocess.Popen[bytes]:
    """Wait until all guests, which boot at the same time, have proven to be ours; return the connection to the first.

    `stopped` tells whether their job is stopped at the moment, which counts against no limit.
    Raises Fault VT0904 (with the phase and the console's tail), VT0908, VT0902, and `signals.SignalledError`.
    """
    clocks = [_Clock(boot_timeout_s, boot.watch, progress, boot.guest.hostname) for boot in boots]
    ways = [_way(boot, clock) for boot, clock in zip(boots, clocks, strict=True)]
    try:
        while not all(clock.arrived for clock in clocks):
            signals.wait(TICK_S)
            signals.check()
            _wait_while(stopped, signals, clocks)
            for clock, way in zip(clocks, ways, strict=True):
                clock.look()
                if not clock.arrived:
                    next(way)
        for clock in clocks[1:]:
            clock.end()
    except BaseException:
        for clock, way in zip(clocks, ways, strict=True):
            way.close()
            clock.end()
        raise
    assert clocks[0].arrived is not None  # noqa: S101 - all have; for mypy
    return clocks[0].arrived


def _wait_while(stopped: Callable[[], bool], signals: Signals, clocks: Sequence["_Clock"]) -> None:
    began = time.monotonic()
    while stopped():
        signals.wait(TICK_S)
        signals.check()
    for clock in clocks:
        clock.postpone(time.monotonic() - began)


class _Clock:
    """Where one guest's boot is, and when to give up. `arrived` is the connection to a guest that has proven itself."""

    def __init__(self, boot_timeout_s: int, watch: Watch, progress: Progress, name: str) -> None:
        self.phase, self.said = "firmware", ""
        self.arrived: subprocess.Popen[bytes] | None = None
        self._limit_s, self._watch, self._progress = boot_timeout_s, watch, progress
        self._name = name
        self._started = self._entered = time.monotonic()
        progress.phase(self.phase, name)

    def look(self) -> None:
        """Look at the guest once; raises what ends the wait."""
        ended = self._watch.look()
        console, now = self._watch.console, time.monotonic()
        if console.failure is not None:
            raise self._fault(f"{self._watch.name} {console.failure}")
        if console.phase not in (None, self.phase):
            self.phase, self._entered = str(console.phase), now
            self._progress.phase(self.phase, self._name)
        if ended is not None:
            raise self._fault(f"{self._watch.name} ended in phase `{self.phase}` of its boot: {ended}")
        whole_s, phase_s = now - self._started, now - self._entered
        late = whole_s > self._limit_s or phase_s > self._limit_s * PHASE_LIMITS[self.phase]
        if late and self.arrived is None:
            spent = f"{whole_s:.0f} s, the last {phase_s:.0f} s in phase `{self.phase}`"
            raise self._fault(f"{self._watch.name} was not ready after {spent}")

    def postpone(self, seconds: float) -> None:
        """Begin so much later."""
        self._started += seconds
        self._entered += seconds

    def end(self) -> None:
        """Let go of the connection."""
        if self.arrived is not None:
            ssh.end(self.arrived)

    def _fault(self, message: str) -> Fault:
        said = f"ssh said: {self.said}\n" if self.said else ""
        return Fault(
            "VT0904",
            message,
            help="allow more time with `timeouts: {boot: ...}`, unless the console below shows why",
            detail=said + self._watch.console.tail(),
        )


def _way(boot: Boot, clock: _Clock) -> Generator[None, None, None]:
    """One guest's way to its token, a step at a time; when it is there, `clock.arrived` is the connection to it."""
    while clock.phase != "ready":
        yield
    while True:
        master = ssh.open_master(boot.access)
        try:
            clock.said = yield from _token_read(boot, master)
            if not clock.said:
                clock.arrived = master
        finally:
            if clock.arrived is None:
                ssh.end(master)
        retry = time.monotonic() + _RETRY_S
        while clock.arrived or time.monotonic() < retry:
            yield


def _token_read(boot: Boot, master: subprocess.Popen[bytes]) -> Generator[None, None, str]:
    """Check the token over a connection that is being made; return what ssh said when it can't be read yet."""
    while master.poll() is None and not ssh.is_open(boot.access):
        yield
    if master.poll() is not None:
        said = ssh.left(master.stderr)
        if "Host key verification failed" in said:
            raise Fault("VT0908", f"{boot.watch.name} answers with another host key than the one booted", detail=said)
        return said or f"exit code {master.returncode}"
    reader, end = ssh.start(boot.access, f"exec cat {TOKEN_FILE}"), time.monotonic() + _TOKEN_LIMIT_S
    try:
        while reader.poll() is None and time.monotonic() < end:
            yield
        if reader.returncode != 0:
            return ssh.left(reader.stderr) or f"no answer within {_TOKEN_LIMIT_S} s"
        check_token(ssh.left(reader.stdout), boot.guest)
        return ""
    finally:
        ssh.end(reader)


def check_token(text: str, guest: LinuxGuest) -> None:
    """Raise Fault VT0908 unless `text`, lines of NAME=VALUE, is the token of this guest's boot."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    wanted = {"token": guest.nonce, "instance_id": guest.nonce, "product_uuid": guest.machine.uuid}
    wrong = [name for name, value in wanted.items() if found.get(name, "").lower() != value]
    if found.get("boot_id", boot_id()) == boot_id():
        wrong.append("boot_id")
    if wrong:
        raise Fault("VT0908", f"the guest that answers is not the one that was booted: wrong {', '.join(wrong)}")
