"""Worked cases, what input may not matter, and refusals."""

import random
from dataclasses import replace

import pytest

from tests.placement import checker
from tests.placement.instances import instance
from vtorque_spec.placement.engine import solve
from vtorque_spec.placement.model import MIB, Cell, Core, Demand, Node, Placement, Refusal, Term

GIB = 1024 * MIB


def one_cell(cores: int) -> Node:
    """The host has the first core."""
    cell = Cell(0, tuple(Core((cpu,)) for cpu in range(1, cores)), 64 * GIB, {}, {0: 10})
    return Node("thin", (cell,), (0,), (Core((0,)),))


def two_sockets() -> Node:
    """12 cores each, the siblings c and c + 24, the adapter in the second; the host has the first."""
    cells = []
    for at, cpus in enumerate((range(1, 12), range(12, 24))):
        cores = tuple(Core((cpu, cpu + 24)) for cpu in cpus)
        cells.append(Cell(at, cores, 64 * GIB, {}, {at: 10, 1 - at: 21}))
    return Node("dual", tuple(cells), (1,), (Core((0, 24)),))


def job(guests: int, vcpus: int, io: int, **more: object) -> Demand:
    return replace(Demand(guests, vcpus, GIB, io_cores=io), **more)  # type: ignore[arg-type]


def partition(node: Node, demand: Demand) -> tuple[list[int], list[int], list[list[int]], list[int]]:
    placed = solve(node, demand)
    assert isinstance(placed, Placement), placed
    checker.check(node, demand, placed)
    host, io, free = ([core.cpus[0] for core in part] for part in (placed.host, placed.io, placed.free))
    return host, io, [list(guest.pins) for guest in placed.guests], free


def terms(node: Node, demand: Demand) -> list[Term]:
    """What is short; nothing where there is a placement."""
    found = solve(node, demand)
    return list(found.terms) if isinstance(found, Refusal) else []


