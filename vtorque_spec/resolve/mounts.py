"""Mounts and disks: the names of the site looked up, and mount points that exclude each other."""

from pathlib import PurePosixPath

from vtorque_spec.diagnostics import Code, Report, Span, near_miss
from vtorque_spec.plan import GUEST_OWNS, DiskRequest, Mount
from vtorque_spec.resolve.common import said, said_at
from vtorque_spec.site import Site
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.site.model import SiteMount
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.machine import Mount as MountSpec
from vtorque_spec.spec.parse import NormalForm

DISKS_LIMIT = 16
"""Beside the root disk and the seed."""

ASSUMED = ("virtiofs",)
"""What an image can mount whose entry in the catalogue does not say."""


def resolve_mounts(
    spec: JobSpec, normal: NormalForm, site: Site, image: CatalogueImage | None, report: Report
) -> tuple[tuple[Mount, ...], tuple[DiskRequest, ...]]:
    """Look the job's mounts up at the site, then its disks; adds a finding for each that cannot be."""
    targets = _Targets(report)
    found: list[Mount] = []
    for index, mount in enumerate(spec.mounts or ()):
        offered = site.mounts.get(mount.name)
        place = normal.at(("mounts", index, "name"))
        if offered is None:
            meant = near_miss(mount.name, site.mounts)
            names = ", ".join(sorted(site.mounts)) or "none"
            hint = f"write `{meant}`" if meant else f"the site `{site.name}` has {names}"
            report.add(Code.UNKNOWN_MOUNT, f"there is no mount `{mount.name}`", place, help=hint)
            continue
        if mount.mode == "rw" and offered.mode == "ro":
            message = f"the site offers `{mount.name}` read-only"
            report.add(Code.MOUNT_MODE, message, normal.at(("mounts", index, "mode")), help="write `mode: ro`")
        found.append(_resolved(mount, offered))
        targets.add(mount.name, found[-1].target, normal.at(("mounts", index, "target")), said=bool(mount.target))
        by_virtiofs = found[-1].kind == "virtiofs" and found[-1].read_only
        if image is not None and (image.guest == "linux" or by_virtiofs):  # how OSv writes: `resolve.osv`
            _check_image(found[-1], image, site, place, report)
    return tuple(found), _disks(spec, normal, targets, report)


def check_way_out(spec: JobSpec, normal: NormalForm, site: Site, mounts: tuple[Mount, ...], report: Report) -> None:
    """Check that what the guests fetch over the network can come."""
    name = said(said(spec.network).name)
    if name not in site.networks or site.networks[name].kind != "isolated":
        return
    out = sorted(other for other, network in site.networks.items() if network.kind != "isolated")
    hint = f"write `network: {out[0]}`" if out else f"the site `{site.name}` has no network with a way out"
    place = said_at(normal, ("network", "name"))
    for index, mount in enumerate(mounts):
        if mount.kind == "nfs":
            message = f"guests mount `{mount.name}` from a server by NFS, and the network `{name}` does not lead there"
            report.add(Code.NO_WAY_OUT, message, place or normal.at(("mounts", index, "name")), help=hint)
    if spec.packages:
        message = f"guests fetch packages from an archive, and the network `{name}` does not lead there"
        report.add(Code.NO_WAY_OUT, message, place or normal.at(("packages",)), help=hint)
    if site.setup.updates == "security":
        message = f"the site's guests install security updates, and the network `{name}` does not lead out"
        report.add(Code.NO_WAY_OUT, message, place, help=hint)


def _resolved(mount: MountSpec, offered: SiteMount) -> Mount:
    return Mount(
        name=mount.name,
        kind=offered.type or "virtiofs",
        source=offered.source,
        target=mount.target or offered.target,
        read_only=(mount.mode or offered.mode) == "ro",
        options=offered.options or (),
    )


def _check_image(mount: Mount, image: CatalogueImage, site: Site, place: Span | None, report: Report) -> None:
    if mount.kind in (image.capabilities or ASSUMED):
        return
    able = sorted(other.name for other in site.offered().values() if mount.kind in (other.capabilities or ASSUMED))
    hint = f"remove the mount, or take an image that can: {', '.join(able)}" if able else "remove the mount"
    message = f"`{mount.name}` is mounted by {mount.kind}, which the image `{image.name}` does not have"
    report.add(Code.MOUNT_CAPABILITY, message, place, help=hint)


def _disks(spec: JobSpec, normal: NormalForm, targets: "_Targets", report: Report) -> tuple[DiskRequest, ...]:
    disks, names = spec.disks or (), set[str]()
    if len(disks) > DISKS_LIMIT:
        message = f"the job asks for {len(disks)} disks; a VM can have {DISKS_LIMIT} beside its root disk"
        place, hint = normal.at(("disks", DISKS_LIMIT)), "make fewer and larger ones"
        report.add(Code.TOO_MANY_DISKS, message, place, help=hint)
    for index, disk in enumerate(disks):
        if disk.name in names:
            message, place = f"two disks are called `{disk.name}`", normal.at(("disks", index, "name"))
            report.add(Code.DISK_TWICE, message, place, help="give one of them another name")
        names.add(disk.name)
        targets.add(disk.name, disk.mount, normal.at(("disks", index, "mount")), said=True)
    return tuple(DiskRequest(disk.name, disk.size, disk.mount, disk.attach == "all") for disk in disks)


class _Targets:
    """The mount points of a job, by target: who has it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._taken: dict[str, str] = {}

    def add(self, name: str, target: str, place: Span | None, *, said: bool) -> None:
        """Add a finding for each reason why `name` cannot be mounted there; `said` by the job, not by the site."""
        earlier = self._taken.get(target)
        if earlier is not None:
            message = f"`{earlier}` and `{name}` are both mounted at {target}"
            hint = "remove one of them" if earlier == name else "give one of them another `target`"
            self._report.add(Code.TARGET_TWICE, message, place, help=hint)
        self._check_nesting(name, target, place)
        self._taken.setdefault(target, name)
        if said and any(target == own or target.startswith(own + "/") for own in GUEST_OWNS):
            message = f"a mount at {target} would hide a directory of the guest's own"
            self._report.add(Code.RESERVED_TARGET, message, place, help="mount it elsewhere, as in /data")

    def _check_nesting(self, name: str, target: str, place: Span | None) -> None:
        """What is mounted inside a user's directory is mounted wherever a link there leads, by the guest's root."""
        parents = map(str, PurePosixPath(target).parents)
        above = next((self._taken[parent] for parent in parents if parent in self._taken), None)
        below = next((other for taken, other in self._taken.items() if taken.startswith(target + "/")), None)
        if above or below:
            message = f"the mounts `{name}` and `{above or below}` lie one inside the other"
            hint = "mount them side by side, as in /data and /scratch"
            self._report.add(Code.MOUNT_INSIDE, message, place, help=hint)
