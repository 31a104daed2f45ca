"""Where jobs live on a node, who may enter, and which of them are alive.

    BASE/jobs/JOB/job.json        the registration                      owner of BASE  0600
    BASE/jobs/JOB/batch.json      the batch system's word on the job    owner of BASE  0600
    BASE/jobs/JOB/journal.jsonl   what has to be undone                 owner of BASE  0600
    BASE/jobs/JOB/claim.json      what of the node it holds (ledger)    owner of BASE  0600
    BASE/jobs/JOB/plan.json       its NodePlan, for `iocm set`          owner of BASE  0600
    BASE/jobs/JOB/iocm.json       how many of its I/O cores work        owner of BASE  0600
    BASE/jobs/JOB/vmN/            overlay, seed and console of a guest  owner of BASE  0711, its files QEMU's
    BASE/jobs/JOB/console.log     copy of VM 0's console, capped        job's owner    0400
    BASE/jobs/JOB/consoleN.log    the same of VM N                      job's owner    0400
    BASE/jobs/JOB/owner/          key, known_hosts, ssh socket          job's owner    0700
    BASE/jobs/JOB/state.json      how far the job is here, its verdict  owner of BASE  0600
    BASE/jobs/JOB/status.json     the same, for the job's body          job's owner    0400
    BASE/jobs/JOB/handover.json   what the job's body needs to know     job's owner    0400
    BASE/jobs/JOB/account.json    its line of accounting.jsonl          owner of BASE  0600
    BASE/jobs/JOB/attached        socket; who connects is of the body   job's owner    0600
    BASE/log/JOB.jsonl            the record of JOB, JSON lines         owner of BASE  0600
    BASE/digests.json             files of images that were read whole  owner of BASE  0600
    BASE/ended/JOB                the start of JOB that an epilogue ended: no prologue of it may begin any more

A prologue that registers and an epilogue lock the job's record: they come one at a time.

BASE is /var/lib/vtorque in the system lane, /var/tmp/vtorque-UID in the session lane: outside every home, so that keys
are on no network file system.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import vtorque_runtime
from vtorque_runtime import network
from vtorque_runtime.batch.contract import System
from vtorque_runtime.files import (
    boot_id,
    check_directory,
    locked,
    make_directory,
    make_missing,
    replace_file,
    start_ticks,
    write_private,
)
from vtorque_runtime.journal import Journal
from vtorque_runtime.steps import remove_entry
from vtorque_spec.canonical import DecodeError, canonical_json, from_json
from vtorque_spec.fault import Fault

Lane = Literal["system", "session"]

VERSION = 2
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\[\]-]{0,47}")
"""Short enough that the ssh control socket's path stays below the kernel's 108 bytes, in either lane."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Who holds a job of the user `uid`: process `pid`, its start in clock ticks, the host boot, since when (Unix).

    `job_id` is its name here; `batch_id`, `start` and `node` are what its batch system calls the job, this start of it,
    and this node. `network` is the block of addresses of its VMs on this node, empty while they have none.
    """

    version: int
    job_id: str
    system: System
    batch_id: str
    start: str
    node: str
    lane: Lane
    uid: int
    pid: int
    start_ticks: int
    boot_id: str
    started_s: int
    network: str


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a job on one node, in its batch system's words."""

    system: System
    batch_id: str
    start: str
    node: str


class EndedError(Fault):
    """An epilogue has ended this start of the job: nothing of it may begin any more."""

    def __init__(self, job_id: str) -> None:
        super().__init__("VT0914", f"the job {job_id} was undone while it was being prepared")


