"""What guests are told of any placement: pins, claim, memory and NUMA cells, whatever the machine and the job."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.placement.machines import DUAL, GIB, MIB, classes, job, jobs, node_of
from vtorque_spec.placement.demand import beside_bytes
from vtorque_spec.placement.fit import Placed, place
from vtorque_spec.placement.guests import GuestPlace, claim, guest_places, io_cores
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.plan import CellMemory, Claim, CpuTopology, IoCores, JobPlan

MANY = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@dataclass(frozen=True)
class Told:
    """A placement and all that is made of it."""

    placed: Placed
    io: IoCores
    guests: tuple[GuestPlace, ...]
    claim: Claim


def told(job: JobPlan, node: HostNode, disks: int = 1) -> Told | None:
    """None where the job does not fit."""
    placed = place(job, node)
    if not isinstance(placed, Placed):
        return None
    return Told(placed, io_cores(job, node, placed), guest_places(job, node, placed, disks), claim(job, node, placed))


@st.composite
def allotted(draw: st.DrawFn) -> HostNode:
    """A node of which the job may have some CPUs only, and another job holds some."""
    node = node_of(draw(classes()))
    cpus = [cpu for cell in node.cells for core in cell.cores for cpu in core]
    some = tuple(sorted(draw(st.sets(st.sampled_from(cpus), min_size=1)))) if draw(st.booleans()) else node.allotted
    held = tuple(sorted(draw(st.sets(st.sampled_from(cpus), max_size=3))))
    memory = tuple(CellMemory(cell.id, 1, draw(st.integers(0, cell.memory_bytes // 4))) for cell in node.cells)
    return replace(node, allotted=some, slots=len(some), taken=Claim(held, memory, ()))


def core_of(node: HostNode) -> dict[int, tuple[int, ...]]:
    return {cpu: core for cell in node.cells for core in cell.cores for cpu in core}


def whole(node: HostNode, cpus: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The cores that CPUs are of."""
    cores = core_of(node)
    return {cores[cpu] for cpu in cpus}


@MANY
@given(allotted(), jobs())
def test_all_lies_in_what_the_job_may_use(node: HostNode, job: JobPlan) -> None:
    found = told(job, node)
    event("fits" if found else "does not fit")
    if found is None:
        return
    may = set(node.allotted).difference(node.host_cpus, node.taken.cpus)
    io = {cpu for core in found.io.cores for cpu in core}
    assert set(found.claim.cpus) <= may
    assert io <= set(found.claim.cpus)
    for guest in found.guests:
        pins = {cpu for one in guest.pins.vcpus for cpu in one}
        threads = {cpu for one in guest.pins.iothreads for cpu in one}
        assert pins | threads | set(guest.pins.emulator) | set(guest.pins.cpuset) <= set(found.claim.cpus)
        assert guest.pins.cpuset
        assert not io & (pins | set(guest.pins.cpuset))


@MANY
@given(allotted(), jobs())
def test_no_core_has_two_owners(node: HostNode, job: JobPlan) -> None:
    found = told(job, node)
    if found is None:
        return
    own = [whole(node, guest.pins.cpuset) for guest in found.guests]
    io = set(found.io.cores)
    if job.pinning.mode == "none":
        assert all(one == own[0] for one in own)
        own = own[:1]
    assert len(set().union(io, *own)) == len(io) + sum(map(len, own))
    claimed = set(found.claim.cpus)
    usable = set(node.allotted).difference(node.host_cpus, node.taken.cpus)
    for core in set().union(io, *own):
        assert set(core) & usable <= claimed, "a core is claimed with all its threads"
    assert whole(node, found.claim.cpus) == set().union(io, *own)


@MANY
@given(allotted(), jobs())
def test_each_vcpu_has_a_cpu_and_each_thread_a_place(node: HostNode, job: JobPlan) -> None:
    found = told(job, node, disks=2)
    if found is None:
        return
    active = {cpu for core in found.io.cores[: job.iocm.min_cores] for cpu in core}
    assert len(found.io.cores) == job.iocm.max_cores
    for guest in found.guests:
        pinned = job.pinning.mode != "none"
        assert len(guest.pins.vcpus) == (job.vcpus if pinned else 0)
        assert len(set(guest.pins.vcpus)) == len(guest.pins.vcpus)
        assert set(guest.pins.emulator) == (active or (set(guest.pins.cpuset) if pinned else set()))
        assert len(guest.pins.iothreads) == min(job.iocm.max_cores, 2)
        for thread in guest.pins.iothreads:
            assert set(thread) <= (active or set(guest.pins.cpuset))
        built = guest.topology
        assert built.sockets * built.cores * built.threads == job.vcpus
        assert guest.queues == (job.vcpus if job.iocm.max_cores else None)


