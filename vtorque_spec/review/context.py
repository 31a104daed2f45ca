"""Who asks, as a file says it beside the job: a comment at its top, or a file of its own.

`# context: user=alice groups=students,users queue=short host=login1` stands before the first line that is no comment;
`NAME.context.yaml` beside `NAME.vjob.yaml` has the same four as YAML. What is not said is not known, and the user is
called `user`; whoever runs the program has no part in it.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path as FilePath

from pydantic import Field, ValidationError

from vtorque_spec.diagnostics import Code, Report, Span, near_miss
from vtorque_spec.document import Document, read
from vtorque_spec.policy import Context
from vtorque_spec.site import Site
from vtorque_spec.spec.base import Items, Model, Word
from vtorque_spec.spec.parse import parse_as, reason

JOB_ENDING = ".vjob.yaml"
SIDE_ENDING = ".context.yaml"
_WORDS = ("user", "groups", "queue", "host")
_FORM = "write `# context: user=NAME groups=NAME,NAME queue=NAME host=NAME`, or what of it is to be known"
_HEADER = re.compile(r"#+[ \t]*context:")
_WORD = re.compile(r"\S+")
_MEANT = re.compile(rf"#+[ \t]*([^\s=]+[ \t:]+)?({'|'.join(_WORDS)})[ \t]*[=:]")


class Said(Model):
    """What a file says of who asks: the content of a side file; a header is brought into the same form."""

    user: Word | None = Field(None, description="who asks")
    groups: Items[Word] | None = Field(None, description="the groups of who asks")
    queue: Word | None = Field(None, description="the queue, where the job does not say it")
    host: Word | None = Field(None, description="the host of the submission")

    def context(self, site: Site) -> Context:
        """Return the context that is said; what is not said is not known."""
        return replace(neutral(site), **self.model_dump(exclude_unset=True))


def neutral(site: Site) -> Context:
    """Return the context of a file that says nothing: a user without groups, nothing else known."""
    return Context("user", (), None, site.batch, site.name)


def said_by(document: Document, report: Report) -> Said | None:
    """Return what the job file or its side file says of who asks; None where neither does, or with a finding."""
    side = side_file(FilePath(document.name))
    said = _read_side(side, report) if side.is_file() else None
    for number, header in enumerate(_headers(document, report)):
        place = _span(document.name, header)
        if side.is_file() or number:
            report.add(Code.CASE_CONTEXT, "the context is said twice", place, help="remove one of them")
        else:
            said = _read_header(header, place, report)
    return said


def side_file(job: FilePath) -> FilePath:
    """Return the file that says the context of a job file."""
    return job.with_name(job.name.removesuffix(JOB_ENDING) + SIDE_ENDING)


def _read_side(path: FilePath, report: Report) -> Said | None:
    found = Report()
    document = read(path, found)
    said = parse_as(Said, document, found) if document is not None else None
    report.items += [replace(item, code=Code.CASE_CONTEXT) for item in found.items]
    return said


_Line = tuple[int, re.Match[str]]
"""The number of a line, and what was found in it."""


def _span(file: str, line: _Line) -> Span:
    number, match = line
    return Span(file, number, match.start() + 1, number, match.end() + 1)


def _headers(document: Document, report: Report) -> Iterator[_Line]:
    """Yield the lines at the top that say a context; name those that only seem to."""
    for number, text in enumerate(document.lines, 1):
        if text.strip() and not text.startswith("#"):
            return
        match, meant = _HEADER.match(text), _MEANT.match(text)
        if match:
            yield number, match
        elif meant:
            place = _span(document.name, (number, meant))
            report.add(Code.CASE_CONTEXT, "the comment seems to say the context, and does not", place, help=_FORM)


def _read_header(header: _Line, place: Span, report: Report) -> Said | None:
    number, match = header
    words = {_span(place.file, (number, word)): word[0] for word in _WORD.finditer(match.string, match.end())}
    said: dict[str, str | list[str]] = {}
    spans: dict[str, Span] = {}
    before = len(report.items)
    for span, word in words.items():
        name, equals, value = word.partition("=")
        if not equals or name not in _WORDS:
            meant = near_miss(name, _WORDS)
            hint = f"write `{meant}={value or 'NAME'}`" if meant else _FORM
            report.add(Code.CASE_CONTEXT, f"`{word}` is not understood", span, help=hint)
        elif name in said:
            report.add(Code.CASE_CONTEXT, f"`{name}` is said twice", span, help="say it once, groups with commas")
        else:
            said[name], spans[name] = [part for part in value.split(",") if part] if name == "groups" else value, span
    if not words:
        report.add(Code.CASE_CONTEXT, "the comment says nothing of the context", place, help=_FORM)
    try:
        found = Said.model_validate(said)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            field, advice = str(item["loc"][0]), item.get("ctx", {}).get("help")
            report.add(Code.CASE_CONTEXT, f"`{field}`: {reason(item)}", spans[field], help=advice)
    return found if len(report.items) == before else None
