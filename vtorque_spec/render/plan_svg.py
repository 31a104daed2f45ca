"""The picture of a node as one SVG file: no script, nothing loaded from elsewhere, the same bytes for the same node.

Who has a thread is told by colour, hatch and sign. A filled thread is at work, a hollow one stays idle. The picture
brings its own light background, so that it is read on a dark page too.
"""

from itertools import groupby
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from vtorque_spec.placement.picture import Picture, PictureCell, PictureCore
from vtorque_spec.render import plan_words, printable
from vtorque_spec.render.plan_blocks import (
    FONT,
    INK,
    LINE,
    Block,
    column,
    flow,
    framed,
    put_block,
    put_box,
    put_text,
    row,
    text,
)
from vtorque_spec.render.plan_colours import HATCHES, PAPER, Look, look

NAMESPACE = "http://www.w3.org/2000/svg"
PAGE_WIDTH = 1880
THREAD_HEIGHT = 32
BAR_HEIGHT = 14
FLAG = 8
LEAST_CELL = 260
LEAST_PAGE = 560


def svg(picture: Picture) -> str:
    """Return the picture."""
    nodes = [_socket(number, list(cells), picture) for number, cells in _by_socket(picture)]
    body = flow(nodes, PAGE_WIDTH, 16)
    width = max(body.width, LEAST_PAGE)
    head = text(plan_words.title(picture), 20, bold=True, width=width)
    parts = [head, text(plan_words.counts(picture), 13, width=width), body, *_below(picture, width)]
    page = framed(column(parts, 12), 16, least=width + 32, fill="#fafafa")
    return _document(page, picture)


def _document(page: Block, picture: Picture) -> str:
    size = {"width": str(page.width), "height": str(page.height), "viewBox": f"0 0 {page.width} {page.height}"}
    words = {"role": "img", "aria-labelledby": "vtorque-title", "aria-describedby": "vtorque-description"}
    root = Element("svg", {"xmlns": NAMESPACE, **size, **words, "font-family": FONT})
    SubElement(root, "title", {"id": "vtorque-title"}).text = plan_words.title(picture)
    SubElement(root, "desc", {"id": "vtorque-description"}).text = printable(plan_words.in_words(picture))
    _hatches(SubElement(root, "defs"))
    root.append(page.element)
    indent(root, " ")
    raw: bytes = tostring(root, encoding="us-ascii")  # all else as &#N;: no locale changes it
    return raw.decode() + "\n"


def _by_socket(picture: Picture) -> "groupby[int | None, PictureCell]":
    return groupby(picture.cells, key=lambda cell: cell.socket)


# --- the node -------------------------------------------------------------------------------------------------------


def _socket(number: int | None, cells: list[PictureCell], picture: Picture) -> Block:
    columns = 16 if len(picture.cells) <= 2 else 8
    inside = flow([_cell(cell, columns, _thread_width(picture)) for cell in cells], PAGE_WIDTH - 20, 10)
    sockets = any(cell.socket is not None for cell in picture.cells)
    head = [text("In no socket" if number is None else f"Socket {number}", 14, bold=True)] if sockets else []
    return framed(column([*head, inside], 6), 10, fill="#ececec")


def _thread_width(picture: Picture) -> int:
    """The same for all threads; a sign such as 16.120 has room, and so has a flag if there is any."""
    cores = [core for cell in picture.cells for core in cell.cores]
    signs = (len(plan_words.label(core, place)) for core in cores for place in range(len(core.cpus)))
    flag = FLAG if any(look(core.owner, core.guest).hatch for core in cores) else 0
    return max(34, 6 + 6 * max(signs, default=1)) + flag


def _cell(cell: PictureCell, columns: int, thread: int) -> Block:
    cores = [_core(core, thread) for core in cell.cores]
    grid = flow(cores, columns * (thread + 10), 4)
    width = max(grid.width, LEAST_CELL)
    parts = [
        text(f"Cell {cell.id}: {plan_words.of_cell(cell)}", 12, bold=True),
        *([grid] if cores else []),
        _measure("memory", plan_words.memory(cell), [*_host(cell), *_parts(cell.used)], cell.memory_bytes, width),
        *(
            _measure("huge pages", plan_words.pages(pages), _parts(pages.used), pages.there, width)
            for pages in cell.hugepages
        ),
    ]
    if cell.devices:
        parts.append(text(f"devices: {plan_words.devices(cell.devices)}", 12, width=width))
    return framed(column(parts, 6), 10, fill=PAPER)


def _core(core: PictureCore, width: int) -> Block:
    threads = [_thread(core, place, width) for place in range(len(core.cpus))]
    return framed(column(threads, 2), 3, fill="#dddddd")


