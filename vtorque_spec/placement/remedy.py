"""How a job that does not fit would: the nearest values with which it does, as the job file has them."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from vtorque_spec.diagnostics import Code
from vtorque_spec.placement.demand import page_sizes
from vtorque_spec.placement.model import MIB
from vtorque_spec.placement.refuse import last
from vtorque_spec.plan import DeviceRequest, Hugepages, JobPlan, Pinning
from vtorque_spec.units import SIZE_UNITS, print_size

_GIB = SIZE_UNITS["GiB"]
_PAGES: tuple[Hugepages, ...] = ("1GiB", "2MiB", "none")

Good = Callable[[JobPlan], bool]


def remedy(job: JobPlan, code: Code, lacking: Callable[[JobPlan], set[Code]]) -> str:
    """Return what mends what `code` is told of and makes nothing else short.

    `lacking` tells what is short of a job on this node.
    """
    rest = lacking(job) - {code}
    for first, base in _bases(job):
        found = list(_alone(base, lambda other: lacking(other) <= rest))
        if found and first:
            return f"it fits with {' and '.join(first)} and {'either ' if found[1:] else ''}{' or '.join(found)}"
        if found:
            return f"it fits with {', or with '.join(found)}"
    return "no smaller figure mends it; it takes another kind of node"


def _bases(job: JobPlan) -> Iterator[tuple[list[str], JobPlan]]:
    """The job; and, where nothing alone would do, without its I/O cores, of one VM a node, or both."""
    alone = replace(job, iocm=replace(job.iocm, min_cores=0, max_cores=0))
    single = job.pinning.mode != "map" and job.vms_per_node > 1
    yield [], job
    if job.iocm.max_cores:
        yield ["`iocm: false`"], alone
    if single:
        yield ["`vms_per_node: 1`"], replace(job, vms_per_node=1)
    if job.iocm.max_cores and single:
        yield ["`iocm: false`", "`vms_per_node: 1`"], replace(alone, vms_per_node=1)


def _alone(job: JobPlan, good: Good) -> Iterator[str]:
    """Yield for each member the value with which, alone changed, the job is good; other pages where there is none."""
    found = [*_fewer(job, good), *_less_memory(job, good), *_fewer_devices(job, good)]
    if job.pinning.mode == "compact" and good(replace(job, pinning=Pinning("auto", ()))):
        found.append("`pinning: auto`")
    if not found:
        others = (pages for pages in _PAGES if pages != job.hugepages and good(replace(job, hugepages=pages)))
        found += [f"`hugepages: {pages}`" for pages in others][:1]
    yield from found


def _fewer(job: JobPlan, good: Good) -> Iterator[str]:
    """I/O cores, VMs or vCPUs; how many of these two there are is said by a map, where there is one."""
    io = last(lambda cores: good(_with_io(job, cores)), 0, job.iocm.max_cores - 1)
    if io is not None:
        least = f"min_cores: {io}, " if io < job.iocm.min_cores else ""
        yield f"`iocm: {{{least}max_cores: {io}}}`" if io else "`iocm: false`"
    if job.pinning.mode == "map":
        return
    guests = last(lambda count: good(replace(job, vms_per_node=count)), 1, job.vms_per_node - 1)
    if guests is not None:
        yield f"`vms_per_node: {guests}`"
    vcpus = last(lambda count: good(replace(job, vcpus=count)), 1, job.vcpus - 1)
    if vcpus is not None:
        yield f"`vcpus: {vcpus}`"


def _with_io(job: JobPlan, cores: int) -> JobPlan:
    return replace(job, iocm=replace(job.iocm, min_cores=min(job.iocm.min_cores, cores), max_cores=cores))


def _less_memory(job: JobPlan, good: Good) -> Iterator[str]:
    """In whole pages, the largest first; and in whole GiB where that loses little."""
    for page in page_sizes(job):
        unit = page or MIB

        def fits(count: int, unit: int = unit) -> bool:
            return good(replace(job, memory_bytes=count * unit))

        most = last(fits, 1, -(-job.memory_bytes // unit) - 1)
        if most is not None:
            shown = _GIB if most * unit >= 16 * _GIB else unit
            yield f"`memory: {print_size(most * unit // shown * shown)}`"
            return


def _fewer_devices(job: JobPlan, good: Good) -> Iterator[str]:
    for index, wanted in enumerate(job.devices):

        def fits(count: int, index: int = index, wanted: DeviceRequest = wanted) -> bool:
            fewer = replace(wanted, count=count)
            return good(replace(job, devices=(*job.devices[:index], fewer, *job.devices[index + 1 :])))

        most = last(fits, 1, wanted.count - 1)
        if most is not None:
            yield f"`count: {most}` of `{wanted.name}`"
