"""Whether a placement keeps the rules, and what it costs, read from the result alone."""

from itertools import combinations

from vtorque_spec.placement.model import Core, Demand, Guest, Node, Placement

MIB = 2**20


def check(node: Node, demand: Demand, placed: Placement) -> None:
    """Every rule that needs no optimum."""
    every = {core.cpus: core for cell in node.cells for core in cell.cores}
    parts = [placed.io, *(guest.cores for guest in placed.guests), placed.floats, placed.free]
    cores = [core for part in parts for core in part]
    assert all(every[core.cpus] == core for core in cores)
    assert len({core.cpus for core in cores}) == len(cores), "a core has two owners"
    usable = [core for core in every.values() if core.cpus and (demand.smt == "threads" or not core.partial)]
    assert len(cores) == len(usable), "a core is lost"
    assert placed.host == node.host
    assert len(placed.io) == demand.io_cores
    assert not any(core.partial for core in placed.io)
    assert len(placed.guests) == demand.guests
    if demand.mode == "none":
        _check_floats(demand, placed)
        return
    assert placed.floats == ()
    for guest in placed.guests:
        _check_guest(node, demand, guest)
    if demand.mode == "map":
        assert demand.mapped == tuple(pin for guest in placed.guests for pin in guest.pins)
    else:
        _check_memory(node, demand, placed)


def _check_floats(demand: Demand, placed: Placement) -> None:
    """Enough threads, and no core that could be left out."""
    assert not any(guest.pins or guest.cores or guest.memory or guest.cells for guest in placed.guests)
    threads = [len(core.cpus) if demand.smt == "threads" else 1 for core in placed.floats]
    assert 0 <= sum(threads) - demand.guests * demand.vcpus < min(threads)


def _check_guest(node: Node, demand: Demand, guest: Guest) -> None:
    assert len(guest.pins) == len(set(guest.pins)) == demand.vcpus
    owner = {cpu: core for core in guest.cores for cpu in core.cpus}
    if demand.smt == "cores":
        assert demand.mode == "map" or [owner[pin].cpus[0] for pin in guest.pins] == list(guest.pins)
        assert len({owner[pin].cpus for pin in guest.pins}) == demand.vcpus == len(guest.cores)
    else:
        assert all(pin in owner for pin in guest.pins)
        over = sum(len(core.cpus) for core in guest.cores) - demand.vcpus
        assert demand.mode == "map" or over < min(len(core.cpus) for core in guest.cores), "a core too many"
    page = demand.page_bytes or MIB
    if demand.mode == "map":
        assert not guest.memory
    else:
        assert sum(size for _, size in guest.memory) == -(-demand.memory_bytes // page) * page
    assert all(size > 0 and size % page == 0 for _, size in guest.memory)
    home = {core.cpus: cell.id for cell in node.cells for core in cell.cores}
    spanned = {home[core.cpus] for core in guest.cores} | {cell for cell, _ in guest.memory}
    assert guest.cells == tuple(sorted(spanned))
    assert demand.mode != "compact" or len(spanned) == 1


def _check_memory(node: Node, demand: Demand, placed: Placement) -> None:
    for cell in node.cells:
        used = sum(size for guest in placed.guests for at, size in guest.memory if at == cell.id)
        page = demand.page_bytes
        assert used <= (cell.hugepages.get(page, 0) * page if page else cell.memory_bytes)


def spans(node: Node, placed: Placement) -> list[tuple[int, ...]]:
    """The cells of each guest; those without pins are one, that floats."""
    floats = [cell.id for cell in node.cells if set(cell.cores) & set(placed.floats)]
    return [tuple(floats)] if placed.floats else [guest.cells for guest in placed.guests]


def spanned(node: Node, placed: Placement) -> int:
    return sum(map(len, spans(node, placed)))


def distance(node: Node, placed: Placement) -> int:
    there = {(a.id, b): d for a in node.cells for b, d in a.distances.items()}
    return sum(there[a, b] + there[b, a] for cells in spans(node, placed) for a, b in combinations(cells, 2))


def io_distance(node: Node, placed: Placement) -> int:
    cells = [next(cell for cell in node.cells if core in cell.cores) for core in placed.io]
    return sum(min((cell.distances[nic] for nic in node.nic_cells), default=0) for cell in cells)


def level(node: Node, placed: Placement) -> int:
    """The most cores of guests in one cell."""

    def load(cores: tuple[Core, ...]) -> int:
        return sum(core in cores for guest in placed.guests for core in guest.cores)

    return max(load(cell.cores) for cell in node.cells)


def free(node: Node, placed: Placement) -> dict[int, int]:
    """How many free cores each cell has."""
    return {cell.id: len(set(cell.cores) & set(placed.free)) for cell in node.cells}


def squares(node: Node, placed: Placement) -> int:
    return sum(count * count for count in free(node, placed).values())


def could_lie_closer(node: Node, placed: Placement) -> bool:
    """Whether a guest has a core in a cell at least as free as another of its cells that has one free."""
    room, home = free(node, placed), {core: cell.id for cell in node.cells for core in cell.cores}
    return any(
        0 < room[other] <= room[home[core]] and other != home[core]
        for guest in placed.guests
        for core in guest.cores
        for other in {home[core] for core in guest.cores}
    )
