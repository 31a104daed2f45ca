"""Findings as workflow commands of GitHub Actions, which shows them beside the lines of a pull request.

Format: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from collections.abc import Iterable

from vtorque_spec.diagnostics import Diagnostic, Span
from vtorque_spec.fingerprint import relative
from vtorque_spec.render import plainly, printable

_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = _DATA | str.maketrans({":": "%3A", ",": "%2C"})


def commands(items: Iterable[Diagnostic]) -> str:
    """Return one `::error` or `::warning` per finding and line; the title is its code."""
    return "".join(_command(item) for item in items)


def _command(item: Diagnostic) -> str:
    properties = {**_place(item.span), "title": item.id}
    said = ",".join(f"{name}={printable(str(value)).translate(_PROPERTY)}" for name, value in properties.items())
    return f"::{item.severity.value} {said}::" + "\n".join(plainly(item)).translate(_DATA) + "\n"


def _place(span: Span | None) -> dict[str, str | int]:
    """GitHub knows columns within one line only."""
    if span is None:
        return {}
    lines: dict[str, str | int] = {"file": relative(span.file), "line": span.line, "endLine": span.end_line}
    return lines | ({"col": span.column, "endColumn": span.end_column} if span.line == span.end_line else {})
