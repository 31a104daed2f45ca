"""A NodePlan as a whole: what the node itself lacks, degradations, and two jobs one after the other."""

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings

from tests.placement.machines import DUAL, GIB, MIB, SMALL, classes, job, jobs, site_of
from tests.spec.helpers import MINIMAL, checked
from vtorque_spec.fault import Fault
from vtorque_spec.placement.node_plan import plan_node
from vtorque_spec.placement.nodes import node_of_class, node_of_context
from vtorque_spec.placement.preview import preview_context
from vtorque_spec.placement.shortage import Shortage
from vtorque_spec.plan import (
    CellMemory,
    Claim,
    ImageFiles,
    JobPlan,
    JobVm,
    NodeContext,
    NodePlan,
    copy_name,
    overlay_bytes,
)

FLAT: dict[str, Any] = {"cpus": 4, "memory": "8GiB", "vcpu": "thread"}


def plan(job: JobPlan, said: dict[str, Any], **context: Any) -> NodePlan | tuple[Shortage, ...]:
    """Plan a job on a node of a class; `context` replaces members of the NodeContext."""
    at = site_of({"thin": said})
    preview = preview_context(job, "thin", node_of_class(at, "thin"))
    node = dataclasses.replace(preview, **context)
    return plan_node(job, node, node_of_context(at, "thin", node))


def planned(job: JobPlan, said: dict[str, Any], **context: Any) -> NodePlan:
    found = plan(job, said, **context)
    assert isinstance(found, NodePlan), found
    return found


def of_job(said: str, **context: Any) -> NodePlan:
    return planned(checked(MINIMAL + said).job, FLAT, **context)


# --- two jobs on a node -----------------------------------------------------------------------------------------------


def both(one: Claim, other: Claim) -> Claim:
    held: dict[tuple[int, int], int] = {}
    for part in (*one.memory, *other.memory):
        held[part.cell, part.page_bytes] = held.get((part.cell, part.page_bytes), 0) + part.pages
    memory = tuple(CellMemory(cell, size, pages) for (cell, size), pages in sorted(held.items()))
    return Claim(tuple(sorted({*one.cpus, *other.cpus})), memory, ())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(classes(), jobs(), jobs())
def test_two_jobs_share_no_core_and_no_page(said: dict[str, Any], one: JobPlan, other: JobPlan) -> None:
    at = site_of({"thin": said})
    node = node_of_class(at, "thin")
    core_of = {cpu: core for cell in node.cells for core in cell.cores for cpu in core}
    for first, second in ((one, other), (other, one)):
        before = plan(first, said)
        if not isinstance(before, NodePlan):
            continue
        after = plan(second, said, taken=before.claim)
        event("both" if isinstance(after, NodePlan) else "one")
        if not isinstance(after, NodePlan):
            continue
        assert not {core_of[cpu] for cpu in before.claim.cpus} & {core_of[cpu] for cpu in after.claim.cpus}
        for held in both(before.claim, after.claim).memory:
            (cell,) = [cell for cell in node.cells if cell.id == held.cell]
            there = {1: cell.memory_bytes, **{pages.size_bytes: pages.count for pages in cell.hugepages}}
            assert held.pages <= there[held.page_bytes]
        again = plan(first, said, taken=Claim((), (), ()))
        assert again == before, "what the first job gets does not depend on the second one"


def test_the_second_job_gets_what_the_first_one_left() -> None:
    one, other = job(vcpus=8), job(vcpus=7)
    first = planned(one, DUAL)
    second = planned(other, DUAL, taken=first.claim)
    assert first.claim.cpus == (*range(8, 16), *range(24, 32))
    assert second.claim.cpus == (*range(1, 8), *range(17, 24))
    assert not isinstance(plan(job(), DUAL, taken=both(first.claim, second.claim)), NodePlan)


def test_the_host_keeps_its_cores_whatever_is_allotted() -> None:
    some = planned(job(vcpus=2), DUAL, allotted_cpus=(0, 1, 2, 3, 16, 17, 18, 19))
    assert some.host_cpus == (0, 16)
    assert some.claim.cpus == (1, 2, 17, 18)


def test_a_core_of_which_a_thread_is_not_allotted_is_no_vcpus_own() -> None:
    assert not isinstance(plan(job(vcpus=2), DUAL, allotted_cpus=(1, 2, 3, 17)), NodePlan)
    assert planned(job(), DUAL, allotted_cpus=(1, 2, 3, 17)).claim.cpus == (1, 17)


