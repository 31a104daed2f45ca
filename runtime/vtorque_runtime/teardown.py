"""The end of a batch system's job on this node, and what the accounting keeps of it."""

import os
import signal
import time
from dataclasses import dataclass

from vtorque_runtime import epilogue, partition, salvage, status
from vtorque_runtime.cgroups import leave_job_cgroup
from vtorque_runtime.files import write_private
from vtorque_runtime.hypervisor import connect as connect_libvirt
from vtorque_runtime.log import LOG, recorded
from vtorque_runtime.partition import Usage
from vtorque_runtime.spool import Registration, Registry
from vtorque_runtime.steps import Connect
from vtorque_spec.canonical import canonical_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan.context import partition_name

VERSION = 1


@dataclass(frozen=True, slots=True)
class Account:
    """A line of accounting.jsonl: one start of one job on this node; times are Unix.

    `phase` is how far it was when its epilogue came, `codes` those of its verdict's findings. `usage` is None where no
    guest was started.
    """

    version: int
    job_id: str
    start: str
    node: str
    uid: int
    started_s: int
    ended_s: int
    phase: str
    codes: tuple[str, ...]
    vms: int
    usage: Usage | None


def end(registry: Registry, key: str, start: str | None, connect: Connect = connect_libvirt) -> None:
    """Undo the job on this node; whatever of its prologue or supervisor still runs is ended, and can begin nothing.

    `start` is the one that is over; None: whichever is registered. Raises Fault VT0911.
    """
    with recorded(registry.log(key)):
        if start is None and (held := _held(registry, key, "")) is not None:
            start = held.start
        if start is not None:
            _forbid(registry, key, start)
        with registry.alone(key):
            held = _held(registry, key, start or "")
            if held is None or held.start != start:
                LOG.info("epilogue: nothing of start %s is registered", start)
                return
            _end(registry, held, connect)


def end_apart(registry: Registry, key: str, start: str | None, limit_s: float) -> None:
    """`end` in a process of its own, out of the hook's reach; returns when that has ended, or after `limit_s`.

    libvirt may hang, and a user may have left much to remove: no hook can wait for that. What is left is in the record.
    """
    child = os.fork()
    if child == 0:
        try:
            _leave_the_hook()
            leave_job_cgroup(key)
            _end_told(registry, key, start)
        finally:
            os._exit(0)
    until = time.monotonic() + limit_s
    while os.waitpid(child, os.WNOHANG)[0] == 0 and time.monotonic() < until:
        time.sleep(0.02)


def _end_told(registry: Registry, key: str, start: str | None) -> None:
    try:
        end(registry, key, start)
    except Exception as error:  # the hook may have ended: there is nobody else to tell
        with recorded(registry.log(key)):
            LOG.error("epilogue: failed", exc_info=error)


def _leave_the_hook() -> None:
    """The hook's streams are the batch system's, which may wait for their end; its signal mask is anybody's."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    LOG.handlers.clear()  # their file is closed below
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _end(registry: Registry, held: Registration, connect: Connect) -> None:
    spool = registry.spool(held.job_id)
    if not epilogue.bury(spool):  # waits for the step that runs, and is the last
        LOG.info("epilogue: another one was faster")
        return
    epilogue.stop(_held(registry, held.job_id, held.start) or held)  # a supervisor may have taken over since
    line, again = _line(registry, held)
    try:
        epilogue.release(spool, connect)
        _keep(registry, line, again=again)
        epilogue.remove(registry, spool)
    except Fault as left:
        LOG.error("epilogue: %s: %s", left, left.detail)
        raise
    LOG.info("epilogue: done")


def _forbid(registry: Registry, key: str, start: str) -> None:
    """From here on this start neither registers nor is taken over by a supervisor; on a full disk nothing is anyway."""
    try:
        registry.end(key, start)
    except OSError as error:
        LOG.error("epilogue: the end of start %s is not noted: %s", start, error)


def _held(registry: Registry, key: str, start: str) -> Registration | None:
    """Who holds the job; for one that is damaged beyond repair this start does: nothing is left for that."""
    try:
        return registry.registration(key)
    except Fault as damaged:
        LOG.error("epilogue: %s", damaged)
        return salvage.of_start(registry.spool(key), registry.lane, start)


def _account(registry: Registry, held: Registration) -> Account:
    now = salvage.seen(registry.spool(held.job_id))
    seen = now.usage if now else None
    verdict = now.verdict if now else None
    return Account(
        version=VERSION,
        job_id=held.batch_id,
        start=held.start,
        node=held.node,
        uid=held.uid,
        started_s=held.started_s,
        ended_s=int(time.time()),
        phase=now.phase if now else status.REGISTERED,
        codes=tuple(one.code for one in verdict.findings) if verdict else (),
        vms=len(now.vms) if now else 0,
        usage=partition.usage(partition_name(held.job_id), seen),
    )


def _line(registry: Registry, held: Registration) -> tuple[bytes, bool]:
    """Return the job's line, and whether an epilogue before this one, which was killed, had made it already.

    It lies in the spool as long as that does, so that it stays the same whichever epilogue gets to the end.
    """
    saved = registry.spool(held.job_id).account
    if saved.exists():
        return saved.read_bytes(), True
    text = canonical_json(_account(registry, held)) + "\n"
    try:
        write_private(saved, text)
    except OSError as error:  # no room for it before the undoing; there may be some afterwards
        LOG.error("epilogue: %s", error)
    return text.encode("ascii"), False


def _keep(registry: Registry, line: bytes, *, again: bool) -> None:
    """One write of one line, which no other can run into (open(2), O_APPEND); on the disk before the spool goes."""
    path = registry.base / "accounting.jsonl"
    flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "r+b") as file:
            if not (again and line in file):
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        LOG.error("the accounting has no line of it: %s", error)
