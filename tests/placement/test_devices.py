"""Devices go to the guests nearest to them, at the least distance in all; other jobs' are left alone."""

from dataclasses import replace
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from tests.spec.helpers import MINIMAL, checked, site
from vtorque_spec.placement.devices import _cheapest, assigned
from vtorque_spec.placement.fit import Placed, place, shortages
from vtorque_spec.placement.guests import claim
from vtorque_spec.placement.nodes import HostNode, node_of_class
from vtorque_spec.plan import Cell, Claim, Device, DeviceRequest, JobPlan

GIB = 2**30
DISTANCES = ((10, 12, 21), (12, 10, 21), (21, 21, 10))


def node(**changes: object) -> HostNode:
    """Three cells of four cores; a GPU in the first, two in the third, one nobody knows where."""
    cells = tuple(
        Cell(at, tuple((cpu,) for cpu in range(4 * at, 4 * at + 4)), 16 * GIB, (), DISTANCES[at]) for at in range(3)
    )
    devices = tuple(Device(f"gpu{n}", "gpu", cell) for n, cell in enumerate((2, 0, 2, None)))
    here = replace(
        node_of_class(site(), "generic"), cells=cells, devices=devices, allotted=tuple(range(12)), slots=12,
        memory_bytes=48 * GIB,
    )  # fmt: skip
    return replace(here, **changes)  # type: ignore[arg-type] # members by name


def job(vms: int, count: int) -> JobPlan:
    asked = checked(MINIMAL + f"vcpus: 3\nvms_per_node: {vms}\npinning: auto\nmemory: 1GiB\n").job
    return replace(asked, devices=(DeviceRequest("gpu", count),))


def test_each_guest_has_the_nearest() -> None:
    wanted = [DeviceRequest("gpu", 1)]
    assert assigned(wanted, node(), [[0], [1], [2]]) == [("gpu1",), ("gpu0",), ("gpu2",)]
    assert assigned(wanted, node(), [[2], [0]]) == [("gpu0",), ("gpu1",)]
    assert assigned([DeviceRequest("gpu", 2)], node(), [[2]]) == [("gpu0", "gpu2")]


def test_what_another_job_holds_is_left_alone() -> None:
    taken = Claim((), (), ("gpu0",))
    assert assigned([DeviceRequest("gpu", 1)], node(taken=taken), [[2]]) == [("gpu2",)]


def test_too_few() -> None:
    short = shortages(job(3, 2), node())
    assert [(one.code.id, one.message) for one in short] == [
        ("VT0411", "the job takes 2 x 3 = 6 `gpu`; a node of class `generic` has 4")
    ]
    assert not shortages(job(2, 2), node())


def test_the_claim_has_them() -> None:
    asked = job(2, 1)
    placed = place(asked, node())
    assert isinstance(placed, Placed)
    assert len(claim(asked, node(), placed).devices) == 2


@given(st.integers(1, 4).flatmap(lambda rows: st.lists(
    st.lists(st.integers(10, 40), min_size=5, max_size=5), min_size=rows, max_size=rows)))  # fmt: skip
def test_the_least_in_all(costs: list[list[int]]) -> None:
    found = _cheapest(costs)
    assert [row for row, _ in found] == list(range(len(costs)))
    assert len({column for _, column in found}) == len(costs)
    best = min(sum(costs[row][c] for row, c in enumerate(way)) for way in permutations(range(5), len(costs)))
    assert sum(costs[row][column] for row, column in found) == best
