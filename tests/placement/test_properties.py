"""What holds of any placement, on machines and demands that hypothesis makes up and makes small."""

import os
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.placement import checker
from vtorque_spec.placement.engine import solve
from vtorque_spec.placement.model import MIB, Cell, Core, Demand, Mode, Node, Placement, Refusal

MODES: tuple[Mode, ...] = ("auto", "compact", "spread", "none")
EXAMPLES = int(os.environ.get("VTORQUE_PLACEMENT_INSTANCES", "1500")) // 8
settings.register_profile("placement", max_examples=EXAMPLES, deadline=None)


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """Up to 6 cells with up to 6 cores of any threads, numbered in any order."""
    ids = sorted(draw(st.sets(st.integers(0, 20), min_size=1, max_size=6)))
    widths = [draw(st.lists(st.sampled_from([0, 1, 1, 2, 2, 2, 4, 8]), max_size=6)) for _ in ids]
    numbers = iter(draw(st.permutations(range(sum(map(sum, widths))))))
    partial = draw(st.booleans())
    cells = []
    for own, mine in zip(ids, widths, strict=True):
        cpus = (tuple(sorted(next(numbers) for _ in range(width))) for width in mine)
        cores = tuple(Core(core, partial and draw(st.booleans())) for core in cpus)
        distances = {to: 10 if to == own else draw(st.sampled_from([11, 12, 21])) for to in ids}
        memory = draw(st.integers(0, 64))
        cells.append(Cell(own, cores, memory * MIB, {2 * MIB: draw(st.integers(0, 16))}, distances))
    nics = draw(st.lists(st.sampled_from(ids), max_size=2, unique=True))
    return Node("n", tuple(cells), tuple(nics), (Core((9000, 9001)),))


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    page = draw(st.sampled_from([None, 2 * MIB]))
    return Demand(
        guests=draw(st.integers(1, 5)),
        vcpus=draw(st.integers(1, 8)),
        memory_bytes=draw(st.integers(1, 40 * MIB)),
        io_cores=draw(st.integers(0, 3)),
        page_bytes=page,
        mode=draw(st.sampled_from(MODES)),
        smt=draw(st.sampled_from(["cores", "threads"])),
    )


@settings(settings.get_profile("placement"))
@given(nodes(), demands())
def test_every_rule_is_kept(node: Node, demand: Demand) -> None:
    placed = solve(node, demand)
    if isinstance(placed, Placement):
        checker.check(node, demand, placed)
    else:
        assert placed.terms
        assert all(term.short > 0 for term in placed.terms)


@settings(settings.get_profile("placement"))
@given(nodes(), demands(), st.randoms(use_true_random=False))
def test_the_order_of_input_does_not_matter(node: Node, demand: Demand, pick: object) -> None:
    cells = [replace(cell, cores=tuple(pick.sample(cell.cores, len(cell.cores)))) for cell in node.cells]  # type: ignore[attr-defined]
    pick.shuffle(cells)  # type: ignore[attr-defined]
    assert solve(replace(node, cells=tuple(cells), nic_cells=node.nic_cells[::-1]), demand) == solve(node, demand)


@settings(settings.get_profile("placement"))
@given(nodes(), demands())
def test_a_cell_that_nobody_needs_changes_nothing(node: Node, demand: Demand) -> None:
    """One far from everything that has nothing; nor, where each guest has one cell, one too small for a guest."""
    far = Cell(99, (), 0, {}, {99: 10, **{cell.id: 250 for cell in node.cells}})
    cells = tuple(replace(cell, distances={**cell.distances, 99: 250}) for cell in node.cells)
    placed = solve(node, demand)
    assert solve(replace(node, cells=(*cells, far)), demand) == placed
    if isinstance(placed, Placement) and demand.mode == "compact" and node.nic_cells:
        assume(demand.vcpus > 1)
        rich = replace(far, cores=(Core((8000,)),), memory_bytes=MIB)
        again = solve(replace(node, cells=(*cells, rich)), demand)
        assert isinstance(again, Placement)
        assert (again.io, again.guests) == (placed.io, placed.guests)


@settings(settings.get_profile("placement"))
@given(nodes(), demands(), st.integers(0, 5))
def test_more_never_fits_less(node: Node, demand: Demand, at: int) -> None:
    """What fits a machine fits it with another core, or with more memory."""
    assume(isinstance(solve(node, demand), Placement))
    cells = list(node.cells)
    old = cells[at % len(cells)]
    cells[at % len(cells)] = replace(old, cores=(*old.cores, Core((8000, 8001))), memory_bytes=old.memory_bytes + MIB)
    assert not isinstance(solve(replace(node, cells=tuple(cells)), demand), Refusal)


@settings(settings.get_profile("placement"))
@given(st.integers(1, 4), st.integers(1, 6), demands())
def test_ties_go_to_the_lowest(cells: int, cores: int, demand: Demand) -> None:
    """On a machine whose cells are all alike and equally far, the lowest cells and cores come first."""
    found = [
        Cell(
            at,
            tuple(Core((at * cores + core,)) for core in range(cores)),
            64 * MIB,
            {2 * MIB: 16},
            {to: 10 if to == at else 21 for to in range(cells)},
        )
        for at in range(cells)
    ]
    placed = solve(Node("n", tuple(found)), replace(demand, smt="cores"))
    assume(isinstance(placed, Placement))
    assert isinstance(placed, Placement)
    own = [core for guest in placed.guests for core in guest.cores]
    if demand.mode != "spread":
        assert [guest.cells for guest in placed.guests] == sorted(guest.cells for guest in placed.guests)
    used = []
    for cell in found:
        mine = [core for core in cell.cores if core in placed.io or core in own or core in placed.floats]
        used.append(bool(mine) or any(cell.id in guest.cells for guest in placed.guests))
        assert mine == list(cell.cores[: len(mine)])
        kept = [core for core in cell.cores if core in placed.io]
        assert kept == list(cell.cores[: len(kept)])
    assert used == sorted(used, reverse=True)
