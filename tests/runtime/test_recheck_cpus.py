"""Root lets no guest run where its plan and its node do not agree: one defect each, and the words that name it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.runtime import fakes
from tests.runtime.fakes import GIB
from vtorque_runtime.recheck import recheck
from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    MIB,
    CellMemory,
    Claim,
    CpuTopology,
    GuestCell,
    GuestMemory,
    Machine,
    NodeContext,
    NodePlan,
)

Change = Callable[[NodePlan], NodePlan]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> NodeContext:
    """A node on which another job holds core 7 and 4 GiB in either cell."""
    with fakes.reserved(tmp_path_factory.mktemp("spool"), vms=2) as reserved:
        others = Claim((7, 23), (CellMemory(0, 1, 4 * GIB), CellMemory(1, 1, 4 * GIB)), ("0000:81:00.0",))
        return replace(reserved.context, taken=others)


def honest(context: NodeContext) -> NodePlan:
    """Two guests, each with two cores, and two I/O cores of which one works."""
    return fakes.plan(context, io_cores=2)


def plan(**changes: Any) -> Change:
    return lambda found: replace(found, **changes)


def machine(**changes: Any) -> Change:
    return lambda found: fakes.with_machine(found, **changes)


def pins(**changes: Any) -> Change:
    return lambda found: machine(pins=replace(found.guests[0].machine.pins, **changes))(found)


def claimed(change: Callable[[NodePlan], NodePlan]) -> Change:
    """Another plan, its claim made anew: only what the plan says is wrong, not that it is not claimed."""

    def changed(found: NodePlan) -> NodePlan:
        other = change(found)
        return replace(other, claim=fakes.claimed(other.guests, other.io))

    return changed


def placed(**changes: Any) -> Change:
    """The first guest elsewhere, and that claimed."""

    def change(found: NodePlan) -> NodePlan:
        first = found.guests[0]
        own = replace(first.machine.pins, **changes)
        return replace(found, guests=(replace(first, machine=replace(first.machine, pins=own)), *found.guests[1:]))

    return claimed(change)


def io(**changes: Any) -> Change:
    return claimed(lambda found: replace(found, io=replace(found.io, **changes)))


def memory(**changes: Any) -> Change:
    return lambda found: machine(memory=replace(found.guests[0].machine.memory, **changes))(found)


def held(*parts: CellMemory, **changes: Any) -> Change:
    changes |= {"memory": parts} if parts else {}
    return lambda found: plan(claim=replace(found.claim, **changes))(found)


def on(first: int) -> dict[str, Any]:
    """Pins on two cores from `first` on."""
    return {
        "vcpus": ((first,), (first + 1,)),
        "cpuset": (first, first + 1, first + 16, first + 17),
    }


CELLS = (GuestCell(0, (0,), GIB // 2, ()), GuestCell(1, (1,), GIB // 2, ()))
SPREAD = GuestMemory(GIB, (0, 1), CELLS, None, False)
TWO_GIB = CellMemory(0, 1, 2 * GIB)

LIES: dict[str, tuple[Change, str]] = {
    "a core of another job": (placed(**on(6)), "another job's"),
    "the host's core": (placed(**on(0)), "the host's"),
    "a CPU that is not there": (placed(**on(31)), "not allotted"),
    "the emulator on a core of its own": (placed(emulator=(10,)), "neither on I/O"),
    "the emulator on another job's": (placed(emulator=(7,)), "another job's"),
    "an I/O thread on another job's": (placed(iothreads=((8, 24), (7,))), "another job's"),
    "a core of the other guest": (placed(**on(3)), "share a core"),
    "a thread of a core of the other guest": (
        placed(vcpus=((1,), (19,)), cpuset=(1, 2, 17, 18, 19), emulator=(1,)),
        "share a core",
    ),
    "a guest on an I/O core": (placed(**on(8)), "I/O"),
    "an I/O core of the host": (io(cores=((0, 16),)), "the host's"),
    "an I/O core of another job": (io(cores=((7, 23), (9, 25))), "another job's"),
    "an I/O core twice": (io(cores=((8, 24), (8, 24))), "twice"),
    "half an I/O core": (io(cores=((8,), (9, 25))), "no core of the node"),
    "more I/O cores at work than there are": (io(min_cores=3), "more I/O cores"),
    "an adapter that is not there": (io(nics=("eth0", "../mlx5_0")), "does not have"),
    "fewer than none": (io(min_cores=-1), "more I/O cores"),
    "a host with half a core": (plan(host_cpus=(0,)), "the host's own CPUs"),
    "a host without a core": (plan(host_cpus=()), "the host's own CPUs"),
    "a host on a CPU that is not there": (plan(host_cpus=(99999,)), "the host's own CPUs"),
    "a core claimed that nobody uses": (held(cpus=(1, 2, 3, 4, 5, 8, 9, 17, 18, 19, 20, 24, 25)), "claimed CPUs"),
    "a core not claimed": (held(cpus=(1, 3, 4, 8, 9, 17, 19, 20, 24, 25)), "claimed CPUs"),
    "a thread not claimed": (held(cpus=(1, 2, 3, 4, 8, 9, 17, 18, 19, 24, 25)), "claimed CPUs"),
    "nothing claimed": (held(cpus=()), "claimed CPUs"),
    "a vCPU without a pin": (pins(vcpus=((1,),)), "not every vCPU"),
    "a vCPU on no CPU": (pins(vcpus=((1,), ())), "to no CPU"),
    "two vCPUs on one CPU": (pins(vcpus=((1,), (1,))), "to one CPU"),
    "a vCPU outside of its CPUs": (pins(cpuset=(1, 17)), "outside of its guest's"),
    "no CPU": (pins(vcpus=(), cpuset=()), "on no CPU"),
    "the emulator on a vCPU's and an I/O core": (pins(emulator=(1, 8)), "neither on I/O"),
    "a disk on an I/O thread that is not there": (
        lambda found: machine(disks=tuple(replace(d, iothread=3) for d in found.guests[0].machine.disks))(found),
        "I/O thread that is not there",
    ),
    "a disk on I/O thread 0": (
        lambda found: machine(disks=tuple(replace(d, iothread=0) for d in found.guests[0].machine.disks))(found),
        "I/O thread that is not there",
    ),
    "too many vCPUs for the topology": (machine(topology=CpuTopology(1, 3, 1)), "topology"),
    "a topology turned round": (machine(topology=CpuTopology(-1, -2, 1)), "topology"),
    "no queue": (machine(nic_queues=0), "1 to 2 queues"),
    "more queues than vCPUs": (machine(nic_queues=3), "1 to 2 queues"),
    "a disk of more queues than vCPUs": (
        lambda found: machine(disks=tuple(replace(d, queues=3) for d in found.guests[0].machine.disks))(found),
        "1 to 2 queues",
    ),
    "no vCPU": (machine(vcpus=0, topology=CpuTopology(0, 0, 0)), "no vCPU"),
    "no memory": (memory(size_bytes=0), "no memory"),
    "more memory than claimed": (memory(size_bytes=3 * GIB), "less than the memory"),
    "memory in a cell that is not there": (memory(nodeset=(2,)), "does not name"),
    "memory in a cell that is not claimed": (memory(nodeset=(0, 1)), "does not name"),
    "huge pages that are not claimed": (memory(page_bytes=GIB), "does not name"),
    "more claimed than a cell has": (held(CellMemory(0, 1, 9 * GIB)), "more than the memory"),
    "what another job holds": (held(CellMemory(0, 1, 4 * GIB + 1)), "more than the memory"),
    "a claim in a cell that is not there": (held(TWO_GIB, CellMemory(2, 1, GIB)), "does not have"),
    "a claim of pages that are not there": (held(TWO_GIB, CellMemory(0, 4096, 1)), "does not have"),
    "too many huge pages": (held(TWO_GIB, CellMemory(0, GIB, 3)), "more than the memory"),
    "a claim of nothing": (held(TWO_GIB, CellMemory(1, 1, 0)), "without memory"),
    "a claim twice": (held(CellMemory(0, 1, GIB), CellMemory(0, 1, 2 * GIB)), "twice"),
    "less claimed than used": (held(CellMemory(0, 1, GIB)), "less than the memory"),
    "a device that is not there": (held(devices=("eth0", "/dev/sda")), "device that the node does not have"),
    "a device twice": (held(devices=("eth0", "eth0")), "device twice"),
    "pages of one byte": (memory(page_bytes=1), "no size"),
    "another job's device": (held(devices=("0000:81:00.0",)), "device of another job"),
    "guest cells with other memory": (
        memory(nodeset=(0,), cells=(replace(CELLS[0], vcpus=(0, 1)),)),
        "other memory than the guest",
    ),
    "guest cells with a vCPU twice": (
        memory(nodeset=(0,), cells=(replace(CELLS[0], vcpus=(0, 0), memory_bytes=GIB),)),
        "other vCPUs than the guest",
    ),
    "guest cells of which one has no distances": (
        memory(nodeset=(0,), cells=(replace(CELLS[0], distances=(10, 21)), replace(CELLS[1], host_cell=0))),
        "a distance to every one",
    ),
    "a guest cell with a distance too few": (
        memory(nodeset=(0,), cells=(CELLS[0], replace(CELLS[1], host_cell=0, distances=(10,)))),
        "a distance to every one",
    ),
    "a guest cell outside of its memory": (
        memory(nodeset=(0,), cells=(CELLS[0], CELLS[1])),
        "outside its memory",
    ),
}


def test_an_honest_bundle_passes(context: NodeContext) -> None:
    recheck(honest(context), context, fakes.site())
    recheck(fakes.plan(context), context, fakes.site())


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(context: NodeContext, lie: str) -> None:
    change, words = LIES[lie]
    with pytest.raises(Fault, match=f"VT0912.*{words}"):
        recheck(change(honest(context)), context, fakes.site())


def test_cells_of_the_guest_and_huge_pages(context: NodeContext) -> None:
    """The first guest's memory lies in both cells, the second one's in huge pages."""
    found = fakes.plan(context)
    first, second = found.guests
    first = replace(first, machine=replace(first.machine, memory=SPREAD))
    pages = GuestMemory(GIB, (1,), (), 2 * MIB, False)
    second = replace(second, machine=replace(second.machine, memory=pages))
    parts = (CellMemory(0, 1, GIB), CellMemory(1, 1, GIB), CellMemory(1, 2 * MIB, 512))
    both = replace(found, guests=(first, second), claim=replace(found.claim, memory=parts))
    recheck(both, context, fakes.site())
    less = replace(both, claim=replace(found.claim, memory=(*parts[:2], CellMemory(1, 2 * MIB, 511))))
    with pytest.raises(Fault, match="less than the memory"):
        recheck(less, context, fakes.site())


def test_guests_that_float_share_their_cores_with_nobody_else(context: NodeContext) -> None:
    """Unpinned guests of one job may share; its I/O cores are still apart."""
    found = honest(context)

    def floating(machine: Machine) -> Machine:
        own = replace(machine.pins, vcpus=(), emulator=(), cpuset=(1, 2, 17, 18))
        return replace(machine, pins=own)

    guests = tuple(replace(guest, machine=floating(guest.machine)) for guest in found.guests)
    claim = fakes.claimed(guests, found.io)
    recheck(replace(found, guests=guests, claim=claim), context, fakes.site())
    pinned = (guests[0], found.guests[1])
    recheck(replace(found, guests=pinned, claim=fakes.claimed(pinned, found.io)), context, fakes.site())
    clash = (found.guests[0], guests[1])
    with pytest.raises(Fault, match="share a core"):
        recheck(replace(found, guests=clash, claim=fakes.claimed(clash, found.io)), context, fakes.site())


def test_a_part_of_a_core_is_what_was_allotted(context: NodeContext) -> None:
    """A batch system that gives out threads gave the second one of core 2 to nobody of ours."""
    allotted = tuple(cpu for cpu in range(32) if cpu != 18)
    found = fakes.plan(replace(context, allotted_cpus=allotted))
    with pytest.raises(Fault, match="not allotted"):
        recheck(found, replace(context, allotted_cpus=allotted), fakes.site())
    first = found.guests[0]
    own = replace(first.machine.pins, emulator=(1, 2, 17), cpuset=(1, 2, 17))
    guests = (replace(first, machine=replace(first.machine, pins=own)), found.guests[1])
    claim = fakes.claimed(guests, found.io)
    assert 18 not in claim.cpus
    recheck(replace(found, guests=guests, claim=claim), replace(context, allotted_cpus=allotted), fakes.site())


def test_all_claimed_memory_is_within_the_allotment(context: NodeContext) -> None:
    """To the MiB for each guest, in which the claim counts."""
    found = honest(context)
    claimed = sum(own.pages * own.page_bytes for own in found.claim.memory)
    recheck(found, replace(context, allotted_memory_bytes=claimed - 2 * MIB + 1), fakes.site())
    with pytest.raises(Fault, match="claims more memory than it was allotted"):
        recheck(found, replace(context, allotted_memory_bytes=claimed - 2 * MIB), fakes.site())
    pages = (*found.claim.memory, CellMemory(1, GIB, 2))
    with pytest.raises(Fault, match="claims more memory than it was allotted"):
        recheck(held(*pages)(found), replace(context, allotted_memory_bytes=3 * GIB), fakes.site())


@pytest.mark.parametrize(("slot", "slots"), [("core", 6), ("thread", 12)])
def test_all_cores_are_within_the_slots(context: NodeContext, slot: Literal["core", "thread"], slots: int) -> None:
    counted = replace(context, slot=slot, allotted_slots=slots)
    recheck(honest(counted), counted, fakes.site())
    fewer = replace(counted, allotted_slots=slots - 1)
    with pytest.raises(Fault, match=f"uses {slots} slots, and was allotted {slots - 1}"):
        recheck(honest(fewer), fewer, fakes.site())


def test_the_spool_fixture_left_nothing(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path, vms=2) as reserved:
        assert len(reserved.context.slots) == 2
    assert not reserved.spool.path.exists()
