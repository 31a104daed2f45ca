"""Whether images have numbers of the site's users: a number is all that tells who owns a file in a guest.

Nothing opens an image for this: the numbers are those that were recorded when it was built or added.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vtorque_spec.diagnostics import Code, Note, Report
from vtorque_spec.document import Document
from vtorque_spec.site import Files
from vtorque_spec.site.catalogue import called

_NOBODY = 65534
"""nobody and nogroup of every Linux."""


@dataclass(frozen=True, slots=True)
class Owned:
    """The uids and gids of the accounts, groups and files in an image; `sha256` is its disk's digest."""

    name: str
    sha256: str
    uids: tuple[int, ...]
    gids: tuple[int, ...]


def check_accounts(files: Files, recorded: Iterable[Owned], report: Report) -> list[str]:
    """Add a finding for each image of the catalogue that has numbers from `min_uid` on.

    Return the Linux images that no record tells of.
    """
    records, unknown = list(recorded), []
    for image, document in files.images:
        known = [one for one in records if one.name == image.name and image.sha256 in (None, one.sha256)]
        if not known and image.guest == "linux":
            unknown.append(called(image))
        for owned in known:
            _check(owned, called(image), document, files, report)
    return unknown


def _check(owned: Owned, name: str, document: Document, files: Files, report: Report) -> None:
    least = files.facts.min_uid
    taken = of_users(owned.uids, owned.gids, least)
    if taken:
        message = f"the image `{name}` has numbers of users: the {taken}"
        notes = [Note(f"the site's users have {least} and above", files.document.span(("min_uid",)))]
        hint = "build it without these accounts and files: a user of that number would own them in a guest"
        report.add(Code.IMAGE_ACCOUNTS, message, document.span(("name",)), notes=notes, help=hint)


def of_users(uids: tuple[int, ...], gids: tuple[int, ...], least: int) -> str:
    """Return in words which of these numbers are of users, those from `least` on; nothing when none is."""
    return " and the ".join([*_told("uid", uids, least), *_told("gid", gids, least)])


def _told(what: str, numbers: tuple[int, ...], least: int) -> list[str]:
    of_users = [str(number) for number in numbers if number >= least and number != _NOBODY]
    return [f"{what}{'' if len(of_users) == 1 else 's'} {', '.join(of_users)}"] if of_users else []
