"""The jobs of this node as `vtorque-runtime status` shows them.

Root's word on a job is in files of root's own (job.json, state.json, claim.json). An ordinary user reads what is theirs
alone: the registry of `vtorque run`, and the status.json of a batch job of theirs, whose name here they must know or be
in: nobody but root can list the node's jobs.
"""

import json
import os
import pwd
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

from vtorque_runtime import partition, salvage, status
from vtorque_runtime.batch import adapter
from vtorque_runtime.batch.contract import System
from vtorque_runtime.files import runs
from vtorque_runtime.ledger import claims_of
from vtorque_runtime.partition import Usage
from vtorque_runtime.spool import JOB_ID, Registration, Registry, Spool, alive, base_directory
from vtorque_runtime.status import Status, VmStatus
from vtorque_runtime.verdict import Verdict
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Claim, Flavour
from vtorque_spec.plan.context import partition_name

RECORD_LINES = 20
_RECORD_BYTES = 64 * 1024
_SYSTEMS: tuple[System, ...] = get_args(Flavour)


@dataclass(frozen=True, slots=True)
class Job:
    """A job on this node.

    `job` is its name here; `id`, `start` and `node` are its batch system's words. `since` is ISO 8601, in UTC. `phase`
    is as `status.Status` has it, None of a job of `vtorque run`; `alive` tells of the process `pid`, which looks after
    the job. `codes` are those of the verdict on a job that failed. `cpus` and `memory_bytes` are what it holds of the
    node, None before it does, and for who may not know.
    """

    job: str
    system: System
    id: str
    start: str
    node: str
    user: str
    uid: int
    since: str
    phase: str | None
    alive: bool
    pid: int
    suspended: bool
    vms: tuple[VmStatus, ...]
    codes: tuple[str, ...]
    cpus: tuple[int, ...] | None
    memory_bytes: int | None
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class RecordLine:
    """A line of root's record of a job."""

    at: str
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class Detail:
    """A job with all that is known of it; `record` has the last lines, none for who may not read it."""

    job: Job
    notes: tuple[str, ...]
    verdict: Verdict | None
    record: tuple[RecordLine, ...]


def jobs(registry: Registry, environment: Mapping[str, str]) -> tuple[Job, ...]:
    """Return the jobs that the caller may see, by their names here; `environment` is that of the caller."""
    return tuple(one.job for one in _seen(registry, environment, None))


def details(registry: Registry, name: str, environment: Mapping[str, str]) -> tuple[Detail, ...]:
    """Return all about a job, by its name here or its batch system's id: where one host is several nodes, several.

    Raises Fault VT0945 where there is none.
    """
    found = tuple(one for one in _seen(registry, environment, name) if name in (one.job.job, one.job.id))
    if not found:
        hint = "list the jobs that are here: vtorque-runtime status"
        raise Fault("VT0945", f"no job {name!r} of yours is on this node", help=hint)
    return found


def _seen(registry: Registry, environment: Mapping[str, str], name: str | None) -> Iterator[Detail]:
    claims = claims_of(registry)
    for held in registry.registrations():
        now = salvage.seen(registry.spool(held.job_id))
        record = _record(registry, held.job_id) if name in (held.job_id, held.batch_id) else ()
        job = _job(registry, held, now, claims.get(held.job_id))
        yield Detail(job, now.notes if now else (), now.verdict if now else None, record)
    if registry.lane == "session":
        yield from _own(environment, name)


def _job(registry: Registry, held: Registration, now: Status | None, claim: Claim | None) -> Job:
    usage = now.usage if now else None
    return Job(
        job=held.job_id,
        system=held.system,
        id=held.batch_id,
        start=held.start,
        node=held.node,
        user=_user(held.uid) if held.uid or held.system == "local" else "",  # root's own until it is known whose it is
        uid=held.uid,
        since=_time(held.started_s),
        phase=now.phase if now else None if held.system == "local" else status.REGISTERED,
        alive=alive(held),
        pid=held.pid,
        suspended=now is not None and now.suspended,
        vms=now.vms if now else (),
        codes=_codes(now),
        cpus=claim.cpus if claim else None,
        memory_bytes=sum(own.pages * own.page_bytes for own in claim.memory) if claim else None,
        usage=partition.usage(partition_name(held.job_id), usage) if registry.lane == "system" else None,
    )


def _own(environment: Mapping[str, str], name: str | None) -> Iterator[Detail]:
    """The batch job of that name, or the one that the caller is in, if it is the caller's."""
    names: dict[str, System] = {}
    for system in _SYSTEMS:
        try:
            own = adapter(system).own_job(environment)
        except Fault:  # variables that are nobody's but the caller's own
            continue
        if own is not None:
            names[own[0]] = system
    if name is not None and JOB_ID.fullmatch(name):
        names.setdefault(name, "local")
    for key, system in sorted(names.items()):
        now = _readable(Spool(base_directory("system") / "jobs" / key))
        if now is not None:
            yield Detail(_own_job(key, system, now), now.notes, now.verdict, ())


def _readable(spool: Spool) -> Status | None:
    """What is published of a job that is the caller's; whose it is, is not known at first, and then it is nobody's."""
    try:
        if spool.status.lstat().st_uid != os.geteuid():
            return None
        return status.read(spool.status)
    except OSError:
        return None


def _own_job(key: str, system: System, now: Status) -> Job:
    uid = os.geteuid()
    running = now.pid != 0 and runs(now.pid, now.start_ticks)
    return Job(
        key, system, now.job_id, "", now.node, _user(uid), uid, _time(now.since_s), now.phase, running, now.pid,
        now.suspended, now.vms, _codes(now), None, None, now.usage,
    )  # fmt: skip


def _record(registry: Registry, job_id: str) -> tuple[RecordLine, ...]:
    try:
        with registry.log(job_id).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _RECORD_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ()
    return tuple(one for line in lines[-RECORD_LINES:] if (one := _record_line(line)) is not None)


def _record_line(line: str) -> RecordLine | None:
    try:
        entry = json.loads(line)
        said = [str(entry[name]) for name in ("message", "error") if name in entry]
        return RecordLine(str(entry["at"]), str(entry["level"]), ": ".join(said))
    except (ValueError, KeyError, TypeError):  # cut off where reading began, or by a full disk
        return None


def _codes(now: Status | None) -> tuple[str, ...]:
    return tuple(one.code for one in now.verdict.findings) if now and now.verdict else ()


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
