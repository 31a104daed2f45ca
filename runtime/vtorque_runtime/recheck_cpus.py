"""Root's own check of who gets which CPUs and memory: the plan against the node.

It knows nothing of how a place is chosen. A core belongs to the host, to the job's I/O or to one guest; nobody gets
what another job holds or what the batch system gave to another.
"""

from collections import Counter
from math import prod

from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, Guest, GuestMemory, Machine, NodeContext, NodePlan

HINT = "this is a fault in vtorque or an attack, never in the job file"

QUEUES_LIMIT = 16
"""Of a disk or a card: more cost memory and gain nothing."""

Cpus = frozenset[int]


def check_cpus(plan: NodePlan, context: NodeContext) -> None:
    """Raise Fault VT0912 unless the CPUs of the plan are the job's to use and its claim is what they need."""
    core_of = {cpu: frozenset(core) for cell in context.cells for core in cell.cores for cpu in core}
    host, io = frozenset(plan.host_cpus), frozenset(cpu for core in plan.io.cores for cpu in core)
    free = frozenset(context.allotted_cpus) & core_of.keys() - host - frozenset(context.taken.cpus)
    require(plan.host_cpus == context.host_cpus, "the host's own CPUs are not those that the site keeps for it")
    require(all(frozenset(core) in core_of.values() for core in plan.io.cores), "an I/O core is no core of the node")
    require(len(io) == sum(map(len, plan.io.cores)), "an I/O core is there twice")
    require(0 <= plan.io.min_cores <= len(plan.io.cores), "more I/O cores work than there are")
    adapters = {device.name for device in context.devices if device.kind in ("nic", "hca")}
    require(adapters.issuperset(plan.io.nics), "the I/O cores are to serve an adapter that the node does not have")
    used = io.union(*map(_used, plan.guests))
    require(used <= free, "the job is to use CPUs that it was not allotted, or that are the host's or another job's")
    every = [guest.machine.pins for guest in plan.guests]
    for pins in every:
        places = (pins.emulator, *pins.iothreads)
        fine = all(io.issuperset(place) or set(pins.cpuset).issuperset(place) for place in places)
        require(fine, "QEMU's own threads are to run neither on I/O cores nor on their guest's")
    owned = [_whole(frozenset(pins.cpuset), core_of) for pins in every if pins.vcpus]
    floating = [pins.cpuset for pins in every if not pins.vcpus]  # these may share cores
    owned += [io, _whole(frozenset().union(*floating), core_of)]
    require(len(frozenset().union(*owned)) == sum(map(len, owned)), "two guests, or a guest and the I/O, share a core")
    need = _whole(used, core_of) & free
    require(plan.claim.cpus == tuple(sorted(need)), "the claimed CPUs are not those of the cores that the job uses")
    slots = len(need if context.slot == "thread" else {core_of[cpu] for cpu in need})
    allotted = slots if context.allotted_slots is None else context.allotted_slots
    require(slots <= allotted, f"the job uses {slots} slots, and was allotted {allotted}")


def check_machine(machine: Machine) -> None:
    """Raise Fault VT0912 unless every vCPU and I/O thread of a guest has a place, and they agree with its cells."""
    pins, shape, memory = machine.pins, machine.topology, machine.memory
    require(machine.vcpus >= 1, "a guest has no vCPU")
    sizes = (shape.sockets, shape.cores, shape.threads)
    require(min(sizes) >= 1 and prod(sizes) == machine.vcpus, "a guest's topology has other vCPUs than it")
    queues = [machine.nic_queues, *(disk.queues for disk in machine.disks if disk.queues is not None)]
    most = min(machine.vcpus, QUEUES_LIMIT)
    require(all(1 <= count <= most for count in queues), f"a disk or a card of a guest has not 1 to {most} queues")
    require(len(pins.vcpus) in (0, machine.vcpus), "not every vCPU of a guest has a pin")
    require(all((*pins.vcpus, *pins.iothreads)), "a thread of a guest is pinned to no CPU")
    pinned = [cpu for cpus in pins.vcpus for cpu in cpus]
    require(len(pinned) == len(set(pinned)), "two vCPUs of a guest are pinned to one CPU")
    require(set(pinned) <= set(pins.cpuset), "a vCPU is pinned outside of its guest's CPUs")
    require(bool(pins.cpuset), "a guest may run on no CPU")
    threads = [disk.iothread for disk in machine.disks if disk.iothread is not None]
    require(
        all(1 <= number <= len(pins.iothreads) for number in threads), "a disk names an I/O thread that is not there"
    )
    _check_guest_cells(memory, machine.vcpus)


