"""Distributions of Linux guests: what tells one from the other for those who set a guest up."""

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Document
from vtorque_spec.plan import Packager
from vtorque_spec.site.image import CatalogueImage

_DNF = frozenset({"almalinux", "centos", "fedora", "ol", "rhel", "rocky"})
_APT = frozenset({"debian", "ubuntu"})
"""ID of os-release(5)."""


def packager_of(image: CatalogueImage) -> Packager:
    """Return what installs packages in a Linux image: what its entry says, else that of its distribution, else apt."""
    said = _said(image)
    return said[0] if said else _of_distribution(image) or "apt"


def installs_packages(image: CatalogueImage) -> bool:
    """Say whether jobs may have packages installed in the image."""
    return bool(_said(image))


def check_packager(image: CatalogueImage, document: Document, report: Report) -> None:
    """Add a finding where an image is said to have another program for packages than its distribution, or two."""
    said, wanted = _said(image), _of_distribution(image)
    if not said or said == (wanted or said[0],):
        return
    message = f"the image `{image.name}` is said to have {' and '.join(said)}"
    if wanted:
        message += f", and {image.distro} installs packages by {wanted}"
    hint = f"write {wanted or 'one of them'} alone: guests are set up for one program"
    report.add(Code.IMAGE_PACKAGER, message, document.span(("capabilities",)), help=hint)


def _said(image: CatalogueImage) -> tuple[Packager, ...]:
    names: tuple[Packager, ...] = ("apt", "dnf")
    return tuple(name for name in names if name in (image.capabilities or ()))


def _of_distribution(image: CatalogueImage) -> Packager | None:
    name = (image.distro or "").partition("-")[0]
    return "dnf" if name in _DNF else "apt" if name in _APT else None
