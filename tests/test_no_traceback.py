"""Whatever a file holds, a check ends in findings, never in a traceback, and each finding lies within its file."""

import random
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vtorque_spec.diagnostics import Diagnostic, Report, Span
from vtorque_spec.document import load
from vtorque_spec.driver import check_document, open_site
from vtorque_spec.policy import Context
from vtorque_spec.render import as_json, text
from vtorque_spec.site import Site

EXAMPLES = Path(__file__).parent.parent / "examples"
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("*.vjob.yaml"))]
NARROW = Path(__file__).parent / "invalid" / "sites" / "narrow"
NAME = "job.vjob.yaml"

ODD = [
    *[
        "",
        "~",
        "null",
        "true",
        "no",
        "0",
        "-1",
        "08",
        "1_0",
        "0x1F",
        "1e400",
        "-.inf",
        ".nan",
        "9007199254740993",
        "1.5",
    ],
    *[
        "24gb",
        "0GiB",
        "99:99:99",
        "12:00:00",
        "''",
        '"\\0"',
        '"\\ud800"',
        "[]",
        "{}",
        "[[]]",
        "{a: {b: [c]}}",
        "[1, ~]",
    ],
    *[
        "- x",
        "? x",
        "&a b",
        "*a",
        "!!str x",
        "!x",
        "| text",
        "|\n",
        ">\n",
        "|9\n x",
        "`x`",
        "%x",
        "@x",
        "#x",
        "x: y",
        "x:y",
    ],
    *[
        "größe 🚀",
        "\t",
        "\r",
        "\u2028",
        "\x85",
        "\x00",
        "\ufeff",
        "home",
        "linux",
        "map",
        "{map: [0, 0]}",
        "{mode: file}",
    ],
    *["debian-12@sha256:", "$HOME", "/etc", "../x", "/dev/null", "x" * 5000, "[" * 40],
]
"""Values that a line may get instead of its own."""

MARKS = [*"-:?,[]{}&*!|>'\"%@`#~ \n\t\r", "  ", ": ", "- ", "\n  ", "---\n", "...\n", "a", "vcpus", "run", "1", "é🚀"]
YAMLISH = st.lists(st.sampled_from(MARKS), max_size=60).map("".join)
QUICK = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@cache
def sites() -> tuple[Site, ...]:
    found = [open_site(directory, Report()) for directory in (None, EXAMPLES / "site", NARROW)]
    return tuple(site for site in found if site is not None)


def check(raw: bytes) -> list[Diagnostic]:
    """Take bytes through every check at each of three sites, print what is found, and see that it lies in the file."""
    found = []
    for site in sites():
        report = Report()
        document = load(NAME, raw, report)
        if document is not None:
            context = Context("user", ("users",), None, site.batch, site.name)
            checked = check_document(document, EXAMPLES, site, context, report)
            assert (checked is None) == report.failed
        found += report.sorted()
    lines = re.split("\r\n|\r|\n", raw.decode("utf-8", "replace").removeprefix("\ufeff"))
    for item in found:
        for span in (item.span, *(note.span for note in item.notes)):
            if span is not None and span.file == NAME:
                assert_within(span, lines)
    assert as_json.lines(found).count("\n") == len(found)
    text(found, {NAME: lines})
    return found


def assert_within(span: Span, lines: list[str]) -> None:
    """A finding begins and ends in the file; a column may stand just behind its line's last character."""
    assert 1 <= span.line <= span.end_line <= len(lines)
    assert 1 <= span.column <= len(lines[span.line - 1]) + 1
    assert 1 <= span.end_column <= len(lines[span.end_line - 1]) + 1
    assert (span.line, span.column) <= (span.end_line, span.end_column)


@pytest.mark.parametrize("example", TEXTS, ids=range(len(TEXTS)))
def test_the_examples_have_no_findings_here(example: str) -> None:
    """What is mutated below is a valid job at first: at the built-in site, or at that of the examples."""
    document = load(NAME, example.encode(), Report())
    assert document is not None
    context = Context("user", (), None, "torque", "local")
    assert any(check_document(document, EXAMPLES, site, context, Report()) for site in sites()[:2])


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    check(raw)


@QUICK
@given(st.text(max_size=200))
def test_any_text(words: str) -> None:
    check(words.encode("utf-8", "surrogatepass"))


@QUICK
@given(YAMLISH)
def test_text_of_yaml_s_own_characters(words: str) -> None:
    check(words.encode())


@QUICK
@given(st.sampled_from(TEXTS), YAMLISH, st.randoms(use_true_random=False))
def test_yaml_s_own_characters_in_an_example(example: str, words: str, chance: random.Random) -> None:
    at = chance.randrange(len(example))
    check((example[:at] + words + example[at:]).encode())


@QUICK
@given(
    st.sampled_from(TEXTS), st.integers(1, 4), st.sampled_from(["\n", "\r\n", "\r"]), st.randoms(use_true_random=False)
)
def test_changed_examples(example: str, changes: int, newline: str, chance: random.Random) -> None:
    lines = example.split("\n")
    for _ in range(changes):
        change(lines, chance)
    check(newline.join(lines).encode())


def change(lines: list[str], chance: random.Random) -> None:
    """Drop, double, swap or indent a line, or put another value behind one of its colons."""
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    kind = chance.choice(["drop", "double", "swap", "indent", "value", "value", "value", "flow"])
    if kind == "drop" and len(lines) > 1:
        del lines[at]
    elif kind == "double":
        lines.insert(other, lines[at])
    elif kind == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "indent":
        lines[at] = " " * chance.randrange(4) + lines[at].lstrip(" ")
    elif kind == "flow":
        lines[at] = re.sub(r"(?<=[\[{:,] )?[^\[\]{}:,]+(?=[\]},])", lambda _: chance.choice(ODD), lines[at], count=1)
    else:
        lines[at] = re.sub(r": .*|:$", lambda _: ": " + chance.choice(ODD), lines[at], count=1)


@QUICK
@given(
    st.sampled_from(["policy.yaml", "site.yaml", "images/debian-12.yaml"]),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_changed_files_of_a_site(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: int, chance: random.Random
) -> None:
    site = tmp_path_factory.mktemp("site")
    (site / "images").mkdir()
    for file in ("policy.yaml", "site.yaml", "images/debian-12.yaml"):
        lines = (NARROW / file).read_text(encoding="utf-8").split("\n")
        for _ in range(changes if file == name else 0):
            change(lines, chance)
        (site / file).write_text("\n".join(lines), encoding="utf-8")
    report = Report()
    facts = open_site(site, report)
    document = load(NAME, TEXTS[0].encode(), report)
    if facts is not None and document is not None:
        check_document(document, EXAMPLES, facts, Context("user", (), None, "torque", "local"), report)
    text(report.sorted(), {})
