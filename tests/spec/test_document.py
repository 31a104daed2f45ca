"""Where things stand in the text, and what the reader refuses. (Every refusal: tests/invalid.)"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.spec.helpers import document
from vtorque_spec.diagnostics import Report, Span
from vtorque_spec.document import load

TEXT = """\
a: 1
flow: {b: [x, 'y'], c: "é\U0001f600z"}
run: |
  first
    second
folded: >
  one
  two
block:
  - 1
  - k: v

end: last
"""


def place(span: Span) -> tuple[int, int, int, int]:
    return span.line, span.column, span.end_line, span.end_column


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("a",), (1, 4, 1, 5)),
        (("flow",), (2, 7, 2, 30)),
        (("flow", "b"), (2, 11, 2, 19)),
        (("flow", "b", 1), (2, 15, 2, 18)),
        (("flow", "c"), (2, 24, 2, 29)),
        (("run",), (3, 6, 5, 11)),
        (("block",), (10, 3, 11, 9)),
        (("block", 1, "k"), (11, 8, 11, 9)),
        (("end",), (13, 6, 13, 10)),
    ],
)
def test_spans(path: tuple[str | int, ...], expected: tuple[int, int, int, int]) -> None:
    assert place(document(TEXT).span(path)) == expected


def test_what_is_not_there_is_placed_at_its_nearest_ancestor() -> None:
    found = document(TEXT)
    assert found.span(("block", 1, "no", "such")) == found.span(("block", 1))


def test_places_inside_texts() -> None:
    found = document(TEXT)
    assert place(found.text_span(("run",), 1, 2, 6)) == (5, 5, 5, 11)
    assert place(found.text_span(("flow", "b", 1), 0, 0, 1)) == (2, 16, 2, 17)
    assert found.text_span(("folded",), 1, 0, 3) == found.span(("folded",))


def test_values() -> None:
    data = document("a: yes\nb: true\nc: 10:00:00\nd: ''\ne: 1.5\nf: -3\ng: 2026-01-01\nh: '0755'\n").data
    assert data == {"a": "yes", "b": True, "c": "10:00:00", "d": "", "e": 1.5, "f": -3, "g": "2026-01-01", "h": "0755"}


def test_line_ends_do_not_move_places() -> None:
    unix, dos = (load("f", TEXT.replace("\n", end).encode(), Report()) for end in ("\n", "\r\n"))
    assert unix is not None
    assert dos is not None
    assert unix.data == dos.data
    assert unix.values == dos.values


@given(
    st.dictionaries(
        st.text(st.characters(categories=["L", "N"]), min_size=1),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        min_size=1,
        max_size=5,
    )
)
def test_quoted_text_survives(data: dict[str, str]) -> None:
    """What a YAML writer quotes, this reader gives back; control characters are the one thing refused."""
    import yaml

    report = Report()
    text = yaml.safe_dump(data, allow_unicode=False, default_style='"', width=10**6)
    found = load("f", text.encode(), report)
    assert found is not None, report.items
    assert found.data == data
