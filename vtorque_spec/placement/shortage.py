"""What is short, in the words of the job file: the sum, what the node has, and what would fit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vtorque_spec.diagnostics import Code
from vtorque_spec.document import Path
from vtorque_spec.placement import model
from vtorque_spec.placement.demand import GUEST_OVERHEAD_BYTES, beside_bytes, memory_bytes
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.plan import JobPlan
from vtorque_spec.units import print_size

CPU_FIELDS: tuple[Path, ...] = (("vcpus",), ("vms_per_node",), ("iocm",))
MEMORY_FIELDS: tuple[Path, ...] = (("memory",), ("vms_per_node",))

_FIELD_OF = {"guests": "vms_per_node", "vcpus": "vcpus", "mode": "pinning"}


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why the job does not fit. `fields` of the job say so; the first that the job file has is the place."""

    code: Code
    message: str
    help: str | None
    fields: tuple[Path, ...]


def told(why: model.Refusal, demand: model.Demand, job: JobPlan, node: HostNode) -> Iterator[Shortage]:
    """Yield an engine's refusal term by term."""
    would_fit = _would_fit(why.fits, demand, job)
    for term in why.terms:
        if term.what == "memory" and demand.page_bytes:
            yield _pages(term, demand, would_fit, node)
        elif term.what == "memory":
            message = f"{memory_sum(job)}; {node.name} has {rounded(term.have)}"
            yield Shortage(Code.TOO_MUCH_MEMORY, message, would_fit, MEMORY_FIELDS)
        elif term.what == "guests":
            what = f"a cell of {node.name}" if demand.mode == "compact" else f"whole cores of {node.name}"
            message = f"only {term.have} of the {term.needed} VMs find {what} with room for them"
            if term.needed == 1:
                message = f"the VM does not find {what} with room for it"
            yield Shortage(Code.NO_CELL, message, would_fit, (("pinning", "mode"), *CPU_FIELDS))
        else:
            message = f"{_cpu_sum(term, demand, node)}; {node.name} has {term.have}"
            yield Shortage(Code.TOO_MANY_CPUS, message, would_fit, CPU_FIELDS)


def memory_sum(job: JobPlan) -> str:
    """Return how the memory that a job takes of a node adds up."""
    parts = [print_size(job.memory_bytes), f"{print_size(GUEST_OVERHEAD_BYTES)} for QEMU"]
    if job.shared_memory_bytes:
        parts.append(f"{print_size(-(-job.shared_memory_bytes // job.vms_per_node))} of what the VMs share")
    if job.root_disk_in_ram:
        parts.append(f"{print_size(job.root_disk_bytes)} of disk in memory")
    each = " + ".join(parts)
    each = each if job.vms_per_node == 1 else f"({each}) x {job.vms_per_node}"
    return f"{each} = {print_size(memory_bytes(job))} of memory"


def less_memory(most_bytes: int) -> str:
    """Return how to ask for no more than that for each VM."""
    return f"write `memory: {rounded(most_bytes)}` or less" if most_bytes >= model.MIB else "no guest is so small"


def rounded(size_bytes: int) -> str:
    """Return a size in whole MiB, rounded down, where it is as large as that."""
    return print_size(size_bytes // model.MIB * model.MIB if size_bytes >= model.MIB else size_bytes)


def _cpu_sum(term: model.Term, demand: model.Demand, node: HostNode) -> str:
    """`14 vCPUs x 2 + 4 I/O + 1 host = 33 cores`; of threads, those of the guests alone."""
    vcpus = _count(demand.vcpus, "vCPU") + (f" x {demand.guests}" if demand.guests > 1 else "")
    kept = [f"{demand.io_cores} I/O"] if demand.io_cores else []
    kept += [f"{len(node.host)} host"] if node.host else []
    if term.what == "threads":
        beside = f" beside {' + '.join(kept)} cores" if kept else ""
        return f"{vcpus} = {_count(term.needed, 'thread')}{beside}"
    parts = [*([vcpus] if demand.smt == "cores" else []), *kept]
    return f"{' + '.join(parts)} = {_count(term.needed, 'core')}"


def _pages(term: model.Term, demand: model.Demand, would_fit: str | None, node: HostNode) -> Shortage:
    size = demand.page_bytes or 1
    each = -(-demand.memory_bytes // size)
    asked = f"{each} x {demand.guests} = {each * demand.guests}" if demand.guests > 1 else str(each)
    message = f"the memory takes {asked} huge pages of {print_size(size)}; {node.name} has {term.have // size}"
    return Shortage(Code.TOO_FEW_PAGES, message, would_fit, (("hugepages",), *MEMORY_FIELDS))


def _would_fit(found: Mapping[str, int | str], demand: model.Demand, job: JobPlan) -> str | None:
    words = []
    for name, value in found.items():
        if name == "io_cores" and isinstance(value, int):
            least = f"min_cores: {value}, " if value < job.iocm.min_cores else ""
            words.append(f"`iocm: {{{least}max_cores: {value}}}`" if value else "`iocm: false`")
        elif name == "memory_bytes" and isinstance(value, int):
            own = value if demand.page_bytes else value - beside_bytes(job)
            words += [f"`memory: {rounded(own)}`"] if own >= model.MIB else []
        else:
            words.append(f"`{_FIELD_OF[name]}: {value}`")
    return "it fits with " + ", or with ".join(words) if words else None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
