"""A libvirt daemon for tests on machines where none runs: there may be no systemd.

`python tests/support/libvirtd.py -- COMMAND ARGS...` runs COMMAND with qemu:///system up and keeps its exit code.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NoReturn

LOCK = Path("/run/vtorque-tests-libvirtd.lock")
"""Held shared by everyone who uses the daemon, exclusively by who starts or ends it: test runs may overlap."""

KVM = Path("/dev/kvm")
REAP = "--reap"
DAEMONS = ("virtlogd", "libvirtd")
PATIENCE_S = 60


class Libvirtd:
    """The daemons that this process started; none, where qemu:///system answered before."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._output: dict[str, IO[bytes]] = {}

    @property
    def ours(self) -> bool:
        """Whether `stop` can end it."""
        return bool(self._running)

    def start(self) -> None:
        """Start what is not running and return when qemu:///system answers. Raises RuntimeError with the output."""
        for name in DAEMONS:
            if name not in self._running:
                self._output[name] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the daemon
                # A session of its own: Ctrl-C is for the tests, which then end the daemons in order.
                self._running[name] = subprocess.Popen(
                    [sys.executable, __file__, REAP, name],
                    stdin=subprocess.DEVNULL,
                    stdout=self._output[name],
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=os.environ | {"PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"},
                )
        deadline = time.monotonic() + PATIENCE_S
        while not answers():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._running.values()):
                self._fail()
            time.sleep(0.1)
        # One that another process started at the same moment may have won: then ours has gone, and that one answers.
        self._running = {name: process for name, process in self._running.items() if process.poll() is None}

    def stop(self) -> None:
        """End libvirtd, as if it had died: virtlogd and running guests stay. `start` brings it back."""
        if not self.ours:
            raise RuntimeError("this libvirtd was not started by the tests")
        self._end("libvirtd")

    def close(self) -> None:
        """End every daemon that was started here."""
        for name in reversed(DAEMONS):
            if name in self._running:
                self._end(name)

    def _end(self, name: str) -> None:
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._output.pop(name).close()

    def _fail(self) -> NoReturn:
        said = []
        for name, output in self._output.items():
            output.seek(0)
            said.append(f"{name}: {output.read().decode(errors='replace')}")
        self.close()
        raise RuntimeError("qemu:///system does not answer\n" + "\n".join(said))


def answers() -> bool:
    """Whether a system daemon can be talked to."""
    command = ["virsh", "-q", "-c", "qemu:///system", "version", "--daemon"]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0


@contextlib.contextmanager
def running_libvirtd() -> Iterator[Libvirtd]:
    """Yield with qemu:///system up. What was started here ends with the block, after all other users of it."""
    daemon = Libvirtd()
    with LOCK.open("w") as lock, contextlib.ExitStack() as stack:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not answers():
            fcntl.flock(lock, fcntl.LOCK_EX)
            stack.callback(daemon.close)
            stack.callback(fcntl.flock, lock, fcntl.LOCK_EX)
            if not answers():
                stack.enter_context(kvm_for_qemu())
                daemon.start()
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield daemon


@contextlib.contextmanager
def kvm_for_qemu() -> Iterator[None]:
    """Let QEMU's own user open /dev/kvm where no udev has: else libvirt finds KVM as root, finds it missing as that
    user, and asks every QEMU for its capabilities anew, tens of times for each domain.
    """
    mode = KVM.stat().st_mode & 0o777 if KVM.exists() else 0o666
    if mode != 0o600:
        yield
        return
    KVM.chmod(0o666)
    try:
        yield
    finally:
        KVM.chmod(mode)


def reap(name: str) -> int:
    """Run the daemon `name` and reap what it leaves: its QEMU probes go to process 1, which may not be in a hurry,
    and libvirt waits for each to vanish.
    """
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    daemon = os.spawnvp(os.P_NOWAIT, name, [name])
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(daemon, number))
    while True:
        pid, status = os.wait()
        if pid == daemon:
            return abs(os.waitstatus_to_exitcode(status))


def main(argv: list[str]) -> int:
    """Run `-- COMMAND ARGS...`."""
    if len(argv) == 2 and argv[0] == REAP:
        return reap(argv[1])
    if len(argv) < 2 or argv[0] != "--":
        print("usage: libvirtd.py -- COMMAND ARGS...", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with running_libvirtd():
        status = subprocess.run(argv[1:], check=False).returncode
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
