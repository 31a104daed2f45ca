"""Small things that the front end's tests share."""

import textwrap
from dataclasses import replace
from pathlib import Path

from vtorque_spec.diagnostics import Report
from vtorque_spec.document import Document, load
from vtorque_spec.driver import Checked, check_document, open_site
from vtorque_spec.policy import Context
from vtorque_spec.site import Site
from vtorque_spec.site.image import CatalogueImage

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.vjob.yaml"))
CONTEXT = Context("alice", ("users",), None, "torque", "local")
EXAMPLE_SITE = ROOT / "examples/site"
MINIMAL = "apiVersion: vtorque/v1\nname: hello\nimage: debian-12\nrun: hostname\n"


def document(text: str, name: str = "job.vjob.yaml") -> Document:
    report = Report()
    found = load(name, textwrap.dedent(text).encode(), report)
    assert found is not None, report.items
    return found


def site(directory: Path | None = None) -> Site:
    report = Report()
    found = open_site(directory, report)
    assert found is not None, report.items
    return found


def site_of(example: Path) -> Site:
    """Return the site that an example is for: the built-in one, unless the file says how to compile it by another."""
    return site(EXAMPLE_SITE if "--site examples/site" in example.read_text() else None)


def check(
    text: str, *, where: Path = ROOT, at: Site | None = None, by: Context = CONTEXT
) -> tuple[Checked | None, Report]:
    report = Report()
    parsed = load("job.vjob.yaml", textwrap.dedent(text).encode(), report)
    if parsed is None:
        return None, report
    return check_document(parsed, where, at or site(), by, report), report


def checked(text: str, *, where: Path = ROOT, at: Site | None = None) -> Checked:
    found, report = check(text, where=where, at=at)
    assert found is not None, report.items
    return found


def osv_image(**osv: object) -> CatalogueImage:
    """Return an image `unikernel`, whose kernel QEMU starts unless `osv` says another thing."""
    said = {"name": "unikernel", "description": "OSv", "guest": "osv", "arch": "x86_64"}
    needs = {"min_memory": "64MiB", "min_disk": "64MiB"}
    return CatalogueImage.model_validate({**said, **needs, "osv": {"boot": "kernel", **osv}})


def with_osv(**osv: object) -> Site:
    """Return the built-in site with such an image."""
    at = site()
    return replace(at, images={**at.images, "unikernel": osv_image(**osv)})


def codes(report: Report) -> list[str]:
    return [item.code.id for item in report.sorted()]
