"""Findings as a Code Quality report of GitLab, which shows what a merge request adds and mends.

Format: https://docs.gitlab.com/ci/testing/code_quality/ (section "Code Quality report format")
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vtorque_spec.diagnostics import Diagnostic, Severity
from vtorque_spec.fingerprint import fingerprints, relative
from vtorque_spec.render import NOWHERE, plainly

_SEVERITY = {Severity.ERROR: "major", Severity.WARNING: "minor"}


def report(items: Sequence[Diagnostic], sources: Mapping[str, list[str]]) -> str:
    """Return the report; a finding without a place stands at the working directory, because GitLab needs a path."""
    issues = [_issue(item, mark) for item, mark in zip(items, fingerprints(items, sources), strict=True)]
    return json.dumps(issues, indent=1, ensure_ascii=False) + "\n"


def _issue(item: Diagnostic, fingerprint: str) -> dict[str, Any]:
    span = item.span or NOWHERE
    return {
        "type": "issue",
        "check_name": item.id,
        "description": "; ".join(plainly(item)),
        "severity": _SEVERITY[item.severity],
        "fingerprint": fingerprint,
        "location": {
            "path": relative(span.file),
            "positions": {
                "begin": {"line": span.line, "column": span.column},
                "end": {"line": span.end_line, "column": span.end_column},
            },
        },
    }