@MANY
@given(allotted(), jobs())
def test_memory_adds_up_in_every_cell(node: HostNode, job: JobPlan) -> None:
    """The guest has just its memory; the claim has all of it, rounded up to pages; no cell gives more than it has."""
    found = told(job, node)
    if found is None:
        return
    page = found.placed.demand.page_bytes
    room = {cell.id: cell for cell in node.for_engine().cells}
    for held in found.claim.memory:
        cell = room[held.cell]
        if held.page_bytes > 1 or job.pinning.mode != "none":
            assert held.pages <= (cell.memory_bytes if held.page_bytes == 1 else cell.hugepages[held.page_bytes])
    least = job.vms_per_node * (beside_bytes(job, node) if page else job.memory_bytes + beside_bytes(job, node))
    ordinary = sum(held.pages for held in found.claim.memory if held.page_bytes == 1)
    assert least <= ordinary < least + job.vms_per_node * MIB
    if page:
        assert sum(h.pages for h in found.claim.memory if h.page_bytes == page) * page == (
            job.vms_per_node * job.memory_bytes
        )
    for guest in found.guests:
        assert guest.memory.size_bytes == job.memory_bytes
        assert guest.memory.page_bytes == page
        assert set(guest.memory.nodeset) <= {held.cell for held in found.claim.memory}