def _thread(core: PictureCore, place: int, width: int) -> Block:
    sign = plan_words.label(core, place)
    lines = (Line(str(core.cpus[place]), 14, 12, bold=True), Line(sign, 26, 11))
    of = look(core.owner, core.guest)
    block = _swatch(of, width, THREAD_HEIGHT, *lines, hollow=plan_words.idle(core, place))
    SubElement(block.element, "title").text = f"CPU {core.cpus[place]}: {sign}"
    return block


def _host(cell: PictureCell) -> list[tuple[int, Look, str]]:
    return [(cell.host_memory_bytes, look("host", None), "H")] if cell.host_memory_bytes else []


def _parts(used: tuple[tuple[int, int], ...]) -> list[tuple[int, Look, str]]:
    return [(part, look("guest", guest), str(guest)) for guest, part in used]


def _measure(name: str, words: str, parts: list[tuple[int, Look, str]], whole: int, width: int) -> Block:
    """A bar of `whole`, with its parts in their owners' looks, below what it is."""
    bar, sofar, left = Element("g"), 0, 0
    put_box(bar, width, BAR_HEIGHT, fill=PAPER, stroke=LINE)
    for amount, of, sign in parts:
        sofar += amount
        right = max(min(width, sofar * width // whole), left) if whole else 0
        shown = [Line(sign, 11, 11)] if right - left > FLAG + 8 * len(sign) else []
        put_block(bar, _swatch(of, right - left, BAR_HEIGHT, *shown), left, 0)
        left = right
    return column([text(f"{name}: {words}", 12, width=width), Block(bar, width, BAR_HEIGHT)], 2)


# --- looks ----------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A word in an owner's rectangle: its base line and its size."""

    words: str
    y: int
    size: int
    bold: bool = False


def _swatch(of: Look, width: int, height: int, *lines: Line, hollow: bool = False) -> Block:
    """Return an owner's rectangle with words on it; a hatch is a flag at its left, where no word is."""
    group, flag = Element("g"), min(FLAG, width) if of.hatch else 0
    if hollow:
        put_box(group, width - 4, height - 4, x=2, y=2, fill=PAPER, stroke=of.fill, stroke_width="3")
    else:
        put_box(group, width, height, fill=of.fill)
    if flag:
        put_box(group, flag, height, fill=of.fill)
        put_box(group, flag, height, fill=f"url(#vtorque-hatch-{of.hatch})")
    for line in lines:
        fill = INK if hollow else of.text
        put_text(group, line.words, (width + flag) // 2, line.y, line.size, fill, bold=line.bold)
    return Block(group, width, height)


def _hatches(parent: Element) -> None:
    """Strokes along the one diagonal, along the other one, and across."""
    paths = ("M-1 1L1 -1M0 8L8 0M7 9L9 7", "M-1 7L1 9M0 0L8 8M7 -1L9 1", "M0 4H8")
    for number, path in zip(range(1, HATCHES), paths, strict=True):
        size = {"width": "8", "height": "8", "patternUnits": "userSpaceOnUse"}
        pattern = SubElement(parent, "pattern", {"id": f"vtorque-hatch-{number}", **size})
        SubElement(pattern, "path", {"d": path, "stroke": INK, "stroke-width": "2"})


# --- below the node -------------------------------------------------------------------------------------------------


def _below(picture: Picture, width: int) -> list[Block]:
    found = [column([_head("Who"), *_legend(picture, width)], 5)]
    if picture.devices_elsewhere:
        found.append(_section("Devices in no cell", [plan_words.devices(picture.devices_elsewhere)], width))
    if picture.asked:
        found.append(_section("Asked of the batch system", [f"{word} {value}" for word, value in picture.asked], width))
    if picture.reasons:
        found.append(_section("Why", list(picture.reasons), width))
    return found


def _legend(picture: Picture, width: int) -> list[Block]:
    found = []
    for entry in plan_words.entries(picture):
        of = look(entry.owner, entry.guest)
        swatch = _swatch(of, 40, 18, Line(entry.sign, 13, 12), hollow=entry.owner == "io-idle")
        put_box(swatch.element, 40, 18, fill="none", stroke=LINE)
        words = text(f"{entry.name}: {entry.has}", 13, width=width - 50)
        found.append(row([swatch, words], 10))
    explained = plan_words.how_to_read(picture)
    return found + ([text(explained, 13, width=width)] if explained else [])


def _head(words: str) -> Block:
    return text(words, 14, bold=True)


def _section(head: str, lines: list[str], width: int) -> Block:
    return column([_head(head), *(text(line, 13, width=width) for line in lines)], 3)
