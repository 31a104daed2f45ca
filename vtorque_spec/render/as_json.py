"""Findings as JSON, one object per line: code, severity, message, file, line, column, end, notes, help, detail, url."""

import json
from collections.abc import Iterable
from typing import Any

from vtorque_spec.diagnostics import Diagnostic, Span


def lines(items: Iterable[Diagnostic]) -> str:
    """Return one JSON object per finding and line."""
    return "".join(json.dumps(finding(item), ensure_ascii=False) + "\n" for item in items)


def finding(item: Diagnostic) -> dict[str, Any]:
    """Return one finding as data."""
    return {
        "code": item.id,
        "severity": item.severity.value,
        "message": item.message,
        **_place(item.span),
        "notes": [{"message": note.message, **_place(note.span)} for note in item.notes],
        "help": item.help,
        "detail": item.detail,
        "url": item.rule.url if item.rule else None,
    }


def _place(span: Span | None) -> dict[str, Any]:
    if span is None:
        return {"file": None}
    return {
        "file": span.file, "line": span.line, "column": span.column,
        "end_line": span.end_line, "end_column": span.end_column,
    }  # fmt: skip
