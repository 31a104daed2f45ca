"""Whether a job fits on a node: exact to the byte and the thread, and everything that is short is told."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.placement.machines import DUAL, GIB, MIB, classes, job, jobs, node_of
from vtorque_spec.diagnostics import Code
from vtorque_spec.placement.demand import GUEST_OVERHEAD_BYTES, beside_bytes, demands
from vtorque_spec.placement.engine import solve
from vtorque_spec.placement.fit import Placed, place, shortages
from vtorque_spec.placement.model import Placement
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.plan import CellMemory, Claim, JobPlan, overlay_bytes

MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FLAT: dict[str, Any] = {"cpus": 4, "memory": "8GiB"}


def found(job: JobPlan, node: HostNode) -> list[str]:
    return [short.code.id for short in shortages(job, node)]


def mapped(*places: int, vms: int = 1, **changes: Any) -> JobPlan:
    """A job that has the node to itself, and a map of its CPUs."""
    return job(map=places, vcpus=len(places) // vms, vms_per_node=vms, exclusive=True, **changes)


@MANY
@given(classes(), jobs())
def test_a_job_is_refused_or_placed_and_never_both(said: dict[str, Any], job: JobPlan) -> None:
    """What the engine refuses is told; and a refusal names fields and a code, and says how to mend it."""
    node = node_of(said)
    short, placed = shortages(job, node), place(job, node)
    assert (placed == short) if short else isinstance(placed, Placed)
    if not any(isinstance(solve(node.for_engine(), demand), Placement) for demand in demands(job, node)):
        assert short
    for one in short:
        assert one.fields
        assert one.message
    assert len({(one.code, one.fields, one.message) for one in short}) == len(short)


def test_memory_fits_to_the_mebibyte() -> None:
    """A cell counts memory in whole MiB, a guest's is rounded up to them."""
    least = GIB + GUEST_OVERHEAD_BYTES
    for memory_bytes in (GIB, GIB - MIB + 1):
        asked = job(memory_bytes=memory_bytes)
        assert found(asked, node_of({**FLAT, "memory": f"{least // MIB}MiB"})) == []
        assert found(asked, node_of({**FLAT, "memory": f"{least // MIB - 1}MiB"})) == ["VT0403"]


def test_the_allotment_counts_to_the_byte() -> None:
    least = GIB + GUEST_OVERHEAD_BYTES
    assert found(job(), replace(node_of(FLAT), memory_bytes=least)) == []
    assert found(job(), replace(node_of(FLAT), memory_bytes=least - 1)) == ["VT0403"]


def test_what_lies_beside_the_guests_memory_counts() -> None:
    asked = job(vms_per_node=3, shared_memory_bytes=100, base_memory_bytes=3 * GIB)
    assert beside_bytes(asked, node_of(FLAT)) == 256 * MIB + 34 + GIB
    assert found(asked, node_of({**FLAT, "memory": "6912MiB"})) == ["VT0403"]
    assert found(asked, node_of({**FLAT, "memory": "6915MiB"})) == []


def test_disks_are_memory_where_the_node_has_none() -> None:
    asked, disk = job(root_disk_bytes=GIB), 128 * MIB + overlay_bytes(GIB)
    node = node_of({**FLAT, "diskless": True, "memory": "3GiB"})
    assert beside_bytes(asked, node) == 256 * MIB + disk
    assert found(asked, node) == []
    assert found(asked, node_of({**FLAT, "diskless": True, "memory": "2GiB"})) == ["VT0403"]
    assert found(asked, node_of({**FLAT, "memory": "2GiB"})) == []


def test_qemu_needs_ordinary_memory_beside_huge_pages() -> None:
    cells = [{"id": 0, "cpus": "0-3", "memory": "2GiB", "hugepages": {"2MiB": 960}}]
    node = node_of({"cpus": 4, "memory": "2GiB", "cells": cells})
    asked = job(hugepages="2MiB", memory_bytes=512 * MIB)
    assert found(asked, node) == ["VT0403"]
    roomy = [{**cells[0], "hugepages": {"2MiB": 896}}]
    assert found(asked, node_of({"cpus": 4, "memory": "2GiB", "cells": roomy})) == []


@pytest.mark.parametrize("pages", ["1GiB", "any"])
def test_too_few_huge_pages(pages: str) -> None:
    assert found(job(hugepages=pages, memory_bytes=17 * GIB), node_of(DUAL)) == ["VT0407"]
    assert found(job(hugepages=pages, memory_bytes=16 * GIB), node_of(DUAL)) == []


def test_all_that_is_short_is_told_at_once() -> None:
    asked = job("compact", vcpus=20, memory_bytes=200 * GIB)
    assert found(asked, node_of(DUAL)) == ["VT0401", "VT0403"]


def test_compact_needs_a_cell() -> None:
    assert found(job("compact", vcpus=9), node_of(DUAL)) == ["VT0406"]
    assert found(job("auto", vcpus=9), node_of(DUAL)) == []
    assert found(job("compact", vcpus=8), node_of(DUAL)) == []