@dataclass(frozen=True, slots=True)
class Spool:
    """The directory of one job."""

    path: Path

    @property
    def registration(self) -> Path:
        """The file that says who holds the job."""
        return self.path / "job.json"

    @property
    def batch(self) -> Path:
        """The file with what the batch system says of the job."""
        return self.path / "batch.json"

    @property
    def status(self) -> Path:
        """The file that tells the job's owner how far it is on this node."""
        return self.path / "status.json"

    @property
    def state(self) -> Path:
        """The same for root, which reads nothing that the owner could have changed."""
        return self.path / "state.json"

    @property
    def handover(self) -> Path:
        """The file from which the job's body learns how to run it."""
        return self.path / "handover.json"

    @property
    def doubt(self) -> Path:
        """The file that says since when the batch system has known the job no more."""
        return self.path / "doubt"

    @property
    def account(self) -> Path:
        """The file with the job's line of accounting.jsonl, from its epilogue's beginning on."""
        return self.path / "account.json"

    @property
    def attached(self) -> Path:
        """The socket that the processes of the job's body hold open."""
        return self.path / "attached"

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

    def log(self, job_id: str) -> Path:
        """Return the file of the job's record, which outlives it."""
        make_missing(self.base / "log", 0o700)
        return self.base / "log" / f"{self.spool(job_id).path.name}.jsonl"

    def register(self, job_id: str, uid: int, vms: int = 1, start: Start | None = None) -> tuple[Spool, Registration]:
        """Make the job's directory with its registration and an empty journal, and take addresses for its VMs, if any.

        Raises Fault VT0914 when the id is taken or there are not enough addresses, EndedError for a start that is over.
        """
        spool, begun = self.spool(job_id), start or Start("local", job_id, "", "")
        with self.locked():
            if self.ended(job_id) == begun.start and start is not None:
                raise EndedError(job_id)
            if spool.path.exists():
                raise Fault("VT0914", f"no room for job {job_id}: its id is taken")
            held = Registration(
                VERSION, job_id, begun.system, begun.batch_id, begun.start, begun.node, self.lane, uid,
                os.getpid(), start_ticks(os.getpid()) or 0, boot_id(), int(time.time()), self._free_block(job_id, vms),
            )  # fmt: skip
            make_directory(spool.path, 0o711 if self.lane == "system" else 0o700)
            spool.journal.start()
            write_private(spool.registration, canonical_json(held))
        return spool, held

    def adopt(self, held: Registration, vms: int = 0, uid: int | None = None) -> Registration:
        """Make the calling process the one that holds a registered job, take addresses for `vms`, and say whose it is.

        Raises Fault VT0914 when there are not enough addresses, EndedError when this start of the job was undone
        meanwhile or is about to be.
        """
        spool = self.spool(held.job_id)
        with self.locked():
            now = self.registration(held.job_id)
            if now is None or now.start != held.start or self.ended(held.job_id) == held.start:
                raise EndedError(held.job_id)
            held = replace(
                held,
                uid=held.uid if uid is None else uid,
                pid=os.getpid(),
                start_ticks=start_ticks(os.getpid()) or 0,
                network=held.network or self._free_block(held.job_id, vms),
            )
            write_private(spool.registration, canonical_json(held))
        return held

    def registration(self, job_id: str) -> Registration | None:
        """Return who holds the job, None when it is not registered. Raises Fault VT0912, VT0944."""
        return _registration(self.spool(job_id), self.lane)

    def end(self, job_id: str, start: str) -> None:
        """Note that this start of a job is over: whatever of its prologue still runs may register no more."""
        make_missing(self.base / "ended", 0o700)
        with self.locked():
            replace_file(self.base / "ended" / self.spool(job_id).path.name, start)

    def ended(self, job_id: str) -> str | None:
        """Return the last start of the job that is known to be over."""
        try:
            return (self.base / "ended" / self.spool(job_id).path.name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def alone(self, job_id: str, limit_s: float | None = None) -> AbstractContextManager[None]:
        """Keep other prologues and epilogues of the job waiting. Raises TimeoutError after `limit_s`."""
        return locked(self.log(job_id), limit_s)

    def _free_block(self, job_id: str, vms: int) -> str:
        if not vms:
            return ""
        block = network.free_block(vms, (known.network for known in self.registrations() if known.network))
        if block is None:
            raise Fault("VT0914", f"no room for job {job_id}: every network is taken")
        return block

    def spool(self, job_id: str) -> Spool:
        """Return where the job lives, or would. Raises Fault VT0912."""
        if not JOB_ID.fullmatch(job_id):
            raise Fault("VT0912", f"not a job id: {job_id!r}")
        return Spool(self.jobs / job_id)

    def registrations(self) -> list[Registration]:
        """Return what is registered, by job id; what is not finished, or damaged beyond repair, is left out."""
        return [one for one in self._all() if isinstance(one, Registration)]

    def damaged(self) -> list[Fault]:
        """Return a Fault VT0944 for each job of which it can't be told any more whose it is: the others go on."""
        return [one for one in self._all() if isinstance(one, Fault)]

    def _all(self) -> Iterator[Registration | Fault | None]:
        for path in sorted(self.jobs.iterdir()):
            try:
                yield _registration(Spool(path), self.lane)
            except Fault as damaged:
                yield damaged

    def remove(self, spool: Spool) -> None:
        """Remove the directory of a job that was undone, registration first: a crash in between leaves what
        `remove_unfinished` takes for what it is.
        """
        with self.locked():
            if spool.path.exists():
                remove_entry(spool.path, spool.registration.name)
                remove_entry(self.jobs, spool.path.name)

    def remove_unfinished(self) -> list[str]:
        """Remove directories that a crash left before their registration was written; return their names."""
        with self.locked():
            names = [path.name for path in self.jobs.iterdir() if path.is_dir() and not (path / "job.json").exists()]
            for name in names:
                remove_entry(self.jobs, name)
        return sorted(names)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from registering, claiming and removing meanwhile. A process can't take it twice."""
        return locked(self.jobs / ".lock")


def base_directory(lane: Lane) -> Path:
    """Return BASE of the lane for the calling user."""
    return Path(vtorque_runtime.SYSTEM_BASE if lane == "system" else f"/var/tmp/vtorque-{os.geteuid()}")  # noqa: S108 - checked by open_registry


def open_registry(lane: Lane, base: Path | None = None) -> Registry:
    """Return the lane's registry, made when missing.

    Raises Fault VT0914 when BASE or the directory of jobs is not a directory of the caller's that nobody else can write
    (in the session lane: enter).
    """
    registry = Registry(base or base_directory(lane), lane)
    forbidden = 0o022 if lane == "system" else 0o077
    for path, mode in ((registry.base, 0o755), (registry.jobs, 0o711)):
        try:
            make_directory(path, mode if lane == "system" else 0o700)
        except FileExistsError:
            check_directory(path, forbidden)
        except OSError as error:
            raise Fault("VT0914", f"{path} cannot be made: {error.strerror}") from None
    return registry


def alive(held: Registration) -> bool:
    """Tell whether the process that registered the job still runs."""
    return held.boot_id == boot_id() and held.start_ticks == start_ticks(held.pid)


def _registration(spool: Spool, lane: Lane) -> Registration | None:
    try:
        return from_json(Registration, spool.registration.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except DecodeError as error:
        from vtorque_runtime import salvage

        return salvage.registration(spool, lane, error)
