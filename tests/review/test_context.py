"""Who asks, as a job file says it: never the caller, never guessed, and every slip is named where it stands."""

from pathlib import Path

import pytest

from tests.review.helpers import JOB, SITE
from tests.spec.helpers import site
from vtorque_spec.diagnostics import Report
from vtorque_spec.document import read
from vtorque_spec.policy import Context
from vtorque_spec.review.context import Said, neutral, said_by


def said(directory: Path, text: str, side: str | None = None) -> tuple[Said | None, Report]:
    report = Report()
    (directory / "a.vjob.yaml").write_text(text)
    if side is not None:
        (directory / "a.context.yaml").write_text(side)
    document = read(directory / "a.vjob.yaml", report)
    assert document is not None
    return said_by(document, report), report


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("# context: user=a groups=b,c queue=short host=login1", ("a", ("b", "c"), "short", "login1")),
        ("#context:groups=a", ("user", ("a",), None, None)),
        ("# Why it is here.\n\n## context: queue=short", ("user", (), "short", None)),
        ("# context: user=a groups=", ("a", (), None, None)),
        ("#  context:\tuser=a\tqueue=b  ", ("a", (), "b", None)),
    ],
)  # fmt: skip
def test_a_header(header: str, expected: tuple[str, tuple[str, ...], str | None, str | None], tmp_path: Path) -> None:
    found, report = said(tmp_path, f"{header}\n{JOB}")
    assert not report.items
    assert found is not None
    user, groups, queue, host = expected
    assert found.context(site(SITE)) == Context(user, groups, queue, "torque", "example", host)


@pytest.mark.parametrize(
    "text",
    [
        JOB,
        f"# This job runs as the user.\n{JOB}",
        f"# The context of this case matters: see `queue` below.\n{JOB}",
        f"{JOB}# context: user=alice\n",  # not at the top
        JOB.replace("hostname", "|\n  # context: user=alice"),
    ],
)
def test_nothing_is_said(text: str, tmp_path: Path) -> None:
    found, report = said(tmp_path, text)
    assert (found, report.items) == (None, [])
    assert neutral(site(SITE)) == Context("user", (), None, "torque", "example", None)


def test_a_side_file(tmp_path: Path) -> None:
    found, report = said(tmp_path, JOB, "user: sam\ngroups: [students]\n")
    assert not report.items
    assert found is not None
    assert found.context(site(SITE)) == Context("sam", ("students",), None, "torque", "example", None)


FORM = "write `# context: user=NAME groups=NAME,NAME queue=NAME host=NAME`, or what of it is to be known"
A_WORD = "write letters, digits and _ . @ : + = / -"
SLIPS = {
    "# context: user=sam group=students": (1, 21, 35, "`group=students` is not understood", "write `groups=students`"),
    "# context: alice": (1, 12, 17, "`alice` is not understood", FORM),
    "# context: batch=torque": (1, 12, 24, "`batch=torque` is not understood", FORM),
    "# context: user=a user=b": (1, 19, 25, "`user` is said twice", "say it once, groups with commas"),
    "# context:": (1, 1, 11, "the comment says nothing of the context", FORM),
    "# context: user=a,b": (1, 12, 20, "`user`: `a,b` is not a single word", A_WORD),
    "# context: queue=": (1, 12, 18, "`queue`: the text is empty", A_WORD),
    "# context: groups=a,(b": (1, 12, 23, "`groups`: `(b` is not a single word", A_WORD),
    "# why\n# context: user=a\n# context: user=b": (3, 1, 11, "the context is said twice", "remove one of them"),
    "# contxt: user=a": (1, 1, 16, "the comment seems to say the context, and does not", FORM),
    "# context user=a": (1, 1, 16, "the comment seems to say the context, and does not", FORM),
    "# Context: groups=a": (1, 1, 19, "the comment seems to say the context, and does not", FORM),
    "# queue: short": (1, 1, 9, "the comment seems to say the context, and does not", FORM),
}


@pytest.mark.parametrize("header", SLIPS)
def test_a_slip_is_named_where_it_stands(header: str, tmp_path: Path) -> None:
    found, report = said(tmp_path, f"{header}\n{JOB}")
    assert found is None or report.failed
    (item,) = report.items
    assert item.span is not None
    at = (item.span.line, item.span.column, item.span.end_column)
    assert (item.code.id, *at, item.message, item.help) == ("VT0751", *SLIPS[header])


def test_all_slips_of_a_header_at_once(tmp_path: Path) -> None:
    assert len(said(tmp_path, f"# context: usr=a nonsense queue=\n{JOB}")[1].items) == 3


@pytest.mark.parametrize(
    ("side", "line", "message"),
    [
        ("user: sam\ngroup: [a]\n", 2, "the key `group` is not known"),
        ("groups: students\n", 1, "`groups` is the text `students`, a list is needed"),
        ("user: [\n", 2, None),
        ("", 1, "the file is empty"),
    ],
)
def test_a_side_file_that_is_wrong(side: str, line: int, message: str | None, tmp_path: Path) -> None:
    found, report = said(tmp_path, JOB, side)
    assert found is None
    (item,) = report.items
    assert item.span is not None
    assert (item.code.id, Path(item.span.file).name, item.span.line) == ("VT0751", "a.context.yaml", line)
    assert message in (None, item.message)


def test_both(tmp_path: Path) -> None:
    _, report = said(tmp_path, f"# context: user=a\n{JOB}", "user: b\n")
    assert [item.message for item in report.items] == ["the context is said twice"]