def test_a_count_of_slots_is_a_limit() -> None:
    assert planned(job(vcpus=2), DUAL, allotted_slots=4).claim.cpus
    short = plan(job(vcpus=3), DUAL, allotted_slots=4)
    assert not isinstance(short, NodePlan)
    assert short[0].code.id == "VT0401"


def test_numad_s_advice_restricts() -> None:
    numad = job("numad", vcpus=4)
    assert planned(numad, DUAL, advised_cells=(0,)).guests[0].machine.memory.nodeset == (0,)
    assert planned(numad, DUAL, advised_cells=(1,)).guests[0].machine.memory.nodeset == (1,)
    assert not isinstance(plan(job("numad", vcpus=8), DUAL, advised_cells=(0,)), NodePlan)
    assert planned(job("numad", vcpus=8), DUAL, advised_cells=(0, 1)).claim.cpus


# --- what the node itself lacks ---------------------------------------------------------------------------------------


def test_a_plan_names_the_owner_of_per_user_mounts() -> None:
    (shared,) = of_job("mounts: [home]\n").guests[0].machine.filesystems
    assert (shared.source, shared.target) == ("/home/user", "/home/user")
    assert shared.path == "/var/lib/vtorque/shares/0.preview/mount0"


def test_disks_of_the_first_vm_and_of_each() -> None:
    said = "vms_per_node: 2\ndisks: [{name: a, size: 2GiB, mount: /a}, {name: b, size: 3GiB, mount: /b, attach: all}]\n"
    first, second = of_job(said).guests
    assert [(disk.name, disk.target, disk.size_bytes) for disk in first.disks] == [
        ("a", "vdc", 2 * GIB),
        ("b", "vdd", 3 * GIB),
    ]
    assert [(disk.name, disk.target, disk.mount) for disk in second.disks] == [("b", "vdc", "/b")]
    assert [disk.file.rpartition("/")[2] for disk in first.machine.disks] == [
        "root.qcow2",
        "seed.iso",
        "vdc.raw",
        "vdd.raw",
    ]


def test_the_first_vm_is_on_the_first_node() -> None:
    said = "disks: [{name: a, size: 2GiB, mount: /a}]\n"
    elsewhere = JobVm("other", 0, "vother-0", None)
    (own,) = of_job(said, vms=(elsewhere, JobVm("generic", 0, "vgeneric-0", None))).guests
    assert own.disks == ()


def test_disks_have_io_threads_of_their_own() -> None:
    (guest,) = of_job("iocm: {min_cores: 2, max_cores: 2}\ndisks: [{name: a, size: 2GiB, mount: /a}]\n").guests
    assert [disk.iothread for disk in guest.machine.disks] == [1, None, 2]


def test_no_disk_is_mounted_inside_the_home() -> None:
    with pytest.raises(Fault, match="VT0313"):
        of_job("mounts: [home]\ndisks: [{name: a, size: 2GiB, mount: /home/user/a}]\n")


def test_an_ordinary_users_guest_has_no_mounts() -> None:
    with pytest.raises(Fault, match="VT0906"):
        of_job("mounts: [home]\n", lane="session")


@pytest.mark.parametrize("target", ["/home", "/home/user/inner", "/home/user"])
def test_no_mount_lies_inside_the_home(target: str) -> None:
    """A link in the home would lead the guest's root to mount it anywhere; where the home is, the node knows."""
    with pytest.raises(Fault, match="VT0313"):
        of_job(f"mounts: [home, {{name: home, target: {target}}}]\n")


def test_an_image_that_is_not_here() -> None:
    with pytest.raises(Fault, match="VT0502"):
        planned(SMALL, FLAT, images=())
    named = dataclasses.replace(SMALL, image=dataclasses.replace(SMALL.image, sha256="a" * 64))
    others = tuple(ImageFiles("debian-12", digit * 64, "/d", "qcow2", "/k", "/i") for digit in "bc")
    with pytest.raises(Fault, match=f"VT0503: .* digest {'b' * 64}, {'c' * 64}; the job needs {'a' * 64}"):
        planned(named, FLAT, images=others)
    meant = ImageFiles("debian-12", "a" * 64, "/d", "qcow2", "/k", "/i")
    assert planned(named, FLAT, images=(*others, meant)).image == meant


# --- degradations -----------------------------------------------------------------------------------------------------


