"""The pictures of nodes that `vtorque plan` draws: what they show, how wide they are, and any text inside of them."""

import json
import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.browser import contrast
from tests.render.pictures import GIB, PICTURES, cell, cores, picture
from tests.support import vision
from vtorque_spec.placement.picture import Owner, Picture
from vtorque_spec.render import plan_colours, plan_json, plan_svg, plan_text, plan_words

GOLDEN = Path(__file__).parent / "golden"
FORMATS = {"txt": plan_text.text, "json": plan_json.text, "svg": plan_svg.svg}
SVG = f"{{{plan_svg.NAMESPACE}}}"
ELEMENTS = {f"{SVG}{name}" for name in ("svg", "title", "desc", "defs", "pattern", "path", "g", "rect", "text")}


@pytest.mark.parametrize("name", ["two-cores", "four-cells", "unpinned"])
@pytest.mark.parametrize("form", FORMATS)
def test_golden(name: str, form: str, *, update_golden: bool) -> None:
    path, drawn = GOLDEN / f"{name}.{form}", FORMATS[form](PICTURES[name])
    if update_golden:
        path.write_text(drawn)
    assert drawn == path.read_text()


def signs(drawn: Picture) -> dict[int, str]:
    """Who is on each CPU, as the picture has it."""
    return {
        cpu: plan_words.label(core, place)
        for cell in drawn.cells
        for core in cell.cores
        for place, cpu in enumerate(core.cpus)
    }


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 132])
@pytest.mark.parametrize("name", PICTURES)
def test_text_keeps_its_width_and_shows_every_thread(name: str, width: int) -> None:
    lines = plan_text.text(PICTURES[name], width).splitlines()
    assert max(map(len, lines)) <= width
    found: dict[int, str] = {}
    for number, line in enumerate(lines):
        if re.match(r"  CPU +\d", line):
            ends = [match.end() for match in re.finditer(r"\d+", line)]
            shown = {match.end(): match[0] for match in re.finditer(r"\S+", lines[number + 1])}
            assert set(shown) == set(ends), line
            found |= {int(line[:end].split()[-1]): shown[end] for end in ends}
    assert found == signs(PICTURES[name])


def test_text_of_512_threads_is_as_wide_as_a_pipe_by_default() -> None:
    assert max(map(len, plan_text.text(PICTURES["512-threads"]).splitlines())) <= 80


