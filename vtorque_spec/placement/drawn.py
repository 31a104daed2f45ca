"""A placement as the picture that `vtorque plan` draws."""

from vtorque_spec.placement.fit import Placed
from vtorque_spec.placement.guests import io_cores
from vtorque_spec.placement.memory import laid
from vtorque_spec.placement.nodes import CpuSet, HostNode
from vtorque_spec.placement.picture import Owner, Picture, PictureCell, PictureCore, PicturePages
from vtorque_spec.plan import Cell, Flavour, JobPlan, NodeRequest
from vtorque_spec.units import print_size

_SLOTS_WORD = {"torque": "ppn", "openpbs": "ncpus", "slurm": "cpus-per-task"}
_CLASS_WORD = {"torque": "property", "openpbs": "resource", "slurm": "constraint"}


def picture(job: JobPlan, node: HostNode, placed: Placed, asked: NodeRequest, flavour: Flavour) -> Picture:
    """Return who has what of a node on which the job was placed, and what its script asks for."""
    owners = _Owners(job, node, placed)
    places = {cell.id for cell in node.cells}
    words = [("nodes", str(job.batch.nodes)), (_SLOTS_WORD[flavour], str(asked.slots))]
    words.append(("mem", print_size(asked.memory_bytes)))
    if asked.property is not None:
        words.append((_CLASS_WORD[flavour], asked.property))
    return Picture(
        job=job.name,
        node=node.name,
        cells=tuple(
            _cell(cell, kept, node, placed, owners) for cell, kept in zip(node.cells, node.host_shares, strict=True)
        ),
        host_memory_bytes=node.host_memory_bytes,
        reasons=(*placed.placement.reasons, *_asked_for(asked)),
        devices_elsewhere=tuple((d.kind, d.name) for d in node.devices if d.cell not in places),
        asked=tuple(words),
        floating=job.pinning.mode == "none",
    )


def _asked_for(asked: NodeRequest) -> tuple[str, ...]:
    why = "not every class that the queue reaches has room, or takes the same numbers"
    return () if asked.property is None else (f"{asked.property} is asked for: {why}",)


def _cell(cell: Cell, host_bytes: int, node: HostNode, placed: Placed, owners: "_Owners") -> PictureCell:
    page = placed.demand.page_bytes
    guests = enumerate(laid(node, placed), start=1)
    held = tuple((number, size) for number, lies in guests for at, size in lies if at == cell.id)
    pages = tuple((number, size // page) for number, size in held) if page else ()
    return PictureCell(
        id=cell.id,
        socket=node.sockets.get(cell.id),
        cores=tuple(owners.core(core) for core in cell.cores),
        memory_bytes=cell.memory_bytes,
        host_memory_bytes=host_bytes,
        used=() if page else held,
        hugepages=tuple(
            PicturePages(size.size_bytes, size.count, pages if size.size_bytes == page else ())
            for size in cell.hugepages
        ),
        devices=tuple((device.kind, device.name) for device in node.devices if device.cell == cell.id),
    )


class _Owners:
    """Who has each CPU."""

    def __init__(self, job: JobPlan, node: HostNode, placed: Placed) -> None:
        io, found = io_cores(job, node, placed), placed.placement
        guests = list(enumerate(found.guests, start=1))
        active = {cpu for core in io.cores[: io.min_cores] for cpu in core}
        self.guest_of = {cpu: number for number, guest in guests for core in guest.cores for cpu in core.cpus}
        self.vcpu_of = {cpu: vcpu for _, guest in guests for vcpu, cpu in enumerate(guest.pins)}
        self.floats = {cpu for core in found.floats for cpu in core.cpus}
        self.others: tuple[tuple[Owner, set[int]], ...] = (
            ("host", set(node.host_cpus)),
            ("io", active),
            ("io-idle", {cpu for core in io.cores for cpu in core}),
            ("free", {cpu for core in found.free for cpu in core.cpus}),
        )

    def core(self, cpus: CpuSet) -> PictureCore:
        """Return the core as it is drawn."""
        vcpus = tuple(self.vcpu_of.get(cpu) for cpu in cpus)
        guest = next((self.guest_of[cpu] for cpu in cpus if cpu in self.guest_of), None)
        if guest is not None or not self.floats.isdisjoint(cpus):
            return PictureCore(cpus, "guest", guest, vcpus)
        owner: Owner = next((owner for owner, own in self.others if not own.isdisjoint(cpus)), "other")
        return PictureCore(cpus, owner, None, vcpus)
