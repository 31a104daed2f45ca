"""Why each was given what it has, a sentence for each choice."""

from collections.abc import Iterable

from vtorque_spec.placement.model import Core, Demand, Node, Placement
from vtorque_spec.site.cpus import print_cpus

_UNPROVEN = {
    "cells": "it is not proven that no placement spans fewer cells: the search for one was given up",
    "distance": "it is not proven that no placement spans nearer cells: the search for one was given up",
    "level": "it is not proven that the guests could not be spread more evenly: the search for it was given up",
    "I/O": "it is not proven that the I/O cores could not be nearer: the search for such a placement was given up",
}


def reasons(node: Node, demand: Demand, placed: Placement, unproven: str) -> tuple[str, ...]:
    """Return a sentence for each choice that was made."""
    found = []
    if node.host:
        found.append(f"host: {_cores(node.host)}, which no job is given")
    if placed.io:
        found.append(f"I/O: {_cores(placed.io)}, {_near(node, placed.io)}")
    if placed.floats:
        found.append(f"guests: not pinned; they float over {_cores(placed.floats)}")
    for number, guest in enumerate(placed.guests, start=1):
        cells = _named("cell", guest.cells)
        if demand.mode == "map":
            found.append(f"guest {number}: in {cells}, on the CPUs that the map names")
        elif demand.mode == "spread":
            found.append(f"guest {number}: spread over {cells}")
        elif len(guest.cells) == 1:
            found.append(f"guest {number}: within {cells}")
        elif guest.cells:
            alone = len(placed.guests) == 1
            why = "no cell has room for all of it" if alone else "not every guest finds a cell with room for all of it"
            found.append(f"guest {number}: {cells}, because {why}")
    return (*found, _UNPROVEN[unproven]) if unproven else tuple(found)


def _near(node: Node, io: tuple[Core, ...]) -> str:
    if not node.nic_cells:
        return "the lowest that the guests leave, as no adapter is known"
    own = {cell.id for cell in node.cells if not {core.cpus for core in cell.cores}.isdisjoint(c.cpus for c in io)}
    if own <= set(node.nic_cells):
        return f"in {_named('cell', own)} with the adapters"
    return f"as near to the adapters in {_named('cell', node.nic_cells)} as the guests allow"


def _cores(cores: Iterable[Core]) -> str:
    return _named("core", (core.cpus[0] for core in cores))


def _named(noun: str, numbers: Iterable[int]) -> str:
    """`cell 3`, or `cells 0,1,4-7`."""
    every = tuple(numbers)
    return f"{noun if len(every) == 1 else noun + 's'} {print_cpus(every)}"
