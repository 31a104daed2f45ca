"""Comments that allow findings: which finding a comment covers, what is a comment, and what is told of it."""

from datetime import date
from pathlib import Path

import pytest

from tests.lint.helpers import HEAD, WARNED, lint, site_with, vtorque
from tests.spec.helpers import CONTEXT, site
from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import load
from vtorque_spec.driver import check_document
from vtorque_spec.lint.selection import known_codes
from vtorque_spec.lint.suppress import CODES_LIMIT, suppress, visible

TODAY = date(2026, 11, 22)
TEXT = "  #PBS -l nodes=2\n  hostname\n"
KNOWN = known_codes(site())


def findings(text: str, today: date = TODAY) -> list[tuple[str, int]]:
    """The codes and lines that lint reports."""
    report = Report()
    document = load("job.vjob.yaml", text.encode(), report)
    assert document is not None, report.items
    check_document(document, Path(), site(), CONTEXT, report)
    return [(item.id, item.span.line) for item in suppress(document, report.sorted(), today, KNOWN) if item.span]


def test_without_a_comment() -> None:
    assert findings(WARNED) == [("VT0306", 5)]


@pytest.mark.parametrize(
    "comment",
    [
        "# vtorque: allow VT0306 -- reason",
        "#vtorque:allow VT0306 -- reason",
        "# vtorque:   allow   VT0306   --   reason with -- and # in it",
        "# vtorque: allow VT0306 until 2026-11 -- holds until the month's end",
        "# vtorque: allow VT0306 until 2026-11-22 -- holds that day",
        "# see the manual # vtorque: allow VT0306 -- behind another comment",
    ],
)
def test_a_comment_at_the_start_of_a_text(comment: str) -> None:
    assert findings(f"{HEAD}run: |  {comment}\n{TEXT}") == []


@pytest.mark.parametrize("between", ["", "\n", "# another comment\n\n  # and one more\n"])
def test_a_comment_above(between: str) -> None:
    assert findings(f"{HEAD}# vtorque: allow VT0306 -- reason\n{between}run: |\n{TEXT}") == []


def test_comments_above_each_other() -> None:
    first, second = "# vtorque: allow VT0306 -- one\n", "# vtorque: allow VT0501 -- two\n"
    assert findings(f"{HEAD}{first}{second}run: |\n{TEXT}") == [("VT0803", 5)]


@pytest.mark.parametrize("form", ["VT0306,VT0501", "VT0306, VT0501", "VT0306 VT0501", "VT0501 ,VT0306"])
def test_several_codes_and_the_unused_one(form: str) -> None:
    assert findings(f"{HEAD}run: |  # vtorque: allow {form} -- reason\n{TEXT}") == [("VT0803", 4)]


def test_a_comment_is_for_its_own_line_only() -> None:
    text = f"{HEAD}memory: 2GiB  # vtorque: allow VT0306 -- reason\nrun: |\n{TEXT}"
    assert findings(text) == [("VT0803", 4), ("VT0306", 6)]


NO_COMMENTS = {
    "in a literal block": "run: |\n  # vtorque: allow VT0306 -- text\n  #PBS -l x\n  hostname\n",
    "in double quotes": 'env: {A: "x # vtorque: nonsense"}\nrun: |\n  #PBS -l x\n',
    "in single quotes": "env: {A: 'x # vtorque: nonsense'}\nrun: |\n  #PBS -l x\n",
    "in quotes over lines": 'env:\n  A: "x\n    # vtorque: nonsense\n    y"\nrun: |\n  #PBS -l x\n',
    "in a folded block": "env:\n  A: >-\n    # vtorque: nonsense\nrun: |\n  #PBS -l x\n",
    "in a key": 'env: {"x # vtorque: nonsense": a}\nrun: |\n  #PBS -l x\n',
    "in plain text": "run: echo x#vtorque:nonsense\n",
}


@pytest.mark.parametrize("place", NO_COMMENTS)
def test_text_is_no_comment(place: str) -> None:
    found = {code for code, _ in findings(HEAD + NO_COMMENTS[place])}
    assert not found & {"VT0801", "VT0802", "VT0803", "VT0804"}
    assert place in ("in a key", "in plain text") or found == {"VT0306"}


def test_a_comment_behind_each_kind_of_text_is_one() -> None:
    lines = ['memory: "2GiB"', "env: {A: 'x'}", "timeouts: {boot: 60s}", "vcpus: 1", "mounts: []"]
    text = HEAD + "".join(f"{line}  # vtorque: allow VT0306 -- r\n" for line in lines) + "run: hostname\n"
    assert findings(text) == [("VT0803", 4 + number) for number in range(len(lines))]


