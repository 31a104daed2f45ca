"""Comments that hide findings from a report: `# vtorque: allow VT0306 until 2027-01 -- reason`.

At a line's end a comment covers the findings that start on its line; on a line of its own, those of the next line that
is neither blank nor a comment. A finding inside a text of several lines belongs to the line where the text starts too,
because there can be no comment inside. Warnings can be hidden, and errors of the policy whose rule says so.
"""

import calendar
import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from vtorque_spec.diagnostics import Code, Diagnostic, Note, Report, Severity, Span, near_miss
from vtorque_spec.document import Document
from vtorque_spec.spec.parse import value_at

_MEANT = re.compile(r"(?<!\S)#+[ \t]*vtorque(?:[ \t]*:|[ \t]+(?:allow|disable|ignore|noqa)\b).*", re.IGNORECASE)
_ALLOW = re.compile(r"#[ \t]*vtorque:[ \t]*allow(?!\S)")
_REASON = re.compile(r"(?<!\S)--[ \t]+\S")
_WORD = re.compile(r"[^\s,]+")
_FORM = "write `# vtorque: allow CODE -- reason`, or `# vtorque: allow CODE until YYYY-MM -- reason`"
CODES_LIMIT = 16
_ABOUT_COMMENTS = {Code.ALLOW_MALFORMED, Code.ALLOW_EXPIRED, Code.ALLOW_UNUSED, Code.ALLOW_REFUSED}


@dataclass(frozen=True, slots=True)
class _Allow:
    """One code that a comment allows, the place of that word, and the line that it is for."""

    code: str
    span: Span
    line: int


def suppress(
    document: Document, findings: Sequence[Diagnostic], today: date, codes: Collection[str]
) -> list[Diagnostic]:
    """Return the findings that no comment hides and those about the comments, in the order of the text.

    `codes` are all that there are. That a comment is not used is told of files without errors only, because an error
    keeps later checks from being made.
    """
    if not _MEANT.search(document.text):
        return list(findings)
    report, scalars = Report(), _Scalars(document)
    allows: dict[tuple[int, str], list[_Allow]] = {}
    for allow in _allows(document, scalars, today, codes, report):
        allows.setdefault((allow.line, allow.code), []).append(allow)
    met: set[tuple[int, str]] = set()
    for item in findings:
        keys = [(line, item.id) for line in scalars.lines_of(item.span) if (line, item.id) in allows]
        matching = [allow for key in keys for allow in allows[key]]
        met.update(keys)
        if matching and item.may_be_suppressed:
            continue
        report.items.append(item)
        for allow in matching:
            _refuse(allow, item, report)
    if not any(item.severity is Severity.ERROR for item in findings):
        for allow in (allow for key, group in allows.items() if key not in met for allow in group):
            message = f"the line that this comment is for has no finding {allow.code}"
            report.add(Code.ALLOW_UNUSED, message, allow.span, help="remove it")
    return report.sorted()


def _refuse(allow: _Allow, item: Diagnostic, report: Report) -> None:
    message, notes = f"{allow.code} may not be allowed by a comment", [Note("it is found here", item.span)]
    hint = "mend what it tells of, and remove the comment"
    report.add(Code.ALLOW_REFUSED, message, allow.span, notes=notes, help=hint)


def visible(
    document: Document, findings: Sequence[Diagnostic], today: date, codes: Collection[str]
) -> list[Diagnostic]:
    """Return the findings that no comment hides; what is wrong with comments is told by lint alone."""
    return [item for item in suppress(document, findings, today, codes) if item.code not in _ABOUT_COMMENTS]


class _Scalars:
    """The places of a file's keys and texts, where a `#` starts no comment."""

    def __init__(self, document: Document) -> None:
        values = [span for path, span in document.values.items() if not _holds_members(document, path)]
        self.spans = sorted([*values, *document.keys.values()])
        self.starts = [(span.line, span.column) for span in self.spans]
        self.document = document

    def around(self, line: int, column: int) -> Span | None:
        """Return the place of the key or text that the character belongs to."""
        index = bisect_right(self.starts, (line, column)) - 1
        found = self.spans[index] if index >= 0 else None
        return found if found and (line, column) < (found.end_line, found.end_column) else None

    def is_comment(self, line: int, column: int) -> bool:
        """Whether a `#` there starts a comment. The first line of a block text is `|` and its comment."""
        text = self.around(line, column)
        if text is None:
            return True
        return text.line == line and self.document.lines[line - 1][text.column - 1] in "|>"

    def lines_of(self, span: Span | None) -> set[int]:
        """Return the lines that a finding belongs to."""
        if span is None or span.file != self.document.name:
            return set()
        text = self.around(span.line, span.column)
        return {span.line, text.line} if text else {span.line}


