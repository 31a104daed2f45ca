"""Findings as text for people; render.formats has what programs read."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from vtorque_spec.diagnostics import Diagnostic, Span

Paint = Callable[[str, str], str]
"""(text, style) -> text; styles are `error`, `warning`, `note`, `help`, `gutter` and `title`."""

WIDTH = 100

NOWHERE = Span(".", 1, 1, 1, 1)
"""Where a finding without a place stands in formats that need one: the working directory."""


def plain(text: str, style: str) -> str:
    """Paint nothing."""
    return text


def text(items: Iterable[Diagnostic], sources: Mapping[str, list[str]], paint: Paint = plain) -> str:
    """Return findings with the line of the source, a caret, notes and help. `sources` holds files' lines by name."""
    return "\n".join(_finding(item, sources, paint) for item in items)


def _finding(item: Diagnostic, sources: Mapping[str, list[str]], paint: Paint) -> str:
    severity = item.severity.value
    head = paint(f"{severity}[{item.id}]:", severity) + " " + paint(printable(item.message), "title")
    lines = [f"{_place(item.span)}{head}"]
    if item.span:
        lines += _excerpt(item.span, sources, paint, severity)
    lines += [f"  {paint(f'{word}:', style)} {said}" for word, style, said in _remarks(item)]
    if item.detail:
        lines += [f"  {paint('|', 'gutter')} {printable(line)}" for line in item.detail.splitlines()]
    return "\n".join(lines) + "\n"


def plainly(item: Diagnostic) -> list[str]:
    """Return what a finding says, line by line, without its place: the message, then notes, help, url and detail."""
    remarks = [f"{word}: {said}" for word, _, said in _remarks(item)]
    return [printable(item.message), *remarks, *(printable(line) for line in (item.detail or "").splitlines())]


def _remarks(item: Diagnostic) -> Iterator[tuple[str, str, str]]:
    """Yield (word, style, text) of the remarks below a finding."""
    for note in item.notes:
        where = _place(note.span).removesuffix(": ")
        yield "note", "note", printable(note.message) + (f" ({where})" if where else "")
    if item.help:
        yield "help", "help", printable(item.help)
    if item.rule and item.rule.url:
        yield "see", "help", printable(item.rule.url)


def _place(span: Span | None) -> str:
    return f"{printable(span.file)}:{span.line}:{span.column}: " if span else ""


def _excerpt(span: Span, sources: Mapping[str, list[str]], paint: Paint, style: str) -> list[str]:
    """The source line, cut to a window around the column, and carets below the span's part of it."""
    lines = sources.get(span.file, [])
    if not 1 <= span.line <= len(lines):
        return []
    line, start = lines[span.line - 1], span.column - 1
    end = span.end_column - 1 if span.end_line == span.line else len(line)
    cut = max(0, start - WIDTH // 2)
    window = line[cut : cut + WIDTH]
    length = max(1, min(end, cut + WIDTH) - start)
    gutter = f"{span.line} | "
    margin = " " * (len(gutter) - 2) + "| "
    blanks = "".join("\t" if char == "\t" else " " for char in window[: start - cut])
    return [
        "  " + paint(gutter, "gutter") + printable(window, keep_tabs=True),
        "  " + paint(margin, "gutter") + blanks + paint("^" * length, style),
    ]


def printable(text: str, *, keep_tabs: bool = False) -> str:
    """Return text that can do a terminal no harm: control characters become U+FFFD."""
    kept = "\t" if keep_tabs else ""
    return "".join(char if char.isprintable() or char in kept else "�" for char in text)
