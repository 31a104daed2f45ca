"""Packages: whether the job's image can install any. Which ones are allowed is the policy's to say."""

import re

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.site import Site
from vtorque_spec.site.distros import installs_packages, packager_of
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.parse import NormalForm

_DEBIAN = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+]")
"""https://www.debian.org/doc/debian-policy/ch-controlfields.html#source"""


def resolve_packages(
    spec: JobSpec, normal: NormalForm, site: Site, image: CatalogueImage | None, report: Report
) -> tuple[str, ...]:
    """Return the packages that each VM installs, each once; adds a finding for each that the image cannot install."""
    packages = tuple(sorted(set(spec.packages or ())))
    if not packages or image is None or image.guest != "linux":
        return packages
    if not installs_packages(image):
        able = sorted(name for name, other in site.offered().items() if installs_packages(other))
        hint = f"remove them, or take an image that can: {', '.join(able)}" if able else "remove them"
        message = f"packages are installed by apt or dnf, and the image `{image.name}` has neither"
        report.add(Code.NO_APT, message, normal.at(("packages",)), help=hint)
    elif packager_of(image) == "apt":
        for index, name in enumerate(spec.packages or ()):
            if not _DEBIAN.fullmatch(name):
                message = f"`packages[{index}]`: `{name}` is not the name of a Debian package"
                hint = "write small letters, digits, + . and -, two at least, without a version"
                report.add(Code.BAD_FORMAT, message, normal.at(("packages", index)), help=hint)
    return packages
