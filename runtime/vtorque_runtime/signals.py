"""Signals as a queue: nothing is interrupted between a step's record and its act, nor while things are undone."""

import contextlib
import select
import signal
import socket
import time
from types import TracebackType
from typing import Self

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""Those that ask a program to end."""


class SignalledError(Exception):
    """The job is to end at once, because of signal `number`; the shell's exit code for that is 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class Signals:
    """Catches FORWARDED inside the `with` block; in the main thread only.

    `stopped_s` is for how long this process has been stopped (SIGTSTP, SIGSTOP), a `wait` more or less each time.
    """

    def __init__(self) -> None:
        self.stopped_s, self._seen = 0.0, time.monotonic()
        self._queue: list[int] = []
        self._wake, self._woken = socket.socketpair()

    def __enter__(self) -> Self:
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._before = {number: signal.signal(number, self._caught) for number in FORWARDED}
        self._before[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._continued)
        self._wakeup_before = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._wake.close()
        self._woken.close()

    def wait(self, seconds: float) -> None:
        """Sleep, less when a signal comes or somebody calls `wake`."""
        self._seen = time.monotonic()
        if select.select([self._woken], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                while self._woken.recv(64):
                    pass
        self._seen = time.monotonic()

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        with contextlib.suppress(OSError):  # full: it is awake; closed: nobody waits any more
            self._wake.send(b"\0")

    def take(self) -> list[int]:
        """Return the signals that came since, oldest first."""
        taken = []
        while self._queue:
            taken.append(self._queue.pop(0))
        return taken

    def check(self) -> None:
        """Raise SignalledError when a signal that asks to end came; forget the others: nothing is there to get them."""
        for number in self.take():
            if number in ENDING:
                raise SignalledError(number)

    def _continued(self, _number: int, _frame: object) -> None:
        now = time.monotonic()
        self.stopped_s, self._seen = self.stopped_s + now - self._seen, now

    def _caught(self, number: int, _frame: object) -> None:
        self._queue.append(number)
