"""The node's record of the files that it has read whole and found right, so that the next job need not read them again.

    BASE/digests.json    canonical JSON of a `_Record`    owner of BASE    0600

A file is the same as long as its `Identity` is: who writes to it or puts another in its place changes that, and only
root, by the clock, could change it back. A record that is damaged, or that others could write to, counts for nothing.
"""

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from vtorque_runtime.files import locked, write_private
from vtorque_runtime.images.inspect import Format
from vtorque_runtime.log import LOG
from vtorque_spec.canonical import DecodeError, canonical_json, from_json

VERSION = 1
"""Of the record, and of what a disk is inspected for: with more of that, all are inspected again."""

FILE = "digests.json"
_LIMIT_BYTES = 4 * 2**20
_LOCK_S = 5.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which file it is, and since when it has been as it is; in stat(2)'s words.

    In decimal digits, because canonical JSON has no numbers as large as these can be.
    """

    device: str
    inode: str
    size: str
    mtime_ns: str
    ctime_ns: str


@dataclass(frozen=True, slots=True)
class Whole:
    """A file that was read whole: it has this SHA-256, and as a disk of that format it was inspected.

    `path` is the name by which it was opened; a file with two names is read once.
    """

    path: str
    identity: Identity
    sha256: str
    disk_format: Format | None

    def found_by(self, other: "Whole") -> bool:
        """Tell whether the other says the same of this file."""
        return replace(other, path=self.path) == self


@dataclass(frozen=True, slots=True)
class _Record:
    version: int
    files: tuple[Whole, ...]


def identity_of(descriptor: int) -> Identity:
    """Return which file is open there."""
    found = os.fstat(descriptor)
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return Identity(*map(str, numbers))


class Digests:
    """The record in the directory `base`, which is the caller's own."""

    def __init__(self, base: Path) -> None:
        self.path = base / FILE

    def known(self, file: Whole) -> bool:
        """Tell whether just that was found before."""
        return any(map(file.found_by, self._read()))

    def digest_of(self, file: Whole) -> str | None:
        """Return the digest that was found of a file, whichever it says; None where nothing was."""
        known = (one.sha256 for one in self._read() if replace(file, sha256=one.sha256).found_by(one))
        return next(known, None)

    def note(self, file: Whole) -> None:
        """Keep that for later, and forget files that are no more; a disk that is full costs that alone."""
        try:
            with locked(self.path.with_name(".digests.lock"), _LOCK_S):
                for left in self.path.parent.glob(f".{FILE}.*"):  # by one that was killed while it wrote
                    left.unlink()
                kept = (one for one in self._read() if one.path != file.path and os.path.lexists(one.path))
                write_private(self.path, canonical_json(_Record(VERSION, (*kept, file))))
        except OSError as error:
            LOG.warning("%s cannot be written, so %s will be read again: %s", self.path, file.path, error)

    def _read(self) -> tuple[Whole, ...]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return ()
        except OSError as error:
            LOG.warning("%s is not read: %s", self.path, error.strerror)
            return ()
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            others = status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or others:
                LOG.warning("%s is not read: it is not uid %d's alone", self.path, os.geteuid())
                return ()
            text = file.read(_LIMIT_BYTES)
        try:
            record = from_json(_Record, text)
        except DecodeError as error:
            LOG.warning("%s is not read: %s", self.path, error)
            return ()
        return record.files if record.version == VERSION else ()
