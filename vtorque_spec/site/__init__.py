"""The site: facts of the cluster, its image catalogue, and the layers of its policy."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel

from vtorque_spec import data
from vtorque_spec.diagnostics import Code, Diagnostic, Report
from vtorque_spec.document import Document, read
from vtorque_spec.plan import NO_SETUP, Flavour, GuestSetup
from vtorque_spec.site.catalogue import Entry, by_name, check_entries, state_of
from vtorque_spec.site.facts import check_facts
from vtorque_spec.site.guest import read_setup
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.site.model import NodeClass, SiteFile, SiteIocm, SiteMount, SiteQueue
from vtorque_spec.site.network import SiteNetwork
from vtorque_spec.site.policy_files import PolicyFiles, read_policy
from vtorque_spec.spec.parse import parse_as

M = TypeVar("M", bound=BaseModel)

LOCAL = "local"


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """Everything that a site's directory says. `today` is None where no clock was asked; the node asks none.

    `images` has by name what jobs get that pin no revision, `other_revisions` the rest of that name's entries.
    """

    name: str
    batch: Flavour
    hypervisor: Literal["any", "kvm", "emulation"]
    min_uid: int
    node_fault: Literal["offline", "none"]
    when_changed: Literal["run", "refuse"]
    hook_limit_s: int | None
    node_classes: Mapping[str, NodeClass]
    queues: Mapping[str, SiteQueue]
    iocm: SiteIocm | None
    mounts: Mapping[str, SiteMount]
    networks: Mapping[str, SiteNetwork]
    images: Mapping[str, CatalogueImage]
    setup: GuestSetup
    policy: PolicyFiles
    other_revisions: Mapping[str, tuple[CatalogueImage, ...]]
    today: date | None
    own_images: bool

    def revisions(self, name: str) -> tuple[CatalogueImage, ...]:
        """Return all entries of an image's name: first the one that jobs without a pin get, then from the newest."""
        return (self.images[name], *self.other_revisions.get(name, ())) if name in self.images else ()

    def offered(self) -> dict[str, CatalogueImage]:
        """Return by name what jobs get that pin no revision; names of which all is withdrawn are left out."""
        return {name: image for name, image in self.images.items() if state_of(image, self.today) != "withdrawn"}

    def reachable(self, queue: str | None) -> tuple[str, ...]:
        """Return the classes that a job of `queue` can get, in the order of `site.yaml`; none of an unknown queue.

        None is the default queue. Where the site has no default, or no queues at all, all classes are reachable.
        """
        if not self.queues:
            return tuple(self.node_classes)
        if queue is None:
            queue = next((name for name, said in self.queues.items() if said.default), None)
            if queue is None:
                return tuple(self.node_classes)
        classes = self.queues[queue].node_classes if queue in self.queues else ()
        return tuple(name for name in self.node_classes if name in classes)


@dataclass(frozen=True, slots=True)
class Files:
    """A site's directory as written: each file's model beside its text. `document` is `site.yaml`."""

    facts: SiteFile
    document: Document
    images: tuple[Entry, ...]
    setup: GuestSetup
    policy: PolicyFiles


def load_site(directory: Path | None, report: Report, today: date | None = None) -> Site | None:
    """Read a site's directory (None: the built-in `local` site); None when there is a finding."""
    files = read_files(directory or builtin(), report)
    if files is None:
        return None
    facts = files.facts
    images = by_name(image for image, _ in files.images)
    return Site(
        facts.name, facts.batch, facts.hypervisor, facts.min_uid, facts.node_fault or "none",
        facts.when_changed or "run", facts.hook_limit,
        facts.node_classes, facts.queues or {}, facts.iocm, facts.mounts, facts.networks,
        {name: entries[0] for name, entries in images.items()}, files.setup, files.policy,
        {name: entries[1:] for name, entries in images.items() if entries[1:]}, today,
        bool(facts.own_images),
    )  # fmt: skip


def builtin() -> Path:
    """Return the directory of the built-in site."""
    return data.schemas() / LOCAL


def read_files(root: Path, report: Report) -> Files | None:
    """Read a site's directory; None when there is a finding, in whichever of its files."""
    before = len(report.items)
    if not os.path.isfile(root / "site.yaml"):  # unlike Path.is_file, also for a directory that is closed to us
        hint = "a site directory holds site.yaml, images/*.yaml and, if it has rules, policy.yaml"
        report.add(Code.NO_SITE, f"{root} has no site.yaml", help=hint)
        return None
    site = _read_as(SiteFile, root / "site.yaml", report)
    if site is not None:
        check_facts(*site, report)
    setup = NO_SETUP if site is None else read_setup(*site, root, report)
    read_images = [_read_as(CatalogueImage, path, report) for path in sorted((root / "images").glob("*.yaml"))]
    images = [entry for entry in read_images if entry is not None]
    check_entries(images, report, unbuilt=root == builtin())
    policy = policy_of(root, report)
    if site is None or len(report.items) > before:
        return None
    return Files(*site, tuple(images), setup, policy)


def shown(path: Path) -> str:
    """Return how findings call a site's file: shipped ones by their place in the project, others as given."""
    shipped = data.schemas()
    return f"schemas/{path.relative_to(shipped)}" if path.is_relative_to(shipped) else str(path)


def policy_of(root: Path, report: Report) -> PolicyFiles:
    """Read the policy of a site's directory."""
    found = Report()
    policy = read_policy(root, Path("policy.yaml"), Path(shown(root)), found)
    report.items += [item for item in found.items if item.code is Code.POLICY_SCHEMA]
    found.items = [item for item in found.items if item.code is not Code.POLICY_SCHEMA]
    add_as_site_file(found, report)
    return policy


def _read_as(model: type[M], path: Path, report: Report) -> tuple[M, Document] | None:
    found = Report()
    document = read(path, found, shown(path))
    parsed = parse_as(model, document, found) if document is not None else None
    add_as_site_file(found, report)
    return (parsed, document) if parsed is not None and document is not None else None


def add_as_site_file(found: Report, report: Report) -> None:
    """Add the findings of a file of the site, with a code of their own: what is wrong there is not the job's fault."""
    for item in found.items:
        hint = item.help
        if item.code is Code.EMPTY_FILE:
            hint = "write what it is for, or remove the file"
        if item.code is Code.NO_VALUE and re.search(r"\.[0-9-]+`", item.message):
            hint = "within braces a comma ends the value: write a list, as in cpus: [0-3, 8-11]"
        report.items.append(Diagnostic(Code.SITE_FILE, item.message, item.span, item.notes, hint))