def _holds_members(document: Document, path: tuple[str | int, ...]) -> bool:
    return isinstance(value_at(document.data, path), dict | list)


def _allows(
    document: Document, scalars: _Scalars, today: date, codes: Collection[str], report: Report
) -> Iterator[_Allow]:
    """Read the comments; what is wrong with one goes to the report, and then it allows nothing."""
    following = _next_lines(document.lines)
    for number, line in enumerate(document.lines, 1):
        for match in _MEANT.finditer(line):
            start = match.start() + 1
            if not scalars.is_comment(number, start):
                continue
            covered = number if line[: match.start()].strip() else following[number - 1]
            place = Span(document.name, number, start, number, len(line) + 1)
            yield from _read(match[0].rstrip(), place, covered, today, codes, report)


def _next_lines(lines: list[str]) -> list[int]:
    """For each line, the number of the next one that is neither blank nor a comment; 0 where there is none."""
    found, last = [0] * len(lines), 0
    for index in range(len(lines) - 1, -1, -1):
        found[index] = last
        text = lines[index].lstrip()
        if text and not text.startswith("#"):
            last = index + 1
    return found


def _read(comment: str, place: Span, line: int, today: date, known: Collection[str], report: Report) -> list[_Allow]:
    start, reason, before = _ALLOW.match(comment), _REASON.search(comment), len(report.items)
    if start is None:
        report.add(Code.ALLOW_MALFORMED, "a comment to vtorque that is not understood", place, help=_FORM)
        return []
    if reason is None:
        report.add(Code.ALLOW_MALFORMED, "the comment gives no reason", place, help="end it with ` -- ` and the reason")
    words = _WORD.finditer(comment, start.end(), reason.start() if reason else len(comment))
    spans = {word[0]: replace(place, column=place.column + word.start(), end_column=place.column + word.end())
             for word in words}  # fmt: skip
    said = list(spans)
    cut = said.index("until") if "until" in said else len(said)
    codes, until = said[:cut], said[cut + 1 :]
    _check_codes(codes, spans, place, known, report)
    end = _end(until, spans, report) if "until" in said else None
    if len(report.items) > before:
        return []
    if end is not None and end < today:
        message, hint = f"the comment holds until {end}, which is over", "mend what it tells of, or set a later date"
        report.add(Code.ALLOW_EXPIRED, message, spans[until[0]], help=hint)
        return []
    return [_Allow(code, spans[code], line) for code in codes]


def _check_codes(codes: list[str], spans: dict[str, Span], place: Span, known: Collection[str], report: Report) -> None:
    if not 1 <= len(codes) <= CODES_LIMIT:
        many = f"the comment names more than {CODES_LIMIT} codes"
        report.add(Code.ALLOW_MALFORMED, many if codes else "the comment names no code", place, help=_FORM)
    for code in codes[:CODES_LIMIT]:
        if code not in known:
            meant = near_miss(code, known)
            hint = f"write {meant}" if meant else "codes are as in VT0306; commas or blanks separate several"
            report.add(Code.ALLOW_MALFORMED, f"there is no code `{code}`", spans[code], help=hint)


def _end(words: list[str], spans: dict[str, Span], report: Report) -> date | None:
    """Return the last day; a month holds until its end."""
    text = words[0] if len(words) == 1 else ""
    match = re.fullmatch(r"([0-9]{4})-([0-9]{2})(?:-([0-9]{2}))?", text, re.ASCII)
    try:
        if match is None:
            raise ValueError
        year, month = int(match[1]), int(match[2])
        return date(year, month, int(match[3]) if match[3] else calendar.monthrange(year, month)[1])
    except ValueError:
        said = f"`{' '.join(words)}` is not a date" if words else "there is no date after `until`"
        report.add(Code.ALLOW_MALFORMED, said, spans[words[0]] if words else spans["until"],
                   help="write `until YYYY-MM` or `until YYYY-MM-DD`")  # fmt: skip
        return None
