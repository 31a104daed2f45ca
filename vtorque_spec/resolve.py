"""JobSpec x Site -> JobPlan: every name looked up, every value decided, cross-field rules checked."""

from pathlib import PurePosixPath
from typing import TypeVar

from vtorque_spec.diagnostics import Code, Report, Span, near_miss
from vtorque_spec.document import Path
from vtorque_spec.plan import VERSION, BatchRequest, Image, JobPlan, Mount, Pinning
from vtorque_spec.policy import Effective
from vtorque_spec.site import Site
from vtorque_spec.site.model import GUEST_OWNS, CatalogueImage
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.machine import Mount as MountSpec
from vtorque_spec.spec.parse import NormalForm
from vtorque_spec.units import print_duration, print_size

T = TypeVar("T")

GUEST_OVERHEAD_BYTES = 256 * 2**20
"""What QEMU needs beside the guest's own memory; asked of the batch system for each VM."""


def resolve(job: Effective, normal: NormalForm, site: Site, report: Report) -> JobPlan | None:
    """Return the job as the site understands it; None when there is an error among the findings."""
    before = len(report.items)
    image = _image(job.spec, normal, site, report)
    _check_pinning(job.spec, normal, report)
    _check_times(job, normal, report)
    mounts = _mounts(job.spec, normal, site, report)
    network = _network(job.spec, normal, site, report)
    if len(report.items) > before or image is None:
        return None
    spec = job.spec
    return JobPlan(
        version=VERSION,
        name=spec.name,
        site=site.name,
        batch=_batch(spec),
        image=Image(image.name, image.sha256 or (spec.image.sha256), image.guest, image.cmdline),
        vcpus=_said(spec.vcpus),
        memory_bytes=_said(spec.memory),
        vms_per_node=_said(spec.vms_per_node),
        pinning=_pinning(spec),
        root_disk_bytes=_said(_said(spec.root_disk).size),
        mounts=mounts,
        network=network,
        boot_timeout_s=_said(_said(spec.timeouts).boot),
        grace_s=_said(_said(spec.timeouts).grace),
        allow_degraded=tuple(sorted(set(spec.allow_degraded or ()))),
        hypervisor=site.hypervisor,
        policy_digest=site.policy.digest,
    )


def _said(value: T | None) -> T:
    """What the base policy gives every job."""
    if value is None:
        raise LookupError("the base policy lacks a default for a magnitude that every job needs")
    return value


def _batch(spec: JobSpec) -> BatchRequest:
    batch, vms = _said(spec.batch), _said(spec.vms_per_node)
    return BatchRequest(
        nodes=_said(batch.nodes),
        ppn=_said(spec.vcpus) * vms,
        memory_bytes=(_said(spec.memory) + GUEST_OVERHEAD_BYTES) * vms,
        walltime_s=_said(batch.walltime),
        queue=batch.queue,
        account=batch.account,
        output=batch.output,
        join=_said(batch.join),
    )


def _pinning(spec: JobSpec) -> Pinning:
    pinning = _said(spec.pinning)
    return Pinning("map", pinning.map) if pinning.map is not None else Pinning("none", ())


def _image(spec: JobSpec, normal: NormalForm, site: Site, report: Report) -> CatalogueImage | None:
    place = normal.at(("image",))
    image = site.images.get(spec.image.name)
    if image is None:
        meant = near_miss(spec.image.name, site.images)
        names = ", ".join(sorted(site.images))
        hint = f"write `{meant}`" if meant else f"the catalogue of the site `{site.name}` has {names}"
        report.add(Code.UNKNOWN_IMAGE, f"there is no image `{spec.image.name}`", place, help=hint)
        return None
    if spec.image.sha256 and image.sha256 and spec.image.sha256 != image.sha256:
        message = f"the site's image `{image.name}` has another digest: {image.sha256}"
        report.add(Code.IMAGE_DIGEST, message, place, help="remove the digest, or name the image that you mean")
    if spec.guest is not None and spec.guest != image.guest:
        message = f"the image `{image.name}` is a {image.guest} guest, not {spec.guest}"
        report.add(
            Code.GUEST_MISMATCH, message, normal.at(("guest",)), help="remove `guest`: it follows from the image"
        )
    _check_least(image, spec, normal, report)
    return image


def _check_least(image: CatalogueImage, spec: JobSpec, normal: NormalForm, report: Report) -> None:
    memory, disk = _said(spec.memory), _said(_said(spec.root_disk).size)
    if memory < image.min_memory:
        need = print_size(image.min_memory)
        message = f"the image `{image.name}` needs {need}, the guest has {print_size(memory)}"
        place = _said_at(normal, ("memory",), ("image",))
        report.add(Code.IMAGE_MEMORY, message, place, help=f"write `memory: {need}` or more")
    if disk < image.min_disk:
        need = print_size(image.min_disk)
        message = f"the image `{image.name}` has {need}, the root disk above it {print_size(disk)}"
        place = _said_at(normal, ("root_disk", "size"), ("image",))
        report.add(Code.IMAGE_DISK, message, place, help=f"write `root_disk: {{size: {need}}}` or more")