def test_emulation_is_a_degradation_where_the_site_says_kvm() -> None:
    assert planned(SMALL, FLAT, virt="qemu").notes == ()  # at a site that says `any` nothing degrades
    strict = dataclasses.replace(SMALL, hypervisor="kvm")
    with pytest.raises(Fault, match="VT0907"):
        planned(strict, FLAT, virt="qemu")
    (note,) = planned(dataclasses.replace(strict, allow_degraded=("emulation",)), FLAT, virt="qemu").notes
    assert "emulated" in note


@pytest.mark.parametrize(
    "asked", [job(map=(9,)), job("compact", vcpus=4, memory_bytes=2 * GIB)], ids=["map", "compact"]
)
def test_pins_are_dropped_only_where_the_job_allows_it(asked: JobPlan) -> None:
    """`compact` finds no cell with four CPUs."""
    cells = [{"id": n, "cpus": f"{2 * n}-{2 * n + 1}", "memory": "4GiB"} for n in range(2)]
    said = {**FLAT, "cells": cells}
    assert not isinstance(plan(asked, said), NodePlan)
    found = planned(dataclasses.replace(asked, allow_degraded=("unpinned",)), said)
    pins = found.guests[0].machine.pins
    assert (pins.vcpus, pins.emulator) == ((), ())
    assert len(pins.cpuset) == asked.vcpus
    assert "not pinned" in found.notes[0]


def test_other_shortages_stay_shortages() -> None:
    found = plan(job(map=(9,), vcpus=9, allow_degraded=("unpinned",)), FLAT)
    assert not isinstance(found, NodePlan)


def test_where_the_pins_fit_nothing_is_dropped() -> None:
    found = planned(job(vcpus=2, allow_degraded=("unpinned",)), FLAT)
    assert found.notes == ()
    assert len(found.guests[0].machine.pins.vcpus) == 2


def test_a_context_of_any_order_gives_the_same_plan() -> None:
    at = site_of({"thin": DUAL})
    preview = preview_context(SMALL, "thin", node_of_class(at, "thin"))
    turned: NodeContext = dataclasses.replace(preview, allotted_cpus=tuple(reversed(preview.allotted_cpus)))
    plans = [plan_node(SMALL, one, node_of_context(at, "thin", one)) for one in (preview, turned)]
    assert plans[0] == plans[1]


# --- root disks -------------------------------------------------------------------------------------------------------

BASE_BYTES = overlay_bytes(GIB)
"""The image of the local site has a disk of 1 GiB."""


@pytest.mark.parametrize(
    ("backing", "place", "memory_bytes"),
    [("local", "/var/lib/vtorque/bases/", 0), ("ram", "/var/lib/vtorque/jobs/0.preview/base/", BASE_BYTES)],
)
def test_what_is_below_a_root_disk(backing: str, place: str, memory_bytes: int) -> None:
    """All VMs of a node have one below them; memory counts it once, and each overlay is promised disk space."""
    said = "vms_per_node: 2\nroot_disk: {{backing: {}, size: 2GiB}}\n"
    found, shared = of_job(said.format(backing)), of_job(said.format("shared"))
    assert (found.backing, found.base_memory_bytes) == (backing, memory_bytes)
    assert {guest.machine.disks[0].backing for guest in found.guests} == {place + copy_name(found.image)}
    assert {guest.machine.disks[0].backing for guest in shared.guests} == {found.image.disk}
    ordinary = [sum(own.pages for own in one.claim.memory if own.page_bytes == 1) for one in (found, shared)]
    assert 0 <= ordinary[0] - ordinary[1] - memory_bytes <= 2 * MIB
    assert found.claim.disk_bytes == shared.claim.disk_bytes == 2 * (overlay_bytes(2 * GIB) + 128 * MIB)


def test_an_ordinary_user_has_no_image_in_memory() -> None:
    with pytest.raises(Fault, match=r"VT0906.*`backing: ram`"):
        of_job("root_disk: {backing: ram}\n", lane="session")
    assert of_job("root_disk: {backing: local}\n", lane="session").backing == "local"


def test_on_a_node_without_disks_they_are_claimed_as_memory() -> None:
    job = checked(MINIMAL + "root_disk: {size: 2GiB}\n").job
    found = planned(job, {**FLAT, "diskless": True}, diskless=True)
    assert sum(own.pages for own in found.claim.memory) >= job.memory_bytes + found.claim.disk_bytes
