"""The I/O cores of a job on this node: put to work at its start, more or fewer of them while it runs.

What runs there: QEMU's own threads and vhost's, the threads that do the disks' I/O, and the interrupts of the network
adapters. Docs: docs/iocm.md.
"""

import fcntl
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from vtorque_runtime import irq, skvm, threads
from vtorque_runtime.cpulist import list_text
from vtorque_runtime.files import write_private
from vtorque_runtime.hypervisor import URIS
from vtorque_runtime.hypervisor import connect as connect_libvirt
from vtorque_runtime.journal import BuriedError
from vtorque_runtime.log import LOG, recorded
from vtorque_runtime.spool import Registry, Spool, alive
from vtorque_runtime.steps import TreeUndo, remove_entry
from vtorque_runtime.sysfs import ROOT
from vtorque_spec.canonical import DecodeError, canonical_json, from_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import VERSION, Guest, IoCores, NodePlan

STATE_VERSION = 1


class Pinner(Protocol):
    """What moving needs of a hypervisor."""

    def pin_emulator(self, uuid: str, cpus: Collection[int]) -> None:
        """Let QEMU's own threads run on `cpus` alone."""

    def pin_iothread(self, uuid: str, iothread: int, cpus: Collection[int]) -> None:
        """Let I/O thread number `iothread`, from 1, run on `cpus` alone."""


Connect = Callable[[str], Pinner]
"""From a libvirt URI to a connection; raises Fault VT0902."""


@dataclass(frozen=True, slots=True)
class State:
    """The content of iocm.json: how many of the job's I/O cores work."""

    version: int
    active: int


@dataclass(frozen=True, slots=True)
class Row:
    """The I/O cores of one job: `cores` are all that it has, in the order in which they are put to work."""

    job: str
    mode: str
    min: int
    max: int
    active: int
    active_cpus: tuple[int, ...]
    cores: tuple[tuple[int, ...], ...]


def keep_plan(plan: NodePlan, spool: Spool) -> None:
    """Write the plan down for what comes while the job runs."""
    spool.journal.step(TreeUndo("tree", spool.plan.name), lambda: write_private(spool.plan, canonical_json(plan)))


def begin(plan: NodePlan, registry: Registry, spool: Spool, root: Path = ROOT) -> None:
    """See that the guests, which run now, are where the plan says, then let the I/O cores serve the adapters too.

    Raises Fault VT0920, VT0922, and `journal.BuriedError`.
    """
    threads.verify(plan.guests, root)
    if plan.io.cores and plan.io.mode == "skvm":
        skvm.write(plan, spool, root)
    elif plan.io.min_cores:
        _move_interrupts(plan, plan.io.min_cores, registry, spool, root)


def set_active(
    registry: Registry, job: str | None, count: int, connect: Connect = connect_libvirt, root: Path = ROOT
) -> str:
    """Let `count` of a running job's I/O cores work; return a sentence. `job` may be None where there is one.

    Raises Fault VT0902, VT0903, VT0920, VT0921, VT0923, VT0924.
    """
    spool = _pick(registry, job)
    try:
        with recorded(registry.log(spool.path.name)), _one_at_a_time(spool):
            return _set_active(read_plan(spool), count, registry, spool, connect, root)
    except BuriedError:
        raise Fault("VT0923", f"job {spool.path.name} is being undone: its I/O cores no longer move") from None
    except FileNotFoundError:
        if spool.path.exists():
            raise
        raise Fault("VT0923", f"job {spool.path.name} has just ended") from None


def _set_active(plan: NodePlan, count: int, registry: Registry, spool: Spool, connect: Connect, root: Path) -> str:
    _check(plan, count)
    guests = tuple(serving(guest, plan.io, count) for guest in plan.guests)
    hypervisor = connect(URIS[plan.lane])
    for guest in guests:
        _pin(guest, hypervisor)
    threads.spread(guests, root)
    _move_interrupts(plan, count, registry, spool, root)
    threads.verify(guests, root)
    spool.journal.step(TreeUndo("tree", spool.io_state.name), lambda: _write_state(spool, count))
    where = f", CPUs {list_text(active_cpus(plan.io, count))}" if count else ""
    said = f"job {plan.job_id}: {count} of {len(plan.io.cores)} I/O cores work{where}"
    LOG.info("%s", said)
    return said


def rows(registry: Registry) -> list[Row]:
    """Return the I/O cores of each running job that has some. Raises Fault VT0924."""
    found = []
    for spool in _running(registry):
        try:
            plan = read_plan(spool)
        except FileNotFoundError:  # it has just ended
            continue
        io, active = plan.io, _active(spool, plan)
        if io.cores:
            cpus = active_cpus(io, active)
            found.append(Row(plan.job_id, io.mode, io.min_cores, len(io.cores), active, cpus, io.cores))
    return found


