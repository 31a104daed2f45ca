"""I/O cores that the manager of an sKVM kernel serves: what it cannot do, and where it takes them."""

from collections.abc import Iterator
from dataclasses import replace

from vtorque_spec.diagnostics import Code
from vtorque_spec.placement import model
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.placement.reasons import reasons
from vtorque_spec.placement.shortage import Shortage
from vtorque_spec.plan import JobPlan
from vtorque_spec.site.skvm import CPUS_LIMIT, LEAST_CORES, NICS_LIMIT


def serves(job: JobPlan) -> bool:
    """Tell whether the manager serves this job's I/O cores."""
    return job.iocm.mode == "skvm" and job.iocm.max_cores > 0


def beyond(job: JobPlan, node: HostNode) -> Iterator[Shortage]:
    """Yield why the manager cannot serve the job on this node."""
    if not serves(job):
        return
    cores = [core for cell in node.cells for core in cell.cores]
    highest = max((cpu for core in cores for cpu in core), default=0)
    limits = (
        (highest >= CPUS_LIMIT, f"{node.name} has the CPU {highest}, higher than {CPUS_LIMIT - 1}"),
        (len(cores) < LEAST_CORES, f"{node.name} has {len(cores)} cores, fewer than {LEAST_CORES}"),
        (len(node.nics) > NICS_LIMIT, f"{node.name} has {len(node.nics)} adapters to serve, more than {NICS_LIMIT}"),
    )
    cannot = "the site's I/O manager (sKVM) cannot serve this job"
    for broken, why in limits:
        if broken:
            yield Shortage(Code.SKVM_LIMIT, f"{cannot}: {why}", "leave out `iocm`", (("iocm",),))
    if not job.batch.exclusive:
        why, help_ = "it works on the whole node, which this job does not ask for", "write `batch: {exclusive: true}`"
        yield Shortage(Code.SKVM_LIMIT, f"{cannot}: {why}", help_, (("batch", "exclusive"), ("iocm",)))
    if job.pinning.mode != "none":
        why = f"it moves the vCPUs itself, so they cannot be pinned (`{job.pinning.mode}`)"
        yield Shortage(Code.SKVM_LIMIT, f"{cannot}: {why}", "write `pinning: none`", (("pinning", "mode"), ("iocm",)))


def lowest_for_io(room: model.Node, demand: model.Demand, found: model.Placement) -> model.Placement:
    """Give I/O the job's lowest cores, as the manager takes them; its guests, not pinned, have the others."""
    cores = sorted((*found.io, *found.floats), key=lambda core: core.cpus)
    other = replace(found, io=tuple(cores[: len(found.io)]), floats=tuple(cores[len(found.io) :]))
    return replace(other, reasons=reasons(room, demand, other, ""))
