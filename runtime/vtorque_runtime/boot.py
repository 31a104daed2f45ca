"""Wait for the boot token: what only the guest that finished this very boot can tell.

The guest says on its console how far it is. Once it says `ready`, the token is read over ssh, whose host key was made
before the boot, and compared: the nonce of the seed, the domain's UUID as the guest's firmware shows it, and a kernel
boot that is not the host's.
"""

import subprocess
import time

from vtorque_runtime import ssh
from vtorque_runtime.progress import Progress
from vtorque_runtime.spool import boot_id
from vtorque_runtime.ssh import Access
from vtorque_runtime.watch import Watch
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Guest

TOKEN_FILE = "/run/vtorque/boot"  # noqa: S105 - a path

PHASE_LIMITS = {
    "firmware": 1 / 3,
    "kernel": 1 / 2,
    "cloud-init": 3 / 4,
    "mounts": 1 / 2,
    "ready": 1 / 2,
}
"""How long a guest may stay in each phase, as a share of the plan's `boot_timeout_s`, which bounds them together.

firmware: no word from the initrd yet; kernel: from the initrd to cloud-init's first command; cloud-init: until all is
mounted; mounts: until the guest has written its token; ready: until the token was read over ssh. Staging, the work
before the domain starts, takes as long as reading the image once.
"""

_TOKEN_LIMIT_S = 30
_RETRY_S = 1.0


def wait(
    guest: Guest, boot_timeout_s: int, access: Access, watch: Watch, progress: Progress
) -> subprocess.Popen[bytes]:
    """Return the shared ssh connection to the guest once it has proven to be ours.

    Raises Fault VT0904 (with the phase and the console's tail), VT0908, VT0902, and `signals.SignalledError`.
    """
    clock = _Clock(boot_timeout_s, watch, progress)
    while clock.phase != "ready":
        clock.tick()
    said = ""
    while True:
        master = ssh.open_master(access)
        try:
            said = _read_token(guest, access, master, clock) or said
            if clock.proven:
                return master
            clock.said = said
        finally:
            if not clock.proven:
                ssh.end(master)
        clock.pause(_RETRY_S)


class _Clock:
    """Where the boot is, and when to give up."""

    def __init__(self, boot_timeout_s: int, watch: Watch, progress: Progress) -> None:
        self.phase, self.said, self.proven = "firmware", "", False
        self._limit_s, self._watch, self._progress = boot_timeout_s, watch, progress
        self._started = self._entered = time.monotonic()
        progress.phase(self.phase)

    def tick(self) -> None:
        """Look at the guest once; raises what ends the wait."""
        ended = self._watch.tick()
        self._watch.signals.check()
        console, now = self._watch.console, time.monotonic()
        if console.failure is not None:
            raise self._fault(f"the guest {console.failure}")
        if console.phase not in (None, self.phase):
            self.phase, self._entered = str(console.phase), now
            self._progress.phase(self.phase)
        if ended is not None:
            raise self._fault(f"the guest ended in phase `{self.phase}` of its boot: {ended}")
        whole_s, phase_s = now - self._started, now - self._entered
        if whole_s > self._limit_s or phase_s > self._limit_s * PHASE_LIMITS[self.phase]:
            spent = f"{whole_s:.0f} s, the last {phase_s:.0f} s in phase `{self.phase}`"
            raise self._fault(f"the guest was not ready after {spent}")

    def pause(self, seconds: float) -> None:
        """Go on looking for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.tick()

    def _fault(self, message: str) -> Fault:
        said = f"ssh said: {self.said}\n" if self.said else ""
        return Fault(
            "VT0904",
            message,
            help="allow more time with `timeouts: {boot: ...}`, unless the console below shows why",
            detail=said + self._watch.console.tail(),
        )


def _read_token(guest: Guest, access: Access, master: subprocess.Popen[bytes], clock: _Clock) -> str:
    """Return what ssh said when the token can't be read yet; else check it and mark the clock `proven`."""
    while master.poll() is None and not ssh.is_open(access):
        clock.tick()
    if master.poll() is not None:
        said = ssh.last_words(master)
        if "Host key verification failed" in said:
            raise Fault("VT0908", "the guest that answers has another host key than the one booted", detail=said)
        return said
    code, output, said = ssh.call(access, f"exec cat {TOKEN_FILE}", limit_s=_TOKEN_LIMIT_S)
    if code:
        return said
    check_token(output.decode("utf-8", "replace"), guest)
    clock.proven = True
    return ""


def check_token(text: str, guest: Guest) -> None:
    """Raise Fault VT0908 unless `text`, lines of NAME=VALUE, is the token of this guest's boot."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    wanted = {"token": guest.nonce, "instance_id": guest.nonce, "product_uuid": guest.machine.uuid}
    wrong = [name for name, value in wanted.items() if found.get(name, "").lower() != value]
    if found.get("boot_id", boot_id()) == boot_id():
        wrong.append("boot_id")
    if wrong:
        raise Fault("VT0908", f"the guest that answers is not the one that was booted: wrong {', '.join(wrong)}")
