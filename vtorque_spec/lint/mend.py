"""`--fix`: apply the safe fixes of a file's findings, and nothing else.

Only the spans of fixes change; comments, layout, line ends and a byte order mark stay. A step that would leave more
findings of the language than there were is not made (a misspelt key may hide findings of its value). Once a file's
language is right, later checks are made for the first time and may find what could not be seen before.
"""

import difflib
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vtorque_spec.diagnostics import Diagnostic, Fix, Report, Span
from vtorque_spec.document import SIZE_LIMIT_BYTES, load
from vtorque_spec.fault import Fault
from vtorque_spec.spec.parse import parse_job

ROUNDS = 8
"""A mended key can show that its value can be mended; the language is not as deep as this."""

ONE_BY_ONE = 32
"""How many fixes of a round are tried alone, from the end, where all together would make it worse."""

_BREAK = re.compile("\r\n|\r|\n")
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed: the finding's code, its place at that time, and both texts."""

    code: str
    span: Span
    old: str
    new: str


def mend_file(path: Path, name: str, wanted: Callable[[str], bool], *, write: bool) -> tuple[list[Change], str]:
    """Mend a file in place, or with `write=False` leave it; return the changes and their unified diff.

    A file that cannot be read, is too large or is not UTF-8 is left to the checks. Raises Fault if it can't be written.
    """
    try:
        if not path.is_file():  # a pipe would keep us waiting
            return [], ""
        with path.open("rb") as stream:
            raw = stream.read(SIZE_LIMIT_BYTES + 1)
        whole = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return [], ""
    text = whole.removeprefix(_BOM)
    mended, changes = mend(name, text, wanted)
    if not changes:
        return [], ""
    if write:
        _replace(path, (whole[: len(whole) - len(text)] + mended).encode("utf-8"))
    old, new = text.splitlines(keepends=True), mended.splitlines(keepends=True)
    return changes, "".join(difflib.unified_diff(_ended(old), _ended(new), name, name))


def mend(name: str, text: str, wanted: Callable[[str], bool]) -> tuple[str, list[Change]]:
    """Return a file's text with the fixes of all findings whose code is `wanted`, and what was changed."""
    changes: list[Change] = []
    for _ in range(ROUNDS):
        before, findings = text, _findings(name, text)
        fixable = [item for item in findings or () if item.fix is not None and wanted(item.id)]
        text, made = _step(name, text, len(findings or ()), fixable)
        if not made:
            break
        starts = _starts(before)
        for item in made:
            if item.fix is not None:
                begin, end = _region(starts, item.fix)
                changes.append(Change(item.id, item.fix.span, before[begin:end], item.fix.text))
    return text, changes


def _findings(name: str, text: str) -> list[Diagnostic] | None:
    """Return what the language has against the text; None where it is no YAML that we read."""
    report = Report()
    document = load(name, text.encode("utf-8"), report)
    if document is None:
        return None
    parse_job(document, report)
    return report.sorted()


def _step(name: str, text: str, count: int, fixable: list[Diagnostic]) -> tuple[str, list[Diagnostic]]:
    """Apply all fixes, or else those that do no harm alone; return the text and what was mended.

    One by one from the end on, so that the places of the others stay true. `count` findings were there before.
    """
    if not fixable:
        return text, []
    together = edited(text, fixable)
    found = _findings(name, together)
    if found is not None and len(found) <= count:
        return together, fixable
    made = []
    for item in fixable[: -ONE_BY_ONE - 1 : -1]:
        alone = edited(text, [item])
        found = _findings(name, alone)
        if found is not None and len(found) <= count:
            text, count = alone, len(found)
            made.append(item)
    return text, made[::-1]


def edited(text: str, items: Iterable[Diagnostic]) -> str:
    """Return `text` with the fixes of `items`, which are in the order of the text and do not overlap."""
    parts, at, starts = [], 0, _starts(text)
    for item in items:
        if item.fix is not None:
            begin, end = _region(starts, item.fix)
            parts += [text[at:begin], item.fix.text]
            at = end
    return "".join([*parts, text[at:]])


def _starts(text: str) -> list[int]:
    return [0, *(match.end() for match in _BREAK.finditer(text))]


def _region(starts: list[int], fix: Fix) -> tuple[int, int]:
    span = fix.span
    return starts[span.line - 1] + span.column - 1, starts[span.end_line - 1] + span.end_column - 1


def _ended(lines: list[str]) -> list[str]:
    """A diff says so where the last line does not end."""
    missing = lines and not lines[-1].endswith(("\n", "\r"))
    return [*lines[:-1], lines[-1] + "\n\\ No newline at end of file\n"] if missing else lines


def _replace(path: Path, raw: bytes) -> None:
    """Put the new text in the place of the old in one step. A symbolic link stays, and what it leads to is replaced."""
    temporary = None
    try:
        target = path.resolve(strict=True)
        status = target.stat()
        if not stat.S_ISREG(status.st_mode) or not os.access(target, os.W_OK):
            raise Fault("VT0806", "this is no regular file that you may write")
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
            os.fsync(descriptor)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise Fault("VT0806", f"the file cannot be rewritten: {(error.strerror or str(error)).lower()}") from None
    finally:
        if temporary is not None:
            os.unlink(temporary)
