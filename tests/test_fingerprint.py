"""Fingerprints outlive edits elsewhere in the file, and tell findings apart."""

from pathlib import Path

import pytest

from vtorque_spec.diagnostics import Code, Diagnostic, Report, Span
from vtorque_spec.document import read
from vtorque_spec.fingerprint import fingerprints, relative
from vtorque_spec.spec.parse import parse_job

SPAN = Span("a.yaml", 3, 8, 3, 10)
ITEMS = [
    Diagnostic(Code.WRONG_TYPE, "m", SPAN),
    Diagnostic(Code.BAD_FORMAT, "m", SPAN),
    Diagnostic(Code.NO_SITE, "/x has no site.yaml"),
]
JOB = "apiVersion: vtorque/v1\nname: x\nimage: debian-12\nmemory: 4\nvcpu: 2\nmounts: [{nam: a}, {nam: a}]\nrun: x\n"


def marked(name: str, text: str) -> dict[tuple[str, str, int], str]:
    """Write a job; return the fingerprints of its findings by (code, message, how many of these came before)."""
    Path(name).write_text(text, encoding="utf-8")
    report = Report()
    document = read(Path(name), report)
    assert document is not None
    parse_job(document, report)
    return by_finding(report.sorted(), {name: text.split("\n")})


def by_finding(items: list[Diagnostic], sources: dict[str, list[str]]) -> dict[tuple[str, str, int], str]:
    seen: list[tuple[str, str]] = []
    marks = {}
    for item, mark in zip(items, fingerprints(items, sources), strict=True):
        key = (item.id, item.message)
        marks[(*key, seen.count(key))] = mark
        seen.append(key)
    return marks


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_fingerprints_stay_when_lines_move(here: Path) -> None:
    before = marked("a.yaml", JOB)
    assert len(before) == len(set(before.values())) >= 6
    assert before == marked("a.yaml", "# one\n\n# two\n" + JOB)
    assert before == marked("a.yaml", JOB.replace("memory", "env: {A: b}\nmemory"))
    assert before == marked("a.yaml", JOB.replace("vcpu: 2", "vcpu: 2   "))


def test_a_fingerprint_changes_with_its_line_only(here: Path) -> None:
    before, after = marked("a.yaml", JOB), marked("a.yaml", JOB.replace("vcpu: 2", "vcpu: 3"))
    changed = [code for code, message, _ in before if before[code, message, _] != after[code, message, _]]
    assert changed == ["VT0102"]


def test_a_finding_that_is_mended_leaves_the_others_of_its_line(here: Path) -> None:
    text = "{apiVersion: vtorque/v1, run: x}"
    before, after = marked("a.yaml", text), marked("a.yaml", text + "  # as before")
    assert len(before) >= 2
    assert not set(before.values()) & set(after.values())  # another line
    items = [Diagnostic(Code.MISSING_KEY, f"`{name}` is missing", SPAN) for name in ("name", "image")]
    assert fingerprints(items, {})[1:] == fingerprints(items[1:], {})


def test_fingerprints_do_not_depend_on_the_order_of_files() -> None:
    others = [Diagnostic(Code.WRONG_TYPE, "m", Span("b.yaml", 3, 8, 3, 10)) for _ in range(2)]
    forth = dict(zip("abcde", fingerprints([*ITEMS, *others], {}), strict=True))
    back = dict(zip("deabc", fingerprints([*others, *ITEMS], {}), strict=True))
    assert forth == back
    assert len(set(forth.values())) == 5


def test_a_file_is_the_same_however_it_is_named(here: Path) -> None:
    names = ["jobs/a.yaml", "./jobs/a.yaml", "jobs/../jobs/a.yaml", str(here / "jobs" / "a.yaml")]
    places = [Diagnostic(Code.WRONG_TYPE, "m", Span(name, 1, 1, 1, 1)) for name in names]
    assert len({fingerprints([item], {})[0] for item in places}) == 1
    assert relative(str(here / "..a.yaml")) == "..a.yaml"
    assert relative("./../a.yaml") == "../a.yaml"
    assert relative("/etc/vtorque/policy.yaml") == "/etc/vtorque/policy.yaml"
