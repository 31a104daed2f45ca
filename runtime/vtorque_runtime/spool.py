"""Where jobs live on a node, who may enter, and which of them are alive.

    BASE/jobs/JOB/job.json        the registration                      owner of BASE  0600
    BASE/jobs/JOB/journal.jsonl   what has to be undone                 owner of BASE  0600
    BASE/jobs/JOB/claim.json      what of the node it holds (ledger)    owner of BASE  0600
    BASE/jobs/JOB/plan.json       its NodePlan, for `iocm set`          owner of BASE  0600
    BASE/jobs/JOB/iocm.json       how many of its I/O cores work        owner of BASE  0600
    BASE/jobs/JOB/runtime.log     the record, JSON lines                owner of BASE  0600
    BASE/jobs/JOB/vmN/            overlay, seed and console of a guest  owner of BASE  0711, its files QEMU's
    BASE/jobs/JOB/console.log     copy of VM 0's console, capped        job's owner    0400
    BASE/jobs/JOB/consoleN.log    the same of VM N                      job's owner    0400
    BASE/jobs/JOB/owner/          key, known_hosts, ssh socket          job's owner    0700

BASE is /var/lib/vtorque in the system lane, /var/tmp/vtorque-UID in the session lane: outside every home, so that keys
are on no network file system.
"""

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vtorque_runtime import network
from vtorque_runtime.journal import Journal
from vtorque_runtime.steps import remove_entry
from vtorque_spec.canonical import DecodeError, canonical_json, from_json
from vtorque_spec.fault import Fault

Lane = Literal["system", "session"]

VERSION = 1
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\[\]-]{0,39}")
"""Short enough that the ssh control socket's path stays below the kernel's 108 bytes, in either lane."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Who holds a job of the user `uid`: process `pid`, its start in clock ticks, the host boot, since when (Unix).

    `network` is the block of addresses of its VMs.
    """

    version: int
    job_id: str
    lane: Lane
    uid: int
    pid: int
    start_ticks: int
    boot_id: str
    started_s: int
    network: str


@dataclass(frozen=True, slots=True)
class Spool:
    """The directory of one job."""

    path: Path

    @property
    def registration(self) -> Path:
        """The file that says who holds the job."""
        return self.path / "job.json"

    @property
    def journal(self) -> Journal:
        """What has to be undone."""
        return Journal(self.path / "journal.jsonl")

    @property
    def owner(self) -> Path:
        """The directory of the job's owner. Root opens nothing below it once the owner has it."""
        return self.path / "owner"

    @property
    def plan(self) -> Path:
        """The NodePlan of a job whose guests were started."""
        return self.path / "plan.json"

    @property
    def io_state(self) -> Path:
        """The file that says how many of the job's I/O cores work, once that was changed."""
        return self.path / "iocm.json"

    @property
    def io_manager(self) -> Path:
        """The file that an sKVM kernel's I/O manager reads."""
        return self.path / "io-manager.json"

    @property
    def claim(self) -> Path:
        """The file that says what of the node the job holds."""
        return self.path / "claim.json"

    def console_copy(self, index: int) -> Path:
        """The owner's copy of the console of VM `index`."""
        return self.path / f"console{index or ''}.log"


