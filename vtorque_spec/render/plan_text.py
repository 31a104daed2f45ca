"""The picture of a node as text: cores as columns, threads as rows. Colour only repeats what the letters say."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import IO

from vtorque_spec.placement.picture import Picture, PictureCell, PictureCore
from vtorque_spec.render import plan_words, printable
from vtorque_spec.render.plan_colours import Look, look
from vtorque_spec.render.plan_words import GLYPHS

PIPE_WIDTH = 80
"""Columns where there is no terminal: the bytes do not depend on any."""
LEAST_WIDTH = 40
BAR = 24

Part = tuple[str, Look | str | None]
"""A text, and how a terminal shows it: a look, a style of rich, or as it is."""
Line = Sequence[Part]


def text(picture: Picture, width: int = PIPE_WIDTH) -> str:
    """Return the picture without colour, at most `width` columns wide (40 at least)."""
    lines = ("".join(said for said, _ in line).rstrip() for line in _lines(picture, max(width, LEAST_WIDTH)))
    return "\n".join(lines) + "\n"


def write(picture: Picture, terminal: IO[str], width: int, *, colour: bool) -> None:
    """Write the picture to a terminal; rich knows how many colours it has."""
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text

    def style(of: Look | str | None) -> Style | str:
        return Style(color=of.text, bgcolor=of.fill) if isinstance(of, Look) else of or ""

    console = Console(file=terminal, width=width, force_terminal=True, no_color=not colour, highlight=False)
    for line in _lines(picture, max(width, LEAST_WIDTH)):
        console.print(Text.assemble(*((said, style(of)) for said, of in line)), soft_wrap=True)


def _lines(picture: Picture, width: int) -> Iterator[Line]:
    yield from _wrapped("", plan_words.title(picture), width, "bold")
    yield from _wrapped("", plan_words.counts(picture), width)
    column = _column(picture)
    for socket, cells in groupby(picture.cells, key=lambda cell: cell.socket):
        head: list[Line] = [] if socket is None else [[(f"Socket {socket}", "bold")]]
        for cell in cells:
            yield from ([], *head)
            head = []
            yield from _cell(cell, width, column)
    yield from _legend(picture, width)
    if picture.devices_elsewhere:
        yield from _section("Devices in no cell", [("", plan_words.devices(picture.devices_elsewhere))], width)
    if picture.asked:
        yield from _section("Asked of the batch system", picture.asked, width)
    if picture.reasons:
        yield from _section("Why", [("", reason) for reason in picture.reasons], width)


# --- one cell -------------------------------------------------------------------------------------------------------


def _column(picture: Picture) -> int:
    """The width of a core's column, with the space before it: the same in all cells."""
    cores = [core for cell in picture.cells for core in cell.cores]
    words = (
        word
        for core in cores
        for place, cpu in enumerate(core.cpus)
        for word in (str(cpu), plan_words.label(core, place))
    )
    return 1 + max(map(len, words), default=1)


def _cell(cell: PictureCell, width: int, column: int) -> Iterator[Line]:
    yield [(f"Cell {cell.id}", "bold"), (f": {plan_words.of_cell(cell)}", None)]
    bands = -(-len(cell.cores) // max((width - 8) // column, 1))
    size = -(-len(cell.cores) // bands) if bands else 0
    for band in range(bands):
        if band:
            yield []
        yield from _band(cell.cores[band * size : (band + 1) * size], column)
    host = (cell.host_memory_bytes, look("host", None), GLYPHS["host"])
    bar = _bar([host, *((part, look("guest", guest), "#") for guest, part in cell.used)], cell.memory_bytes)
    yield from _measure("memory", bar, plan_words.memory(cell), width)
    for pages in cell.hugepages:
        bar = _bar([(part, look("guest", guest), "#") for guest, part in pages.used], pages.there)
        yield from _measure(plan_words.size(pages.page_bytes), bar, plan_words.pages(pages), width)
    if cell.devices:
        yield from _wrapped("  devices ", plan_words.devices(cell.devices), width)


def _band(cores: tuple[PictureCore, ...], column: int) -> Iterator[Line]:
    """Two lines for each thread: the CPUs' numbers, and below them who is on them."""
    for thread in range(max((len(core.cpus) for core in cores), default=0)):
        numbers: list[Part] = [("  CPU   ", "dim")]
        owners: list[Part] = [("        ", None)]
        for core in cores:
            there = thread < len(core.cpus)
            numbers.append((f"{core.cpus[thread] if there else '':>{column}}", "dim"))
            sign = plan_words.label(core, thread) if there else ""
            owners += [(" ", None), (f"{sign:>{column - 1}}", _shown(core, thread) if there else None)]
        yield from (numbers, owners)


def _shown(core: PictureCore, thread: int) -> Look | None:
    """Threads on which nothing runs have no background: what is filled is at work."""
    return None if core.owner == "free" or plan_words.idle(core, thread) else look(core.owner, core.guest)


def _bar(parts: list[tuple[int, Look, str]], whole: int) -> Line:
    """A bar of `whole`; each part that is there has one column at least."""
    shown: list[Part] = []
    room, sofar = BAR, 0
    for amount, of, sign in parts:
        sofar += amount
        end = min(BAR, sofar * BAR // whole) if whole else 0
        columns = min(room, max(end - (BAR - room), 1)) if amount else 0
        shown.append((sign * columns, of))
        room -= columns
    return [("[", "dim"), *shown, ("." * room, "dim"), ("]", "dim")]


def _measure(name: str, bar: Line, words: str, width: int) -> Iterator[Line]:
    yield from _wrapped_after([(f"  {name:<8}", None), *bar, (" ", None)], words, width)


# --- below the cells ------------------------------------------------------------------------------------------------


def _legend(picture: Picture, width: int) -> Iterator[Line]:
    entries = plan_words.entries(picture)
    sign = max((len(entry.sign) for entry in entries), default=1)
    yield from ([], [("Who", "bold")])
    for entry in entries:
        head: Line = [("  ", None), (f"{entry.sign:>{sign}}", look(entry.owner, entry.guest)), (" ", None)]
        yield from _wrapped_after(head, f"{entry.name}: {entry.has}", width)
    explained = plan_words.how_to_read(picture)
    if explained:
        yield from _wrapped("  ", explained, width, "dim")


def _section(title: str, rows: Iterable[tuple[str, str]], width: int) -> Iterator[Line]:
    yield from ([], [(title, "bold")])
    for word, value in rows:
        yield from _wrapped("  ", f"{word} {value}".strip(), width)


def _wrapped(start: str, words: str, width: int, style: str | None = None) -> Iterator[Line]:
    return _wrapped_after([(start, None)] if start else [], words, width, style)


def _wrapped_after(head: Line, words: str, width: int, style: str | None = None) -> Iterator[Line]:
    """Words after a head; their further lines are indented as far as the head goes, at most to half of the width."""
    indent = sum(len(said) for said, _ in head)
    hang = indent if indent <= width // 2 else 10
    wrapped = textwrap.wrap(
        printable(words), width, initial_indent=" " * indent, subsequent_indent=" " * hang, break_on_hyphens=False
    ) or [""]
    yield [*head, (wrapped[0].lstrip(), style)]
    yield from ([(line, style)] for line in wrapped[1:])