@MANY
@given(classes(), jobs(), st.integers(0, 99))
def test_guest_cells_mirror_the_hosts(said: dict[str, Any], job: JobPlan, share: int) -> None:
    """Mostly one VM that has so many hundredths of the node's memory, often more than a cell has."""
    node = node_of(said)
    if share > 30:
        there = sum(cell.memory_bytes - MIB for cell in node.for_engine().cells) - beside_bytes(job, node)
        job = replace(job, vms_per_node=1, hugepages="none", memory_bytes=max(1, there * share // 100))
    found = told(job, node)
    if found is None:
        return
    place_of = {cell.id: at for at, cell in enumerate(node.cells)}
    for guest in found.guests:
        cells = guest.memory.cells
        assert len(cells) != 1
        event(f"{len(cells)} cells")
        if not cells:
            continue
        hosts = [cell.host_cell for cell in cells]
        assert hosts == sorted(set(hosts))
        assert set(hosts) <= set(guest.memory.nodeset)
        assert sum(cell.memory_bytes for cell in cells) == job.memory_bytes
        assert all(cell.memory_bytes > 0 for cell in cells)
        page = found.placed.demand.page_bytes
        assert not page or all(cell.memory_bytes % page == 0 for cell in cells)
        assert sorted(vcpu for cell in cells for vcpu in cell.vcpus) == list(range(job.vcpus))
        for cell in cells:
            there = node.cells[place_of[cell.host_cell]]
            home = {cpu for core in there.cores for cpu in core}
            mine = [vcpu for vcpu, (cpu,) in enumerate(guest.pins.vcpus) if cpu in home]
            assert set(mine) <= set(cell.vcpus), "a vCPU is in the cell that its CPU is in"
            if there.distances:
                assert cell.distances == tuple(there.distances[place_of[other]] for other in hosts)


def test_a_guest_across_two_cells() -> None:
    """One guest that no cell holds."""
    found = told(job(vcpus=14, memory_bytes=60 * GIB), node_of(DUAL))
    assert found is not None
    (guest,) = found.guests
    assert guest.memory.nodeset == (0, 1)
    assert [cell.host_cell for cell in guest.memory.cells] == [0, 1]
    assert [cell.distances for cell in guest.memory.cells] == [(10, 21), (21, 10)]
    assert [cell.vcpus for cell in guest.memory.cells] == [tuple(range(7)), tuple(range(7, 14))]
    assert guest.topology == CpuTopology(2, 7, 1)


def test_memory_lies_where_the_vcpus_are_though_one_cell_could_hold_it() -> None:
    """Seven free cores in the first cell and eight in the second: the guest has its memory in proportion."""
    asked = job(vcpus=15, memory_bytes=15 * GIB)
    found = told(asked, node_of(DUAL))
    assert found is not None
    first, second = found.guests[0].memory.cells
    assert [len(cell.vcpus) for cell in (first, second)] == [7, 8]
    assert [round(cell.memory_bytes / GIB) for cell in (first, second)] == [7, 8]
    assert first.memory_bytes + second.memory_bytes == asked.memory_bytes
    laid = {held.cell: held.pages for held in found.claim.memory}
    assert laid[1] / laid[0] == pytest.approx(8 / 7, rel=0.001)


def test_siblings_are_siblings_in_the_guest() -> None:
    found = told(job(vcpus=8), node_of({**DUAL, "vcpu": "thread"}))
    assert found is not None
    assert found.guests[0].topology == CpuTopology(1, 4, 2)
    assert [pin[0] for pin in found.guests[0].pins.vcpus][:2] == [1, 17]
    odd = told(job(vcpus=7), node_of({**DUAL, "vcpu": "thread"}))
    assert odd is not None
    assert odd.guests[0].topology == CpuTopology(1, 7, 1)


def test_io_cores_are_near_the_adapter_and_serve_it() -> None:
    found = told(job(vcpus=2, io=(1, 2)), node_of(DUAL), disks=3)
    assert found is not None
    assert found.io.cores == ((8, 24), (9, 25))
    assert found.io.nics == ("mlx5_0",)
    (guest,) = found.guests
    assert guest.pins.emulator == (8, 24)
    assert guest.pins.iothreads == ((8, 24), (8, 24))


def test_the_io_core_next_to_the_adapter_works_first() -> None:
    """The adapter's cell has room for one of them; the other one has a lower number, and waits."""
    cells = [DUAL["cells"][0], {**DUAL["cells"][1], "cpus": "8,24", "siblings": "8+24"}]
    found = told(job(io=(1, 2)), node_of({**DUAL, "cpus": 16, "cells": cells}))
    assert found is not None
    near, far = found.io.cores
    assert near == (8, 24)
    assert far < near
    assert found.guests[0].pins.emulator == near


def test_io_threads_share_the_guests_cores_where_none_works_from_the_start() -> None:
    found = told(job(vcpus=2, io=(0, 1)), node_of(DUAL))
    assert found is not None
    (guest,) = found.guests
    assert guest.pins.iothreads == (guest.pins.cpuset,)
    assert guest.pins.emulator == guest.pins.cpuset


def test_the_io_manager_of_another_kernel_pins_for_itself() -> None:
    """It takes the lowest of the job's cores, wherever the adapter is."""
    asked = job("none", vcpus=2, io=(1, 2), exclusive=True)
    found = told(replace(asked, iocm=replace(asked.iocm, mode="skvm")), node_of(DUAL))
    assert found is not None
    (guest,) = found.guests
    assert (guest.pins.vcpus, guest.pins.emulator, guest.pins.iothreads) == ((), (), ())
    assert len(found.io.cores) == 2
    assert max(cpu for cpu, _ in found.io.cores) < min(guest.pins.cpuset)


def test_huge_pages_of_the_size_that_fits() -> None:
    """`any` takes pages of 1 GiB where they suffice, else those of 2 MiB; they are in different cells here."""
    first = told(job(hugepages="any", memory_bytes=16 * GIB), node_of(DUAL))
    assert first is not None
    assert first.guests[0].memory.page_bytes == GIB
    assert first.guests[0].memory.nodeset == (0,)
    second = told(job(hugepages="any", memory_bytes=16 * GIB, vms_per_node=1, vcpus=1), node_of(
        {**DUAL, "cells": [{**DUAL["cells"][0], "hugepages": {"1GiB": 15}},
                           {**DUAL["cells"][1], "hugepages": {"2MiB": 8192}}]}
    ))  # fmt: skip
    assert second is not None
    assert second.guests[0].memory.page_bytes == 2 * MIB
    assert second.guests[0].memory.nodeset == (1,)


def test_what_qemu_has_beside_huge_pages_is_claimed_where_the_guest_lies() -> None:
    """Its cells are all that QEMU may take memory from, though another one has more."""
    found = told(job(hugepages="1GiB", memory_bytes=8 * GIB), node_of(DUAL))
    assert found is not None
    assert found.claim.memory == (CellMemory(0, 1, 256 * MIB), CellMemory(0, GIB, 8))


def test_memory_is_locked_where_the_site_says_so() -> None:
    for said in (True, False):
        found = told(job(), node_of({**DUAL, "lock_memory": said}))
        assert found is not None
        assert found.guests[0].memory.locked is said
