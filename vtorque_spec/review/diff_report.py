"""The differences of two sites' verdicts: as text for people, as JSON, and as Markdown for a merge request."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from vtorque_spec.diagnostics import Diagnostic, Span
from vtorque_spec.render import Paint, as_json, plain, printable
from vtorque_spec.review.diff import Change, Kind, Tally, Value, cause, errors_first

FOLDED_FROM = 10
"""Markdown tables with more lines than that are folded."""

SIZE = 60_000
"""Markdown has about so many characters at most, the same part of it for each kind: GitHub takes 65,536."""

NAMED = 5
"""Markdown names so many jobs in a line at most."""

LENGTH = 200
"""Markdown shows so many characters of a text at most."""

_ONE: dict[Kind, str] = {
    "refused": "becomes refused",
    "accepted": "becomes accepted",
    "codes": "changes its findings",
    "values": "changes its values",
}
_MANY: dict[Kind, str] = {
    "refused": "become refused",
    "accepted": "become accepted",
    "codes": "change their findings",
    "values": "change their values",
}
_STYLES: dict[Kind, str] = {"refused": "error", "accepted": "help", "codes": "warning", "values": "note"}


def counts(total: Tally) -> Iterator[tuple[str, int]]:
    """Yield what there is to count, in words; nothing is left out but what is zero."""
    for kind, changes in total.changes.items():
        if changes:
            yield (_ONE if len(changes) == 1 else _MANY)[kind], len(changes)
    if total.unread:
        yield "not read", total.unread
    if total.unchanged:
        yield "unchanged" + (f" ({total.refused} refused by both)" if total.refused else ""), total.unchanged


def summary(total: Tally) -> str:
    """Return the numbers in one line."""
    noun = "job" if total.jobs == 1 else "jobs"
    return f"{total.jobs} {noun}: " + ", ".join(f"{number} {words}" for words, number in counts(total))


def as_text(total: Tally, paint: Paint = plain) -> str:
    """Return each kind of change: what changes and why, and below it the jobs; then the numbers."""
    blocks = []
    for kind, changes in total.changes.items():
        if changes:
            groups = [[*map(_line, whys), *(f"  {job}" for job in jobs)] for whys, jobs in _groups(changes)]
            lines = "".join(f"  {printable(line)}\n" for group in groups for line in group)
            blocks.append(f"{paint(_MANY[kind] + ':', _STYLES[kind])}\n{lines}\n")
    return "".join(blocks) + summary(total) + "\n"


@dataclass(frozen=True, slots=True)
class _Why:
    """One thing that changes in a job: `what` in plain words and in texts of others' in turn, and lines of a policy."""

    what: tuple[str, ...]
    places: tuple[str, ...]


def _groups(changes: Iterable[Change]) -> Iterator[tuple[tuple[_Why, ...], list[str]]]:
    """Yield the jobs that change alike, in the order of the first of each."""
    found: dict[tuple[_Why, ...], list[str]] = {}
    for change in changes:
        whys = (*_findings("now", change.new), *_findings("no longer", change.gone), *map(_of_value, change.values))
        found.setdefault(whys, []).append(change.job)
    yield from found.items()


def _findings(word: str, items: Iterable[Diagnostic]) -> Iterator[_Why]:
    for item in errors_first(items):
        yield _Why((f"{word} {item.severity.value} ", item.id, ": ", item.message), (_place(cause(item)),))


def _of_value(value: Value) -> _Why:
    places = dict.fromkeys(_place(origin) for origin in (value.old_origin, value.new_origin))
    what = ("", value.field, ": ", _or_nothing(value.old), " -> ", _or_nothing(value.new))
    return _Why(what, tuple(places))


def _line(why: _Why) -> str:
    return "".join(why.what) + f"  ({' -> '.join(why.places)})"


def _or_nothing(shown: str | None) -> str:
    return "not set" if shown is None else shown or '""'


def _place(span: Span | None) -> str:
    return f"{span.file}:{span.line}" if span else "no default"


# --- JSON -------------------------------------------------------------------------------------------------------------


def as_data(total: Tally, old: str, new: str) -> str:
    """Return one JSON object: `old` and `new`, the numbers as `summary`, and `changes`."""
    numbers: dict[str, int] = {kind: len(changes) for kind, changes in total.changes.items()}
    data = {
        "old": old,
        "new": new,
        "summary": {
            "jobs": total.jobs, **numbers, "unread": total.unread, "unchanged": total.unchanged,
            "refused_by_both": total.refused,
        },
        "changes": [_change_data(change) for changes in total.changes.values() for change in changes],
    }  # fmt: skip
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace").decode()


def _change_data(change: Change) -> dict[str, Any]:
    return {
        "job": change.job,
        "change": change.kind,
        "gone": [_finding_data(item) for item in change.gone],
        "new": [_finding_data(item) for item in change.new],
        "values": [
            {
                "field": value.field, "old": value.old, "new": value.new,
                "old_default": _place_data(value.old_origin), "new_default": _place_data(value.new_origin),
            }
            for value in change.values
        ],
    }  # fmt: skip


def _finding_data(item: Diagnostic) -> dict[str, Any]:
    return {**as_json.finding(item), "rule": _place_data(item.rule.span if item.rule else None)}


def _place_data(span: Span | None) -> dict[str, Any] | None:
    return {"file": span.file, "line": span.line, "column": span.column} if span else None


# --- Markdown ---------------------------------------------------------------------------------------------------------


def as_markdown(total: Tally, old: str, new: str) -> str:
    """Return headings and tables as GitHub and GitLab read them; whatever comes from a file is inside code spans."""
    numbers = [(words, str(number)) for words, number in counts(total)]
    parts = [f"## Policy: from {_code(old)} to {_code(new)}\n", _table(("jobs", str(total.jobs)), numbers)]
    changed = {kind: changes for kind, changes in total.changes.items() if changes}
    for kind, changes in changed.items():
        title = f"{len(changes)} {(_ONE if len(changes) == 1 else _MANY)[kind]}"
        parts.append(_folded(title, [_row(*group) for group in _groups(changes)], SIZE // len(changed)))
    return "\n".join(parts)


def _folded(title: str, rows: Sequence[tuple[str, ...]], size: int) -> str:
    sizes = accumulate(sum(map(len, row)) + 16 for row in rows)
    listed = sum(so_far <= size for so_far in sizes)
    table = _table(("what", "why", "jobs"), rows[:listed])
    if listed < len(rows):
        table += f"\nand {len(rows) - listed} more lines; `--format json` has all\n"
    if len(rows) <= FOLDED_FROM:
        return f"### {title}\n\n{table}"
    return f"<details><summary>{title}</summary>\n\n{table}\n</details>\n"


def _row(whys: Iterable[_Why], jobs: Sequence[str]) -> tuple[str, ...]:
    what = ["".join(_code(part) if index % 2 else part for index, part in enumerate(why.what)) for why in whys]
    places = [" -> ".join(map(_code, why.places)) for why in whys]
    named = [_code(job) for job in jobs[:NAMED]]
    more = [f"and {len(jobs) - NAMED} more"] if len(jobs) > NAMED else []
    return "<br>".join(what), "<br>".join(places), "<br>".join([*named, *more])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _code(text: str) -> str:
    """Return text as a code span that ends where it should, in a table too; nothing in it means anything there."""
    shown = (text if len(text) <= LENGTH else text[: LENGTH - 3] + "...") or " "
    shown = printable(shown).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
