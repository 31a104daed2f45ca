"""The engine against CP-SAT, on seeded random instances; `VTORQUE_PLACEMENT_INSTANCES` says on how many."""

import os
from collections import Counter

import pytest

from tests.placement import checker, oracle
from tests.placement.instances import instance, large, traits
from vtorque_spec.placement.engine import solve
from vtorque_spec.placement.model import Demand, Node, Placement, Refusal
from vtorque_spec.placement.refuse import fits
from vtorque_spec.placement.room import Room

COUNT = int(os.environ.get("VTORQUE_PLACEMENT_INSTANCES", "1500"))
BATCHES = 10
GIVEN_UP = {1959, 1993, 2290, 2579, 2783, 2869, 3548, 4041, 4044, 4221, 4968, 5808}
"""The first of the instances whose search for the best takes more steps than it may: one in 500."""


@pytest.mark.parametrize("batch", range(BATCHES))
def test_as_good_as_the_oracle(batch: int) -> None:
    for seed in range(batch, COUNT, BATCHES):
        compare(*instance(seed), seed)


def compare(node: Node, demand: Demand, seed: int) -> None:
    best, placed = oracle.optimum(node, demand), solve(node, demand)
    assert isinstance(placed, Placement) == (best is not None) == fits(node, demand), (seed, best, placed)
    if isinstance(placed, Refusal) or best is None:
        return
    checker.check(node, demand, placed)
    if any("proven" in reason for reason in placed.reasons):
        assert seed in GIVEN_UP, (seed, "the search was given up")
    elif demand.mode == "spread":
        assert (checker.level(node, placed), checker.io_distance(node, placed)) == (best.level, best.io), seed
    else:
        as_good(node, demand, placed, best, seed)


def as_good(node: Node, demand: Demand, placed: Placement, best: oracle.Optimum, seed: int) -> None:
    if demand.mode != "map":
        cost = checker.spanned(node, placed), checker.distance(node, placed)
        assert cost == (best.spanned, best.distance), seed
    assert best.io <= checker.io_distance(node, placed) <= best.io * 1.02, seed
    if best.squares is not None:
        assert checker.squares(node, placed) == best.squares, seed
    elif demand.mode == "auto" and Room(node, demand).simple:
        assert not checker.could_lie_closer(node, placed), seed


@pytest.mark.parametrize("seed", range(COUNT // 25))
def test_fits_when_the_oracle_says_so_on_large_machines(seed: int) -> None:
    node, demand = large(seed)
    placed = solve(node, demand)
    assert isinstance(placed, Placement) == oracle.fits(node, demand) == fits(node, demand)
    if isinstance(placed, Placement):
        checker.check(node, demand, placed)


def test_the_instances_are_hard(capsys: pytest.CaptureFixture[str]) -> None:
    seen: Counter[str] = Counter()
    for seed in range(400):
        node, demand = instance(seed)
        placed = solve(node, demand)
        seen.update(traits(node, demand))
        seen["infeasible"] += isinstance(placed, Refusal)
        seen["guests that span cells"] += isinstance(placed, Placement) and any(len(g.cells) > 1 for g in placed.guests)
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {count / 4:.0f} %" for name, count in sorted(seen.items())))
    assert seen["infeasible"] >= 120
    assert seen["near a limit"] >= 120
    assert seen["mixed SMT"] >= 80
    assert min(seen[name] for name in ("asymmetric distances", "partial cores", "cell without cores")) >= 20
    assert min(seen[name] for name in ("sub-NUMA clusters", "offline cores", "8 cells")) >= 20
