"""What is short, and by how much: numbers, which `shortage` puts into words."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from vtorque_spec.placement.compact import most_compact
from vtorque_spec.placement.mapped import map_terms
from vtorque_spec.placement.model import MIB, Demand, Node, Refusal, Term
from vtorque_spec.placement.room import Room


def fits(node: Node, demand: Demand) -> bool:
    """Whether there is a placement, without looking for the best."""
    room = Room(node, demand)
    if demand.mode == "map":
        return not map_terms(node, room)
    return room.has_room() and (demand.mode != "compact" or most_compact(room) == demand.guests)


def refusal(node: Node, demand: Demand) -> Refusal:
    """Say what is short for a demand that does not fit."""
    return Refusal(tuple(_terms(node, demand)))


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
        fewer = last(lambda count: fits(node, replace(demand, guests=count)), 1, guests - 1)
        yield Term("guests", node.name, guests, fewer or 0)


def _threads(room: Room) -> int:
    bag, _ = room.pool()
    return sum(width * count for width, count in zip(room.widths, bag or (), strict=False))


def last(good: Callable[[int], bool], low: int, high: int) -> int | None:
    """The largest value from `low` to `high` that is good, if what is good ends somewhere and does not come back."""
    if high < low or not good(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if good(middle) else (low, middle - 1)
    return low
