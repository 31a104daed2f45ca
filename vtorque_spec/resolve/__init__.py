"""JobSpec x Site -> JobPlan: every name looked up, every value decided, cross-field rules checked."""

from dataclasses import replace

from vtorque_spec.diagnostics import Code, Report, near_miss
from vtorque_spec.plan import NO_SETUP, VERSION, Backing, DeviceRequest, Image, Iocm, JobPlan, Pinning, overlay_bytes
from vtorque_spec.policy import Effective
from vtorque_spec.resolve.batch import batch_request, check_array
from vtorque_spec.resolve.common import said, said_at
from vtorque_spec.resolve.cpus import check_hugepages, check_iocm, check_map, check_vcpus
from vtorque_spec.resolve.images import resolve_image
from vtorque_spec.resolve.mounts import check_way_out, resolve_mounts
from vtorque_spec.resolve.networks import resolve_network
from vtorque_spec.resolve.osv import check_run, resolve_osv
from vtorque_spec.resolve.own import by_qemu, own_image
from vtorque_spec.resolve.packages import resolve_packages
from vtorque_spec.site import Site
from vtorque_spec.site.distros import packager_of
from vtorque_spec.site.offers import osv_image
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.parse import NormalForm
from vtorque_spec.units import print_duration


def resolve(job: Effective, normal: NormalForm, site: Site, report: Report) -> JobPlan | None:
    """Return the job as the site understands it; None when there is an error among the findings."""
    image = resolve_image(job.spec, normal, site, report)
    _check_queue(job.spec, normal, site, report)
    check_array(job.spec, normal, report)
    check_vcpus(job.spec, normal, site, image, report)
    check_map(job, normal, report)
    check_iocm(job, normal, report)
    check_hugepages(job.spec, normal, report)
    _check_times(job, normal, report)
    own = own_image(job.spec)
    mounts, disks = resolve_mounts(job.spec, normal, site, None if own else image, report)
    packages = () if own else resolve_packages(job.spec, normal, site, image, report)
    check_run(job.spec, normal, image, report)
    osv = resolve_osv(job.spec, normal, image, mounts, site, report)
    if osv is None and own is None:  # an OSv guest fetches nothing by itself
        check_way_out(job.spec, normal, site, mounts, report)
    network = resolve_network(job.spec, normal, site, image, report)
    if report.failed or image is None or network is None:
        return None
    spec = job.spec
    backing: Backing = "shared" if own else said(said(spec.root_disk).backing)
    return JobPlan(
        version=VERSION,
        name=spec.name,
        site=site.name,
        batch=batch_request(spec),
        image=Image(
            image.name, image.sha256 or spec.image.sha256, image.guest, image.cmdline or "", osv_image(image), own
        ),
        osv=osv,
        vcpus=said(spec.vcpus),
        memory_bytes=said(spec.memory),
        vms_per_node=said(spec.vms_per_node),
        pinning=_pinning(spec),
        iocm=_iocm(spec, site),
        hugepages=spec.hugepages or "none",
        shared_memory_bytes=spec.shared_memory or 0,
        root_disk_bytes=said(said(spec.root_disk).size),
        root_disk_backing=backing,
        base_memory_bytes=overlay_bytes(image.min_disk) if backing == "ram" else 0,
        devices=tuple(DeviceRequest(device.name, device.count or 1) for device in spec.devices or ()),
        disks=disks,
        mounts=by_qemu(mounts) if own else mounts,
        setup=NO_SETUP if osv or own else replace(site.setup, packages=packages, packager=packager_of(image)),
        network=network,
        boot_timeout_s=said(said(spec.timeouts).boot),
        grace_s=said(said(spec.timeouts).grace),
        allow_degraded=tuple(sorted(set(spec.allow_degraded or ()))),
        hypervisor=site.hypervisor,
        policy_digest=site.policy.digest,
    )


def _pinning(spec: JobSpec) -> Pinning:
    chosen = said(spec.pinning)
    mode = chosen.mode
    if mode is None or mode == "file":  # `check_map` has refused it, and a mode is filled in
        raise LookupError("the base policy lacks a default for a magnitude that every job needs")
    return Pinning(mode, chosen.map or ())


def _iocm(spec: JobSpec, site: Site) -> Iocm:
    mode = site.iocm.mode if site.iocm else "libvirt"
    if spec.iocm is None or not spec.iocm.enabled:
        return Iocm(mode, 0, 0)
    return Iocm(mode, said(spec.iocm.min_cores), said(spec.iocm.max_cores))


def _check_queue(spec: JobSpec, normal: NormalForm, site: Site, report: Report) -> None:
    name = said(spec.batch).queue
    if name is None or not site.queues or name in site.queues:
        return
    meant = near_miss(name, site.queues)
    hint = f"write `{meant}`" if meant else f"the site `{site.name}` has {', '.join(site.queues)}"
    report.add(Code.UNKNOWN_QUEUE, f"there is no queue `{name}`", normal.at(("batch", "queue")), help=hint)


def _check_times(job: Effective, normal: NormalForm, report: Report) -> None:
    timeouts, walltime = said(job.spec.timeouts), said(said(job.spec.batch).walltime)
    boot, grace = said(timeouts.boot), said(timeouts.grace)
    if boot + grace < walltime:
        return
    place = said_at(normal, ("timeouts", "boot"), ("timeouts", "grace"), ("batch", "walltime"))
    message = (
        f"a boot of {print_duration(boot)} and a grace of {print_duration(grace)} "
        f"leave nothing of a walltime of {print_duration(walltime)}"
    )
    hint = "raise batch.walltime, or lower timeouts.boot and timeouts.grace"
    report.add(Code.TIME_ORDER, message, place, help=hint)
