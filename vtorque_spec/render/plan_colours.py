"""The colours of a picture of a node, distinct with every kind of colour vision.

They are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), made for that. Colour carries nothing alone: every
thread has its owner's sign too, and guests whose colours are the same differ by a hatch.
"""

from typing import NamedTuple

from vtorque_spec.placement.picture import Owner

INK = "#000000"
PAPER = "#ffffff"

_OWNERS: dict[Owner, str] = {"host": INK, "io": "#0072b2", "io-idle": "#0072b2", "free": PAPER, "other": "#cccccc"}
GUESTS = ("#e69f00", "#56b4e9", "#f0e442", "#009e73", "#d55e00")
ANY_GUEST = "#cc79a7"
HATCHES = 4
"""Kinds of hatches, none being the first: 20 guests all look different."""


class Look(NamedTuple):
    """How an owner's part looks: its colour, the colour of text on it, and the number of its hatch (0: none)."""

    fill: str
    text: str
    hatch: int = 0


def look(owner: Owner, guest: int | None) -> Look:
    """Return the look of an owner; guests count from 1."""
    if owner != "guest":
        fill = _OWNERS[owner]
        return Look(fill, PAPER if fill in (INK, _OWNERS["io"]) else INK)
    if guest is None:
        return Look(ANY_GUEST, INK)
    turn, colour = divmod(guest - 1, len(GUESTS))
    return Look(GUESTS[colour], INK, turn % HATCHES)
