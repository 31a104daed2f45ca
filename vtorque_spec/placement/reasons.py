"""What is short, by how much, and what would fit: data first, then sentences. And why each was given what it has."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from vtorque_spec.placement.compact import most_compact
from vtorque_spec.placement.mapped import map_terms
from vtorque_spec.placement.model import MIB, Core, Demand, Node, Placement, Refusal, Term
from vtorque_spec.placement.room import Room
from vtorque_spec.site.cpus import print_cpus
from vtorque_spec.units import print_size

_UNPROVEN = {
    "cells": "it is not proven that no placement spans fewer cells: the search for one was given up",
    "distance": "it is not proven that no placement spans nearer cells: the search for one was given up",
    "level": "it is not proven that the guests could not be spread more evenly: the search for it was given up",
    "I/O": "it is not proven that the I/O cores could not be nearer: the search for such a placement was given up",
}
_REDUCIBLE = ("io_cores", "guests", "vcpus", "memory_bytes")


def fits(node: Node, demand: Demand) -> bool:
    """Whether there is a placement, without looking for the best."""
    room = Room(node, demand)
    if demand.mode == "map":
        return not map_terms(node, room)
    return room.has_room() and (demand.mode != "compact" or most_compact(room) == demand.guests)


def refusal(node: Node, demand: Demand) -> Refusal:
    """Say what is short for a demand that does not fit."""
    terms = tuple(_terms(node, demand))
    found = _fitting(node, demand)
    changes = ", or with ".join(_change(name, value) for name, value in found.items())
    last = f"it fits with {changes}" if found else "no single figure could be made smaller so that it fits"
    return Refusal(terms, found, (_arithmetic(node, demand), *(_short(term, demand) for term in terms), last))


def _terms(node: Node, demand: Demand) -> Iterator[Term]:
    room = Room(node, demand)
    if demand.mode == "map":
        yield from map_terms(node, room)
        return
    every, whole, host = sum(map(sum, room.bags)), sum(map(sum, room.whole)), len(node.host)
    page, guests = demand.page_bytes or MIB, demand.guests
    enough = False
    if demand.smt == "cores" and guests * demand.vcpus + demand.io_cores > every:
        yield Term("cores", node.name, guests * demand.vcpus + demand.io_cores + host, every + host)
    elif demand.io_cores > whole:
        yield Term("cores", node.name, demand.io_cores + host, whole + host)
    elif (threads := _threads(room)) < guests * demand.vcpus:
        yield Term("threads", node.name, guests * demand.vcpus, threads)
    else:
        enough = True
    if sum(room.pages) < guests * room.need_pages:
        yield Term("memory", node.name, guests * room.need_pages * page, sum(room.pages) * page)
    elif enough and demand.mode == "compact":
        yield Term("guests", f"single cells of {node.name}", guests, most_compact(room))
    elif enough:
        yield Term("guests", node.name, guests, _largest(node, demand, "guests") or 0)


def _threads(room: Room) -> int:
    bag, _ = room.pool()
    return sum(width * count for width, count in zip(room.widths, bag or (), strict=False))


def _fitting(node: Node, demand: Demand) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    for name in _REDUCIBLE:
        if demand.mode == "map" and name in ("guests", "vcpus"):
            continue
        value = _largest(node, demand, name)
        if value is not None:
            found[name] = value
    if demand.mode == "compact" and fits(node, replace(demand, mode="auto")):
        found["mode"] = "auto"
    return found


def _largest(node: Node, demand: Demand, name: str) -> int | None:
    """The largest smaller value of one member with which the demand fits; None if there is none."""
    unit = (demand.page_bytes or MIB) if name == "memory_bytes" else 1
    least = 0 if name == "io_cores" else 1
    asked = -(-int(getattr(demand, name)) // unit)

    def good(value: int) -> bool:
        return fits(node, _with(demand, name, value * unit))

    found = _last(good, least, asked - 1)
    return None if found is None else found * unit


def _with(demand: Demand, name: str, value: int) -> Demand:
    match name:
        case "io_cores":
            return replace(demand, io_cores=value)
        case "guests":
            return replace(demand, guests=value)
        case "vcpus":
            return replace(demand, vcpus=value)
        case _:
            return replace(demand, memory_bytes=value)


def _last(good: Callable[[int], bool], low: int, high: int) -> int | None:
    """The largest value from `low` to `high` that is good, if what is good ends somewhere and does not come back."""
    if high < low or not good(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if good(middle) else (low, middle - 1)
    return low


def _arithmetic(node: Node, demand: Demand) -> str:
    """`14 vCPUs x 2 + 4 I/O + 1 host = 33 cores`; where a vCPU takes a thread, `... = 28 threads beside 5 cores`."""
    vcpus = _count(demand.vcpus, "vCPU") + (f" x {demand.guests}" if demand.guests > 1 else "")
    kept = {"I/O": demand.io_cores, "host": len(node.host)}
    parts = " + ".join(f"{count} {name}" for name, count in kept.items() if count)
    total = demand.guests * demand.vcpus
    if demand.smt == "cores":
        return f"{vcpus}{' + ' if parts else ''}{parts} = {_count(total + sum(kept.values()), 'core')}"
    beside = f" beside {parts} = {_count(sum(kept.values()), 'core')}" if parts else ""
    return f"{vcpus} = {_count(total, 'thread')}{beside}"


def _short(term: Term, demand: Demand) -> str:
    if term.what == "map":
        return _misnamed(term)
    if term.what == "guests":
        held = f"{term.have or 'none'} of the {_count(term.needed, 'VM')}"
        if demand.mode == "compact":
            return f"{term.where}, each by itself, hold {held}"
        return f"no two VMs share a core, so {term.where} holds {held}"
    if term.what == "memory":
        have, short = print_size(term.have), print_size(term.short)
        return f"the VMs need {print_size(term.needed)} of memory; {term.where} has {have}, {short} too little"
    what = "whole core" if demand.smt == "threads" and term.what == "cores" else term.what.removesuffix("s")
    return f"{term.where} has {_count(term.have, what)} of the {term.needed} that are needed, {term.short} too few"


def _misnamed(term: Term) -> str:
    if term.where == "the map":
        return f"the map has {term.have} of the {_count(term.needed, 'CPU')} that are needed"
    if not term.have:
        return f"the map names {term.where}, which is not the job's to use"
    return f"the map gives {term.where} to {_count(term.needed, 'vCPU')}, which may not share it"


def _change(name: str, value: int | str) -> str:
    if isinstance(value, str):
        return f"pinning `{value}`"
    match name:
        case "memory_bytes":
            return f"{print_size(value)} for each VM"
        case "io_cores":
            return _count(value, "I/O core") if value else "no I/O cores"
        case "vcpus":
            return f"{_count(value, 'vCPU')} for each VM"
        case _:
            return _count(value, "VM")


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
            found.append(f"guest {number}: {cells}, because not every guest finds one cell with room for all of it")
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


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
