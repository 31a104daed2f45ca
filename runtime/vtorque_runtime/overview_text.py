"""The jobs of a node for a person: a table, and all about one job."""

from collections.abc import Sequence

from vtorque_runtime import verdict
from vtorque_runtime.console import harmless
from vtorque_runtime.cpulist import list_text
from vtorque_runtime.overview import Detail, Job
from vtorque_runtime.status import FAILED, READY, REGISTERED

_HEAD = ("JOB", "USER", "PHASE", "VMS", "CPUS", "MEMORY", "CPU TIME", "PEAK", "SINCE (UTC)")
_COLOURS = {"good": "\x1b[32m", "bad": "\x1b[31m", "": ""}
_PLAIN = "\x1b[0m"


def table(jobs: Sequence[Job], *, coloured: bool) -> str:
    """Return a line for each job below one of headings, in columns."""
    if not jobs:
        return "no jobs"
    rows = [_HEAD, *map(_row, jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = []
    for row, job in zip(rows, (None, *jobs), strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        colour = _COLOURS[_mood(job)] if coloured and job else ""
        cells[2] = f"{colour}{cells[2]}{_PLAIN}" if colour else cells[2]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def details(found: Detail) -> str:
    """Return all about one job, a line for each thing."""
    job = found.job
    where = f"{job.system} job {job.id}, start {job.start or '-'}, node {job.node or '-'}"
    facts = [
        ("job", job.job),
        ("what", "vtorque run" if job.system == "local" else where),
        ("user", f"{job.user or '-'} (uid {job.uid})"),
        ("since", job.since),
        ("phase", _phase(job)),
        ("process", f"{job.pid}, {'alive' if job.alive else 'gone'}"),
        ("CPUs", _cpus(job)),
        ("memory", _mib(job.memory_bytes)),
        ("used", job.usage.sentence() if job.usage else "-"),
        *((f"VM {vm.hostname}", vm.phase) for vm in job.vms),
        *(("note", note) for note in found.notes),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [f"{name.ljust(width)}  {said}" for name, said in facts]
    if found.verdict is not None:
        lines += [f"failed in phase {found.verdict.phase}, a {found.verdict.kind} fault:"]
        lines += [f"  {line}" for line in verdict.lines(found.verdict)]
    if found.record:
        lines += ["record:", *(f"  {line.at} {line.level} {line.message}" for line in found.record)]
    return "\n".join(map(harmless, lines))


def _row(job: Job) -> tuple[str, ...]:
    used = (f"{job.usage.cpu_time_ns // 10**9} s", _short(job.usage.peak_memory_bytes)) if job.usage else ("-", "-")
    held = (str(len(job.vms) or "-"), _cpus(job), _short(job.memory_bytes))
    since = job.since[5:16].replace("T", " ")
    return tuple(map(harmless, (job.job, job.user or "-", _phase(job), *held, *used, since)))


def _phase(job: Job) -> str:
    """The phase, and what is unusual about it."""
    words = [job.phase or ("run" if job.alive else "dead")]
    phases = sorted({vm.phase for vm in job.vms})
    if job.phase == "booting" and phases:
        words = [f"booting: {', '.join(phases)}"]
    if job.codes:
        words.append(" ".join(sorted(set(job.codes))))
    if job.suspended:
        words.append("suspended")
    if _unattended(job):
        words.append("no supervisor")
    return ", ".join(words)


def _unattended(job: Job) -> bool:
    """A failed job's supervisor has ended; before one began, its prologue's process had."""
    return not job.alive and job.phase not in (None, FAILED, REGISTERED)


def _mood(job: Job) -> str:
    if job.phase == FAILED or _unattended(job) or (job.phase is None and not job.alive):
        return "bad"
    return "good" if job.phase in (READY, None) and not job.suspended else ""


def _cpus(job: Job) -> str:
    return "-" if job.cpus is None else list_text(job.cpus) or "none"


def _short(size_bytes: int | None) -> str:
    """A size for a column of few letters."""
    return _mib(size_bytes) if size_bytes is None or size_bytes < 10 * 2**30 else f"{size_bytes >> 30} GiB"


def _mib(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes >> 20} MiB"
