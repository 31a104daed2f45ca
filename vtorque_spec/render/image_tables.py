"""Images as text, from the data that `vtorque image list|show --format json` prints."""

from collections.abc import Sequence
from typing import Any

from vtorque_spec.render import printable
from vtorque_spec.units import print_size

_HEADINGS = ("image", "state", "here", "size", "description")
_GAP = 2
_SIZES = ("min_memory", "min_disk")


def overview(images: Sequence[dict[str, Any]], width: int | None) -> str:
    """Return a line for each image; the last column is cut where lines would be longer than `width` columns."""
    if not images:
        return "no images: `vtorque image add` and `vtorque image build` make some\n"
    rows = [_HEADINGS, *map(_row, images)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    left = sum(widths) + _GAP * len(widths)
    lines = []
    for *cells, last in rows:
        padded = [cell.ljust(size) for cell, size in zip(cells, widths, strict=True)]
        lines.append((" " * _GAP).join([*padded, _cut(last, width and max(width - left, 8))]).rstrip())
    return "\n".join(lines) + "\n"


def detail(image: dict[str, Any], users: Sequence[str]) -> str:
    """Return all about an image: what the catalogue says, then the files here and who uses them."""
    lines = [printable(image["called"])]
    if image["catalogue"] is None:
        lines.append("  the catalogue does not have it")
    for key, value in (image["catalogue"] or {}).items():
        lines.append(f"  {key:<16} {printable(_value(key, value))}")
    stored = image["stored"]
    if stored is None:
        return "\n".join([*lines, "  not on this machine"]) + "\n"
    lines += [f"  {'here since':<16} {stored['created']}", f"  {'here':<16} {stored['directory']}"]
    lines += [f"  {'':<16} {name}  sha256:{digest[:16]}" for name, digest in stored["files"].items()]
    lines += [f"  {'used by':<16} {printable(user)}" for user in users]
    return "\n".join(lines) + "\n"


def _row(image: dict[str, Any]) -> tuple[str, ...]:
    entry, stored = image["catalogue"], image["stored"]
    return (
        printable(image["called"]),
        image["state"] or "unlisted",
        "yes" if stored else "no",
        f"{max(1, stored['bytes'] >> 20)} MiB" if stored else "-",
        printable(entry["description"]) if entry else "the catalogue does not have it",
    )


def _value(key: str, value: Any) -> str:
    if key in _SIZES:
        return print_size(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_value('', said)}" for name, said in value.items())
    return "yes" if value is True else "no" if value is False else str(value)


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: width - 1].rstrip() + "…"
