"""Placement: which host CPUs and how much memory the job's VMs get on one node. A pure function."""

from dataclasses import dataclass

from vtorque_spec.diagnostics import Code
from vtorque_spec.plan import Cell, JobPlan, NodeContext, Pinning, Pins
from vtorque_spec.resolve import GUEST_OVERHEAD_BYTES
from vtorque_spec.site.model import NodeClass
from vtorque_spec.units import print_size


@dataclass(frozen=True, slots=True)
class Demand:
    """What the job needs on each node."""

    vms: int
    vcpus: int
    memory_bytes: int
    pinning: Pinning


@dataclass(frozen=True, slots=True)
class Node:
    """What one node, or any node of a class, has for the job. `name` is how messages call it."""

    name: str
    cells: tuple[Cell, ...]
    allotted_cpus: tuple[int, ...]
    allotted_memory_bytes: int


@dataclass(frozen=True, slots=True)
class Placement:
    """One entry of `pins` per VM."""

    pins: tuple[Pins, ...]


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why the job does not fit, and the field of the job that says so."""

    code: Code
    message: str
    help: str
    field: tuple[str | int, ...]


def demand_of(job: JobPlan) -> Demand:
    """Return what a job asks of each of its nodes."""
    return Demand(job.vms_per_node, job.vcpus, job.memory_bytes, job.pinning)


def node_of_class(name: str, node_class: NodeClass) -> Node:
    """Return a node of a class of the site: one cell, everything allotted."""
    cpus = tuple(range(node_class.cpus))
    return Node(f"a node of class `{name}`", (Cell(0, cpus, node_class.memory),), cpus, node_class.memory)


def node_of_context(context: NodeContext) -> Node:
    """Return the node that a job runs on."""
    return Node(f"the node `{context.node}`", context.cells, context.allotted_cpus, context.allotted_memory_bytes)


def place(demand: Demand, node: Node) -> Placement | tuple[Shortage, ...]:
    """Give the VMs their CPUs and memory, or say everything that is short."""
    short = tuple(_shortages(demand, node))
    if short:
        return short
    if demand.pinning.mode == "none":
        return Placement((Pins((), ()),) * demand.vms)
    cpus = sorted(node.allotted_cpus)
    mapped = tuple(cpus[place] for place in demand.pinning.map)
    rest = tuple(cpu for cpu in cpus if cpu not in mapped) or tuple(cpus)
    return Placement((Pins(tuple((cpu,) for cpu in mapped), rest),) * demand.vms)


def _shortages(demand: Demand, node: Node) -> list[Shortage]:
    found = []
    cpus, needed = len(node.allotted_cpus), demand.vms * demand.vcpus
    if needed > cpus:
        message = f"the job needs {needed} CPUs on each node; {node.name} has {cpus}"
        found.append(Shortage(Code.TOO_MANY_CPUS, message, f"write `vcpus: {cpus // demand.vms}` or less", ("vcpus",)))
    memory = demand.vms * (demand.memory_bytes + GUEST_OVERHEAD_BYTES)
    if memory > node.allotted_memory_bytes:
        message = (
            f"the job needs {print_size(memory)} on each node ({print_size(demand.memory_bytes)} and "
            f"{print_size(GUEST_OVERHEAD_BYTES)} for QEMU, per VM); "
            f"{node.name} has {_rounded(node.allotted_memory_bytes)}"
        )
        most = node.allotted_memory_bytes // demand.vms - GUEST_OVERHEAD_BYTES
        hint = f"write `memory: {most // 2**20}MiB` or less" if most >= 2**20 else "it is too small for any guest"
        found.append(Shortage(Code.TOO_MUCH_MEMORY, message, hint, ("memory",)))
    for index, wanted in enumerate(demand.pinning.map):
        if wanted >= cpus:
            message = (
                f"the map asks for CPU number {wanted} of the allotment; on {node.name} they go from 0 to {cpus - 1}"
            )
            found.append(Shortage(Code.MAP_OUTSIDE, message, f"write a number below {cpus}", ("pinning", "map", index)))
    return found


def _rounded(size_bytes: int) -> str:
    return print_size(size_bytes // 2**20 * 2**20) if size_bytes >= 2**20 else print_size(size_bytes)
