"""Findings as a SARIF log, which code scanning services read.

Format: SARIF 2.1.0, https://docs.oasis-open.org/sarif/sarif/v2.1.0/. GitHub refuses a whole log for one result without
a location, so a finding without a place stands at the working directory.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vtorque_spec import __version__, data
from vtorque_spec.diagnostics import Diagnostic, Span
from vtorque_spec.fingerprint import fingerprints, relative
from vtorque_spec.render import NOWHERE, plainly, printable

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "vtorque/v1"
ROOT = "SRCROOT"

_Object = dict[str, Any]


def log(items: Sequence[Diagnostic], sources: Mapping[str, list[str]]) -> str:
    """Return a log of one run; its rules are those that the findings name."""
    known = {item.id: item for item in reversed(items)}
    ids = sorted(known)
    marks = fingerprints(items, sources)
    run = {
        "tool": {"driver": {"name": "vtorque", "version": __version__, "rules": [_rule(known[name]) for name in ids]}},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: {"description": _message("the directory that vtorque was started in")}},
        "results": [_result(item, ids.index(item.id), mark) for item, mark in zip(items, marks, strict=True)],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, ensure_ascii=False) + "\n"


def _rule(item: Diagnostic) -> _Object:
    """A code of ours has its page as help; of a site's own code its first finding tells what is known."""
    if item.id == item.code.id:
        level, extra = item.code.severity, _page(item.id)
    else:
        level, extra = item.severity, _of_site(item)
    return {
        "id": item.id,
        "shortDescription": _message(item.code.title),
        **extra,
        "defaultConfiguration": {"level": level.value},
    }


def _page(code: str) -> _Object:
    page = (data.error_pages() / f"{code}.md").read_text(encoding="utf-8").partition("\n")[2].strip()
    cause = page.partition("## Cause")[2].partition("## ")[0]
    return {"fullDescription": _message(" ".join(cause.split())), "help": {"text": page, "markdown": page}}


def _of_site(item: Diagnostic) -> _Object:
    where = f", {relative(item.rule.span.file)} line {item.rule.span.line}" if item.rule else ""
    full = f"A rule of the site's policy{where}."
    url = {"helpUri": item.rule.url} if item.rule and item.rule.url else {}
    return {"fullDescription": _message(full), "help": _message(item.help or full), **url}


def _result(item: Diagnostic, index: int, fingerprint: str) -> _Object:
    return {
        "ruleId": item.id,
        "ruleIndex": index,
        "level": item.severity.value,
        "message": _message("\n".join(plainly(item))),
        "locations": [{"physicalLocation": _place(item.span or NOWHERE)}],
        **_related(item),
        "partialFingerprints": {FINGERPRINT: fingerprint},
    }


def _related(item: Diagnostic) -> _Object:
    notes = [(note.message, note.span) for note in item.notes if note.span]
    related = [
        {"id": number, "message": _message(message), "physicalLocation": _place(span)}  # no two may be equal
        for number, (message, span) in enumerate(notes, 1)
    ]
    return {"relatedLocations": related} if related else {}


def _message(text: str) -> _Object:
    return {"text": "\n".join(printable(line) for line in text.split("\n"))}


def _place(span: Span) -> _Object:
    region = {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }
    return {"artifactLocation": _artifact(span.file), "region": region}


def _artifact(file: str) -> _Object:
    """Names below the working directory are relative to it; others are absolute."""
    name = relative(file)
    if os.path.isabs(name) or name.split(os.sep)[0] == os.pardir:
        return {"uri": Path(os.path.abspath(name)).as_uri()}
    return {"uri": quote(os.fsencode(name)), "uriBaseId": ROOT}
