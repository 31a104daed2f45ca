"""A libvirt of a batch job's own: qemu:///session in the job's processes, gone with them.

An ordinary user's libvirt daemon starts by itself, and is one for all of the user's sessions on a host. One that
another session started would run QEMU outside of the batch job, where no limit of the job's holds and nothing ends it.

    /tmp/vt-NAME                       sockets, guests and logs of its daemon
    BASE/sessions/NAME.PID.START.BOOT  empty: the process that has it, its start in clock ticks, the host's boot

The second is made before the first and removed after it, so that what a kill -9 leaves is found.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vtorque_runtime.files import boot_id, make_missing, start_ticks
from vtorque_runtime.log import LOG
from vtorque_runtime.spool import Registration, Registry
from vtorque_runtime.steps import Destroyer
from vtorque_spec.fault import Fault

_PLACES = {"XDG_RUNTIME_DIR": "r", "XDG_CONFIG_HOME": "c", "XDG_CACHE_HOME": "h"}
"""Where a daemon keeps its sockets, guests and logs: https://specifications.freedesktop.org/basedir-spec/latest/

The names are short, because a socket's path has 107 bytes at most.
"""
_RECORD = re.compile(r"(?P<name>[0-9a-f]{8})\.(?P<holder>(?P<pid>[0-9]{1,10})\.[0-9]+\.[0-9a-f-]+)")
"""What else may lie there is none of this program's."""

_ENDINGS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 3.0))
"""Signals, and for how many seconds they are given time to work."""


@dataclass(frozen=True, slots=True)
class Session:
    """One libvirt of a batch job's own: `name`, who has it, and the file whose name says both."""

    name: str
    holder: str
    record: Path

    @property
    def home(self) -> Path:
        """The directory of its daemon; its name is short as well."""
        return Path(f"/tmp/vt-{self.name}")  # noqa: S108 - made by mkdir, which takes nothing that is there

    def has(self, job: Registration) -> bool:
        """Tell whether that job runs, or ran, in it."""
        return self.holder == f"{job.pid}.{job.start_ticks}.{job.boot_id}"

    def end(self) -> None:
        """End all that was started in it, but the caller: daemons, and guests where their daemon was not asked to."""
        left: list[int] = []
        for number, limit_s in _ENDINGS:
            for pid in self._processes():
                self._signal(pid, number)
            until = time.monotonic() + limit_s
            while (left := self._processes()) and time.monotonic() < until:
                time.sleep(0.05)
            if not left:
                return
        LOG.warning("of %s, the processes %s do not end", self.home, left)

    def remove(self) -> None:
        """Remove its directory, and then what says that there is one."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.record.unlink(missing_ok=True)

    def _processes(self) -> list[int]:
        numbers = (int(name) for name in os.listdir("/proc") if name.isdecimal())
        return [pid for pid in numbers if pid != os.getpid() and self._started(pid)]

    def _started(self, pid: int) -> bool:
        """Tell by its environment, which leads into this directory and no other process's does."""
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # another user's, or ended meanwhile
            return False
        return f"={self.home}/".encode() in variables

    def _signal(self, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(pid)  # one that comes later may have the number, never this handle
            try:
                if self._started(pid):
                    signal.pidfd_send_signal(process, number)
            finally:
                os.close(process)


@contextmanager
def own_libvirt(registry: Registry) -> Iterator[None]:
    """Have qemu:///session be this process's own, until the end of the block. Call it before anything asks libvirt.

    SIGTERM ends the block as well, with SystemExit. Call it in the main thread. Raises Fault VT0914.
    """
    handler = signal.signal(signal.SIGTERM, _end)
    before = {name: os.environ.get(name) for name in _PLACES}
    session = _made(registry)
    try:
        for name, place in _PLACES.items():
            (session.home / place).mkdir(mode=0o700)
            os.environ[name] = str(session.home / place)
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one asks for what is being done
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        session.end()
        session.remove()
        signal.signal(signal.SIGTERM, handler)


def dead(registry: Registry) -> list[Session]:
    """Return the sessions whose process is gone: by a kill -9, a crash, a reboot."""
    found = []
    for record in sorted((registry.base / "sessions").iterdir() if (registry.base / "sessions").is_dir() else ()):
        if (said := _RECORD.fullmatch(record.name)) and said["holder"] != _holder(int(said["pid"])):
            found.append(Session(said["name"], said["holder"], record))
    return found


class _Ended:
    """A libvirt that was ended, with all that it had."""

    def destroy_domain(self, uuid: str) -> None: ...

    def destroy_network(self, uuid: str) -> None: ...

    def destroy_filter(self, uuid: str) -> None: ...

    def ask_agent(self, uuid: str, request: str, limit_s: int) -> str | None: ...

    def domain_uuids(self) -> set[str]:
        return set()

    network_uuids = filter_uuids = domain_uuids


def ended(_uri: str) -> Destroyer:
    """Connect to what is left of the libvirt of a session that was ended: nothing, and no daemon is started for it."""
    return _Ended()


def _made(registry: Registry) -> Session:
    records, name, holder = registry.base / "sessions", secrets.token_hex(4), _holder(os.getpid())
    session = Session(name, holder, records / f"{name}.{holder}")
    try:
        make_missing(records, 0o700)
        session.record.touch(0o600)
        session.home.mkdir(mode=0o700)
    except OSError as error:
        session.record.unlink(missing_ok=True)  # a directory that is there is not this one's to remove
        raise Fault("VT0914", f"no place for a libvirt of the job's own: {error}") from None
    return session


def _holder(pid: int) -> str:
    return f"{pid}.{start_ticks(pid)}.{boot_id()}"


def _end(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
