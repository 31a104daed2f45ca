"""The images that the catalogue and this machine's store have, as the commands `vtorque image ...` see them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from vtorque_runtime.images import store
from vtorque_runtime.images.store import ImageRecord
from vtorque_spec.diagnostics import near_miss
from vtorque_spec.fault import Fault
from vtorque_spec.site import Site
from vtorque_spec.site.catalogue import called, state_of
from vtorque_spec.site.image import CatalogueImage

_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Known:
    """An entry of the catalogue, and the image of this machine's store that it means; one of them may be None."""

    entry: CatalogueImage | None
    stored: ImageRecord | None

    @property
    def name(self) -> str:
        """The image's name."""
        return self.entry.name if self.entry else self.stored.name if self.stored else ""

    @property
    def called(self) -> str:
        """What people call it: NAME or NAME:REVISION, and what the catalogue lacks NAME@DIGEST."""
        return called(self.entry) if self.entry else self.stored.directory if self.stored else ""

    @property
    def sha256(self) -> str | None:
        """The digest of its disk, None for a recipe that was not built."""
        return self.stored.disk.sha256 if self.stored else self.entry.sha256 if self.entry else None


def known_images(directory: Path | None) -> tuple[Known, ...]:
    """Return all images of a site's catalogue and of this machine, by name; what jobs get without a pin comes first.

    Prints the site's findings and exits with 1 when it is not valid. Raises Fault VT0503 for a store that is damaged.
    """
    from vtorque_spec.cli.setting import the_site

    return join(the_site(directory), store.records(store.SYSTEM_STORE))


def join(site: Site, records: Sequence[ImageRecord]) -> tuple[Known, ...]:
    """Return the catalogue's entries beside the stored images that they mean, and the images that none means."""
    found = []
    for name in sorted({*site.images, *(record.name for record in records)}):
        own = [record for record in records if record.name == name]
        entries = site.revisions(name)
        meant = [next((one for one in own if entry.sha256 in (None, one.disk.sha256)), None) for entry in entries]
        found += [Known(entry, record) for entry, record in zip(entries, meant, strict=True)]
        found += [Known(None, record) for record in own if record not in meant]
    return tuple(found)


def chosen(
    word: str, known: Iterable[Known], lacks: str = "neither the catalogue nor this machine has the"
) -> tuple[Known, ...]:
    """Return the images of `known` that NAME, NAME:REVISION, NAME@DIGEST (its first digits) or both pins say.

    Raises Fault VT0526 when there is none, which `lacks` begins to say, and for digits that several have.
    """
    known = tuple(known)
    name, at, digits = word.partition("@")
    digits = digits.removeprefix("sha256:")
    found = tuple(one for one in known if name in (one.name, one.called))
    if at:
        found = tuple(one for one in found if digits and (one.sha256 or "").startswith(digits))
    if not found:
        names = sorted({one.called for one in known})
        namesakes = [one.called for one in known if one.name == name.partition(":")[0]]
        meant = ", ".join(namesakes) or near_miss(word, names)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(names) or 'none'}"
        raise Fault("VT0526", f"{lacks} image `{word}`", help=hint)
    if at and len(found) > 1:
        hint = "write more digits of the one that you mean: vtorque image show NAME"
        raise Fault("VT0526", f"`{word}` says no one image: {', '.join(one.called for one in found)}", help=hint)
    return found


def users_of(one: Known) -> tuple[str, ...]:
    """Return a few words for each job and process of this node that uses the image."""
    from vtorque_runtime.images.in_use import users
    from vtorque_runtime.spool import Registry, base_directory

    if one.stored is None:
        return ()
    return users(store.SYSTEM_STORE, one.stored, Registry(base_directory("system"), "system").jobs)


def as_data(one: Known) -> dict[str, Any]:
    """Return what is known of an image as plain data: sizes in bytes, times in ISO 8601 (UTC)."""
    entry, stored = one.entry, one.stored
    return {
        "name": one.name,
        "called": one.called,
        "sha256": one.sha256,
        "state": state_of(entry, date.today()) if entry else None,
        "catalogue": entry.model_dump(mode="json", exclude_none=True) if entry else None,
        "stored": _stored(stored) if stored else None,
    }


def _stored(record: ImageRecord) -> dict[str, Any]:
    home = store.SYSTEM_STORE / record.directory
    files = {part.file: part.sha256 for part in record.parts}
    return {
        "directory": str(home),
        "created": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="seconds"),
        "format": record.disk_format,
        "disk": str(home / record.disk.file),
        "bytes": sum((home / name).stat().st_blocks * 512 for name in files if (home / name).exists()),
        "files": files,
    }
