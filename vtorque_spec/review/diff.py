"""What two sites make of the same jobs: who is refused now, who no longer is, and whose values are others."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal

from vtorque_spec.diagnostics import Code, Diagnostic, Report, Severity, Span
from vtorque_spec.document import Document, Path, read
from vtorque_spec.driver import check_document
from vtorque_spec.policy import Context, Effective
from vtorque_spec.policy.values import shown
from vtorque_spec.review.context import said_by
from vtorque_spec.site import Site
from vtorque_spec.spec.parse import label, paths_of, value_at

Kind = Literal["refused", "accepted", "codes", "values"]
"""How a job changes: accepted -> refused, refused -> accepted, other findings, other values. The first that fits."""


@dataclass(frozen=True, slots=True)
class Side:
    """A site, and who asks where the job file does not say it."""

    site: Site
    context: Context


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an accepted job that differs, as people write it; None: there is none. Origins are default lines."""

    field: str
    old: str | None
    new: str | None
    old_origin: Span | None
    new_origin: Span | None


@dataclass(frozen=True, slots=True)
class Change:
    """One job that changes: the findings that are no longer there, those that are new, and the values."""

    job: str
    kind: Kind
    gone: tuple[Diagnostic, ...]
    new: tuple[Diagnostic, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Same:
    """A job that does not change. `refused` tells whether both sites refuse it."""

    refused: bool


@dataclass(frozen=True, slots=True)
class Unread:
    """A job file that cannot be read, or whose words about its context are not understood."""

    items: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class _Verdict:
    items: tuple[Diagnostic, ...]
    effective: Effective | None


def compare(jobs: Iterable[str], old: Side, new: Side) -> Iterator[Change | Same | Unread]:
    """Yield what becomes of each job, in their order."""
    for job in jobs:
        report = Report()
        document = read(FilePath(job), report)
        if any(item.code is Code.UNREADABLE for item in report.items):
            yield Unread(tuple(report.items))
        elif document is None:
            yield Same(refused=True)
        else:
            yield _compare(document, old, new)


def _compare(document: Document, old: Side, new: Side) -> Change | Same | Unread:
    report = Report()
    said = said_by(document, report)
    if report.failed:
        return Unread(tuple(report.sorted()))
    before, after = (
        _verdict(document, side.site, said.context(side.site) if said else side.context) for side in (old, new)
    )
    gone, found = _without(before.items, after.items), _without(after.items, before.items)
    values = tuple(_values(before.effective, after.effective)) if before.effective and after.effective else ()
    kind = _kind(before, after, bool(gone or found), bool(values))
    return Change(document.name, kind, gone, found, values) if kind else Same(after.effective is None)


def _verdict(document: Document, site: Site, context: Context) -> _Verdict:
    report = Report()
    checked = check_document(document, FilePath(document.name).parent, site, context, report)
    return _Verdict(tuple(report.sorted()), checked.effective if checked else None)


def _kind(before: _Verdict, after: _Verdict, codes: bool, values: bool) -> Kind | None:
    if (before.effective is None) != (after.effective is None):
        return "refused" if after.effective is None else "accepted"
    return "codes" if codes else "values" if values else None


def _without(items: Iterable[Diagnostic], others: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return the findings whose code the others do not have as well, in the same severity."""
    known = {(item.id, item.severity) for item in others}
    return tuple(item for item in items if (item.id, item.severity) not in known)


def _values(old: Effective, new: Effective) -> Iterator[Value]:
    before, after = _leaves(old.data), _leaves(new.data)
    for path in {**after, **before}:
        if before.get(path) != after.get(path):
            yield Value(
                label(path), _shown(path, before), _shown(path, after), _origin(old, path, before),
                _origin(new, path, after),
            )  # fmt: skip


def _leaves(data: dict[str, Any]) -> dict[Path, Any]:
    values = {path: value_at(data, path) for path in paths_of(data)}
    return {path: value for path, value in values.items() if not isinstance(value, dict | list) or not value}


def _shown(path: Path, values: Mapping[Path, Any]) -> str | None:
    return shown(path, values[path]) if path in values else None


def _origin(job: Effective, path: Path, values: Mapping[Path, Any]) -> Span | None:
    origin = job.origin(path) if path in values else None
    return origin.span if origin else None


@dataclass(slots=True)
class Tally:
    """What came of all jobs. Those that do not change are counted only, so that memory grows with changes alone."""

    changes: dict[Kind, list[Change]]
    unchanged: int = 0
    refused: int = 0
    unread: int = 0

    @property
    def jobs(self) -> int:
        """The number of jobs."""
        return sum(map(len, self.changes.values())) + self.unchanged + self.unread


def tally(results: Iterable[Change | Same | Unread], trouble: list[Diagnostic]) -> Tally:
    """Count the results and collect the changes by kind; what is wrong with unread files goes to `trouble`."""
    total = Tally({"refused": [], "accepted": [], "codes": [], "values": []})
    for result in results:
        match result:
            case Change():
                total.changes[result.kind].append(result)
            case Unread():
                total.unread += 1
                trouble += result.items
            case Same():
                total.unchanged += 1
                total.refused += result.refused
    return total


def errors_first(items: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return findings with those first that decide."""
    return sorted(items, key=lambda item: item.severity is not Severity.ERROR)


def cause(item: Diagnostic) -> Span | None:
    """Return the line of the policy that a finding comes from; the finding's own place where it is no rule's."""
    return item.rule.span if item.rule else item.span
