"""Rectangles of SVG that are put beside and below each other; whole numbers of pixels, so that bytes are the same."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from vtorque_spec.render import printable

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
INK = "#222222"
LINE = "#767676"


@dataclass(frozen=True, slots=True)
class Block:
    """A group of elements that fills the rectangle from 0, 0."""

    element: Element
    width: int
    height: int


def text(words: str, size: int = 12, *, bold: bool = False, width: int | None = None) -> Block:
    """Return text of `size` pixels, broken into lines at `width` pixels.

    The real font is not known here: a letter is taken to be 0.6 of the size wide, which few fonts exceed.
    """
    said = printable(words)
    lines = [said] if width is None else textwrap.wrap(said, max(width * 10 // (size * 6), 8), break_on_hyphens=False)
    group = Element("g", {"font-size": str(size), "fill": INK} | ({"font-weight": "bold"} if bold else {}))
    step = size * 4 // 3
    for number, line in enumerate(lines):
        SubElement(group, "text", {"y": str(number * step + size)}).text = line
    return Block(group, max(map(len, lines), default=0) * size * 6 // 10, len(lines) * step)


def put_text(parent: Element, words: str, x: int, y: int, size: int, fill: str, *, bold: bool = False) -> None:
    """Write one line around `x`; `y` is its base line."""
    place = {"x": str(x), "y": str(y), "font-size": str(size), "fill": fill, "text-anchor": "middle"}
    SubElement(parent, "text", place | ({"font-weight": "bold"} if bold else {})).text = printable(words)


def put_box(parent: Element, width: int, height: int, *, x: int = 0, y: int = 0, **look: str) -> Element:
    """Draw a rectangle; `look` are attributes of SVG, with `_` for `-`."""
    place = {"x": str(x), "y": str(y), "width": str(width), "height": str(height)}
    return SubElement(parent, "rect", place | {name.replace("_", "-"): value for name, value in look.items()})


def column(blocks: Iterable[Block], gap: int) -> Block:
    """Return blocks below each other."""
    group, width, y = Element("g"), 0, 0
    for block in blocks:
        put_block(group, block, 0, y)
        width, y = max(width, block.width), y + block.height + gap
    return Block(group, width, max(y - gap, 0))


def row(blocks: Iterable[Block], gap: int) -> Block:
    """Return blocks beside each other."""
    group, x, height = Element("g"), 0, 0
    for block in blocks:
        put_block(group, block, x, 0)
        x, height = x + block.width + gap, max(height, block.height)
    return Block(group, max(x - gap, 0), height)


def flow(blocks: Sequence[Block], width: int, gap: int) -> Block:
    """Return blocks of about one size in rows of at most `width` pixels, as many in each row."""
    widest = max((block.width for block in blocks), default=1) + gap
    rows = -(-len(blocks) // max((width + gap) // widest, 1))
    count = -(-len(blocks) // max(rows, 1)) or 1
    return column((row(blocks[at : at + count], gap) for at in range(0, len(blocks), count)), gap)


def framed(block: Block, pad: int, *, fill: str, least: int = 0) -> Block:
    """Return a block on a rounded rectangle, `least` pixels wide at least."""
    group, width, height = Element("g"), max(block.width + 2 * pad, least), block.height + 2 * pad
    put_box(group, width, height, rx=str(min(pad, 8)), fill=fill, stroke=LINE)
    put_block(group, block, pad, pad)
    return Block(group, width, height)


def put_block(parent: Element, block: Block, x: int, y: int) -> None:
    """Put a block at a place. A block can be put once."""
    if x or y:
        block.element.set("transform", f"translate({x} {y})")
    parent.append(block.element)
