"""First placement: none and map. Whatever it gives lies inside the allotment; whatever it refuses does not fit."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.spec.helpers import MINIMAL, checked
from vtorque_spec.fault import Fault
from vtorque_spec.placement import Demand, Node, Placement, place
from vtorque_spec.placement.node_plan import plan_node
from vtorque_spec.placement.preview import preview_context
from vtorque_spec.plan import Cell, ImageFiles, JobPlan, NodeContext, NodePlan, Pinning
from vtorque_spec.resolve import GUEST_OVERHEAD_BYTES
from vtorque_spec.site.model import NodeClass

GIB = 2**30


def node(cpus: tuple[int, ...], memory_bytes: int = 8 * GIB) -> Node:
    return Node("the node `n1`", (Cell(0, cpus, memory_bytes),), cpus, memory_bytes)


@given(
    st.sets(st.integers(0, 64), min_size=1, max_size=16),
    st.lists(st.integers(0, 20), min_size=1, max_size=16, unique=True),
)
def test_a_map_is_followed_or_refused(cpus: set[int], wanted: list[int]) -> None:
    demand = Demand(1, len(wanted), GIB, Pinning("map", tuple(wanted)))
    result = place(demand, node(tuple(cpus)))
    fits = len(wanted) <= len(cpus) and max(wanted) < len(cpus)
    assert isinstance(result, Placement) == fits
    if isinstance(result, Placement):
        (pins,) = result.pins
        ascending = sorted(cpus)
        assert pins.vcpus == tuple((ascending[index],) for index in wanted)
        assert set(pins.emulator) <= cpus
        assert set(pins.emulator) == cpus - {cpu for (cpu,) in pins.vcpus} or len(wanted) == len(cpus)
    else:
        assert {short.field[0] for short in result} <= {"vcpus", "pinning"}


def test_the_order_of_the_cpus_does_not_matter() -> None:
    demand = Demand(1, 2, GIB, Pinning("map", (0, 2)))
    assert place(demand, node((5, 1, 9))) == place(demand, node((9, 5, 1)))


def test_every_shortage_is_told_with_its_figures() -> None:
    result = place(Demand(1, 4, 8 * GIB, Pinning("map", (0, 1, 2, 7))), node((0, 1)))
    assert not isinstance(result, Placement)
    assert [short.code.id for short in result] == ["VT0401", "VT0403", "VT0402", "VT0402"]
    assert "needs 4 CPUs on each node; the node `n1` has 2" in result[0].message
    assert result[0].help == "write `vcpus: 2` or less"
    assert result[1].help == f"write `memory: {8 * 1024 - 256}MiB` or less"


def test_memory_fits_to_the_byte() -> None:
    least = GIB + GUEST_OVERHEAD_BYTES
    demand = Demand(1, 1, GIB, Pinning("none", ()))
    assert isinstance(place(demand, node((0,), least)), Placement)
    assert not isinstance(place(demand, node((0,), least - 1)), Placement)


def planned(said: str, **context: object) -> tuple[JobPlan, NodeContext]:
    job = checked(MINIMAL + said).job
    preview = preview_context(job, "generic", NodeClass.model_validate({"cpus": 4, "memory": "8GiB"}))
    return job, dataclasses.replace(preview, **context)  # type: ignore[arg-type] # members by name


def test_a_plan_names_the_owner_of_per_user_mounts() -> None:
    job, context = planned("mounts: [home]\n")
    plan = plan_node(job, context)
    assert isinstance(plan, NodePlan)
    (shared,) = plan.guests[0].machine.filesystems
    assert (shared.source, shared.target) == ("/home/user", "/home/user")


def test_an_ordinary_users_guest_has_no_mounts() -> None:
    with pytest.raises(Fault, match="VT0906"):
        plan_node(*planned("mounts: [home]\n", lane="session"))


@pytest.mark.parametrize("target", ["/home", "/home/user/inner", "/home/user"])
def test_no_mount_lies_inside_the_home(target: str) -> None:
    """A link in the home would lead the guest's root to mount it anywhere; where the home is, the node knows."""
    with pytest.raises(Fault, match="VT0313"):
        plan_node(*planned(f"mounts: [home, {{name: home, target: {target}}}]\n"))


def test_an_image_that_is_not_here() -> None:
    with pytest.raises(Fault, match="VT0502"):
        plan_node(*planned("", images=()))
    other = ImageFiles("debian-12", "b" * 64, "/d", "qcow2", "/k", "/i")
    job, context = planned("", images=(other,))
    named = dataclasses.replace(job, image=dataclasses.replace(job.image, sha256="a" * 64))
    with pytest.raises(Fault, match="VT0503"):
        plan_node(named, context)


def test_emulation_is_a_degradation_where_the_site_says_kvm() -> None:
    job, context = planned("", virt="qemu")
    assert isinstance(plan_node(job, context), NodePlan)  # at a site that says `any` nothing degrades
    strict = dataclasses.replace(job, hypervisor="kvm")
    with pytest.raises(Fault, match="VT0907"):
        plan_node(strict, context)
    plan = plan_node(dataclasses.replace(strict, allow_degraded=("emulation",)), context)
    assert isinstance(plan, NodePlan)
    assert "emulated" in plan.notes[0]


def test_pins_are_dropped_only_where_the_job_allows_it() -> None:
    job, context = planned("vcpus: 1\npinning: {map: [9]}\n")
    assert not isinstance(plan_node(job, context), NodePlan)
    plan = plan_node(dataclasses.replace(job, allow_degraded=("unpinned",)), context)
    assert isinstance(plan, NodePlan)
    assert plan.guests[0].machine.pins.vcpus == ()
    assert "not pinned" in plan.notes[0]
    small = dataclasses.replace(job, allow_degraded=("unpinned",), vcpus=9)
    assert not isinstance(plan_node(small, context), NodePlan)  # other shortages stay shortages
