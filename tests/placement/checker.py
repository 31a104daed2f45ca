"""Whether a placement keeps the rules, and what it costs, read from the result alone."""

from itertools import combinations

from vtorque_spec.placement.model import Core, Demand, Guest, Node, Placement

MIB = 2**20


def check(node: Node, demand: Demand, placed: Placement) -> None:
    """Every rule that needs no optimum."""
    every = {core.cpus: core for cell in node.cells for core in cell.cores}
    parts = [placed.host, placed.io, *(guest.cores for guest in placed.guests), placed.free]
    cores = [core for part in parts for core in part]
    assert all(every[core.cpus] == core for core in cores)
    assert len({core.cpus for core in cores}) == len(cores), "a core has two owners"
    usable = [core for core in every.values() if core.cpus and (demand.smt == "threads" or not core.partial)]
    assert len(cores) == len(usable), "a core is lost"
    assert (len(placed.host), len(placed.io)) == (demand.host_cores, demand.io_cores)
    assert not any(core.partial for core in (*placed.host, *placed.io))
    assert len(placed.guests) == demand.guests
    if demand.mode in ("none", "map"):
        threads = sum(len(core.cpus) if demand.smt == "threads" else 1 for core in placed.free)
        assert threads >= demand.guests * demand.vcpus
        assert not any(guest.pins or guest.memory for guest in placed.guests)
        return
    for guest in placed.guests:
        _check_guest(node, demand, guest)
    _check_memory(node, demand, placed)


def _check_guest(node: Node, demand: Demand, guest: Guest) -> None:
    assert len(guest.pins) == len(set(guest.pins)) == demand.vcpus
    owner = {cpu: core for core in guest.cores for cpu in core.cpus}
    if demand.smt == "cores":
        assert [owner[pin].cpus[0] for pin in guest.pins] == list(guest.pins)
        assert len({owner[pin].cpus for pin in guest.pins}) == demand.vcpus == len(guest.cores)
    else:
        assert all(pin in owner for pin in guest.pins)
    page = demand.page_bytes or MIB
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


def spanned(placed: Placement) -> int:
    return sum(len(guest.cells) for guest in placed.guests)


def distance(node: Node, placed: Placement) -> int:
    there = {(a.id, b): d for a in node.cells for b, d in a.distances.items()}
    return sum(there[a, b] + there[b, a] for guest in placed.guests for a, b in combinations(guest.cells, 2))


def io_distance(node: Node, placed: Placement) -> int:
    cells = [next(cell for cell in node.cells if core in cell.cores) for core in placed.io]
    return sum(min((cell.distances[nic] for nic in node.nic_cells), default=0) for cell in cells)


def level(node: Node, placed: Placement) -> int:
    """The most cores of guests in one cell."""

    def load(cores: tuple[Core, ...]) -> int:
        return sum(core in cores for guest in placed.guests for core in guest.cores)

    return max(load(cell.cores) for cell in node.cells)