def span(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


@pytest.mark.parametrize(
    ("node", "demand", "expected"),
    [
        (one_cell(16), job(1, 7, 0), ([0], [], [span(1, 7)], span(8, 15))),
        (one_cell(16), job(1, 7, 4), ([0], span(1, 4), [span(5, 11)], span(12, 15))),
        (two_sockets(), job(2, 10, 2), ([0], [12, 13], [span(1, 10), span(14, 23)], [11])),
        (one_cell(16), job(1, 3, 12), ([0], span(1, 12), [span(13, 15)], [])),
        (one_cell(64), job(2, 20, 4), ([0], span(1, 4), [span(5, 24), span(25, 44)], span(45, 63))),
    ],
    ids=["1", "2", "5", "8", "10"],
)
def test_worked_cases_that_fit(node: Node, demand: Demand, expected: object) -> None:
    assert partition(node, demand) == expected


@pytest.mark.parametrize(
    ("node", "demand", "term", "nearest"),
    [
        (one_cell(8), job(1, 7, 4), Term("cores", "thin", 12, 8), {"io_cores": 0, "vcpus": 3}),
        (one_cell(16), job(2, 7, 4), Term("cores", "thin", 19, 16), {"io_cores": 1, "guests": 1, "vcpus": 5}),
        (two_sockets(), job(2, 11, 2), Term("cores", "dual", 25, 24), {"io_cores": 1, "guests": 1, "vcpus": 10}),
        (one_cell(4), job(1, 1, 4), Term("cores", "thin", 6, 4), {"io_cores": 2}),
    ],
    ids=["3", "4", "6", "9"],
)
def test_worked_cases_that_do_not(node: Node, demand: Demand, term: Term, nearest: dict[str, int]) -> None:
    """`nearest`: with these values, each alone, it fits; with one more it does not."""
    assert terms(node, demand) == [term]
    for name, value in nearest.items():
        assert terms(node, replace(demand, **{name: value})) == []  # type: ignore[arg-type]
        assert terms(node, replace(demand, **{name: value + 1}))  # type: ignore[arg-type]


def test_case_7_is_the_callers() -> None:
    """The engine knows the maximum of the I/O cores only; min <= max is the job file's."""
    assert isinstance(solve(one_cell(16), job(1, 7, 3)), Placement)


def test_compact_says_how_many_cells_hold_a_guest() -> None:
    demand = job(3, 7, 0, mode="compact")
    assert terms(two_sockets(), demand) == [Term("guests", "single cells of dual", 3, 2)]
    assert terms(two_sockets(), replace(demand, mode="auto")) == []


def test_each_term_that_is_short_is_told() -> None:
    assert terms(one_cell(32), job(2, 14, 4)) == [Term("cores", "thin", 33, 32)]
    assert terms(one_cell(4), job(1, 1, 0, memory_bytes=65 * GIB)) == [Term("memory", "thin", 65 * GIB, 64 * GIB)]
    both = job(2, 14, 4, memory_bytes=33 * GIB)
    assert terms(one_cell(32), both) == [Term("cores", "thin", 33, 32), Term("memory", "thin", 66 * GIB, 64 * GIB)]
    assert [term.short for term in terms(one_cell(32), both)] == [1, 2 * GIB]


def test_threads_that_are_short_and_cores_that_none_share() -> None:
    assert terms(two_sockets(), job(2, 23, 1, smt="threads")) == [Term("threads", "dual", 46, 44)]
    assert terms(two_sockets(), job(15, 3, 0, smt="threads")) == [Term("guests", "dual", 15, 11)]
    assert terms(two_sockets(), job(1, 1, 24, smt="threads")) == [Term("cores", "dual", 25, 24)]


def test_a_map_is_taken_as_it_is() -> None:
    demand = job(2, 2, 2, mode="map", smt="threads", mapped=(12, 36, 2, 3))
    assert partition(two_sockets(), demand) == (
        [0],
        [13, 14],
        [[12, 36], [2, 3]],
        [1, *span(4, 11), *span(15, 23)],
    )
    placed = solve(two_sockets(), demand)
    assert isinstance(placed, Placement)
    assert placed.reasons[-2:] == (
        "guest 1: in cell 1, on the CPUs that the map names",
        "guest 2: in cell 0, on the CPUs that the map names",
    )


def test_io_takes_no_partial_core_beside_a_map() -> None:
    near, far = (Core((0,), partial=True), Core((1, 5)), Core((2,), partial=True)), (Core((3, 7)),)
    cells = (Cell(0, near, GIB, {}, {0: 10, 1: 21}), Cell(1, far, GIB, {}, {0: 21, 1: 10}))
    demand = Demand(1, 2, GIB, io_cores=1, mode="map", smt="threads", mapped=(5, 2))
    placed = solve(Node("used", cells, (0,)), demand)
    assert isinstance(placed, Placement)
    assert placed.io == far
    assert isinstance(solve(Node("used", cells, (0,)), replace(demand, io_cores=2)), Refusal)


@pytest.mark.parametrize(
    ("mapped", "more", "term"),
    [
        ((1, 2, 25, 3), {}, Term("map", "the core of CPUs 1,25", 2, 1)),
        ((1, 25, 2, 3), {"smt": "cores"}, Term("map", "the core of CPUs 1,25", 2, 1)),
        ((1, 2, 2, 3), {}, Term("map", "CPU 2", 2, 1)),
        ((0, 1, 2, 3), {}, Term("map", "CPU 0", 1, 0)),
        ((1, 2, 3), {}, Term("map", "the map", 4, 3)),
        ((1, 2, 3, 4), {"io_cores": 20}, Term("cores", "dual", 21, 20)),
        ((1, 2, 3, 4), {"memory_bytes": 65 * GIB}, Term("memory", "dual", 130 * GIB, 128 * GIB)),
    ],
)
def test_a_map_that_does_not_fit(mapped: tuple[int, ...], more: dict[str, object], term: Term) -> None:
    assert term in terms(two_sockets(), job(2, 2, 0, **{"mode": "map", "smt": "threads", "mapped": mapped, **more}))


def test_guests_without_pins_float_over_no_more_than_they_need() -> None:
    placed = solve(two_sockets(), job(3, 5, 1, mode="none", smt="threads"))
    assert isinstance(placed, Placement)
    assert [core.cpus[0] for core in placed.floats] == span(1, 8)
    assert [core.cpus[0] for core in placed.io] == [12]
    assert "guests: not pinned; they float over cores 1-8" in placed.reasons


def test_a_spread_guest_has_its_memory_where_its_cores_are() -> None:
    """Eight cores in four cells for four guests: each has two cells, and half of its memory in each."""
    placed = solve(cells(4, 2), job(4, 2, 0, mode="spread", memory_bytes=8 * GIB))
    assert isinstance(placed, Placement)
    assert [guest.cells for guest in placed.guests] == [(0, 2), (0, 2), (1, 3), (1, 3)]
    assert all(size == 4 * GIB for guest in placed.guests for _, size in guest.memory)


def cells(count: int, cores: int) -> Node:
    """In pairs, two to a socket; the adapter is in the first."""
    found = []
    for at in range(count):
        own = tuple(Core((at * cores + core,)) for core in range(cores))
        distances = {to: 10 if to == at else 12 if to // 2 == at // 2 else 21 for to in range(count)}
        found.append(Cell(at, own, 64 * GIB, {}, distances))
    return Node("many", tuple(found), (0,))


def test_a_search_that_is_given_up_says_so() -> None:
    node, demand = cells(16, 16), job(5, 50, 4)
    placed = solve(node, demand)
    assert isinstance(placed, Placement)
    checker.check(node, demand, placed)
    assert placed.reasons[-1].startswith("it is not proven that no placement spans nearer cells")
    assert checker.spanned(node, placed) == 20
    assert solve(node, demand) == placed


def test_a_chain_of_guests_takes_the_nearest_cells() -> None:
    """By memory, eight cells hold eight guests, and eleven where each two of seven share one of theirs."""
    node, demand = cells(8, 16), job(11, 5, 4, memory_bytes=46 * GIB)
    placed = solve(node, demand)
    assert isinstance(placed, Placement)
    checker.check(node, demand, placed)
    assert (checker.spanned(node, placed), checker.distance(node, placed)) == (18, 4 * 24 + 3 * 42)


@pytest.mark.parametrize("seed", range(150))
def test_order_of_input_does_not_matter(seed: int) -> None:
    node, demand = instance(seed)
    pick = random.Random(seed)
    cells = [replace(cell, cores=tuple(pick.sample(cell.cores, len(cell.cores)))) for cell in node.cells]
    pick.shuffle(cells)
    other = replace(node, cells=tuple(cells), nic_cells=tuple(reversed(node.nic_cells)))
    assert solve(other, demand) == solve(node, demand)


@pytest.mark.parametrize("seed", range(150))
def test_a_cell_with_nothing_to_give_changes_nothing(seed: int) -> None:
    node, demand = instance(seed)
    far = {cell.id: 99 for cell in node.cells} | {50: 10}
    cells = [replace(cell, distances={**cell.distances, 50: 99}) for cell in node.cells]
    assert solve(replace(node, cells=(*cells, Cell(50, (), 0, {}, far))), demand) == solve(node, demand)
