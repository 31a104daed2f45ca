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
    return Node("thin", (Cell(0, tuple(Core((cpu,)) for cpu in range(cores)), 64 * GIB, {}, {0: 10}),), (0,))


def two_sockets() -> Node:
    """12 cores each, the siblings c and c + 24, the adapter in the second."""
    cells = (
        Cell(
            at, tuple(Core((cpu, cpu + 24)) for cpu in range(12 * at, 12 * at + 12)), 64 * GIB, {}, {at: 10, 1 - at: 21}
        )
        for at in (0, 1)
    )
    return Node("dual", tuple(cells), (1,))


def job(guests: int, vcpus: int, io: int, **more: object) -> Demand:
    return replace(Demand(guests, vcpus, GIB, host_cores=1, io_cores=io), **more)  # type: ignore[arg-type]


def partition(node: Node, demand: Demand) -> tuple[list[int], list[int], list[list[int]], list[int]]:
    placed = solve(node, demand)
    assert isinstance(placed, Placement), placed
    checker.check(node, demand, placed)
    host, io, free = ([core.cpus[0] for core in part] for part in (placed.host, placed.io, placed.free))
    return host, io, [list(guest.pins) for guest in placed.guests], free


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
    ("node", "demand", "term", "fits"),
    [
        (one_cell(8), job(1, 7, 4), Term("cores", "thin", 12, 8), {"io_cores": 0, "vcpus": 3}),
        (one_cell(16), job(2, 7, 4), Term("cores", "thin", 19, 16), {"io_cores": 1, "guests": 1, "vcpus": 5}),
        (two_sockets(), job(2, 11, 2), Term("cores", "dual", 25, 24), {"io_cores": 1, "guests": 1, "vcpus": 10}),
        (one_cell(4), job(1, 1, 4), Term("cores", "thin", 6, 4), {"io_cores": 2}),
    ],
    ids=["3", "4", "6", "9"],
)
def test_worked_cases_that_do_not(node: Node, demand: Demand, term: Term, fits: dict[str, int]) -> None:
    refused = solve(node, demand)
    assert isinstance(refused, Refusal)
    assert refused.terms == (term,)
    assert refused.fits == fits
    assert refused.sentences[0].endswith(f"= {term.needed} cores")


def test_case_7_is_the_callers() -> None:
    """The engine knows the maximum of the I/O cores only; min <= max is the job file's."""
    assert isinstance(solve(one_cell(16), job(1, 7, 3)), Placement)


def test_compact_says_how_many_cells_hold_a_guest() -> None:
    refused = solve(two_sockets(), job(3, 7, 0, mode="compact"))
    assert isinstance(refused, Refusal)
    assert refused.terms == (Term("guests", "single cells of dual", 3, 2),)
    assert refused.fits["mode"] == "auto"
    assert refused.sentences[1] == "single cells of dual hold 2 of the 3 guests"


@pytest.mark.parametrize("seed", range(0, 400, 4))
def test_what_would_fit_fits_and_no_more(seed: int) -> None:
    node, demand = instance(seed)
    refused = solve(node, demand)
    for name, value in refused.fits.items() if isinstance(refused, Refusal) else ():
        assert isinstance(solve(node, replace(demand, **{name: value})), Placement)
        if name != "mode":
            step = (demand.page_bytes or MIB) if name == "memory_bytes" else 1
            assert isinstance(solve(node, replace(demand, **{name: value + step})), Refusal)


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
