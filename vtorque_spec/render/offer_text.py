"""An offer as tables of text: aligned columns where there is room, else one block per field. Nothing is cut."""

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from vtorque_spec.policy.told.limits import Limit
from vtorque_spec.policy.told.offer import Offer, OfferedField, OfferedImage, refusals
from vtorque_spec.render import printable
from vtorque_spec.units import print_size

if TYPE_CHECKING:
    from rich.console import Console

TABLE_WIDTH = 76
"""Narrower than this, columns would hold a word each."""


@dataclass(frozen=True, slots=True)
class Table:
    """Each row has one text per heading; a text may have several lines."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)


def write(offer: Offer, example: str | None, stream: IO[str], width: int, *, colour: bool) -> None:
    """Write an offer to a stream, `width` columns wide."""
    from rich.console import Console

    console = Console(file=stream, width=width, force_terminal=colour, no_color=not colour, highlight=False)

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, soft_wrap=True)

    say(textwrap.fill(f"What jobs may ask for at {printable(offer.site)}", width), "bold")
    say(f"{textwrap.fill(audience(offer), width)}\n")
    for table in tables(offer):
        say(table.title, "bold")
        if not table.rows:
            say("  none")
        elif width < TABLE_WIDTH:
            _blocks(table, width, say)
        else:
            _columns(table, console)
        say("")
    if not_yet(offer):
        say("Not yet: this version refuses", "bold")
        say(textwrap.indent(textwrap.fill(", ".join(not_yet(offer)), width - 2), "  ") + "\n")
    if example is not None:
        say("A job that passes here", "bold")
        say(textwrap.indent(_clean(example), "  "))


def audience(offer: Offer) -> str:
    """Return for whom and where the offer is."""
    words = {"user": "user {}", "groups": "groups {}", "queue": "queue {}"}
    known = {name: offer.context[name] for name in words if name in offer.context}
    if not known:
        return "For everybody: what depends on who asks, or on the job, has its condition beside it."
    said = [
        words[name].format(", ".join(value) or "none") if isinstance(value, list | tuple) else words[name].format(value)
        for name, value in known.items()
    ]
    return printable(f"For {', '.join(said)}: what depends on something else has its condition beside it.")


def tables(offer: Offer) -> Iterable[Table]:
    """Return the tables of an offer."""
    yield Table("Fields of a job", ("field", "what it is", "default", "limits"), _field_rows(offer))
    if offer.rules:
        yield Table("Rules on the job as a whole", ("rule",), [(limit_text(limit),) for limit in offer.rules])
    yield Table("Images", ("name", "what it is", "needs at least", "tags", "allowed"), _image_rows(offer))
    yield Table(
        "Node classes", ("name", "CPUs", "memory"),
        [(name, str(said.cpus), print_size(said.memory)) for name, said in offer.node_classes.items()],
    )  # fmt: skip
    yield Table(
        "Mounts", ("name", "in the guest", "mode", "on the node"),
        [(name, said.target, said.mode, said.source) for name, said in offer.mounts.items()],
    )  # fmt: skip
    yield Table("Networks", ("name", "kind"), [(name, said.kind) for name, said in offer.networks.items()])


def shown_fields(offer: Offer) -> list[OfferedField]:
    """Return the fields that this version honours."""
    return [one for one in offer.fields if one.honoured]


def not_yet(offer: Offer) -> list[str]:
    """Return the names of the outermost fields that this version refuses."""
    paths = {one.path for one in offer.fields if not one.honoured}
    inside = {path for path in paths if any(path[:end] in paths for end in range(1, len(path)))}
    return [one.name for one in offer.fields if one.path in paths - inside]


def _field_rows(offer: Offer) -> list[tuple[str, ...]]:
    return [
        (
            one.name + ("\n(required)" if one.required else ""),
            f"{one.description}\n({one.kind})",
            "\n".join(
                f"{f'{said.when}: ' if said.when else ''}{said.text} ({short(said.at)})" for said in one.defaults
            ),
            "\n".join(map(limit_text, one.limits)),
        )
        for one in shown_fields(offer)
    ]


def _image_rows(offer: Offer) -> list[tuple[str, ...]]:
    return [
        (
            one.image.name,
            f"{one.image.description}\n({one.image.guest}{_revisions(one)})",
            f"memory {print_size(one.image.min_memory)}\ndisk {print_size(one.image.min_disk)}",
            ", ".join(one.image.tags or ()),
            refusals(one) or "yes",
        )
        for one in offer.images
    ]


def _revisions(one: OfferedImage) -> str:
    return f"; revisions {', '.join(one.revisions)}" if one.revisions else ""


def limit_text(limit: Limit) -> str:
    """Return a limit with its condition, severity, code and place, and below it the policy's own words."""
    warning = ", a warning only" if limit.severity.value == "warning" else ""
    code = f"{limit.code}, " if limit.code else ""
    text = f"{f'{limit.when}: ' if limit.when else ''}{limit.text}{warning} ({code}{short(limit.at)})"
    return "\n".join([text, *(f"  {said}" for said in (limit.message, limit.help, limit.url) if said)])


def short(at: str) -> str:
    """Return a place without its directories."""
    return ", ".join(one.rpartition("/")[2] for one in at.split(", "))


def _clean(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def _columns(table: Table, console: "Console") -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    fields = table.headings[0] == "field"
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), expand=fields)
    for number, heading in enumerate(table.headings):
        name = max(len(line) for row in table.rows for line in row[0].split("\n")) if number == 0 and fields else None
        shown.add_column(heading, overflow="fold", width=name, ratio=_SHARES.get(heading) if fields else None)
    for row in table.rows:
        shown.add_row(*(Text(_clean(cell)) for cell in row))
    with console.capture() as lines:
        console.print(shown)
    console.out("\n".join(line.rstrip() for line in lines.get().rstrip("\n").split("\n")), highlight=False)


_SHARES = {"what it is": 7, "default": 6, "limits": 9}


def _blocks(table: Table, width: int, say: Callable[..., None]) -> None:
    for name, *cells in table.rows:
        say(_clean(name).replace("\n", " "), "bold")
        for heading, cell in zip(table.headings[1:], cells, strict=True):
            for number, line in enumerate(_clean(cell).split("\n") if cell else []):
                start = f"  {heading}: " if number == 0 else "    "
                say(textwrap.fill(line.strip(), max(width, 20), initial_indent=start, subsequent_indent="    ",
                                  break_on_hyphens=False))  # fmt: skip
