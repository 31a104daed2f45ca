"""The engine against CP-SAT, on seeded random instances; `VTORQUE_PLACEMENT_INSTANCES` says on how many."""

import os
from collections import Counter

import pytest

from tests.placement import checker
from tests.placement.instances import instance, traits
from tests.placement.oracle import optimum
from vtorque_spec.placement.engine import solve
from vtorque_spec.placement.model import Demand, Node, Placement, Refusal
from vtorque_spec.placement.room import Room

COUNT = int(os.environ.get("VTORQUE_PLACEMENT_INSTANCES", "1500"))
BATCHES = 10


@pytest.mark.parametrize("batch", range(BATCHES))
def test_as_good_as_the_oracle(batch: int) -> None:
    for seed in range(batch, COUNT, BATCHES):
        compare(*instance(seed), seed)


def compare(node: Node, demand: Demand, seed: int) -> None:
    best, placed = optimum(node, demand), solve(node, demand)
    assert isinstance(placed, Placement) == (best is not None), (seed, best, placed)
    if isinstance(placed, Refusal) or best is None:
        return
    checker.check(node, demand, placed)
    if demand.mode in ("auto", "compact"):
        cost = checker.spanned(placed), checker.distance(node, placed)
        assert cost == (best.spanned, best.distance), seed
        assert best.io <= checker.io_distance(node, placed) <= best.io * 1.02, seed
    elif demand.mode == "spread" and Room(node, demand).simple:
        assert checker.level(node, placed) == best.level, seed
        assert checker.io_distance(node, placed) == best.io, seed


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
