"""Root's own check of who gets which CPUs and memory: the plan against the node, and the domain XML against the plan.

It knows nothing of how a place is chosen. A core belongs to the host, to the job's I/O or to one guest; nobody gets
what another job holds or what the batch system gave to another.
"""

from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree

from vtorque_runtime.cpulist import read_list
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Guest, GuestMemory, Machine, NodeContext, NodePlan

Cpus = frozenset[int]
Tuning = tuple[str, str, tuple[int, ...]]
"""An element that names CPUs or cells of the host, which of its kind it is, and what it names, ascending."""

_NUMBERED = {"vcpupin": "vcpu", "iothreadpin": "iothread", "memnode": "cellid"}
_GUEST_LISTS = frozenset({"page"})
"""Elements whose `nodeset` are cells of the guest."""


def check_cpus(plan: NodePlan, context: NodeContext) -> None:
    """Raise Fault VT0912 unless the CPUs of the plan are the job's to use and its claim is what they need."""
    core_of = {cpu: frozenset(core) for cell in context.cells for core in cell.cores for cpu in core}
    host, io = frozenset(plan.host_cpus), frozenset(cpu for core in plan.io.cores for cpu in core)
    free = frozenset(context.allotted_cpus) & core_of.keys() - host - frozenset(context.taken.cpus)
    require(all(core_of.get(cpu, host) <= host for cpu in host), "the host has a part of a core")
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


def check_machine(machine: Machine) -> None:
    """Raise Fault VT0912 unless every vCPU and I/O thread of a guest has a place, and they agree with its cells."""
    pins, shape, memory = machine.pins, machine.topology, machine.memory
    require(machine.vcpus >= 1, "a guest has no vCPU")
    require(shape.sockets * shape.cores * shape.threads == machine.vcpus, "a guest's topology has other vCPUs than it")
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
    needs: Counter[int] = Counter()
    for memory in (guest.machine.memory for guest in plan.guests):
        require(memory.size_bytes > 0, "a guest has no memory")
        needs[memory.page_bytes or 1] += memory.size_bytes
        cells = {cell for cell, size in held if size == (memory.page_bytes or 1)}
        require(cells.issuperset(memory.nodeset), "a guest's memory is to lie in a cell that the claim does not name")
    for size, need in needs.items():
        claimed = sum(pages * size for (_, of), pages in held.items() if of == size)
        require(claimed >= need, "the claim is less than the memory of the guests")
    require(
        sum(needs.values()) <= context.allotted_memory_bytes, "the guests have more memory than the job was allotted"
    )
    require(set(plan.claim.devices).isdisjoint(context.taken.devices), "the claim names a device of another job")


def check_tuning(domain: ElementTree.Element, machine: Machine) -> None:
    """Raise Fault VT0912 unless the domain XML names the CPUs and cells of the plan, and no others."""
    require(sorted(_tuning(domain)) == sorted(_wanted(machine)), "the domain XML has other pins than the plan")
    require(domain.findtext("vcpu") == str(machine.vcpus), "the domain XML has other vCPUs than the plan")
    require(
        domain.findtext("iothreads", "0") == str(len(machine.pins.iothreads)), "the domain XML has other I/O threads"
    )
    _check_xml_memory(domain, machine.memory)
    placements = {element.get("placement", "static") for element in domain.iter()}
    require(placements == {"static"}, "the domain XML leaves the place to libvirt")
    others = {part.tag for tune in domain.iter("cputune") for part in tune} - {"vcpupin", "emulatorpin", "iothreadpin"}
    require(not others, f"the domain XML tunes {sorted(others)[:1]}, which no plan asks for")


def _check_xml_memory(domain: ElementTree.Element, memory: GuestMemory) -> None:
    """Where a guest has cells, libvirt takes their sum for its memory."""
    cells = domain.findall("cpu/numa/cell")
    said = [(part.get("unit"), part.text) for part in domain.findall("memory")]
    said += [(cell.get("unit"), cell.get("memory")) for cell in cells]
    sizes = [memory.size_bytes, *(cell.memory_bytes for cell in memory.cells)]
    wanted = [("KiB", str(size // 1024)) for size in sizes]
    require(said == wanted, "the domain XML has other memory than the plan")
    require(
        not {"maxMemory", "currentMemory"} & {part.tag for part in domain}, "the domain XML has memory to grow into"
    )
    pages = [(page.get("unit"), page.get("size")) for page in domain.findall("memoryBacking/hugepages/page")]
    kind = [] if memory.page_bytes is None else [("KiB", str(memory.page_bytes // 1024))]
    backed = domain.find("memoryBacking/hugepages") is not None
    require(pages == kind and backed == bool(kind), "the domain XML has other huge pages than the plan")


def _check_guest_cells(memory: GuestMemory, vcpus: int) -> None:
    if not memory.cells:
        return
    sizes = [cell.memory_bytes for cell in memory.cells]
    numbers = sorted(vcpu for cell in memory.cells for vcpu in cell.vcpus)
    require(sum(sizes) == memory.size_bytes and min(sizes) > 0, "a guest's cells have other memory than the guest")
    require(numbers == list(range(vcpus)), "a guest's cells have other vCPUs than the guest")
    require({cell.host_cell for cell in memory.cells} <= set(memory.nodeset), "a guest's cell lies outside its memory")


def _used(guest: Guest) -> Cpus:
    pins = guest.machine.pins
    return frozenset(pins.cpuset).union(pins.emulator, *pins.vcpus, *pins.iothreads)


def _whole(cpus: Cpus, core_of: dict[int, Cpus]) -> Cpus:
    """All CPUs of the cores that the CPUs are of."""
    return frozenset().union(*(core_of[cpu] for cpu in cpus))


def _tuning(domain: ElementTree.Element) -> Iterator[Tuning]:
    """Every element with a `cpuset`, or with a `nodeset` of the host's."""
    for element in domain.iter():
        for text in (element.get("cpuset"), None if element.tag in _GUEST_LISTS else element.get("nodeset")):
            if text is not None:
                yield element.tag, element.get(_NUMBERED.get(element.tag, ""), ""), _numbers(text)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted(read_list(text)))
    except ValueError:
        raise Fault("VT0912", f"the domain XML has a list of CPUs that can't be read: {text[:40]!r}") from None


def _wanted(machine: Machine) -> Iterator[Tuning]:
    pins, memory = machine.pins, machine.memory
    for tag, cpus in (("vcpu", pins.cpuset), ("emulatorpin", pins.emulator), ("memory", memory.nodeset)):
        if cpus:
            yield tag, "", tuple(sorted(cpus))
    yield from (("vcpupin", str(n), tuple(sorted(cpus))) for n, cpus in enumerate(pins.vcpus))
    yield from (("iothreadpin", str(n), tuple(sorted(cpus))) for n, cpus in enumerate(pins.iothreads, 1))
    yield from (("memnode", str(n), (cell.host_cell,)) for n, cell in enumerate(memory.cells))


def require(fine: bool, message: str) -> None:
    """Raise Fault VT0912 with the message unless all is fine."""
    if not fine:
        raise Fault("VT0912", message, help="this is a fault in vtorque or an attack, never in the job file")
