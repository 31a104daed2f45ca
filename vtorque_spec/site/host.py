"""What `vtorque site check` looks at on this machine: who could change the site, and the images' disks."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from vtorque_spec.diagnostics import Code, Note, Report
from vtorque_spec.document import Document
from vtorque_spec.site import Files
from vtorque_spec.site.catalogue import called
from vtorque_spec.site.image import CatalogueImage

SYSTEM = Path("/etc/vtorque")
"""The site that root's part goes by, and refuses when somebody else could change it."""

Progress = Callable[[str, int, int], None]
"""(file, bytes read, bytes of all)."""

_CHUNK_BYTES = 4 * 2**20


def changeable(root: Path) -> Iterator[tuple[str, str]]:
    """Yield what below `root` somebody else than root could change, each with what to do; a link may lead anywhere."""
    own = f"make it root's own, or root refuses all jobs: chown -R root: {root} && chmod -R go-w {root}"
    for path in (root, *sorted(root.rglob("*"))):
        why = _changeable(path.lstat())
        if why is not None:
            yield f"{path} {why}", "put the file itself in its place" if path.is_symlink() else own


def _changeable(found: os.stat_result) -> str | None:
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if found.st_uid != 0:
        return f"belongs to the uid {found.st_uid}"
    return "can be written by others" if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


def check_owner(root: Path, report: Report) -> None:
    """Check the directory that root's part reads; any other is its owner's affair."""
    if root.absolute() != SYSTEM:
        return
    for message, hint in changeable(root):
        report.add(Code.SITE_OWNER, message, help=hint)


def check_image_files(files: Files, progress: Progress, report: Report) -> list[tuple[CatalogueImage, Document]]:
    """Check each disk that the catalogue gives a `path`: it is there, root's own, and what its digest says.

    Reads the disks whole, which takes about a second for each gigabyte. Returns the entries of those that have no other
    digest.
    """
    return [
        (image, document)
        for image, document in files.images
        if image.path is not None and _check_disk(image, Path(image.path), document, progress, report)
    ]


def _check_disk(image: CatalogueImage, path: Path, document: Document, progress: Progress, report: Report) -> bool:
    """Tell whether the disk is there and has no other digest."""
    place = document.span(("path",))
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as disk:
            if not stat.S_ISREG(os.fstat(disk.fileno()).st_mode):
                hint = "name the file of the disk itself"
                report.add(Code.IMAGE_FILE, f"{path} is not a plain file", place, help=hint)
                return False
            found = _digest(disk, called(image), progress)
        loose = list(_loose(path))
    except OSError as error:
        hint = "copy the disk there, or correct `path`; check it on a machine that has the images"
        report.add(Code.IMAGE_FILE, f"cannot read {path}: {(error.strerror or '').lower()}", place, help=hint)
        return False
    for part, why in loose:
        hint = f"make it root's own: chown root: {part} && chmod go-w {part}"
        report.add(Code.IMAGE_OWNER, f"whoever changes {part} changes the image: it {why}", place, help=hint)
    if image.sha256 not in (None, found):
        notes = [Note(f"the catalogue says {image.sha256}", document.span(("sha256",)))]
        hint = "copy the right disk there; or, when the disk is meant, write its digest into the catalogue"
        report.add(Code.IMAGE_CHANGED, f"{path} has the digest {found}", place, notes=notes, help=hint)
        return False
    return True


def _loose(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file, or the directories on the way to it, that others than root could replace or change."""
    final = path.resolve()
    for part in dict.fromkeys((final, *final.parents, *path.absolute().parents)):
        found = part.lstat()
        sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX  # nobody can rename what is another's
        why = None if stat.S_ISLNK(found.st_mode) and found.st_uid == 0 else _changeable(found)
        if why is not None and not (sticky and found.st_uid == 0):
            yield part, why


def _digest(disk: BinaryIO, name: str, progress: Progress) -> str:
    size, done, digest = os.fstat(disk.fileno()).st_size, 0, hashlib.sha256()
    while chunk := disk.read(_CHUNK_BYTES):
        digest.update(chunk)
        done += len(chunk)
        progress(name, done, size)
    return digest.hexdigest()
