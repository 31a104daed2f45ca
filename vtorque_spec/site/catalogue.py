"""The catalogue: one file for each image, or for each revision of one. Pure and cheap: every command pays for it.

A job that pins nothing gets the newest revision of its image that is current. Revisions are compared like versions:
numbers in them by their value. A name has one entry, or each of its entries has a revision of its own.
"""

import re
from collections.abc import Iterable
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Literal

from vtorque_spec.diagnostics import Code, Note, Report, Span
from vtorque_spec.document import Document
from vtorque_spec.site.image import CatalogueImage

State = Literal["current", "deprecated", "withdrawn"]
Entry = tuple[CatalogueImage, Document]

_STATES: tuple[State, ...] = ("withdrawn", "deprecated", "current")
"""The later one is preferred."""


def by_name(images: Iterable[CatalogueImage]) -> dict[str, tuple[CatalogueImage, ...]]:
    """Return the entries of each name: first the one that jobs without a pin get, then the others by preference."""
    ordered = sorted(images, key=_preference, reverse=True)
    ordered.sort(key=lambda image: image.name)
    return {name: tuple(entries) for name, entries in groupby(ordered, key=lambda image: image.name)}


def pinned(entries: Iterable[CatalogueImage], revision: str | None, sha256: str | None) -> CatalogueImage | None:
    """Return the first of a name's entries that fits a job's pins, None where none does.

    An entry without a digest, which has yet to be built, fits any.
    """
    fitting = (image for image in entries if revision in (None, image.revision))
    return next((image for image in fitting if sha256 is None or image.sha256 in (None, sha256)), None)


def called(image: CatalogueImage) -> str:
    """Return how people call an entry, which is how a job pins its revision."""
    return f"{image.name}:{image.revision}" if image.revision else image.name


def state_of(image: CatalogueImage, today: date | None) -> State:
    """Return the state of an entry on a day; without a clock (None) what is deprecated stays so for ever."""
    state = image.state or "current"
    last = image.deprecated_until
    return "withdrawn" if state == "deprecated" and last and today and today.isoformat() > last else state


def _preference(image: CatalogueImage) -> tuple[int, list[tuple[int, str]], str]:
    revision = image.revision or ""
    parts = [(int(number or -1), word) for number, word in re.findall(r"([0-9]+)|([^0-9]+)", revision)]
    return _STATES.index(image.state or "current"), parts, revision


def check_entries(entries: list[Entry], report: Report, *, unbuilt: bool) -> None:
    """Check the files of a catalogue. `unbuilt`: they may be without digest, as those of the built-in site are."""
    named = [entry for entry in entries if _check_file_name(*entry, report)]
    for image, document in entries:
        _check_state(image, document, report)
        if image.sha256 is None and not unbuilt:
            hint = "write the digest of the image's disk; only the built-in site may go without"
            report.add(Code.SITE_FILE, f"the image `{image.name}` has no sha256", _start(document), help=hint)
    for name in dict.fromkeys(image.name for image, _ in named):
        _check_revisions([entry for entry in named if entry[0].name == name], report)


def _check_file_name(image: CatalogueImage, document: Document, report: Report) -> bool:
    path = Path(document.name)
    fine = [image.name, *([f"{image.name}@{image.revision}"] if image.revision else [])]
    if path.name in [f"{stem}.yaml" for stem in fine]:
        return True
    message = f"the file of the image `{called(image)}` is called {path.name}"
    report.add(Code.SITE_FILE, message, document.span(("name",)), help=f"rename it to {fine[-1]}.yaml")
    return False


def _check_revisions(entries: list[Entry], report: Report) -> None:
    """Check the entries of one name: a pin, be it a revision or a digest, means one of them."""
    revisions: dict[str | None, Document] = {}
    digests: dict[str, Document] = {}
    for image, document in entries:
        earlier = revisions.setdefault(image.revision, document)
        disk = digests.setdefault(image.sha256, document) if image.sha256 else document
        if image.revision is None and len(entries) > 1:
            other = next(other for _, other in entries if other is not document)
            notes = [Note("another entry of it is here", other.span(("name",)))]
            message = f"the image `{image.name}` has {len(entries)} entries, and this one says no revision"
            hint = "write the revision of each, as in `revision: 2026-11`"
            report.add(Code.REVISIONS, message, document.span(("name",)), notes=notes, help=hint)
        elif earlier is not document:
            notes = [Note("the first one is here", earlier.span(("revision",)))]
            message = f"the image `{image.name}` has the revision {image.revision} twice"
            hint = "give the newer one a later revision"
            report.add(Code.REVISIONS, message, document.span(("revision",)), notes=notes, help=hint)
        elif disk is not document:
            notes = [Note("the first one is here", disk.span(("sha256",)))]
            message = f"two revisions of the image `{image.name}` have the same digest"
            hint = "correct the digest, or remove one of them: a revision is a disk of its own"
            report.add(Code.REVISIONS, message, document.span(("sha256",)), notes=notes, help=hint)


def _check_state(image: CatalogueImage, document: Document, report: Report) -> None:
    state = image.state or "current"
    if state == "deprecated" and image.deprecated_until is None:
        message, hint = "a deprecated image has no last day", "add it, as in `deprecated_until: 2027-03-31`"
        report.add(Code.IMAGE_STATE, message, document.span(("state",)), help=hint)
    for member in ("deprecated_until", "successor") if state == "current" else ():
        if getattr(image, member) is not None:
            hint = f"write `state: deprecated`, or remove `{member}`"
            report.add(Code.IMAGE_STATE, f"a current image has `{member}`", document.span((member,)), help=hint)


def _start(document: Document) -> Span:
    return Span(document.name, 1, 1, 1, 1)