@dataclass(frozen=True, slots=True)
class Registry:
    """All jobs of one lane on this node. `base` must be the caller's own directory (`open_registry` sees to that)."""

    base: Path
    lane: Lane

    @property
    def jobs(self) -> Path:
        """The directory that has one entry per job."""
        return self.base / "jobs"

    def register(self, job_id: str, uid: int, vms: int = 1) -> tuple[Spool, Registration]:
        """Make the job's directory with its registration and an empty journal, and take addresses for its VMs.

        Raises Fault VT0914 when the id is taken or there are not enough addresses.
        """
        spool = self.spool(job_id)
        with self.locked():
            block = network.free_block(vms, (known.network for known in self.registrations()))
            if block is None or spool.path.exists():
                taken_up = "its id" if spool.path.exists() else "every network"
                raise Fault("VT0914", f"no room for job {job_id}: {taken_up} is taken")
            pid = os.getpid()
            held = Registration(
                VERSION, job_id, self.lane, uid, pid, start_ticks(pid) or 0, boot_id(), int(time.time()), block
            )
            _make_directory(spool.path, 0o711 if self.lane == "system" else 0o700)
            spool.journal.start()
            write_private(spool.registration, canonical_json(held))
        return spool, held

    def spool(self, job_id: str) -> Spool:
        """Return where the job lives, or would. Raises Fault VT0912."""
        if not JOB_ID.fullmatch(job_id):
            raise Fault("VT0912", f"not a job id: {job_id!r}")
        return Spool(self.jobs / job_id)

    def registrations(self) -> list[Registration]:
        """Return what is registered, by job id. A directory whose registration was not finished is left out."""
        found = []
        for path in sorted(self.jobs.iterdir()):
            try:
                found.append(from_json(Registration, (path / "job.json").read_bytes()))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except DecodeError as error:
                raise Fault("VT0914", f"{path}/job.json: {error}", help="remove the job's directory by hand") from None
        return found

    def remove(self, spool: Spool) -> None:
        """Remove the job's directory, registration and journal last: a crash in between leaves what can be reaped."""
        with self.locked():
            if spool.path.exists():
                last = {spool.registration.name, spool.journal.path.name}
                for name in sorted(set(os.listdir(spool.path)) - last):
                    remove_entry(spool.path, name)
                remove_entry(self.jobs, spool.path.name)

    def remove_unfinished(self) -> list[str]:
        """Remove directories that a crash left before their registration was written; return their names."""
        with self.locked():
            names = [path.name for path in self.jobs.iterdir() if path.is_dir() and not (path / "job.json").exists()]
            for name in names:
                remove_entry(self.jobs, name)
        return sorted(names)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from registering, claiming and removing meanwhile. A process can't take it twice."""
        descriptor = os.open(self.jobs / ".lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def base_directory(lane: Lane) -> Path:
    """Return BASE of the lane for the calling user."""
    return Path("/var/lib/vtorque") if lane == "system" else Path(f"/var/tmp/vtorque-{os.geteuid()}")  # noqa: S108 - checked by open_registry


def open_registry(lane: Lane, base: Path | None = None) -> Registry:
    """Return the lane's registry, made when missing.

    Raises Fault VT0914 when BASE or the directory of jobs is not a directory of the caller's that nobody else can write
    (in the session lane: enter).
    """
    registry = Registry(base or base_directory(lane), lane)
    forbidden = 0o022 if lane == "system" else 0o077
    for path, mode in ((registry.base, 0o755), (registry.jobs, 0o711)):
        try:
            _make_directory(path, mode if lane == "system" else 0o700)
        except FileExistsError:
            _check_directory(path, forbidden)
        except OSError as error:
            raise Fault("VT0914", f"{path} cannot be made: {error.strerror}") from None
    return registry


def alive(held: Registration) -> bool:
    """Tell whether the process that registered the job still runs."""
    return held.boot_id == boot_id() and held.start_ticks == start_ticks(held.pid)


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot, or None when there is none (proc(5), field 22)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(")")[2].split()[19])


def boot_id() -> str:
    """Return the UUID of the host's running boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def write_private(path: Path, text: str) -> None:
    """Write a new file that only the caller can read; under a name that is there the whole text or nothing."""
    unfinished = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def _make_directory(path: Path, mode: int) -> None:
    """Make a directory with exactly these permission bits, whatever the umask. Raises FileExistsError."""
    path.mkdir(mode=0o700)
    path.chmod(mode)


def _check_directory(path: Path, forbidden: int) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & forbidden:
        message = f"{path} is not a directory that only uid {os.geteuid()} can write"
        raise Fault("VT0914", message, help=f"remove {path}; it is made anew")
