"""The job's image: which entry of the catalogue it is, whether it may still be used, and what it needs at least."""

from vtorque_spec.diagnostics import Code, Report, Span, near_miss
from vtorque_spec.resolve.common import said, said_at
from vtorque_spec.resolve.own import own_image, resolve_own
from vtorque_spec.site import Site
from vtorque_spec.site.catalogue import called, pinned, state_of
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.parse import NormalForm
from vtorque_spec.units import print_size


def resolve_image(spec: JobSpec, normal: NormalForm, site: Site, report: Report) -> CatalogueImage | None:
    """Return the entry that the job names: with a pin that revision or digest; None where there is none.

    For a user's own image, which has no entry, what stands for one.
    """
    if own_image(spec) is not None:
        return resolve_own(spec, normal, site, report)
    image = _find(spec, normal, site, report)
    if image is None:
        return None
    _check_state(image, normal, site, report)
    if spec.guest is not None and spec.guest != image.guest:
        message = f"the image `{image.name}` is for guests of {image.guest}, not {spec.guest}"
        report.add(
            Code.GUEST_MISMATCH, message, normal.at(("guest",)), help="remove `guest`: it follows from the image"
        )
    _check_least(image, spec, normal, report)
    return image


def _find(spec: JobSpec, normal: NormalForm, site: Site, report: Report) -> CatalogueImage | None:
    wanted, place, entries = spec.image, normal.at(("image",)), site.revisions(spec.image.name)
    if not entries:
        offered = sorted(site.offered())
        meant = near_miss(wanted.name, offered)
        hint = f"write `{meant}`" if meant else f"the catalogue of the site `{site.name}` has {', '.join(offered)}"
        report.add(Code.UNKNOWN_IMAGE, f"there is no image `{wanted.name}`", place, help=hint)
        return None
    of_revision = [image for image in entries if wanted.revision in (None, image.revision)]
    if not of_revision:
        usable = [image for image in entries if state_of(image, site.today) != "withdrawn"]
        _add_unknown_revision(wanted.name, str(wanted.revision), usable, place, report)
        return None
    image = pinned(of_revision, None, wanted.sha256)
    if image is not None:
        return image
    has = ", ".join(
        f"{image.revision}: {image.sha256}" if image.revision else f"{image.sha256}" for image in of_revision
    )
    message = f"the site's image `{wanted.name}` has another digest: {has}"
    report.add(Code.IMAGE_DIGEST, message, place, help="remove the digest, or name the image that you mean")
    return None


def _add_unknown_revision(
    name: str, revision: str, usable: list[CatalogueImage], place: Span | None, report: Report
) -> None:
    known = [image.revision for image in usable if image.revision]
    meant = near_miss(revision, known)
    hint = f"write `{name}:{meant}`" if meant else f"it has {', '.join(known)}" if known else f"write `{name}`"
    report.add(Code.UNKNOWN_REVISION, f"the image `{name}` has no revision {revision}", place, help=hint)


def _check_state(image: CatalogueImage, normal: NormalForm, site: Site, report: Report) -> None:
    state, place = state_of(image, site.today), normal.at(("image",))
    if state == "current":
        return
    successor = _successor(image, site)
    hint = f"write `image: {successor}`" if successor else "take another image: vtorque policy show"
    if state == "deprecated":
        message = f"the image `{called(image)}` is deprecated: it can be used until {image.deprecated_until}"
        report.add(Code.IMAGE_DEPRECATED, message, place, help=hint)
    else:
        since = f": its last day was {image.deprecated_until}" if image.state == "deprecated" else ""
        report.add(Code.IMAGE_WITHDRAWN, f"the image `{called(image)}` is withdrawn{since}", place, help=hint)


def _successor(image: CatalogueImage, site: Site) -> str | None:
    """Return what to take instead: what the entry says, else the newest revision of its name; None: neither is current.

    The catalogue's word may be out of date itself; `site check` tells the admin (VT0516).
    """
    for name in (image.successor, image.name):
        other = site.images.get(name) if name else None
        if other is not None and state_of(other, site.today) == "current":
            return name if name != image.name else called(other)
    return None


def _check_least(image: CatalogueImage, spec: JobSpec, normal: NormalForm, report: Report) -> None:
    memory, disk = said(spec.memory), said(said(spec.root_disk).size)
    if memory < image.min_memory:
        need = print_size(image.min_memory)
        message = f"the image `{image.name}` needs {need}, the guest has {print_size(memory)}"
        place = said_at(normal, ("memory",), ("image",))
        report.add(Code.IMAGE_MEMORY, message, place, help=f"write `memory: {need}` or more")
    if disk < image.min_disk:
        need = print_size(image.min_disk)
        message = f"the image `{image.name}` has {need}, the root disk above it {print_size(disk)}"
        place = said_at(normal, ("root_disk", "size"), ("image",))
        report.add(Code.IMAGE_DISK, message, place, help=f"write `root_disk: {{size: {need}}}` or more")