def _said_at(normal: NormalForm, *paths: Path) -> Span | None:
    """Return the place of the first of `paths` that the job says itself; None where it says none of them."""
    return next((normal.at(path) for path in paths if path in normal.spans), None)


def _check_pinning(spec: JobSpec, normal: NormalForm, report: Report) -> None:
    chosen, vcpus = _said(spec.pinning).map, _said(spec.vcpus)
    if chosen is None:
        return
    if len(chosen) != vcpus:
        message = f"the map has length {len(chosen)}, but `vcpus` is {vcpus}"
        report.add(Code.MAP_LENGTH, message, normal.at(("pinning", "map")), help="write one entry for each vCPU")
    seen: set[int] = set()
    for index, cpu in enumerate(chosen):
        if cpu in seen:
            place, hint = normal.at(("pinning", "map", index)), "give each vCPU a CPU of its own"
            report.add(Code.MAP_REPEATS, f"the map has the CPU {cpu} twice", place, help=hint)
        seen.add(cpu)


def _check_times(job: Effective, normal: NormalForm, report: Report) -> None:
    timeouts, walltime = _said(job.spec.timeouts), _said(_said(job.spec.batch).walltime)
    boot, grace = _said(timeouts.boot), _said(timeouts.grace)
    if boot + grace < walltime:
        return
    place = _said_at(normal, ("timeouts", "boot"), ("timeouts", "grace"), ("batch", "walltime"))
    message = (
        f"a boot of {print_duration(boot)} and a grace of {print_duration(grace)} "
        f"leave nothing of a walltime of {print_duration(walltime)}"
    )
    hint = "raise batch.walltime, or lower timeouts.boot and timeouts.grace"
    report.add(Code.TIME_ORDER, message, place, help=hint)


def _network(spec: JobSpec, normal: NormalForm, site: Site, report: Report) -> str:
    name = _said(_said(spec.network).name)
    if name not in site.networks:
        meant = near_miss(name, site.networks)
        hint = f"write `{meant}`" if meant else f"the site `{site.name}` has {', '.join(sorted(site.networks))}"
        report.add(Code.UNKNOWN_NETWORK, f"there is no network `{name}`", normal.at(("network", "name")), help=hint)
    return name


def _mounts(spec: JobSpec, normal: NormalForm, site: Site, report: Report) -> tuple[Mount, ...]:
    found: list[Mount] = []
    taken: dict[str, str] = {}
    for index, mount in enumerate(spec.mounts or ()):
        offered = site.mounts.get(mount.name)
        if offered is None:
            meant = near_miss(mount.name, site.mounts)
            hint = (
                f"write `{meant}`"
                if meant
                else f"the site `{site.name}` has {', '.join(sorted(site.mounts)) or 'none'}"
            )
            report.add(
                Code.UNKNOWN_MOUNT, f"there is no mount `{mount.name}`", normal.at(("mounts", index, "name")), help=hint
            )
            continue
        if mount.mode == "rw" and offered.mode == "ro":
            message = f"the site offers `{mount.name}` read-only"
            report.add(Code.MOUNT_MODE, message, normal.at(("mounts", index, "mode")), help="write `mode: ro`")
        resolved = Mount(
            mount.name, offered.source, mount.target or offered.target, (mount.mode or offered.mode) == "ro"
        )
        _check_target(mount, resolved, index, taken, normal, report)
        found.append(resolved)
    return tuple(found)


def _check_nesting(mount: Mount, taken: dict[str, str], place: Span | None, report: Report) -> None:
    """What is mounted inside a user's directory is mounted wherever a link there leads, by the guest's root."""
    above = next((taken[str(parent)] for parent in PurePosixPath(mount.target).parents if str(parent) in taken), None)
    below = next((name for target, name in taken.items() if target.startswith(mount.target + "/")), None)
    if above or below:
        message = f"the mounts `{mount.name}` and `{above or below}` lie one inside the other"
        report.add(Code.MOUNT_INSIDE, message, place, help="mount them side by side, as in /data and /scratch")


def _check_target(
    said: MountSpec, mount: Mount, index: int, taken: dict[str, str], normal: NormalForm, report: Report
) -> None:
    place = normal.at(("mounts", index, "target"))
    earlier = taken.get(mount.target)
    if earlier is not None:
        message = f"`{earlier}` and `{mount.name}` are both mounted at {mount.target}"
        hint = "remove one of them" if earlier == mount.name else "give one of them another `target`"
        report.add(Code.TARGET_TWICE, message, place, help=hint)
    _check_nesting(mount, taken, place, report)
    taken.setdefault(mount.target, mount.name)
    if said.target and any(said.target == own or said.target.startswith(own + "/") for own in GUEST_OWNS):
        message = f"a mount at {said.target} would hide a directory of the guest's own"
        report.add(Code.RESERVED_TARGET, message, place, help="mount it elsewhere, as in /data")
