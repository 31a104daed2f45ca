"""What was chosen and why, and what is short and by how much: data first, then sentences."""

from collections.abc import Callable
from dataclasses import replace

from vtorque_spec.placement.compact import most_compact
from vtorque_spec.placement.model import MIB, Core, Demand, Guest, Node, Refusal, Term
from vtorque_spec.placement.room import Room

_LARGEST_FIRST = ("io_cores", "guests", "vcpus", "memory_bytes")


def fits(node: Node, demand: Demand) -> bool:
    """Whether there is a placement, without looking for the best."""
    room = Room(node, demand)
    return room.has_room() and (demand.mode != "compact" or most_compact(room) == demand.guests)


def refusal(node: Node, demand: Demand) -> Refusal:
    """Say what is short for a demand that does not fit."""
    terms = _terms(node, demand)
    found = _fitting(node, demand)
    sentences = [_arithmetic(demand), *(_short(term) for term in terms)]
    if found:
        sentences.append("fits with " + ", or with ".join(_change(name, value) for name, value in found.items()))
    return Refusal(terms, found, tuple(sentences))


def _terms(node: Node, demand: Demand) -> tuple[Term, ...]:
    room = Room(node, demand)
    every, whole, reserve = sum(map(sum, room.bags)), sum(map(sum, room.whole)), room.reserve
    page, guests = demand.page_bytes or MIB, demand.guests
    terms = []
    if demand.smt == "cores":
        if guests * demand.vcpus + reserve > every:
            terms.append(Term("cores", node.name, guests * demand.vcpus + reserve, every))
    elif reserve > whole:
        terms.append(Term("cores", node.name, reserve, whole))
    elif (threads := _threads(room)) < guests * demand.vcpus:
        terms.append(Term("threads", node.name, guests * demand.vcpus, threads))
    if sum(room.pages) < guests * room.need_pages:
        terms.append(Term("memory", node.name, guests * room.need_pages * page, sum(room.pages) * page))
    if not terms:
        where = f"single cells of {node.name}" if demand.mode == "compact" else f"whole cores of {node.name}"
        most = most_compact(room) if demand.mode == "compact" else _largest(node, demand, "guests") or 0
        terms.append(Term("guests", where, guests, most))
    return tuple(terms)


def _threads(room: Room) -> int:
    bag, _ = room.pool()
    return sum(width * count for width, count in zip(room.widths, bag or (), strict=False))


def _fitting(node: Node, demand: Demand) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    for name in _LARGEST_FIRST:
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


def _arithmetic(demand: Demand) -> str:
    total = demand.guests * demand.vcpus + demand.io_cores + demand.host_cores
    parts = f"{demand.vcpus} vCPUs x {demand.guests} + {demand.io_cores} I/O + {demand.host_cores} host"
    return f"{parts} = {total} cores" if demand.smt == "cores" else f"{parts} cores; a vCPU takes a thread"


def _short(term: Term) -> str:
    if term.what == "guests":
        return f"{term.where} hold {term.have} of the {term.needed} guests"
    if term.what == "memory":
        return f"{term.where} has {term.have // MIB} MiB of the {-(-term.needed // MIB)} MiB of memory that are needed"
    return f"{term.where} has {term.have} of the {term.needed} {term.what} that are needed"


def _change(name: str, value: int | str) -> str:
    if name == "memory_bytes" and isinstance(value, int):
        return f"{value // MIB} MiB per guest"
    if name == "mode":
        return f"pinning {value}"
    return f"{value} {name.replace('io_cores', 'I/O cores')}"


def reasons(
    node: Node, demand: Demand, host: tuple[Core, ...], io: tuple[Core, ...], guests: tuple[Guest, ...]
) -> tuple[str, ...]:
    """A sentence for each choice that was made."""
    found = []
    if host:
        found.append(f"host: cores {_cores(host)}, whole and the lowest of their cells")
    if io:
        near = (
            f"as near to cell {_ids(node.nic_cells)} as the guests allow" if node.nic_cells else "no adapter is known"
        )
        found.append(f"I/O: cores {_cores(io)}, {near}")
    for number, guest in enumerate(guests, start=1):
        if not guest.pins:
            found.append(f"guest {number}: not pinned, as mode `{demand.mode}` says")
        elif demand.mode == "spread":
            found.append(f"guest {number}: spread over cells {_ids(guest.cells)}")
        elif len(guest.cells) == 1:
            found.append(f"guest {number}: within cell {guest.cells[0]}")
        else:
            found.append(f"guest {number}: cells {_ids(guest.cells)}, because not every guest finds one cell to itself")
    return tuple(found)


def _cores(cores: tuple[Core, ...]) -> str:
    return ", ".join(str(core.cpus[0]) for core in cores)


def _ids(cells: tuple[int, ...]) -> str:
    return ", ".join(str(cell) for cell in sorted(cells))
