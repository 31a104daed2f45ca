"""The node's ledger: which cores, memory, huge pages, devices and disk space its jobs hold, so that no two share any.

    BASE/jobs/JOB/claim.json      the Claim of one job, made once, whole or not at all, under the registry's lock

A job plans first, without the lock, around what others hold then; its claim is refused when somebody was faster, and it
plans again. A claim ends with the job's spool, which goes last of all: a job whose process died keeps what its guests
may still run on until an epilogue, or `vtorque-runtime reap`, has ended them.

There is one ledger for each lane and, in the session lane, for each user: only root sees the whole node.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vtorque_runtime import disks, host, salvage, sysfs, threads
from vtorque_runtime.cpulist import list_text
from vtorque_runtime.files import write_private
from vtorque_runtime.images import bases
from vtorque_runtime.recheck import recheck
from vtorque_runtime.spool import EndedError, Registry, Spool, alive
from vtorque_runtime.steps import DomainUndo
from vtorque_spec.canonical import DecodeError, canonical_json, from_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Cell, CellMemory, Claim, NodeContext, NodePlan

if TYPE_CHECKING:
    from vtorque_runtime.identity import Reserved

VERSION = 1
ATTEMPTS = 10
"""Each time that a claim is refused another job got its own, so this many would have to be faster."""

Room = Mapping[tuple[int, int], int]
"""Pages by cell and page size in bytes; ordinary memory has pages of 1 byte."""


class ConflictError(Exception):
    """Others hold something of a claim; the text says who holds what, a line for each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The content of claim.json."""

    version: int
    claim: Claim


def settle(reserved: "Reserved", plan: Callable[[NodeContext], NodePlan]) -> NodePlan:
    """Plan around what the node's other jobs hold until the plan's claim is granted; return the plan that holds it.

    Each time `plan` is given the context as it is now, which stays in `reserved`, and its answer is rechecked. Raises
    what `plan` raises, and Fault VT0912, VT0914, VT0916, VT0966.
    """
    conflict = ""
    for _ in range(ATTEMPTS):
        reserved.context = observed(reserved.context, reserved.registry)
        found = plan(reserved.context)
        recheck(found, reserved.context, reserved.site)
        try:
            claim(reserved.registry, reserved.spool, found.claim, reserved.context.cells)
        except ConflictError as error:
            conflict = str(error)
        else:
            return found
    raise Fault(
        "VT0916",
        f"the node's other jobs took what this one was to have, {ATTEMPTS} times one after the other",
        help="run it again; what a dead job holds is given back by: vtorque-runtime reap",
        detail=conflict,
    )


def observed(context: NodeContext, registry: Registry) -> NodeContext:
    """Return the context with the node's memory and what other jobs hold, as they are now. Raises Fault VT0914.

    The huge pages of a cell are those that are free and those that guests of ours use: the ones in use are in a claim
    as well, and to take them from the free ones would count them twice. Of a core that others hold a part of, no part
    is left: jobs do not share cores, even where the batch system gives out threads.
    """
    claims = claims_of(registry)
    used = pages_in_use(registry, claims)  # before the free ones: a page that goes over in between is then missed
    cells, gone = sysfs.with_pages(host.read_cells(), used), merged(claims.values())
    return replace(context, cells=cells, taken=replace(gone, cpus=_whole(gone.cpus, cells)))


def taken(registry: Registry) -> Claim:
    """Return what all jobs of the registry hold together."""
    return merged(claims_of(registry).values())


def claims_of(registry: Registry) -> dict[str, Claim]:
    """Return the claims of all jobs, alive or not, and be their registrations damaged."""
    found = {}
    for path in sorted(registry.jobs.iterdir()):
        own = _claim(Spool(path))
        if own is not None:
            found[path.name] = own
    return found


def _claim(spool: Spool) -> Claim | None:
    try:
        return from_json(Entry, spool.claim.read_bytes()).claim
    except (FileNotFoundError, NotADirectoryError):
        return None
    except DecodeError as error:
        return salvage.claim(spool, error)


def merged(claims: Iterable[Claim]) -> Claim:
    """Return several claims as one, in ascending order."""
    claims = tuple(claims)
    pages: Counter[tuple[int, int]] = Counter()
    for own in (part for one in claims for part in one.memory):
        pages[own.cell, own.page_bytes] += own.pages
    return Claim(
        tuple(sorted({cpu for one in claims for cpu in one.cpus})),
        tuple(CellMemory(cell, size, count) for (cell, size), count in sorted(pages.items())),
        tuple(sorted({name for one in claims for name in one.devices})),
        sum(one.disk_bytes for one in claims),
    )


def claim(registry: Registry, spool: Spool, wanted: Claim, cells: Sequence[Cell]) -> None:
    """Let the job hold `wanted`, of what `cells` have in all, until its spool is removed.

    Raises ConflictError when others hold any of it now, EndedError when the job is no longer registered, Fault VT0966
    when its disks may come to more than there is room for.
    """
    with registry.locked():
        others = {job_id: own for job_id, own in claims_of(registry).items() if job_id != spool.path.name}
        if conflict := [*_shared(wanted, others, cells), *_too_much(wanted, others, cells)]:
            raise ConflictError("\n".join(conflict))
        _check_disk(registry, wanted, others)
        if not spool.registration.exists():
            raise EndedError(spool.path.name)
        write_private(spool.claim, canonical_json(Entry(VERSION, wanted)))


def _check_disk(registry: Registry, wanted: Claim, others: Mapping[str, Claim]) -> None:
    spare = bases.make_room(registry, others, wanted.disk_bytes)
    if wanted.disk_bytes > spare:
        fix = "ask for smaller disks (`root_disk.size`, `disks`)"
        raise disks.no_room("the job's disks", wanted.disk_bytes, spare, registry.jobs, fix)


def held(registry: Registry) -> list[str]:
    """Return a sentence for each job that holds something, and how to get back what a dead one holds."""
    claims, said = claims_of(registry), []
    for job in registry.registrations():
        if job.job_id in claims:
            dead = "" if alive(job) else "; it is dead: vtorque-runtime reap gives that back"
            said.append(f"job {job.job_id} holds {_words(claims[job.job_id])}{dead}")
    return said


def pages_in_use(registry: Registry, claims: Mapping[str, Claim], root: Path = sysfs.ROOT) -> Room:
    """Return the huge pages that guests of the registry's jobs use now (proc(5), numa_maps)."""
    jobs = [job_id for job_id, own in claims.items() if any(part.page_bytes > 1 for part in own.memory)]
    uuids = {uuid for job_id in jobs for uuid in _domains(registry.spool(job_id))}
    used: Counter[tuple[int, int]] = Counter()
    for pid in threads.qemu_pids(uuids, list(threads.processes(root))).values() if uuids else ():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            used += _huge_pages((root / f"proc/{pid}/numa_maps").read_text(encoding="utf-8", errors="replace"))
    return used


