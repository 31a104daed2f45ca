"""A libvirt of a batch job's own: qemu:///session in the job's processes, gone with them.

An ordinary user's libvirt daemon starts by itself, and is one for all of the user's sessions on a host. One that
another session started would run QEMU outside of the batch job, where no limit of the job's holds and nothing ends it.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vtorque_runtime.files import runs, start_ticks
from vtorque_runtime.log import LOG

_PLACES = {"XDG_RUNTIME_DIR": "r", "XDG_CONFIG_HOME": "c", "XDG_CACHE_HOME": "h"}
"""Where a daemon keeps its sockets, guests and logs: https://specifications.freedesktop.org/basedir-spec/latest/

The names are short, because a socket's path has 107 bytes at most.
"""
_DAEMONS = ("libvirtd", "virtqemud", "virtlogd")
_END_LIMIT_S = 10.0


@contextmanager
def own_libvirt() -> Iterator[None]:
    """Have qemu:///session be this process's own, until the end of the block. Call it before anything asks libvirt.

    SIGTERM ends the block as well, with SystemExit. Call it in the main thread.
    """
    handler = signal.signal(signal.SIGTERM, _end)
    home = Path(tempfile.mkdtemp(prefix="vt-", dir="/tmp"))  # short as well
    before = {name: os.environ.get(name) for name in _PLACES}
    try:
        for name, place in _PLACES.items():
            (home / place).mkdir(mode=0o700)
            os.environ[name] = str(home / place)
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one asks for what is being done
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _end_daemons(home / _PLACES["XDG_RUNTIME_DIR"] / "libvirt")
        shutil.rmtree(home, ignore_errors=True)
        signal.signal(signal.SIGTERM, handler)


def _end(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _end_daemons(directory: Path) -> None:
    for name in _DAEMONS:
        try:
            pid = int((directory / f"{name}.pid").read_text(encoding="ascii"))
            began = start_ticks(pid)
            os.kill(pid, signal.SIGTERM)
        except (OSError, ValueError):  # it never started, or has ended
            continue
        if began is None:
            continue
        until = time.monotonic() + _END_LIMIT_S
        while runs(pid, began) and time.monotonic() < until:
            time.sleep(0.05)
        if runs(pid, began):
            LOG.warning("%s, process %d, does not end", name, pid)
