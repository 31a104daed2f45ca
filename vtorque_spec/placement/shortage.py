"""What is short, in the words of the job file: the sum, and what the node has."""

from collections.abc import Iterator
from dataclasses import dataclass

from vtorque_spec.diagnostics import Code
from vtorque_spec.document import Path
from vtorque_spec.placement import model
from vtorque_spec.placement.demand import (
    GUEST_OVERHEAD_BYTES,
    disks_memory_bytes,
    memory_bytes,
    ordinary_bytes,
    used_slots,
)
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.placement.refuse import refusal
from vtorque_spec.plan import JobPlan
from vtorque_spec.units import SIZE_UNITS, print_size

MEMORY_FIELDS: tuple[Path, ...] = (("memory",), ("vms_per_node",))

_GIB = SIZE_UNITS["GiB"]


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why the job does not fit. `fields` of the job say so; the first that the job file has is the place.

    `help` is None where it is left to `remedy` to look for values that fit.
    """

    code: Code
    message: str
    help: str | None
    fields: tuple[Path, ...]

    @property
    def key(self) -> object:
        """What of two that say the same is alike: sums of CPUs and of memory may be short in several ways."""
        alike = {Code.TOO_MANY_CPUS: "CPUs", Code.NO_CELL: "CPUs", Code.TOO_MUCH_MEMORY: "memory"}
        return alike.get(self.code, self.message)


def told(room: model.Node, demand: model.Demand, job: JobPlan, node: HostNode) -> Iterator[Shortage]:
    """Yield what the engine lacks for a demand that does not fit, term by term."""
    for term in refusal(room, demand).terms:
        if term.what == "memory" and demand.page_bytes:
            yield Shortage(Code.TOO_FEW_PAGES, _page_sum(term, demand, node), None, (("hugepages",), *MEMORY_FIELDS))
        elif term.what == "memory":
            message = f"{memory_sum(job, node)}; {_has(node, term.have)}"
            yield Shortage(Code.TOO_MUCH_MEMORY, message, None, MEMORY_FIELDS)
        elif term.what == "guests":
            message = _cell_sum(term, demand, job, room, node) or _core_sum(term, demand, room, node)
            yield Shortage(Code.NO_CELL, message, None, (("pinning", "mode"), *_cpu_fields(demand)))
        else:
            yield Shortage(Code.TOO_MANY_CPUS, _cpu_sum(term, demand, node), None, _cpu_fields(demand))


def too_few_slots(job: JobPlan, node: HostNode) -> Shortage:
    """The job takes more than the batch system gives jobs of the node."""
    unit = {"core": "core", "thread": "CPU"}[node.slot]
    message = f"the job takes {_count(used_slots(job, node), unit)}; {node.name} has {node.slots} for jobs"
    fields: tuple[Path, ...] = (("vcpus",), ("vms_per_node",), ("iocm",))
    return Shortage(Code.TOO_MANY_CPUS, message, None, fields)


def too_little_memory(job: JobPlan, node: HostNode) -> Shortage:
    """The job takes more memory than jobs of the node are given."""
    message = f"{memory_sum(job, node)}; {node.name} has {shown(node.memory_bytes)} for jobs"
    return Shortage(Code.TOO_MUCH_MEMORY, message, None, MEMORY_FIELDS)


def too_little_ordinary_memory(job: JobPlan, node: HostNode) -> Shortage:
    """What QEMU needs beside the huge pages is not there."""
    more = " with the disks in memory" if job.base_memory_bytes or node.diskless else ""
    need = _needed(ordinary_bytes(job, node))
    message = f"QEMU takes {need}{more} beside the huge pages; {_has(node, node.ordinary_bytes)}"
    return Shortage(Code.TOO_MUCH_MEMORY, message, None, (("vms_per_node",), ("hugepages",)))


def memory_sum(job: JobPlan, node: HostNode) -> str:
    """Return how the memory that a job takes of a node adds up."""
    each = _guest_sum(job, node)
    each = each if job.vms_per_node == 1 else f"({each}) x {job.vms_per_node}"
    return f"{each} = {_needed(memory_bytes(job, node))} of memory"


def shown(size_bytes: int, *, up: bool = False) -> str:
    """Return a size for the eye: in GiB with two digits where it is as large, in MiB below; rounded down, or up."""
    if size_bytes < model.MIB:
        return print_size(size_bytes)
    unit, steps = (_GIB, 100) if size_bytes >= _GIB else (model.MIB, 1)
    counted = -(-size_bytes * steps // unit) if up else size_bytes * steps // unit
    return f"{counted / steps:.2f}".rstrip("0").rstrip(".") + ("GiB" if unit == _GIB else "MiB")


def _needed(size_bytes: int) -> str:
    """So that what is needed is more than what is there to the eye too."""
    return shown(size_bytes, up=True)


def _has(node: HostNode, size_bytes: int) -> str:
    beside = sum(size.size_bytes * size.count for cell in node.cells for size in cell.hugepages)
    return f"{node.name} has {shown(size_bytes)}" + (f" outside of huge pages ({shown(beside)})" if beside else "")


def _guest_sum(job: JobPlan, node: HostNode) -> str:
    parts = [shown(job.memory_bytes), f"{print_size(GUEST_OVERHEAD_BYTES)} for QEMU"]
    if job.shared_memory_bytes:
        parts.append(f"{shown(-(-job.shared_memory_bytes // job.vms_per_node))} of what the VMs share")
    if job.base_memory_bytes:
        parts.append(f"{shown(-(-job.base_memory_bytes // job.vms_per_node))} of the image in memory")
    if node.diskless:
        parts.append(f"{shown(disks_memory_bytes(job, node))} of disks in memory")
    return " + ".join(parts)


def _cpu_sum(term: model.Term, demand: model.Demand, node: HostNode) -> str:
    """`14 vCPUs x 2 + 4 I/O + 1 host = 33 cores`; of threads, those of the guests alone."""
    kept = _kept(demand, node)
    if term.what == "threads":
        cores = "cores" if demand.io_cores + len(node.host) > 1 else "core"
        beside = f" beside {' + '.join(kept)} {cores}" if kept else ""
        return f"{_vcpus(demand)} = {_count(term.needed, 'thread')}; {node.name} has {term.have}{beside}"
    parts = [*([_vcpus(demand)] if demand.smt == "cores" else []), *kept]
    whole = "" if demand.smt == "cores" else "whole "
    return f"{' + '.join(parts)} = {_count(term.needed, whole + 'core')}; {node.name} has {term.have}"


def _kept(demand: model.Demand, node: HostNode) -> list[str]:
    io = [f"{demand.io_cores} I/O"] if demand.io_cores else []
    return [*io, *([f"{len(node.host)} host"] if node.host else [])]


def _vcpus(demand: model.Demand) -> str:
    return _count(demand.vcpus, "vCPU") + (f" x {demand.guests}" if demand.guests > 1 else "")


def _page_sum(term: model.Term, demand: model.Demand, node: HostNode) -> str:
    size = demand.page_bytes or 1
    each = -(-demand.memory_bytes // size)
    asked = f"{each} x {demand.guests} = {each * demand.guests}" if demand.guests > 1 else str(each)
    pages = "page" if asked == "1" else "pages"
    return f"the memory takes {asked} huge {pages} of {print_size(size)}; {node.name} has {term.have // size}"


def _cell_sum(term: model.Term, demand: model.Demand, job: JobPlan, room: model.Node, node: HostNode) -> str | None:
    """For guests that want a cell each: a guest against the largest cell, or how many find one."""
    if demand.mode != "compact":
        return None
    threads = demand.smt == "threads"
    cores = max(sum(len(core.cpus) if threads else not core.partial for core in cell.cores) for cell in room.cells)
    memory = max(cell.memory_bytes for cell in room.cells)
    if demand.vcpus > cores:
        takes = f"{_take(demand)} {_count(demand.vcpus, 'thread' if threads else 'core')}"
        return f"{takes} of one cell; the largest of {node.name} has {cores}"
    if not demand.page_bytes and demand.memory_bytes > memory:
        need = f"{_guest_sum(job, node)} = {_needed(demand.memory_bytes)}"
        return f"{need} of one cell's memory; the largest of {node.name} has {shown(memory)}"
    if term.needed == 1:
        return f"the VM finds no cell of {node.name} with room for all of it"
    held = f"{term.have or 'none'} of the {term.needed} VMs find{'s' if term.have < 2 else ''}"
    return f"{held} a cell of {node.name} with room for all of it"


def _core_sum(term: model.Term, demand: model.Demand, room: model.Node, node: HostNode) -> str:
    """Guests that share no core: whole cores are counted, of which some threads stay idle."""
    each, kept = -(-demand.vcpus // node.threads), _kept(demand, node)
    total = each * demand.guests + demand.io_cores + len(node.host)
    have = sum(len(cell.cores) for cell in room.cells) + len(node.host)
    if node.alike and total > have:
        times = f"{_count(each, 'core')} x {demand.guests}" if demand.guests > 1 else _count(each, "core")
        return f"{' + '.join([f'{_take(demand)} {times}', *kept])} = {_count(total, 'core')}; {node.name} has {have}"
    return f"no two VMs share a core, so {node.name} has room for {term.have or 'none'} of the {term.needed}"


def _take(demand: model.Demand) -> str:
    return f"{_count(demand.vcpus, 'vCPU')} take{'s' if demand.vcpus == 1 else ''}"


def _cpu_fields(demand: model.Demand) -> tuple[Path, ...]:
    """Where most of it is said comes first."""
    fields: list[Path] = [("vcpus",), ("vms_per_node",), ("iocm", "max_cores"), ("iocm",)]
    return tuple(fields if demand.guests * demand.vcpus >= demand.io_cores else [*fields[2:], *fields[:2]])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
