"""Findings to print: those that tests/invalid expects, and any that could be."""

import json
import os
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from vtorque_spec.diagnostics import Code, Diagnostic, Note, Rule, Severity, Span

INVALID = Path(__file__).parent.parent / "invalid"


def of_invalid() -> tuple[list[Diagnostic], list[str]]:
    """Return all findings of tests/invalid, from their expected files, and the names of all cases."""
    names = sorted(path.name for path in INVALID.glob("*.vjob.yaml"))
    sites = {f"sites/{path.parent.name}/job.vjob.yaml": path for path in sorted(INVALID.glob("sites/*/expected.json"))}
    expected = {name: INVALID / name.replace(".vjob.yaml", ".expected.json") for name in names} | sites
    read = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in expected.items()}
    return [_finding(said, name) for name, found in read.items() for said in found], list(expected)


def _finding(said: dict[str, Any], name: str) -> Diagnostic:
    span = _span(said, name)
    notes = tuple(Note(note["message"], _span(note, name)) for note in said["notes"])
    own = not said["code"].startswith("VT")
    code = Code.POLICY if own else Code.by_id(said["code"])
    rule = Rule(span or Span("policy.yaml", 1, 1, 1, 1), said["code"], Severity(said["severity"])) if own else None
    return Diagnostic(code, said["message"], span, notes, said["help"], said.get("detail"), rule)


def _span(said: dict[str, Any], name: str) -> Span | None:
    file = said.get("file", name)
    return Span(file, said["line"], said["column"], said["end_line"], said["end_column"]) if file else None


def _names() -> st.SearchStrategy[str]:
    """What the system can have as a file's name, undecodable bytes included."""
    return st.binary(min_size=1, max_size=20).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"x")))


def _spans() -> st.SearchStrategy[Span]:
    place = st.integers(1, 5)
    return st.builds(
        lambda file, line, column, lines, columns: Span(file, line, column, line + lines, column + columns),
        _names(), place, place, st.integers(0, 2), st.integers(0, 5),
    )  # fmt: skip


def _texts() -> st.SearchStrategy[str]:
    """Any text: control characters, surrogates, line ends, and what formats have as their own marks."""
    return st.text(st.characters(exclude_categories=[])) | st.text("%25:,\r\n\0]]><&\"'{}[]()\u2028\ufffe\ud800é😀 ")


def diagnostics() -> st.SearchStrategy[Diagnostic]:
    """Any finding, with or without a place, notes, help, detail and a rule of the site."""
    severity = st.sampled_from(Severity)
    rules = st.builds(Rule, _spans(), st.none() | st.just("HLRS012"), severity, st.none() | st.just("https://x.org/1"))
    return st.builds(
        lambda code, message, span, notes, advice, detail, rule: Diagnostic(
            Code.POLICY if rule else code, message, span, tuple(notes), advice, detail, rule
        ),
        st.sampled_from([Code.WRONG_TYPE, Code.DIRECTIVE_IN_RUN, Code.NO_SITE]), _texts(), st.none() | _spans(),
        st.lists(st.builds(Note, _texts(), st.none() | _spans()), max_size=2),
        st.none() | _texts(), st.none() | _texts(), st.none() | rules,
    )  # fmt: skip
