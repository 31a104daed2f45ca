"""What a finding is known by from one run to the next, however the lines above it move: for baselines and CI."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence

from vtorque_spec.diagnostics import Diagnostic

LINE_LIMIT = 1000
"""So many characters of a line tell it from others: a hostile file may be one line with thousands of findings."""


def fingerprints(items: Sequence[Diagnostic], sources: Mapping[str, list[str]]) -> list[str]:
    """Return one fingerprint (SHA-256, 64 hexadecimal digits) per finding, in their order; no two are equal.

    It is made of the code, the file, the text of the source line and the message. The line's number has no part in it;
    findings that agree in all four are counted. `sources` holds the files' lines by the name that findings use.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    found = []
    for item in items:
        file = relative(item.span.file) if item.span else ""
        key = (item.id, file, _line(item, sources), item.message)
        found.append(hashlib.sha256(json.dumps([*key, seen[key]]).encode()).hexdigest())
        seen[key] += 1
    return found


def relative(file: str) -> str:
    """Return a file's name without detours, from the working directory on where it lies below it."""
    inside = os.path.relpath(file)
    return os.path.normpath(file) if inside.split(os.sep)[0] == os.pardir else inside


def _line(item: Diagnostic, sources: Mapping[str, list[str]]) -> str:
    lines = sources.get(item.span.file, []) if item.span else []
    line = lines[item.span.line - 1] if item.span and 1 <= item.span.line <= len(lines) else ""
    return line.strip()[:LINE_LIMIT]
