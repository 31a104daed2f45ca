"""From a job file to a claim without a boot: what the confined child plans passes root's check, job after job."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tests.runtime import fakes
from tests.spec.helpers import CONTEXT, MINIMAL, site
from vtorque_runtime import host, identity, ledger
from vtorque_runtime.identity import Reserved
from vtorque_runtime.planner import check_needs
from vtorque_spec.fault import Fault
from vtorque_spec.node import Answer, Needs, check_job, needs_of, plan_job, plan_of, read_answer
from vtorque_spec.node.facts import node_site
from vtorque_spec.plan import NodeContext, NodePlan

Slot = Literal["core", "thread"]

MODES = {
    "auto": "pinning: auto",
    "compact": "pinning: compact",
    "spread": "pinning: spread\nvcpus: 2",
    "none": "pinning: none",
    "map": "pinning: {map: [3, 5, 12, 11]}\nvcpus: 2",
    "I/O cores": "iocm: {min_cores: 1, max_cores: 2}\npinning: auto",
    "I/O cores that rest": "iocm: {min_cores: 0, max_cores: 1}\npinning: auto",
    "I/O cores and guests that float": "iocm: {min_cores: 1, max_cores: 2}\npinning: none",
    "several cells": "vcpus: 3\nmemory: 5GiB\npinning: auto",
}


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "read_cells", fakes.node_cells)


def machine_part(directory: Path, said: str) -> str:
    path = directory / "job.vjob.yaml"
    path.write_text(f"{MINIMAL}vms_per_node: 2\nmemory: 512MiB\n{said}\n" if "memory" not in said else
                    f"{MINIMAL}vms_per_node: 2\n{said}\n")  # fmt: skip
    told = read_answer(check_job(path, site(), CONTEXT))
    assert told.result, told.findings
    return str(told.result["machine"])


class Node:
    """A node that has the image of the job."""

    def __init__(self, directory: Path, machine: str, slot: Slot = "thread", slots: int | None = None) -> None:
        self.directory, self.machine, self.slot, self.slots = directory, machine, slot, slots
        generic = site().node_classes["generic"].model_copy(update={"slot": slot})
        directory.mkdir(exist_ok=True)
        self.site = replace(site(), node_classes={"generic": generic})

    def ask(self, context: NodeContext) -> Answer:
        return read_answer(plan_job(self.machine, self.site, CONTEXT, context))

    def draft(self, number: int = 1) -> identity.Draft:
        found = fakes.draft(self.directory, uid=12345, number=number)
        images = (replace(found.context.images[0], name="debian-12"),)
        found = replace(found, site=node_site(self.site, "node"))
        facts = {"images": images, "host_cpus": (), "slot": self.slot, "allotted_slots": self.slots}
        return replace(found, context=replace(found.context, **facts))  # type: ignore[arg-type] # of several types

    def settled(self, number: int = 1, advised: tuple[int, ...] | None = None) -> tuple[Reserved, NodePlan]:
        draft = self.draft(number)
        reserved = identity.reserve(draft, needs_of(self.ask(draft.context)).vms, fakes.ISOLATED, advised)
        return reserved, ledger.settle(reserved, lambda context: plan_of(self.ask(context)))


@pytest.mark.parametrize("mode", MODES)
def test_what_the_front_end_plans_passes_roots_check(tmp_path: Path, mode: str) -> None:
    _, plan = Node(tmp_path, machine_part(tmp_path, MODES[mode])).settled()
    assert len(plan.guests) == 2
    assert plan.claim.cpus


@pytest.mark.parametrize("slot", ["core", "thread"])
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "map"])  # which names CPUs beyond so few
def test_as_many_slots_as_are_used_are_enough(tmp_path: Path, mode: str, slot: Slot) -> None:
    """The front end and root count them alike."""
    machine = machine_part(tmp_path, MODES[mode])
    used = Node(tmp_path / "all", machine).settled()[1].claim.cpus
    slots = len(used) // (1 if slot == "thread" else 2)
    assert Node(tmp_path / "enough", machine, slot, slots).settled()[1].claim.cpus == used
    fewer = Node(tmp_path / "fewer", machine, slot, slots - 1)
    told = fewer.ask(identity.reserve(fewer.draft(), 2, fakes.ISOLATED).context)
    assert told.result is None


@pytest.mark.parametrize("mode", ["auto", "compact", "spread", "I/O cores"])
def test_jobs_on_one_node_share_nothing(tmp_path: Path, mode: str) -> None:
    at = Node(tmp_path, machine_part(tmp_path, MODES[mode]))
    (first, one), (second, other) = at.settled(1), at.settled(2)
    assert not set(one.claim.cpus) & set(other.claim.cpus)
    assert ledger.taken(first.registry) == ledger.merged([one.claim, other.claim])
    first.registry.remove(first.spool)
    assert at.settled(3)[1].claim == one.claim
    assert second.spool.claim.exists()


def test_a_full_node_refuses_and_says_why(tmp_path: Path) -> None:
    at = Node(tmp_path, machine_part(tmp_path, "vcpus: 9\npinning: auto"))
    at.settled(1)
    draft = at.draft(2)
    reserved = identity.reserve(draft, 2, fakes.ISOLATED)
    told = at.ask(ledger.observed(reserved.context, reserved.registry))
    assert told.result is None
    assert [item.code.id for item in told.findings] == ["VT0401"]


def test_numads_cells_are_the_jobs(tmp_path: Path) -> None:
    at = Node(tmp_path, machine_part(tmp_path, "pinning: numad\nvcpus: 2"))
    assert needs_of(at.ask(at.draft().context)) == Needs(2, "default", 4, 2 * (512 + 256), None)
    for number, advised in enumerate([(0,), (1,)], 1):
        _, plan = at.settled(number, advised)
        assert {own.cell for own in plan.claim.memory} == set(advised)
        cores = {cpu: cell.id for cell in fakes.node_cells() for core in cell.cores for cpu in core}
        assert {cores[cpu] for cpu in plan.claim.cpus} == set(advised)


# --- what the child says that the job needs -------------------------------------------------------------------------


def answer(result: object) -> Answer:
    return read_answer(json.dumps({"findings": [], "sources": [], "result": result}).encode())


NETWORK = {"network": "default", "own": None}


@pytest.mark.parametrize(
    ("needs", "fine"),
    [
        ({**NETWORK, "vms": 1, "numad_vcpus": None, "numad_memory_mib": None}, True),
        ({**NETWORK, "vms": 256, "numad_vcpus": 65536, "numad_memory_mib": 2**30}, True),
        ({**NETWORK, "vms": 0, "numad_vcpus": None, "numad_memory_mib": None}, False),
        ({**NETWORK, "vms": 257, "numad_vcpus": None, "numad_memory_mib": None}, False),
        ({**NETWORK, "vms": -1, "numad_vcpus": None, "numad_memory_mib": None}, False),
        ({**NETWORK, "vms": True, "numad_vcpus": None, "numad_memory_mib": None}, False),
        ({**NETWORK, "vms": 1.0, "numad_vcpus": None, "numad_memory_mib": None}, False),
        ({**NETWORK, "vms": "1", "numad_vcpus": None, "numad_memory_mib": None}, False),
        ({**NETWORK, "vms": 1, "numad_vcpus": 1, "numad_memory_mib": None}, False),
        ({**NETWORK, "vms": 1, "numad_vcpus": 0, "numad_memory_mib": 1}, False),
        ({**NETWORK, "vms": 1, "numad_vcpus": 1, "numad_memory_mib": 2**30 + 1}, False),
        ({**NETWORK, "vms": 1, "numad_vcpus": "1; reboot", "numad_memory_mib": 1}, False),
        ({**NETWORK, "vms": 1}, False),
        ({"network": "a b", "own": None, "vms": 1, "numad_vcpus": None, "numad_memory_mib": None}, False),
        (None, False),
        ([], False),
    ],
)
def test_what_root_believes_of_needs(needs: object, fine: bool) -> None:
    if fine:
        check_needs(needs_of(answer({"needs": needs})))
    else:
        with pytest.raises(Fault, match=r"VT0914|VT0927"):
            check_needs(needs_of(answer({"needs": needs})))


@pytest.mark.parametrize("result", [None, {}, [], "needs", {"plan": {}, "files": []}])
def test_an_answer_that_does_not_say_it(result: object) -> None:
    with pytest.raises(Fault, match="VT0914"):
        needs_of(answer(result))