def check_memory(plan: NodePlan, context: NodeContext) -> None:
    """Raise Fault VT0912 unless all memory lies in cells that are there and have it, and the claim covers it."""
    room = {(cell.id, 1): cell.memory_bytes for cell in context.cells}
    room |= {(cell.id, size.size_bytes): size.count for cell in context.cells for size in cell.hugepages}
    held = {(own.cell, own.page_bytes): own.pages for own in plan.claim.memory}
    gone = {(own.cell, own.page_bytes): own.pages for own in context.taken.memory}
    require(len(held) == len(plan.claim.memory), "the claim names one kind of memory twice")
    require(min(held.values(), default=1) > 0, "the claim has a part without memory")
    require(held.keys() <= room.keys(), "the claim names memory that the node does not have")
    fits = all(pages <= room[place] - gone.get(place, 0) for place, pages in held.items())
    require(fits, "the claim is more than the memory of a cell, less what other jobs hold")
    in_spool = plan.claim.disk_bytes if context.diskless else 0
    needs: Counter[int] = Counter({1: plan.base_memory_bytes + in_spool})
    for memory in (guest.machine.memory for guest in plan.guests):
        require(memory.size_bytes > 0, "a guest has no memory")
        require(memory.page_bytes is None or memory.page_bytes > 1, "a guest's pages have no size")
        needs[memory.page_bytes or 1] += memory.size_bytes
        cells = {cell for cell, size in held if size == (memory.page_bytes or 1)}
        require(cells.issuperset(memory.nodeset), "a guest's memory is to lie in a cell that the claim does not name")
    for size, need in needs.items():
        claimed = sum(pages * size for (_, of), pages in held.items() if of == size)
        require(claimed >= need, "the claim is less than the memory of the guests and of their files in memory")
    whole = sum(pages * size for (_, size), pages in held.items())
    rounding = MIB * len(plan.guests)  # the claim counts a guest's memory in whole MiB
    require(whole < context.allotted_memory_bytes + rounding, "the job claims more memory than it was allotted")


def check_devices(claimed: tuple[str, ...], context: NodeContext) -> None:
    """Raise Fault VT0912 unless the devices are the node's and no other job's."""
    require(len(set(claimed)) == len(claimed), "the claim names a device twice")
    require(set(claimed).isdisjoint(context.taken.devices), "the claim names a device of another job")
    there = {device.name for device in context.devices}
    require(there.issuperset(claimed), "the claim names a device that the node does not have")


def _check_guest_cells(memory: GuestMemory, vcpus: int) -> None:
    if not memory.cells:
        return
    sizes = [cell.memory_bytes for cell in memory.cells]
    numbers = sorted(vcpu for cell in memory.cells for vcpu in cell.vcpus)
    require(sum(sizes) == memory.size_bytes and min(sizes) > 0, "a guest's cells have other memory than the guest")
    require(numbers == list(range(vcpus)), "a guest's cells have other vCPUs than the guest")
    require({cell.host_cell for cell in memory.cells} <= set(memory.nodeset), "a guest's cell lies outside its memory")
    known = {len(cell.distances) for cell in memory.cells}
    require(known in ({0}, {len(sizes)}), "a guest's cells do not each have a distance to every one")


def _used(guest: Guest) -> Cpus:
    pins = guest.machine.pins
    return frozenset(pins.cpuset).union(pins.emulator, *pins.vcpus, *pins.iothreads)


def _whole(cpus: Cpus, core_of: dict[int, Cpus]) -> Cpus:
    """All CPUs of the cores that the CPUs are of."""
    return frozenset().union(*(core_of[cpu] for cpu in cpus))


def require(fine: bool, message: str) -> None:
    """Raise Fault VT0912 with the message unless all is fine."""
    if not fine:
        raise Fault("VT0912", message, help=HINT)
