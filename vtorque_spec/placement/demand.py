"""What a job asks of a node, in the engine's numbers: JobPlan x HostNode -> Demand."""

from collections.abc import Iterator

from vtorque_spec.placement.model import Demand
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.plan import JobPlan, vm_spool_bytes
from vtorque_spec.units import SIZE_UNITS

GUEST_OVERHEAD_BYTES = 256 * SIZE_UNITS["MiB"]
"""What QEMU needs beside the guest's own memory."""

PAGE_BYTES = {"1GiB": SIZE_UNITS["GiB"], "2MiB": 2 * SIZE_UNITS["MiB"]}
"""The sizes of huge pages, the larger first: `any` takes the first that fits."""


def page_sizes(job: JobPlan) -> tuple[int | None, ...]:
    """Return the page sizes that may lie behind the job's memory, the best first; None is ordinary memory."""
    if job.hugepages == "none":
        return (None,)
    if job.hugepages == "any":
        return tuple(size for size in PAGE_BYTES.values() if job.memory_bytes % size == 0)
    return (PAGE_BYTES[job.hugepages],)


def beside_bytes(job: JobPlan, node: HostNode) -> int:
    """Return what each VM takes of ordinary memory beside its own.

    QEMU, its part of what the VMs share and of an image in memory, and its disks where the node has none.
    """
    shared = -(-(job.shared_memory_bytes + job.base_memory_bytes) // job.vms_per_node)
    return GUEST_OVERHEAD_BYTES + shared + disks_memory_bytes(job, node)


def disks_memory_bytes(job: JobPlan, node: HostNode) -> int:
    """Return what each VM's files in the spool take of memory at most, each counted as the job's first VM."""
    return vm_spool_bytes(job.root_disk_bytes, (disk.size_bytes for disk in job.disks)) if node.diskless else 0


def memory_bytes(job: JobPlan, node: HostNode) -> int:
    """Return the memory that the job uses on each of its nodes."""
    return job.vms_per_node * (job.memory_bytes + beside_bytes(job, node))


def ordinary_bytes(job: JobPlan, node: HostNode) -> int:
    """Return the memory that the job uses outside of its huge pages on each of its nodes."""
    return job.vms_per_node * beside_bytes(job, node)


def demands(job: JobPlan, node: HostNode) -> Iterator[Demand]:
    """Yield the demand for each page size that the job may have."""
    for page_bytes in page_sizes(job):
        yield Demand(
            guests=job.vms_per_node,
            vcpus=job.vcpus,
            memory_bytes=job.memory_bytes if page_bytes else job.memory_bytes + beside_bytes(job, node),
            io_cores=job.iocm.max_cores,
            page_bytes=page_bytes,
            mode="auto" if job.pinning.mode == "numad" else job.pinning.mode,
            smt="cores" if node.vcpu == "core" else "threads",
            mapped=tuple(node.allotted[place] for place in job.pinning.map if place < len(node.allotted)),
        )


def slots(job: JobPlan, node: HostNode) -> int:
    """Return how many of the batch system's slots the job asks for: all where it has the node to itself.

    Else those that it uses, and at least as many as its map has to choose from.
    """
    if job.batch.exclusive:
        return node.all_slots
    used = used_slots(job, node) if node.alike else min(used_slots(job, node), node.slots)
    listed = max(job.pinning.map, default=-1) + 1
    return max(used, listed if node.slot == "thread" else -(-listed // node.threads))


def used_slots(job: JobPlan, node: HostNode) -> int:
    """Return how many of the batch system's slots the job's cores on a node are.

    Where cores have different numbers of threads, it is the most that they can be.
    """
    io = job.iocm.max_cores * (1 if node.slot == "core" else node.threads)
    if job.pinning.mode == "map":
        named = {node.allotted[place] for place in job.pinning.map if place < len(node.allotted)}
        cores = [core for cell in node.cells for core in cell.cores if named.intersection(core)]
        widths = [len(set(core).intersection(node.allotted)) for core in cores]
        used = io + (len(widths) if node.slot == "core" else sum(widths))
    elif job.pinning.mode == "none":  # its guests share cores
        used = io + _guest_slots(job.vcpus * job.vms_per_node, node)
    else:
        used = io + _guest_slots(job.vcpus, node) * job.vms_per_node
    return used


def _guest_slots(vcpus: int, node: HostNode) -> int:
    """Of cores that together have so many threads, and of which none could be left out."""
    if node.vcpu == "core":
        return vcpus if node.slot == "core" else vcpus * node.threads
    if node.slot == "core":
        return -(-vcpus // node.fewest_threads)
    return -(-vcpus // node.threads) * node.threads if node.alike else vcpus + node.threads - 1
