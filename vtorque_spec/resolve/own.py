"""A user's own image: what stands for its entry in the catalogue, and what a job with one cannot have.

All of such a job is its owner's: QEMU, the files that it opens, the directories that it shares, its connections. What
root does for other jobs, nobody does for this one.
"""

from collections.abc import Iterator
from dataclasses import replace

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Path
from vtorque_spec.plan import Mount, OwnImage
from vtorque_spec.resolve.common import said, said_at
from vtorque_spec.site import Site
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.parse import NormalForm

_WITHOUT_ROOT = ("user", "isolated")
"""The kinds of networks that QEMU makes by itself; `isolated` is then its own one without a way out."""


def own_image(spec: JobSpec) -> OwnImage | None:
    """Return the files of the job's own image; None for one of the catalogue."""
    image = spec.image
    if image.disk is None or image.kernel is None or image.initrd is None:
        return None
    return OwnImage(image.disk, image.kernel, image.initrd)


def resolve_own(spec: JobSpec, normal: NormalForm, site: Site, report: Report) -> CatalogueImage:
    """Return what is known of the job's own image; adds a finding for each reason why the job cannot have it."""
    name, place = spec.image.name, normal.at(("image", "disk"))
    if not site.own_images:
        hint = f"take an image of the site: {', '.join(sorted(site.offered()))}"
        report.add(Code.OWN_IMAGES, f"the site `{site.name}` has no users' own images", place, help=hint)
    if site.revisions(name):
        message = f"`{name}` is an image of the site `{site.name}`, and so no name for one's own"
        hint = "give it another name, or remove its files to have the site's"
        report.add(Code.OWN_NAME, message, normal.at(("image", "name")), help=hint)
    _check_several(spec, normal, report)
    for path, what, hint in _lacking(spec, normal, site):
        message = f"a job with a user's own image cannot have {what}"
        report.add(Code.OWN_LACKS, message, said_at(normal, path, ("image",)), help=hint)
    about = {"name": name, "description": "a user's own image", "guest": "linux", "arch": "x86_64"}
    least = {"min_memory": "1B", "min_disk": "1B", "cmdline": spec.image.cmdline}
    return CatalogueImage.model_validate({**about, **least})


def by_qemu(mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """Return the mounts of a job with an own image: QEMU itself shares the directories, with its owner's rights."""
    return tuple(replace(mount, kind="9p") for mount in mounts)


def _check_several(spec: JobSpec, normal: NormalForm, report: Report) -> None:
    nodes, vms = said(said(spec.batch).nodes), said(spec.vms_per_node)
    if nodes > 1:
        message, place = f"a user's own image boots on one node, the job has {nodes}", normal.at(("batch", "nodes"))
        report.add(Code.OWN_SEVERAL, message, place, help="write `batch: {nodes: 1}`, or take an image of the site")
    if vms > 1:
        message, place = f"a user's own image boots one VM, the job has {vms} on a node", normal.at(("vms_per_node",))
        report.add(Code.OWN_SEVERAL, message, place, help="write `vms_per_node: 1`, or take an image of the site")


def _lacking(spec: JobSpec, normal: NormalForm, site: Site) -> Iterator[tuple[Path, str, str]]:
    """Yield what such a job cannot have: where it is said, what it is, and what to do."""
    if spec.guest == "osv":
        yield ("guest",), "an OSv guest", "remove `guest`: own images are of Linux"
    for index, mount in enumerate(spec.mounts or ()):
        if mount.name in site.mounts and site.mounts[mount.name].type == "nfs":
            what = f"`{mount.name}`, which its guest would mount from a server itself, as whom its root likes"
            yield ("mounts", index, "name"), what, "remove the mount"
    network = site.networks.get(said(said(spec.network).name))
    if network is not None and network.kind not in _WITHOUT_ROOT:
        fine = sorted(name for name, other in site.networks.items() if other.kind in _WITHOUT_ROOT)
        hint = f"write `network: {fine[0]}`" if fine else f"the site `{site.name}` has no network of the kind `user`"
        yield ("network", "name"), f"a network of the kind `{network.kind}`, which root makes", hint
    backing = normal.data.get("root_disk", {}).get("backing")
    if backing not in (None, "shared"):
        yield ("root_disk", "backing"), f"`backing: {backing}`: its disk is read where it is", "remove `backing`"
    if spec.packages:
        yield ("packages",), "packages: the site does not know how it installs any", "install them in the image"
