"""What is asked of the batch system: the numbers that the placement will use, and a class on which the job fits."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.placement.machines import DUAL, GIB, MIB, classes, job, jobs, node_of, site_of
from tests.spec.helpers import MINIMAL, check, checked, codes
from vtorque_spec.diagnostics import Code
from vtorque_spec.placement.demand import GUEST_OVERHEAD_BYTES, memory_bytes, slots
from vtorque_spec.placement.fit import Placed, place, shortages
from vtorque_spec.placement.guests import claim
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.plan import JobPlan, NodeRequest
from vtorque_spec.site.model import SiteQueue

MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def used(node: HostNode, job: JobPlan) -> int | None:
    """The slots of all cores that the job holds on an empty node."""
    placed = place(job, node)
    if not isinstance(placed, Placed):
        return None
    held = set(claim(job, node, placed).cpus)
    cores = [core for cell in node.cells for core in cell.cores if held.intersection(core)]
    return len(cores) if node.slot == "core" else sum(map(len, cores))


@MANY
@given(classes(alike=True), jobs())
def test_what_is_asked_is_what_is_used(said: dict[str, Any], job: JobPlan) -> None:
    node = node_of(said)
    use = used(node, job)
    if use is None:
        return
    event(job.pinning.mode)
    assert slots(job, node) == (node.all_slots if job.batch.exclusive else use)


@MANY
@given(classes(), st.sampled_from(["core", "thread"]), jobs())
def test_where_cores_differ_it_is_enough_and_there(said: dict[str, Any], slot: str, job: JobPlan) -> None:
    node = node_of({**said, "slot": slot})
    use = used(node, job)
    if use is not None:
        assert use <= slots(job, node) <= node.all_slots


def test_cores_of_three_threads() -> None:
    """Cores of four threads, of some of which one is off: two VMs of four vCPUs have 4 and 3 + 3 threads."""
    cells = [{"id": 0, "cpus": "0-12", "siblings": ["0+1+2+3", "4+5+6", "7+8+9", "10+11+12"], "memory": "8GiB"}]
    node = node_of({"cpus": 13, "memory": "8GiB", "cells": cells, "vcpu": "thread"})
    asked = job(vcpus=4, vms_per_node=2)
    assert used(node, asked) == 10
    assert 10 <= slots(asked, node) <= 13


def test_a_class_that_gives_fewer_slots_than_it_has() -> None:
    node = node_of({**DUAL, "cpus": 10})
    assert slots(job(vcpus=5), node) == 10
    assert isinstance(place(job(vcpus=5), node), Placed)
    (short,) = shortages(job(vcpus=6), node)
    assert short.code is Code.TOO_MANY_CPUS
    assert [one.code for one in shortages(job(map=(10,), exclusive=True), node)] == [Code.MAP_OUTSIDE]
    assert shortages(job(map=(9,), exclusive=True), node) == ()


@MANY
@given(classes(alike=True), st.data())
def test_a_map_asks_for_the_cores_that_it_names(said: dict[str, Any], data: st.DataObject) -> None:
    node = replace(node_of(said), allotment_known=True)
    places = data.draw(st.lists(st.integers(0, len(node.allotted) - 1), min_size=1, max_size=4, unique=True))
    asked = job(map=tuple(places), vcpus=len(places), io=(0, data.draw(st.integers(0, 1))))
    use = used(node, asked)
    if use is None:
        return
    listed = max(places) + 1 if node.slot == "thread" else -(-(max(places) + 1) // node.threads)
    assert slots(asked, node) == max(use, listed) <= node.all_slots


@pytest.mark.parametrize(("slot", "in_slots", "whole"), [
    ("thread", False, 30), ("thread", True, 32), ("core", False, 15), ("core", True, 16),
])  # fmt: skip
def test_an_exclusive_job_asks_for_all_that_the_batch_system_counts(slot: str, in_slots: bool, whole: int) -> None:
    reserve = {**DUAL["host_reserve"], "in_slots": in_slots}
    at = site_of({"thin": {**DUAL, "slot": slot, "host_reserve": reserve}})
    found = checked(MINIMAL + "batch: {exclusive: true}\n", at=at)
    more = 8 * GIB if in_slots else 0
    assert found.choice.request == NodeRequest(whole, GIB + GUEST_OVERHEAD_BYTES + more, None)


def test_memory_has_all_that_each_vm_takes() -> None:
    asked = job(vms_per_node=3, memory_bytes=GIB, shared_memory_bytes=100, base_memory_bytes=3 * GIB)
    assert memory_bytes(asked, node_of(DUAL)) == 3 * (GIB + 256 * MIB + 34 + GIB)


# --- which class ------------------------------------------------------------------------------------------------------

THIN = {"cpus": 8, "memory": "16GiB", "property": "thin"}
FAT = {"cpus": 32, "memory": "64GiB", "property": "fat"}
QUEUES = {"short": ["thin"], "long": ["thin", "fat"], "wide": ["fat"]}


def chosen(said: str, thin: dict[str, Any] = THIN, fat: dict[str, Any] = FAT) -> tuple[str, str | None] | list[str]:
    """The class and the property that is asked for; or the codes of what is found."""
    queues = {name: SiteQueue.model_validate({"node_classes": reach, "default": name == "long"})
              for name, reach in QUEUES.items()}  # fmt: skip
    found, report = check(MINIMAL + said + "\n", at=site_of({"thin": thin, "fat": fat}, queues=queues))
    return codes(report) if found is None else (found.choice.node_class, found.choice.request.property)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("vcpus: 4", ("thin", None)),
        ("vcpus: 9", ("fat", "fat")),
        ("batch: {queue: long}\nvcpus: 9", ("fat", "fat")),
        ("batch: {queue: wide}\nvcpus: 9", ("fat", None)),
        ("batch: {queue: wide}\nvcpus: 4", ("fat", None)),
        ("batch: {queue: short}\nvcpus: 9", ["VT0401"]),
        ("batch: {queue: short}\nvcpus: 8", ("thin", None)),
        ("batch: {queue: none}", ["VT0316"]),
        ("memory: 17GiB", ("fat", "fat")),
        ("memory: 65GiB", ["VT0403"]),
        ("batch: {exclusive: true}", ("thin", "thin")),
        ("batch: {exclusive: true, queue: wide}", ("fat", None)),
    ],
)
def test_the_first_class_of_the_queue_on_which_it_fits(said: str, expected: object) -> None:
    assert chosen(said) == expected


def test_the_site_s_order_decides() -> None:
    found, _ = check(MINIMAL, at=site_of({"fat": FAT, "thin": THIN}))
    assert found is not None
    assert found.choice.node_class == "fat"


def test_classes_that_count_otherwise_are_told_apart() -> None:
    """On `fat` a vCPU takes a core of two threads, so the numbers are others, and the script names the class."""
    topology = {"sockets": 1, "cores": 16, "threads": 2}
    assert chosen("vcpus: 4", fat={**FAT, "topology": topology}) == ("thin", "thin")
    assert chosen("vcpus: 4", fat={**FAT, "topology": topology, "slot": "core"}) == ("thin", None)


def without(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "property"}


def test_no_word_to_ask_by() -> None:
    assert chosen("vcpus: 9", fat=without(FAT)) == ["VT0409"]
    assert chosen("vcpus: 4", thin=without(THIN)) == ("thin", None)
    assert chosen("batch: {exclusive: true}", thin=without(THIN), fat=without(FAT)) == ["VT0409"]


def test_a_class_without_a_word_is_passed_over_where_another_one_has_one() -> None:
    """The job fits on both; the numbers differ, and `fat` alone can be asked for."""
    assert chosen("batch: {exclusive: true}", thin=without(THIN)) == ("fat", "fat")