def _huge_pages(numa_maps: str) -> Counter[tuple[int, int]]:
    used: Counter[tuple[int, int]] = Counter()
    for line in numa_maps.splitlines():
        size = re.search(r" kernelpagesize_kB=(\d+)", line)
        if size and " huge" in line:
            for cell, count in re.findall(r" N(\d+)=(\d+)", line):
                used[int(cell), int(size[1]) * 1024] += int(count)
    return used


def _domains(spool: Spool) -> set[str]:
    try:
        return {str(undo["uuid"]) for undo in spool.journal.undos() if undo.get("kind") == _DOMAIN}
    except (FileNotFoundError, Fault):  # a damaged journal is told of when the job is undone
        return set()


_DOMAIN = DomainUndo("domain", "", "").kind


def _shared(wanted: Claim, others: Mapping[str, Claim], cells: Sequence[Cell]) -> list[str]:
    cores, found = set(_whole(wanted.cpus, cells)), []
    for job_id, own in others.items():
        cpus, devices = cores.intersection(own.cpus), sorted(set(own.devices).intersection(wanted.devices))
        if cpus or devices:
            found.append(f"job {job_id} holds {_words(Claim(tuple(cpus), (), tuple(devices)))}")
    return found


def _whole(cpus: Iterable[int], cells: Iterable[Cell]) -> tuple[int, ...]:
    """The CPUs, and all others of their cores."""
    own = set(cpus)
    cores = (core for cell in cells for core in cell.cores if not own.isdisjoint(core))
    return tuple(sorted(own.union(*cores)))


def _too_much(wanted: Claim, others: Mapping[str, Claim], cells: Iterable[Cell]) -> list[str]:
    room = room_of(cells)
    gone = {(own.cell, own.page_bytes): own.pages for own in merged(others.values()).memory}
    found = []
    for own in merged([wanted]).memory:
        place = (own.cell, own.page_bytes)
        left = room.get(place, 0) - gone.get(place, 0)
        if own.pages > left:
            have = _words(Claim((), (replace(own, pages=max(0, left)),), ()))
            owners = ", ".join(job_id for job_id, other in others.items() if other.memory) or "none"
            found.append(f"{have} are left, and {_words(Claim((), (own,), ()))} needed; jobs with memory: {owners}")
    return found


def room_of(cells: Iterable[Cell]) -> Room:
    """Return what the cells have in all."""
    room: dict[tuple[int, int], int] = {}
    for cell in cells:
        room |= {(cell.id, 1): cell.memory_bytes} | {(cell.id, size.size_bytes): size.count for size in cell.hugepages}
    return room


def _words(what: Claim) -> str:
    parts = [f"the CPUs {list_text(what.cpus)}"] if what.cpus else []
    for own in what.memory:
        size = (
            f"{own.pages // 2**20} MiB" if own.page_bytes == 1 else f"{own.pages} pages of {own.page_bytes >> 20} MiB"
        )
        parts.append(f"{size} in cell {own.cell}")
    parts += [f"the device {name}" for name in what.devices]
    parts += [f"{what.disk_bytes // 2**20} MiB of the spool's disk"] if what.disk_bytes else []
    return ", ".join(parts) or "nothing"
