"""Packages: whether the job's image can install any. Which ones are allowed is the policy's to say."""

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.resolve.mounts import ASSUMED
from vtorque_spec.site import Site
from vtorque_spec.site.model import CatalogueImage
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.parse import NormalForm


def resolve_packages(
    spec: JobSpec, normal: NormalForm, site: Site, image: CatalogueImage | None, report: Report
) -> tuple[str, ...]:
    """Return the packages that each VM installs, each once; adds a finding where the image has no apt."""
    packages = tuple(sorted(set(spec.packages or ())))
    if packages and image is not None and "apt" not in (image.capabilities or ASSUMED):
        able = sorted(other.name for other in site.images.values() if "apt" in (other.capabilities or ASSUMED))
        hint = f"remove them, or take an image that can: {', '.join(able)}" if able else "remove them"
        message = f"packages are installed by apt, which the image `{image.name}` does not have"
        report.add(Code.NO_APT, message, normal.at(("packages",)), help=hint)
    return packages