def test_a_comment_at_the_start_of_a_folded_text() -> None:
    """The rest of that line is the comment; the text starts on the next."""
    text = f"{HEAD}run: >-  # vtorque: allow VT0306 -- r\n  #PBS -l x\n"
    assert findings(text) == []
    assert findings(text.replace("  # vtorque: allow VT0306 -- r", "")) != []


def test_an_expired_comment_hides_nothing() -> None:
    text = f"{HEAD}run: |  # vtorque: allow VT0306 until 2026-10 -- reason\n{TEXT}"
    assert findings(text) == [("VT0802", 4), ("VT0306", 5)]
    assert findings(text, date(2026, 10, 31)) == []


def test_a_malformed_comment_hides_nothing() -> None:
    assert findings(f"{HEAD}run: |  # vtorque: allow VT0306\n{TEXT}") == [("VT0801", 4), ("VT0306", 5)]
    assert findings(f"{HEAD}run: |  # vtorque: allow VT0306, VT9 -- r\n{TEXT}") == [("VT0801", 4), ("VT0306", 5)]


def test_an_error_of_the_language_cannot_be_hidden() -> None:
    text = f"{HEAD}vcpus: 0  # vtorque: allow VT0105 -- r\nrun: hostname\n"
    assert findings(text) == [("VT0105", 4), ("VT0804", 4)]


def test_unused_is_not_told_beside_an_error() -> None:
    """The warning that the comment is for comes from a later stage."""
    text = f"{HEAD}vcpus: 0\nrun: |  # vtorque: allow VT0202 -- r\n{TEXT}"
    assert findings(text) == [("VT0105", 4)]


def test_line_ends_of_windows_and_a_byte_order_mark() -> None:
    text = f"\ufeff{HEAD}run: |  # vtorque: allow VT0306 -- r\n{TEXT}".replace("\n", "\r\n")
    assert findings(text) == []


def test_visible_tells_nothing_of_comments() -> None:
    report = Report()
    document = load("x", f"{HEAD}run: |  # vtorque: allow VT0306 VT0202 -- r\n{TEXT}".encode(), report)
    assert document is not None
    check_document(document, Path(), site(), CONTEXT, report)
    assert [item.code for item in report.items] == [Code.DIRECTIVE_IN_RUN]
    assert visible(document, report.items, TODAY, KNOWN) == []


POLICY = """\
properties:
  vcpus: {maximum: 4, code: HLRS012, message: "at most {limit}", %s}
"""


@pytest.mark.parametrize(
    ("words", "hidden"),
    [
        ("severity: warning", True),
        ("severity: warning, allowSuppress: false", False),
        ("severity: error", False),
        ("severity: error, allowSuppress: true", True),
    ],
)
def test_rules_of_a_site(words: str, hidden: bool, tmp_path: Path) -> None:
    """The rule says whether it may be hidden; the site's own codes are known."""
    job = tmp_path / "job.vjob.yaml"
    job.write_text(f"{HEAD}vcpus: 8  # vtorque: allow HLRS012 -- agreed with the admins\nrun: hostname\n")
    done = lint("--site", site_with(tmp_path / "site", POLICY % words), "--select", "HLRS,VT08", job, cwd=tmp_path)
    assert ("HLRS012]" not in done.stdout) == hidden, done.stdout + done.stderr
    assert ("VT0804" in done.stdout) == (not hidden)
    assert "VT0801" not in done.stdout
    assert done.returncode == int(not hidden)


def test_a_hidden_error_is_refused_by_compile_all_the_same(tmp_path: Path) -> None:
    job = tmp_path / "job.vjob.yaml"
    job.write_text(f"{HEAD}vcpus: 8  # vtorque: allow HLRS012 -- agreed\nrun: hostname\n")
    place = site_with(tmp_path / "site", POLICY % "allowSuppress: true")
    assert lint("--site", place, job, cwd=tmp_path).returncode == 0
    done = vtorque("compile", "--site", place, job, cwd=tmp_path)
    assert done.returncode == 1
    assert "HLRS012" in done.stderr


def test_compile_does_not_print_a_hidden_warning(tmp_path: Path) -> None:
    job = tmp_path / "job.vjob.yaml"
    for comment, printed in [("", True), ("  # vtorque: allow VT0306 VT0202 -- r", False)]:
        job.write_text(f"{HEAD}run: |{comment}\n{TEXT}")
        done = vtorque("compile", job, cwd=tmp_path)
        assert done.returncode == 0
        assert bool(done.stderr) == printed


def test_a_comment_of_thousands_of_codes_is_one_finding_too_many() -> None:
    """Each unknown code costs a search for the one that was meant."""
    many = " ".join(f"VX{number:04}" for number in range(5000))
    found = findings(f"{HEAD}# vtorque: allow {many} -- reason\nrun: hostname\n")
    assert found == [("VT0801", 4)] * (CODES_LIMIT + 1)
