"""`vtorque image update NAME [FILE]`."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vtorque_spec.cli.common import SITE_OPTION
from vtorque_spec.cli.image_add import FILE, file_options

if TYPE_CHECKING:
    from vtorque_runtime.images.adding import Staged
    from vtorque_spec.cli.catalogue import Catalogue
    from vtorque_spec.site.image import CatalogueImage

_NOT_INHERITED = ("path", "recipe", "provenance", "state", "deprecated_until", "successor")
"""What an entry says of its own disk or revision, and nothing of the next one's."""


@click.command()
@click.argument("name", metavar="NAME[:REVISION|@DIGEST]")
@click.argument("file", required=False, type=FILE)
@file_options
@SITE_OPTION
def command(
    name: str, file: Path | None, kernel: Path | None, initrd: Path | None, disk_format: str | None,
    revision: str | None, description: str | None, cmdline: str | None, settings: tuple[str, ...], site: Path | None,
) -> None:  # fmt: skip
    """Add the disk FILE as a new revision of an image; without FILE change what the catalogue says of one.

    The revisions that are there stay, and so do the jobs that run on them. The new entry is the old one with what is
    told here; a kernel and an initrd are needed as for `image add`.

    \b
    sudo vtorque image update rocky-9 rocky.qcow2
    sudo vtorque image update rocky-9:2026-01 --set state=withdrawn
    sudo vtorque image update rocky-9:2026-01 --set state=deprecated \\
        --set deprecated_until=2027-03-31
    """
    from vtorque_spec.cli.catalogue import held, members_of, own_site
    from vtorque_spec.cli.image_add import source_of, store_image

    root = own_site(site)
    told: dict[str, Any] = {"revision": revision, "description": description, "cmdline": cmdline}
    told = {key: value for key, value in told.items() if value} | members_of(settings)
    if file is None:
        if kernel or initrd or disk_format or not told:
            raise click.UsageError("say the new disk's FILE, or what to change: --description, --set")
        if "revision" in told:
            raise click.UsageError("a revision is a disk of its own: say the new disk's FILE too")
        with held(root) as catalogue:
            _alter(catalogue, _entry(catalogue, name), told)
        return
    with held(root) as catalogue:  # before the files are copied, which may take long
        plain = _entry(catalogue, name).name

    def change(catalogue: "Catalogue", image: "Staged") -> None:
        _add_revision(catalogue, _entry(catalogue, name), image, told)

    store_image(source_of(plain, file, kernel, initrd, disk_format), lambda: held(root), change)


def _entry(catalogue: "Catalogue", word: str) -> "CatalogueImage":
    """Return the entry that a pin says, or a NAME: the one that jobs get."""
    from vtorque_spec.cli.images import Known, chosen

    known = [Known(entry, None) for name in catalogue.names for entry in catalogue.of_name(name)]
    return next(one.entry for one in chosen(word, known, "the catalogue has no") if one.entry)


def _alter(catalogue: "Catalogue", entry: "CatalogueImage", told: dict[str, Any]) -> None:
    from vtorque_spec.site.entry import changed_text

    path, text = catalogue.file_of(entry), changed_text(catalogue.text_of(entry), told)
    catalogue.checked(path, text)
    catalogue.write(path, text)
    click.echo(f"vtorque: changed {path}", err=True)


def _add_revision(catalogue: "Catalogue", base: "CatalogueImage", image: "Staged", told: dict[str, Any]) -> None:
    from vtorque_spec.cli.catalogue import free_revision, joined
    from vtorque_spec.fault import Fault
    from vtorque_spec.site.catalogue import called
    from vtorque_spec.site.entry import changed_text

    name, digest = image.record.name, image.record.disk.sha256
    there = catalogue.of_name(name)
    same = next((entry for entry in there if entry.sha256 == digest), None)
    if same is not None:
        raise Fault("VT0521", f"`{called(same)}` is this disk already", help="there is nothing to update")
    if image.guest != base.guest:
        message = f"`{called(base)}` is for guests of {base.guest}, and this disk is for {image.guest}"
        raise Fault("VT0521", message, help="give it a name of its own: vtorque image add NAME FILE")
    text = catalogue.text_of(base)
    writes: list[tuple[Path, str]] = []
    taken = {entry.revision: entry for entry in there}
    if None in taken:
        earlier = _day_stored(taken[None])
        alone = taken.pop(None)
        taken[earlier] = alone
        writes.append((catalogue.file_of(alone), changed_text(catalogue.text_of(alone), {"revision": earlier})))
    told = {"revision": free_revision(taken, date.today()), **joined(_from_files(image), told), "sha256": digest}
    path = catalogue.directory / f"{name}@{told['revision']}.yaml"
    if path.exists():
        raise Fault("VT0521", f"{path} is there already", help="say another revision: --revision TEXT")
    writes.append((path, changed_text(text, {**dict.fromkeys(_NOT_INHERITED), **told})))
    changed = catalogue
    for one in writes:  # all are checked before the first is written
        changed = changed.checked(*one)
    for one in writes:
        catalogue.write(*one)


def _from_files(image: "Staged") -> dict[str, Any]:
    from vtorque_spec.units import print_size

    return {
        "format": "raw" if image.record.disk_format == "raw" else None,
        "min_disk": print_size(image.disk.disk_bytes),
        "osv": {"boot": "kernel" if image.record.kernel else "disk"} if image.guest == "osv" else None,
    }


def _day_stored(entry: "CatalogueImage") -> str:
    """Return a revision for an entry without one: the day of its image here, else one that comes before all days."""
    from vtorque_runtime.images import store

    for record in store.records(store.SYSTEM_STORE):
        if record.name == entry.name and record.disk.sha256 == entry.sha256:
            return datetime.fromtimestamp(record.created, UTC).date().isoformat()
    return "1"
