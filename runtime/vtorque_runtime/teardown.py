"""The end of a batch system's job on this node, and what the accounting keeps of it."""

import os
import time
from dataclasses import dataclass

from vtorque_runtime import epilogue, partition, salvage, status
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


def _end(registry: Registry, held: Registration, connect: Connect) -> None:
    spool = registry.spool(held.job_id)
    if not epilogue.bury(spool):  # waits for the step that runs, and is the last
        LOG.info("epilogue: another one was faster")
        return
    epilogue.stop(_held(registry, held.job_id, held.start) or held)  # a supervisor may have taken over since
    account = _account(registry, held)
    try:
        epilogue.apply(registry, spool, connect)
    except Fault as left:
        LOG.error("epilogue: %s: %s", left, left.detail)
        raise
    try:
        _keep(registry, account)
    except OSError as error:
        LOG.error("the accounting has no line of it: %s", error)
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


def _keep(registry: Registry, account: Account) -> None:
    """One write of one line, which no other can run into (open(2), O_APPEND)."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(registry.base / "accounting.jsonl", flags, 0o600), "wb") as file:
        file.write(canonical_json(account).encode("ascii") + b"\n")