# --- a map ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "changes", "codes"),
    [
        (mapped(0, 1), {}, []),
        (mapped(0, 14), {}, []),
        (mapped(0, 30), {}, ["VT0402"]),
        (mapped(40, 50), {}, ["VT0402", "VT0402"]),
        (mapped(40, 41, 42, 43), {}, ["VT0402", "VT0402", "VT0402"]),
        (mapped(0, 15), {}, ["VT0405"]),
        (mapped(0, 15), {"vcpu": "thread"}, []),
        (mapped(0, 15, vms=2), {"vcpu": "thread"}, ["VT0405"]),
        (mapped(0, 1), {"host_reserve": {"cores": 1, "memory": "8GiB", "in_slots": True}}, ["VT0404"]),
        (mapped(0, 1, 99), {"host_reserve": {"cores": 1, "memory": "8GiB", "in_slots": True}}, ["VT0404", "VT0402"]),
    ],
    ids=["two", "far", "outside", "two outside", "three are enough", "siblings", "siblings of one VM",
         "siblings of two", "host", "both"],
)  # fmt: skip
def test_a_map_is_followed_or_refused(asked: JobPlan, changes: dict[str, Any], codes: list[str]) -> None:
    """Place 0 of the allotment is CPU 1 where the host's core is not counted; 15 places on is its sibling."""
    assert found(asked, node_of({**DUAL, **changes})) == codes


def test_a_map_onto_another_jobs_core() -> None:
    node = replace(node_of(DUAL), taken=Claim((2,), (), ()))
    (short,) = shortages(mapped(0, 1), node)
    assert short.code is Code.MAP_TAKEN
    assert short.fields == (("pinning", "map", 1),)
    (short,) = shortages(mapped(0, 1), replace(node, taken=Claim((18,), (), ())))  # the other thread of CPU 2's core
    assert (short.code, short.fields) == (Code.MAP_TAKEN, (("pinning", "map", 1),))


def test_a_map_where_the_allotment_is_not_known() -> None:
    """Where a core is one CPU any allotment will do; where it has two, a job that shares the node has no map."""
    asked = job(map=(0, 1), vcpus=2)
    assert found(asked, node_of(FLAT)) == []
    (short,) = shortages(asked, node_of(DUAL))
    assert (short.code, short.fields[0]) == (Code.MAP_UNKNOWN, ("pinning", "mode"))
    assert found(asked, replace(node_of(DUAL), allotment_known=True)) == []
    some = replace(node_of(DUAL), allotment_known=True, allotted=(1, 2, 17), slots=3)
    assert found(job(map=(0,)), some) == []
    (short,) = shortages(job(map=(1,)), some)
    assert (short.code, short.message) == (
        Code.MAP_TAKEN, "number 1 of the allotment, CPU 2, is of a core that the job does not have whole"
    )  # fmt: skip
    assert found(job(map=(1,)), replace(some, vcpu="thread")) == []


@MANY
@given(classes(), st.data())
def test_a_map_that_fits_is_followed(said: dict[str, Any], data: st.DataObject) -> None:
    node = node_of(said)
    places = data.draw(st.lists(st.integers(0, len(node.allotted)), min_size=1, max_size=4, unique=True))
    asked = mapped(*places, io=(0, data.draw(st.integers(0, 1))), memory_bytes=MIB)
    placed = place(asked, node)
    if isinstance(placed, Placed):
        wanted = tuple(node.allotted[at] for at in places)
        assert placed.placement.guests[0].pins == wanted
        io = {cpu for core in placed.placement.io for cpu in core.cpus}
        assert not io.intersection(wanted)


# --- the I/O manager of an sKVM kernel --------------------------------------------------------------------------------


def skvm(said: dict[str, Any], *, mode: str = "none", exclusive: bool = True) -> list[str]:
    asked = job(mode, io=(1, 1), exclusive=exclusive)
    short = shortages(replace(asked, iocm=replace(asked.iocm, mode="skvm")), node_of(said))
    return [f"{one.code.id} {one.fields[0][0]} {one.message.split(': ')[1]}" for one in short]


def test_limits_of_the_io_manager() -> None:
    cells = [{"id": 0, "cpus": "0-5", "memory": "8GiB"}]
    fine: dict[str, Any] = {"cpus": 6, "memory": "8GiB", "cells": cells}
    nics = [{"name": f"eth{number}", "kind": "nic", "cell": 0} for number in range(3)]
    name = "a node of class `thin`"
    assert skvm(fine) == []
    assert skvm({"cpus": 33, "memory": "8GiB"}) == [f"VT0408 iocm {name} has the CPU 32, higher than 31"]
    far = {**fine, "cells": [{"id": 0, "cpus": "0-4,40", "memory": "8GiB"}]}
    assert skvm(far) == [f"VT0408 iocm {name} has the CPU 40, higher than 31"]
    assert skvm({"cpus": 4, "memory": "8GiB"}) == [f"VT0408 iocm {name} has 4 cores, fewer than 5"]
    assert skvm({**fine, "devices": nics}) == [f"VT0408 iocm {name} has 3 adapters to serve, more than 2"]
    assert skvm(fine, exclusive=False) == ["VT0408 batch it works on the whole node, which this job does not ask for"]
    assert skvm(fine, mode="auto") == ["VT0408 pinning it moves the vCPUs itself, so they cannot be pinned (`auto`)"]


def test_where_the_job_has_no_io_cores_the_io_manager_has_no_say() -> None:
    asked = job()
    assert found(replace(asked, iocm=replace(asked.iocm, mode="skvm")), node_of({"cpus": 33, "memory": "8GiB"})) == []


# --- other jobs on the node -------------------------------------------------------------------------------------------


def test_memory_of_other_jobs_is_not_there() -> None:
    node = node_of(FLAT)
    held = Claim((), (CellMemory(0, 1, 7 * GIB),), ())
    assert found(job(), replace(node, taken=held)) == ["VT0403"]
    pages = Claim((), (CellMemory(0, GIB, 10),), ())
    assert found(job(hugepages="1GiB", memory_bytes=6 * GIB), replace(node_of(DUAL), taken=pages)) == []
    assert found(job(hugepages="1GiB", memory_bytes=7 * GIB), replace(node_of(DUAL), taken=pages)) == ["VT0407"]