def test_a_bar_shows_small_parts_and_never_too_much() -> None:
    parts = tuple((guest, GIB // 8) for guest in range(1, 40))
    crowd = cell(0, cores([("guest", 1)]), used=parts, memory_bytes=4 * GIB)
    bar = re.search(r"\[(#*)(\.*)\]", plan_text.text(picture([crowd])))
    assert bar is not None
    assert len(bar[0]) == plan_text.BAR + 2
    assert len(bar[1]) == plan_text.BAR
    small = cell(0, cores([("guest", 1)]), used=((1, 1),))
    assert "[#......" in plan_text.text(picture([small]))


# --- any text -------------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(exclude_categories=()), max_size=40)


@st.composite
def hostile(draw: st.DrawFn) -> Picture:
    """A picture whose every text is anything."""
    device = st.tuples(WORDS, WORDS)
    only = cell(0, cores([("host", None), ("guest", 1)]), devices=tuple(draw(st.lists(device, max_size=2))))
    return picture(
        [only], job=draw(WORDS), node=draw(WORDS), reasons=tuple(draw(st.lists(WORDS, max_size=3))),
        asked=tuple(draw(st.lists(device, max_size=2))), devices_elsewhere=((draw(WORDS), draw(WORDS)),),
    )  # fmt: skip


@given(hostile())
def test_any_text_is_text_in_an_svg(drawn: Picture) -> None:
    raw = plan_svg.svg(drawn)
    assert raw.isascii()
    root = ElementTree.fromstring(raw)
    assert {element.tag for element in root.iter()} <= ELEMENTS
    assert {name for element in root.iter() for name in element.attrib if name.startswith("on")} == set()
    assert root.findtext(f"{SVG}title") == plan_words.title(drawn)


@given(hostile())
def test_any_text_does_a_terminal_no_harm(drawn: Picture) -> None:
    lines = plan_text.text(drawn).split("\n")
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= plan_text.PIPE_WIDTH


@given(hostile())
def test_any_text_comes_back_from_json(drawn: Picture) -> None:
    data = json.loads(plan_json.text(drawn))
    assert (data["job"], data["node"], tuple(data["reasons"])) == (drawn.job, drawn.node, drawn.reasons)


def test_a_hostile_name_is_no_element() -> None:
    name = '</title><script xlink:href="http://example.org/x.js">alert(1)</script>'
    root = ElementTree.fromstring(plan_svg.svg(picture([cell(0, cores([("guest", 1)]))], job=name)))
    assert not list(root.iter(f"{SVG}script"))
    assert name in (root.findtext(f"{SVG}title") or "")


# --- json -----------------------------------------------------------------------------------------------------------


def test_json_says_all_that_the_picture_does() -> None:
    drawn = PICTURES["four-cells"]
    data = json.loads(plan_json.text(drawn))
    assert data["version"] == 1
    assert list(data) == sorted(data)
    found = [
        (tuple(core["cpus"]), core["owner"], core["guest"], tuple(core["vcpus"]))
        for cell in data["cells"]
        for core in cell["cores"]
    ]
    assert found == [(core.cpus, core.owner, core.guest, core.vcpus) for cell in drawn.cells for core in cell.cores]
    assert data["cells"][1]["used"] == [{"guest": 1, "bytes": 16 * GIB}, {"guest": 2, "bytes": 16 * GIB}]


# --- svg ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_an_svg_stands_alone_and_has_words_for_those_who_do_not_see_it(name: str) -> None:
    raw = plan_svg.svg(PICTURES[name])
    root = ElementTree.fromstring(raw)
    assert root.get("role") == "img"
    names = {element.get("id"): element.text or "" for element in root}
    assert names[root.get("aria-labelledby")] == "cavity on a node of class `thin`"
    described = names[root.get("aria-describedby")]
    for entry in plan_words.entries(PICTURES[name]):
        assert f"{entry.name}: {entry.has}" in described
    assert re.findall(r"https?:[^\"]*", raw) == [plan_svg.NAMESPACE]
    assert set(re.findall(r"url\(([^)]*)\)", raw)) <= {f"#{element.get('id')}" for element in root.iter()}


@pytest.mark.parametrize("name", PICTURES)
def test_an_svg_shows_every_thread_and_a_legend(name: str) -> None:
    root = ElementTree.fromstring(plan_svg.svg(PICTURES[name]))
    threads = [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]
    texts = [[text.text for text in group.findall(f"{SVG}text")] for group in threads]
    assert {int(cpu or ""): sign for cpu, sign in texts} == signs(PICTURES[name])
    lines = [text.text or "" for text in root.iter(f"{SVG}text")]
    for entry in plan_words.entries(PICTURES[name]):
        assert entry.sign in lines
        assert any(line.startswith(f"{entry.name}: ") for line in lines)


# --- colours --------------------------------------------------------------------------------------------------------

OWNERS: list[tuple[Owner, int | None]] = [
    ("host", None), ("io", None), ("free", None), ("other", None), ("guest", None),
    *(("guest", number) for number in range(1, 21)),
]  # fmt: skip
LOOKS = {owner: plan_colours.look(*owner) for owner in OWNERS}
LEAST_DISTANCE = 15


@pytest.mark.parametrize("kind", vision.KINDS)
def test_colours_are_distinct_with_every_kind_of_vision(kind: str) -> None:
    colours = sorted({found.fill for found in LOOKS.values()})
    near = {pair: vision.distance(*pair, kind) for pair in combinations(colours, 2)}
    assert {pair: found for pair, found in near.items() if found < LEAST_DISTANCE} == {}


def test_the_distance_tells_what_is_not_distinct() -> None:
    """A red and a green that many charts use."""
    assert vision.distance("#d73027", "#1a9850", "usual") > 100
    assert vision.distance("#b35806", "#4d7a00", "deuteranopia") < LEAST_DISTANCE


def test_no_two_owners_look_the_same() -> None:
    assert len(set(LOOKS.values())) == len(OWNERS)


def test_every_sign_is_read_on_its_colour() -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text."""
    ratios = {owner: contrast.ratio(vision.css(shown.text), vision.css(shown.fill)) for owner, shown in LOOKS.items()}
    assert {owner: ratio for owner, ratio in ratios.items() if ratio < 4.5} == {}
