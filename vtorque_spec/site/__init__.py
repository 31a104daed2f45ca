"""The site: facts of the cluster, its image catalogue, and the layers of its policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from vtorque_spec import data
from vtorque_spec.canonical import digest
from vtorque_spec.diagnostics import Code, Diagnostic, Report, Span
from vtorque_spec.document import Document, read
from vtorque_spec.site.model import CatalogueImage, NodeClass, SiteFile, SiteMount, SiteNetwork
from vtorque_spec.spec.parse import parse_as

M = TypeVar("M", bound=BaseModel)

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that a site's directory says. `policy_layers` are in order; a later one can only narrow."""

    name: str
    batch: str
    hypervisor: Literal["any", "kvm", "emulation"]
    min_uid: int
    node_classes: Mapping[str, NodeClass]
    mounts: Mapping[str, SiteMount]
    networks: Mapping[str, SiteNetwork]
    images: Mapping[str, CatalogueImage]
    policy_layers: tuple[Document, ...]
    policy_digest: str


def load_site(directory: Path | None, report: Report) -> Site | None:
    """Read a site's directory (None: the built-in `local` site); None when there is a finding."""
    root = directory or data.schemas() / LOCAL
    before = len(report.items)
    if not (root / "site.yaml").is_file():
        hint = "a site directory holds site.yaml, images/*.yaml and, if it has rules, policy.yaml"
        report.add(Code.NO_SITE, f"{root} has no site.yaml", help=hint)
        return None
    facts = _read_as(SiteFile, root / "site.yaml", root, report)
    images = [_read_as(CatalogueImage, path, root, report) for path in sorted((root / "images").glob("*.yaml"))]
    layers = _policy_layers(root, report)
    if facts is None or len(report.items) > before:
        return None
    catalogue = {image.name: image for image in images if image is not None}
    return Site(
        facts.name, facts.batch, facts.hypervisor, facts.min_uid, facts.node_classes, facts.mounts, facts.networks,
        catalogue, layers, digest("policy", 1, [_without_fractions(layer.data) for layer in layers]),
    )  # fmt: skip


def shown(path: Path) -> str:
    """Return how findings call a site's file: shipped ones by their place in the project, others as given."""
    shipped = data.schemas()
    return f"schemas/{path.relative_to(shipped)}" if path.is_relative_to(shipped) else str(path)


def _policy_layers(root: Path, report: Report) -> tuple[Document, ...]:
    paths = [data.schemas() / "base-policy.yaml", root / "policy.yaml"]
    found = Report()
    documents = [read(path, found, shown(path)) for path in paths if path.is_file()]
    _add_as_site_file(found, report)
    return tuple(document for document in documents if document is not None)


def _without_fractions(value: Any) -> Any:
    """Digests are over integers and text only; a policy may hold fractions."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {key: _without_fractions(member) for key, member in value.items()}
    return [_without_fractions(item) for item in value] if isinstance(value, list) else value


def _read_as(model: type[M], path: Path, root: Path, report: Report) -> M | None:
    found = Report()
    document = read(path, found, shown(path))
    parsed = parse_as(model, document, found) if document is not None else None
    if document is not None and isinstance(parsed, CatalogueImage):
        _check_image(parsed, path, root, document, found)
    _add_as_site_file(found, report)
    return parsed


def _add_as_site_file(found: Report, report: Report) -> None:
    """What is wrong with a file of the site is not the job's fault, so it has a code of its own."""
    for item in found.items:
        report.items.append(Diagnostic(Code.SITE_FILE, item.message, item.span, item.notes, item.help))


def _check_image(image: CatalogueImage, path: Path, root: Path, document: Document, report: Report) -> None:
    if image.name != path.stem:
        message = f"the file of the image `{image.name}` is called {path.name}"
        report.add(Code.SITE_FILE, message, document.span(("name",)), help=f"rename it to {image.name}.yaml")
    if image.sha256 is None and root != data.schemas() / LOCAL:
        start = Span(document.name, 1, 1, 1, 1)
        hint = "write the digest of the image's disk; only the built-in site may go without"
        report.add(Code.SITE_FILE, f"the image `{image.name}` has no sha256", start, help=hint)
