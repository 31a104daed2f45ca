"""CPUs and memory: what contradicts itself whatever the node is."""

from vtorque_spec.diagnostics import Code, Note, Report
from vtorque_spec.policy import Effective
from vtorque_spec.resolve.common import said, said_at
from vtorque_spec.site import Site
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.parse import NormalForm
from vtorque_spec.units import parse_size, print_size

VCPUS_LIMIT = {"kvm": 288, "emulation": 255}
"""What QEMU 7.2's machine q35 can have; an emulated one lacks the interrupt remapping that more than 255 need."""


OSV_VCPUS_LIMIT = 64
"""OSv, include/osv/sched.hh: with more it crashes while it starts."""


def check_vcpus(spec: JobSpec, normal: NormalForm, site: Site, image: CatalogueImage | None, report: Report) -> None:
    """A VM has no more vCPUs than its virtual board has room for, and its kernel."""
    vcpus, most = said(spec.vcpus), VCPUS_LIMIT["emulation" if site.hypervisor == "emulation" else "kvm"]
    emulated = "an emulated VM" if site.hypervisor == "emulation" else "a VM"
    if image is not None and image.guest == "osv":
        most, emulated = OSV_VCPUS_LIMIT, "an OSv guest"
    if vcpus > most:
        hint = f"write `vcpus: {most}` or less, and more `vms_per_node`"
        place = said_at(normal, ("vcpus",))
        report.add(Code.VCPU_LIMIT, f"{vcpus} vCPUs are more than {emulated} can have", place, help=hint)


def check_map(job: Effective, normal: NormalForm, report: Report) -> None:
    """A map has one entry for each vCPU of each VM, and none twice."""
    spec = job.spec
    chosen, vcpus, vms = said(spec.pinning).map, said(spec.vcpus), said(spec.vms_per_node)
    if said(spec.pinning).mode == "file":  # a job's own file is in its place by now
        origin = job.origin(("pinning", "file")) or job.origin(("pinning",))
        hint = "write `{map: [...]}` or another mode there"
        message = "the policy's default of `pinning` names a file, which only a job can"
        report.add(Code.POLICY_DEFAULT, message, origin.span if origin else None, help=hint)
    if chosen is None:
        return
    if len(chosen) != vcpus * vms:
        needed = f"`vcpus` is {vcpus}" + (f" and `vms_per_node` {vms}" if vms > 1 else "")
        message = f"the map has length {len(chosen)}, but {needed}"
        last = ("pinning", "map", len(chosen) - 1) if len(chosen) < vcpus * vms else ("pinning", "map", vcpus * vms)
        hint = "write one entry for each vCPU" + (", VM by VM" if vms > 1 else "")
        report.add(Code.MAP_LENGTH, message, normal.at(last), help=hint)
    first: dict[int, int] = {}
    for index, cpu in enumerate(chosen):
        earlier = first.setdefault(cpu, index)
        if earlier != index:
            place, hint = normal.at(("pinning", "map", index)), "give each vCPU a CPU of its own"
            notes = [Note("it is here first", normal.at(("pinning", "map", earlier)))]
            report.add(Code.MAP_REPEATS, f"the map has the CPU {cpu} twice", place, notes=notes, help=hint)


def check_iocm(job: Effective, normal: NormalForm, report: Report) -> None:
    """The I/O cores that work from the start are some of those that are set aside."""
    iocm = job.spec.iocm
    if iocm is None or not iocm.enabled or said(iocm.min_cores) <= said(iocm.max_cores):
        return
    message = f"{iocm.min_cores} I/O cores are to work from the start, of {iocm.max_cores} that are set aside"
    origins = {name: job.origin(("iocm", name)) for name in ("min_cores", "max_cores")}
    notes = [
        Note(f"the policy's default of `iocm.{name}`", origin.span)
        for name, origin in origins.items() if origin and ("iocm", name) not in normal.spans
    ]  # fmt: skip
    hint = f"write `min_cores: {iocm.max_cores}` or less, or a larger `max_cores`"
    place = said_at(normal, ("iocm", "min_cores"), ("iocm", "max_cores"), ("iocm",))
    report.add(Code.IOCM_ORDER, message, place, notes=notes, help=hint)


def check_hugepages(spec: JobSpec, normal: NormalForm, report: Report) -> None:
    """A guest's memory is whole pages."""
    memory, wanted = said(spec.memory), spec.hugepages or "none"
    if wanted == "none":
        return
    page = parse_size("2MiB" if wanted == "any" else wanted)
    if memory % page:
        message = f"{print_size(memory)} are not whole pages of {print_size(page)}"
        hint = f"write `memory: {print_size(-(-memory // page) * page)}`"
        place = said_at(normal, ("memory",), ("hugepages",))
        report.add(Code.NOT_WHOLE_PAGES, message, place, help=hint)
