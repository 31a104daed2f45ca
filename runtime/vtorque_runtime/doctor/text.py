"""The results of all checks for a person."""

from collections.abc import Iterator, Sequence

from vtorque_runtime.console import harmless
from vtorque_runtime.doctor.node import Result

_COLOURS = {"ok": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "skipped": "\x1b[2m"}
_PLAIN = "\x1b[0m"


def lines(results: Sequence[Result], *, coloured: bool) -> Iterator[str]:
    """Yield a line for each check, its findings below it, and what it all comes to."""
    width = max(len(one.check) for one in results)
    for one in results:
        state = one.state.ljust(7)
        state = f"{_COLOURS[one.state]}{state}{_PLAIN}" if coloured else state
        yield f"{state}  {one.check.ljust(width)}  {harmless('; '.join(one.facts))}".rstrip()
        for finding in one.findings:
            yield harmless(f"  {finding.severity}[{finding.code}]: {finding.message}")
            yield from (f"    {harmless(line)}" for line in (finding.detail or "").splitlines())
            if finding.help:
                yield harmless(f"    fix: {finding.help}")
    yield _sum(results)


def _sum(results: Sequence[Result]) -> str:
    findings = [finding for one in results for finding in one.findings]
    errors = sum(finding.severity == "error" for finding in findings)
    if not findings:
        return "this node can serve jobs"
    told = f"{_many(errors, 'error')}, {_many(len(findings) - errors, 'warning')}"
    return f"this node cannot serve jobs: {told}" if errors else f"this node can serve jobs: {told}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
