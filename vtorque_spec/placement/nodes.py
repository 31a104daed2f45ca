"""A node as a job finds it, from a node class of the site or from the machine itself; what of it the job may use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from vtorque_spec.placement import model
from vtorque_spec.plan import Cell, Claim, Device, NodeContext, Pages, lowest_cores
from vtorque_spec.site import Site
from vtorque_spec.site.model import NodeClass
from vtorque_spec.units import SIZE_UNITS

NOTHING = Claim((), (), ())
MIB = SIZE_UNITS["MiB"]

CpuSet = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HostNode:
    """A node with all its cells, what of it is allotted to the job, and what is not the job's to use.

    `name` is how messages call it. `allotted` are CPUs; the batch system may have allotted fewer `slots` (cores or
    threads, as `slot` says) of them than there are. `host` are the host's own cores: the lowest whole ones, the same
    for every job. `nics` are the adapters that I/O cores serve, `sockets` those of the cells where known,
    `usable_cells` the cells that numad advised (None: all). A
    `diskless` node has its guests' disks in memory.
    """

    name: str
    cells: tuple[Cell, ...]
    devices: tuple[Device, ...]
    allotted: CpuSet
    slots: int
    memory_bytes: int
    host: tuple[CpuSet, ...]
    host_memory_bytes: int
    host_in_slots: bool
    vcpu: Literal["core", "thread"]
    slot: Literal["core", "thread"]
    lock_memory: bool
    nics: tuple[str, ...]
    sockets: Mapping[int, int]
    allotment_known: bool = False
    taken: Claim = NOTHING
    usable_cells: tuple[int, ...] | None = None
    diskless: bool = False

    @property
    def host_cpus(self) -> CpuSet:
        """The CPUs of the host's own cores."""
        return tuple(sorted(cpu for core in self.host for cpu in core))

    @property
    def threads(self) -> int:
        """The most threads that a core of the node has."""
        return max((len(core) for cell in self.cells for core in cell.cores), default=1)

    @property
    def fewest_threads(self) -> int:
        """The fewest threads that a core of the node has."""
        return min((len(core) for cell in self.cells for core in cell.cores), default=1)

    @property
    def alike(self) -> bool:
        """Whether all cores have the same number of threads."""
        return self.fewest_threads == self.threads

    @property
    def ordinary_bytes(self) -> int:
        """The memory in no huge page that the job may use."""
        return sum(cell.memory_bytes for cell in self.for_engine().cells)

    @property
    def host_shares(self) -> list[int]:
        """The bytes of each cell's ordinary memory that the host keeps."""
        return _shared_out(self.host_memory_bytes, [cell.memory_bytes for cell in self.cells])

    @property
    def all_slots(self) -> int:
        """What the batch system counts for the whole node."""
        kept = len(self.host_cpus) if self.slot == "thread" else len(self.host)
        return self.slots + (kept if self.host_in_slots else 0)

    @property
    def places(self) -> int:
        """How many of the allotted CPUs a map can name: those that the slots hold."""
        return min(len(self.allotted), self.all_slots * (self.threads if self.slot == "core" else 1))

    def for_engine(self) -> model.Node:
        """Return what the job may use: allotted, not the host's, not another job's."""
        usable = set(self.allotted).difference(self.host_cpus, self.taken.cpus)
        nic_cells = sorted({d.cell for d in self.devices if d.name in self.nics and d.cell is not None})
        cells = tuple(self._cell(cell, usable, kept) for cell, kept in zip(self.cells, self.host_shares, strict=True))
        return model.Node(self.name, cells, tuple(nic_cells), tuple(model.Core(core) for core in self.host))

    def _cell(self, cell: Cell, usable: set[int], reserve_bytes: int) -> model.Cell:
        known = bool(cell.distances)
        distances = {other.id: d for other, d in zip(self.cells, cell.distances, strict=known)}
        if self.usable_cells is not None and cell.id not in self.usable_cells:
            return model.Cell(cell.id, (), 0, {}, distances)
        shares = (tuple(cpu for cpu in core if cpu in usable) for core in cell.cores)
        cores = (model.Core(own, len(own) < len(core)) for own, core in zip(shares, cell.cores, strict=True) if own)
        taken = {held.page_bytes: held.pages for held in self.taken.memory if held.cell == cell.id}
        pages = {size.size_bytes: max(0, size.count - taken.get(size.size_bytes, 0)) for size in cell.hugepages}
        memory = max(0, cell.memory_bytes - reserve_bytes - taken.get(1, 0))
        return model.Cell(cell.id, tuple(cores), memory, pages, distances)


def node_of_class(site: Site, name: str) -> HostNode:
    """Return a node of a class of the site with nothing else on it, all of it allotted."""
    said = site.node_classes[name]
    cells, devices = _described(said)
    return _node(site, said, f"a node of class `{name}`", cells, devices, _host_cores(said, cells), None)


def node_of_context(site: Site, name: str, context: NodeContext) -> HostNode:
    """Return the node that a job runs on, which is one of the class `name`."""
    said = site.node_classes[name]
    host = _host_cores(said, context.cells)
    return _node(site, said, f"the node `{context.node}`", context.cells, context.devices, host, context)


