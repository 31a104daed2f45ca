"""Changing a site's catalogue: one change at a time, and each file whole or not at all."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click

from vtorque_spec.cli.common import finish, print_findings
from vtorque_spec.cli.setting import site_directory, the_site
from vtorque_spec.diagnostics import Report
from vtorque_spec.fault import Fault
from vtorque_spec.site import builtin, read_files
from vtorque_spec.site.catalogue import Entry, by_name, check_entries
from vtorque_spec.site.entry import read_entry
from vtorque_spec.site.image import CatalogueImage

_FROM_FILES = ("name", "guest", "path", "recipe", "format", "sha256")
"""Members that follow from the image's files."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The entries of a site's `directory` images/, which nobody else changes meanwhile.

    The site's users have uids from `min_uid` on.
    """

    directory: Path
    entries: tuple[Entry, ...]
    min_uid: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all images, in their order."""
        return tuple(sorted({image.name for image, _ in self.entries}))

    def of_name(self, name: str) -> tuple[CatalogueImage, ...]:
        """Return the entries of a name, first the one that jobs without a pin get."""
        return by_name(image for image, _ in self.entries).get(name, ())

    def file_of(self, image: CatalogueImage) -> Path:
        """Return the file that an entry stands in."""
        return next(Path(document.name) for one, document in self.entries if one is image)

    def text_of(self, image: CatalogueImage) -> str:
        """Return the text of an entry's file."""
        return next(document.text for one, document in self.entries if one is image)

    def checked(self, path: Path, text: str) -> "Catalogue":
        """Return the catalogue as it is with `text` in `path`; prints its findings, if any, and exits with 1."""
        report = Report()
        entry = read_entry(str(path), text, report)
        others = [one for one in self.entries if Path(one[1].name) != path]
        if entry is not None:
            check_entries([*others, entry], report, unbuilt=False)
        if entry is None or report.failed:
            print_findings(report.sorted(), sources={str(path): text.splitlines()})
            raise click.exceptions.Exit(1)
        return Catalogue(self.directory, (*others, entry), self.min_uid)

    def write(self, path: Path, text: str) -> None:
        """Put a file into its place. Raises Fault VT0525."""
        from vtorque_runtime.files import replace_file

        try:
            replace_file(path, text, mode=0o644, sync=True)
        except OSError as error:
            raise _cannot(path, error) from None

    def remove(self, image: CatalogueImage) -> None:
        """Remove an entry's file. Raises Fault VT0525."""
        path = self.file_of(image)
        try:
            path.unlink()
        except OSError as error:
            raise _cannot(path, error) from None


def own_site(directory: Path | None) -> Path:
    """Return the site's directory; Fault VT0525 for the built-in one, which is part of the program."""
    root = site_directory(directory)
    if not os.path.isfile(root / "site.yaml"):
        the_site(root)  # tells it; nothing is made in a directory that is no site
    if root == builtin():
        hint = "make a site of your own in /etc/vtorque (docs/site.md), or name its directory: --site DIR"
        raise Fault("VT0525", "the catalogue of the built-in site `local` cannot be changed", help=hint)
    if not os.access(root, os.W_OK):
        raise Fault("VT0525", f"you may not write to {root}", help="run this as the site's owner: sudo vtorque image")
    return root


@contextmanager
def held(root: Path) -> Iterator[Catalogue]:
    """Give a site's catalogue, kept from other changes meanwhile; prints findings and exits with 1 where it has any."""
    from vtorque_runtime.images.store import changing

    directory = root / "images"
    directory.mkdir(mode=0o755, exist_ok=True)
    with changing(directory):
        for left in directory.glob(".*.yaml.*"):  # of one that was killed as it wrote
            left.unlink(missing_ok=True)
        report = Report()
        files = read_files(root, report)
        if files is None:
            finish(report)
        yield Catalogue(directory, files.images, files.facts.min_uid)


def free_revision(taken: Mapping[str | None, Any], today: date) -> str:
    """Return a revision for an image of today that none of `taken` is, later than any other of the day."""
    day = today.isoformat()
    names = (day, *(f"{day}.{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def members_of(settings: tuple[str, ...]) -> dict[str, Any]:
    """Read `--set MEMBER=VALUE`, the value as YAML has it; `osv.rootfs=rofs` sets a member of a member."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    members: dict[str, Any] = {}
    for setting in settings:
        name, equals, written = setting.partition("=")
        known = [member for member in CatalogueImage.model_fields if member not in _FROM_FILES]
        if not equals or name.split(".")[0] not in known:
            raise click.UsageError(f"--set {setting}: write MEMBER=VALUE; members are {', '.join(known)}")
        try:
            value = YAML(typ="safe", pure=True).load(written)
        except YAMLError:
            raise click.UsageError(f"--set {setting}: the value is not YAML") from None
        except ValueError:  # a day that no calendar has, which the entry's own check then tells
            value = written
        outer, _, inner = name.partition(".")
        if inner:
            members[outer] = {**members.get(outer, {}), inner: value}
        else:
            members[outer] = value
        if outer == "osv" and isinstance(members[outer], dict) and "boot" in members[outer]:
            raise click.UsageError(
                f"--set {setting}: `osv.boot` follows from the image's files: give --kernel, or none"
            )
    return members


def joined(members: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the members of an entry with `more` of them, which win; a mapping that both have is joined."""
    both = {key: {**members[key], **more[key]} for key in more if isinstance(members.get(key), dict)}
    return {**members, **more, **both}


def _cannot(path: Path, error: OSError) -> Fault:
    hint = "see that the disk has room and is yours to write to, then try again"
    return Fault("VT0525", f"cannot write {path}: {(error.strerror or str(error)).lower()}", help=hint)
