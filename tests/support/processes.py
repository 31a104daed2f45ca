"""Processes found by what they were started with, and ended without taking a later one of the same number for them."""

import contextlib
import os
import select
import signal
import time
from pathlib import Path


def started_with(variable: str, value: str) -> dict[int, str]:
    """Return number and name of each process whose environment had this variable when its program started.

    What they start has it too, unless it is taken away on the way; ended ones that nobody reaped do not count.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _has(entry, variable, value):
            with contextlib.suppress(OSError):  # it ended meanwhile
                found[int(entry.name)] = (entry / "comm").read_text().rstrip("\n")
    return found


def end_started_with(variable: str, value: str, *, limit_s: float = 20) -> None:
    """Kill them all, and what they start meanwhile. Raises TimeoutError with the names of those that do not end."""
    deadline = time.monotonic() + limit_s
    while found := started_with(variable, value):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still there after {limit_s} s: {found}")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                _kill(pid, variable, value)


def _kill(pid: int, variable: str, value: str) -> None:
    """Check and kill by one handle, which never means another process, and wait for the end for a moment."""
    handle = os.pidfd_open(pid)
    try:
        if _has(Path(f"/proc/{pid}"), variable, value):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], 1)
    finally:
        os.close(handle)


def _has(entry: Path, variable: str, value: str) -> bool:
    with contextlib.suppress(OSError):
        return f"{variable}={value}".encode() in (entry / "environ").read_bytes().split(b"\0")
    return False