def _node(
    site: Site, said: NodeClass, name: str, cells: tuple[Cell, ...], devices: tuple[Device, ...],
    host: tuple[CpuSet, ...], context: NodeContext | None,
) -> HostNode:  # fmt: skip
    in_slots = bool(said.host_reserve and said.host_reserve.in_slots)
    own = {cpu for core in host for cpu in core}
    every = tuple(sorted(cpu for cell in cells for core in cell.cores for cpu in core if in_slots or cpu not in own))
    slots = _slots(said, cells, host)
    if context is not None:
        counted = context.allotted_slots is not None  # then the job has some of those that nobody has
        gone = {*(() if in_slots else own), *(context.taken.cpus if counted else ())}
        every = tuple(sorted(set(context.allotted_cpus) - gone))
        usable = set(every) - own
        cores = _touched(cells, usable, whole=said.vcpu != "thread")
        there = cores if said.slot == "core" else len(usable)
        slots = there if context.allotted_slots is None else context.allotted_slots
    return HostNode(
        name=name,
        cells=cells,
        devices=devices,
        allotted=every,
        slots=slots,
        memory_bytes=said.memory if context is None else context.allotted_memory_bytes,
        host=host,
        host_memory_bytes=(said.host_reserve.memory or 0) if said.host_reserve else 0,
        host_in_slots=in_slots,
        vcpu=said.vcpu or "core",
        slot=said.slot or "thread",
        lock_memory=bool(said.lock_memory),
        nics=_nics(site, devices),
        sockets={cell.id: cell.socket for cell in said.cells or () if cell.socket is not None},
        allotment_known=context is not None,
        taken=NOTHING if context is None else context.taken,
        usable_cells=None if context is None else context.advised_cells,
        diskless=bool(said.diskless) if context is None else context.diskless,
    )


def _described(said: NodeClass) -> tuple[tuple[Cell, ...], tuple[Device, ...]]:
    """What the site says of a class; without cells it is one cell, without a topology each CPU is a core."""
    if not said.cells:
        kept = (said.host_reserve.cores, said.host_reserve.memory or 0) if said.host_reserve else (0, 0)
        built = said.topology
        threads, cpus = (built.threads, built.cpus) if built else (1, said.cpus + kept[0])
        cores = cpus // threads
        one = tuple(tuple(core + cores * thread for thread in range(threads)) for core in range(cores))
        devices = tuple(Device(device.name, device.kind, 0) for device in said.devices or ())
        return (Cell(0, one, said.memory + kept[1], (), ()),), devices
    from vtorque_spec.site.probe.machine import HUGEPAGE_BYTES, machine_of

    machine = machine_of(said)
    assert machine is not None  # noqa: S101 - the class has cells
    cells = []
    for cell in machine.cells:
        pages = tuple(Pages(HUGEPAGE_BYTES[size], count) for size, count in cell.hugepages.items())
        ordinary = cell.memory_bytes - sum(size.size_bytes * size.count for size in pages)
        cells.append(Cell(cell.id, cell.cores, ordinary, pages, cell.distances))
    return tuple(cells), tuple(Device(device.name, device.kind, device.cell) for device in machine.devices)


def _host_cores(said: NodeClass, cells: tuple[Cell, ...]) -> tuple[CpuSet, ...]:
    return lowest_cores(cells, said.host_reserve.cores if said.host_reserve else 0)


def _slots(said: NodeClass, cells: tuple[Cell, ...], host: tuple[CpuSet, ...]) -> int:
    """What the batch system gives jobs of a node of the class: `cpus`, which are whole cores where a slot is one."""
    if (said.slot or "thread") == "thread":
        return said.cpus
    cores = sorted(core for cell in cells for core in cell.cores)[len(host) :]
    return sum(cpus <= said.cpus for cpus in accumulate(len(core) for core in cores))


def _touched(cells: tuple[Cell, ...], cpus: set[int], *, whole: bool) -> int:
    """How many cores the CPUs are of; with `whole` those of which none is missing."""
    cores = [core for cell in cells for core in cell.cores]
    return sum(cpus.issuperset(core) if whole else not cpus.isdisjoint(core) for core in cores)


def _nics(site: Site, devices: Iterable[Device]) -> tuple[str, ...]:
    """The adapters that I/O cores serve: those that the site names, else all."""
    there = sorted(device.name for device in devices if device.kind in ("nic", "hca"))
    named = site.iocm.nics if site.iocm else None
    return tuple(there) if named is None else tuple(name for name in there if name in named)


def _shared_out(amount: int, room: list[int]) -> list[int]:
    """Take bytes from all cells in proportion to what they have, in whole MiB; the rest comes from the largest."""
    whole = sum(room)
    amount = min(amount, whole)
    taken = [amount * own // whole // MIB * MIB if whole else 0 for own in room]
    if room:
        taken[room.index(max(room))] += amount - sum(taken)
    return taken