def table(found: Collection[Row]) -> str:
    """Return the rows as text, aligned for a person."""
    head = ("JOB", "MODE", "MIN", "MAX", "ACTIVE", "ACTIVE CPUS", "ALL CORES")
    cells = [head]
    for row in found:
        cores = " ".join(list_text(core) for core in row.cores)
        cpus = "its manager's" if row.mode == "skvm" else list_text(row.active_cpus) or "none"
        active = "-" if row.mode == "skvm" else str(row.active)
        cells.append((row.job, row.mode, str(row.min), str(row.max), active, cpus, cores))
    if not found:
        return "no job with I/O cores runs here"
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def read_plan(spool: Spool) -> NodePlan:
    """Return the plan of a running job. Raises Fault VT0924 when it is of another version, or damaged."""
    try:
        text = spool.plan.read_text(encoding="ascii")
        version = json.loads(text).get("version")
        if version == VERSION:
            return from_json(NodePlan, text)
        why = f"it is of version {version}, this runtime reads version {VERSION}"
    except (ValueError, AttributeError) as error:  # DecodeError is a ValueError
        why = str(error)
    hint = "the job goes on as it is; use the runtime that started it"
    raise Fault("VT0924", f"the plan of job {spool.path.name} cannot be read: {why}", help=hint)


def serving(guest: Guest, io: IoCores, count: int) -> Guest:
    """Return the guest as it is pinned when `count` I/O cores work; with none it serves itself."""
    pins = guest.machine.pins
    if count:
        active = io.cores[:count]
        iothreads = tuple(active[index % count] for index in range(len(pins.iothreads)))
        pins = replace(pins, emulator=active_cpus(io, count), iothreads=iothreads)
    return replace(guest, machine=replace(guest.machine, pins=pins))


def active_cpus(io: IoCores, count: int) -> tuple[int, ...]:
    """Return all CPUs of the first `count` I/O cores, ascending."""
    return tuple(sorted(cpu for core in io.cores[:count] for cpu in core))


def _pin(guest: Guest, hypervisor: Pinner) -> None:
    machine = guest.machine
    if cpus := machine.pins.emulator or machine.pins.cpuset:
        hypervisor.pin_emulator(machine.uuid, cpus)
    for number, cpus in enumerate(machine.pins.iothreads, 1):
        hypervisor.pin_iothread(machine.uuid, number, cpus)


def _move_interrupts(plan: NodePlan, count: int, registry: Registry, spool: Spool, root: Path) -> None:
    if plan.lane == "session":
        LOG.info("interrupts stay where they are: an ordinary user cannot move them")
    elif count:
        with registry.locked():
            for line in irq.move(plan.io.nics, active_cpus(plan.io, count), spool.journal, root):
                LOG.info("%s", line)
    else:
        for line in irq.give_back(spool.journal, root) or ["interrupts are where they were before the job"]:
            LOG.info("%s", line)


def _check(plan: NodePlan, count: int) -> None:
    io, limits = plan.io, f"{plan.io.min_cores} to {len(plan.io.cores)}"
    if not io.cores:
        raise Fault("VT0923", f"job {plan.job_id} has no I/O cores", help="ask for them in the job file: `iocm`")
    if io.mode == "skvm":
        raise Fault("VT0923", f"the I/O cores of job {plan.job_id} are sKVM's, whose own manager moves them")
    if not io.min_cores <= count <= len(io.cores):
        message = f"job {plan.job_id} cannot have {count} I/O cores at work: its limits are {limits}"
        raise Fault("VT0921", message, help="stay within them, or give the next job others: `iocm` in its job file")


def _pick(registry: Registry, job: str | None) -> Spool:
    running = _running(registry)
    names = [spool.path.name for spool in running]
    if job is None and len(running) == 1:
        return running[0]
    if job in names:
        return registry.spool(str(job))
    there = f"there is {', '.join(names)}" if names else "none runs on this node"
    if job is None:
        raise Fault("VT0923", f"say which job: {there}", help="vtorque-runtime iocm set N --job JOB" if names else None)
    raise Fault("VT0923", f"no job {job!r} with guests runs here: {there}", help="vtorque-runtime iocm show lists them")


def _running(registry: Registry) -> list[Spool]:
    """The jobs that are alive and were started so far that they have a plan."""
    spools = [registry.spool(held.job_id) for held in registry.registrations() if alive(held)]
    return [spool for spool in spools if spool.plan.exists()]


def _active(spool: Spool, plan: NodePlan) -> int:
    try:
        return from_json(State, spool.io_state.read_bytes()).active
    except FileNotFoundError:
        return plan.io.min_cores
    except DecodeError as error:
        raise Fault(
            "VT0924", f"{spool.io_state} cannot be read: {error}", help="say anew how many are to work"
        ) from None


def _write_state(spool: Spool, count: int) -> None:
    remove_entry(spool.path, f".{spool.io_state.name}.new")  # of one that was killed while it wrote
    write_private(spool.io_state, canonical_json(State(STATE_VERSION, count)))


@contextmanager
def _one_at_a_time(spool: Spool) -> Iterator[None]:
    with spool.plan.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
