"""The journal of one job on one node: what has to be undone, on disk before anything is done.

JSON lines, appended and flushed to the disk. A line is one undo record (plain data, see `vtorque_runtime.steps`) or the
tombstone, after which no step may start. The journal file's own lock is held from the record until its act has
ended, so that an epilogue that comes during a prologue waits for the step that runs and forbids the next one.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from vtorque_runtime.files import lock
from vtorque_spec.canonical import canonical_json
from vtorque_spec.fault import Fault

VERSION = 1
_HEAD = {"journal": VERSION}
_TOMBSTONE = {"tombstone": True}

T = TypeVar("T")


class BuriedError(Exception):
    """A step was to start after the tombstone: the job is being torn down."""


class Journal:
    """The journal at `path`; every method opens the file anew, so that it needs nothing but the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self) -> None:
        """Make the journal; raises FileExistsError when there is one."""
        with os.fdopen(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb") as file:
            _append(file.fileno(), _HEAD)
        _sync_directory(self.path.parent)

    def step(self, undo: object, act: Callable[[], T]) -> T:
        """Record `undo` (a dataclass or a mapping), then `act`. Raises BuriedError after the tombstone."""
        with self._locked() as descriptor:
            if _TOMBSTONE in self.records():
                raise BuriedError(str(self.path))
            _append(descriptor, undo)
            return act()

    def bury(self, limit_s: float | None = None) -> None:
        """Wait for the step that runs, then forbid all later ones. Raises TimeoutError when it takes `limit_s`."""
        with self._locked(limit_s) as descriptor:
            _append(descriptor, _TOMBSTONE)

    def undos(self) -> list[dict[str, Any]]:
        """Return the undo records, oldest first."""
        return [record for record in self.records() if record not in (_HEAD, _TOMBSTONE)]

    def records(self) -> list[dict[str, Any]]:
        """Return all lines. A torn last line is left out: its act had not begun when the writer died.

        Raises Fault VT0911 when a whole line is no record, which no crash can cause.
        """
        *lines, _torn = self.path.read_bytes().split(b"\n")
        try:
            records = [json.loads(line) for line in lines]
        except ValueError:
            raise self._unreadable("is damaged") from None
        if not all(isinstance(record, dict) for record in records):
            raise self._unreadable("is damaged")
        if records and records[0] != _HEAD:
            raise self._unreadable("is not of this version")
        return records

    def _unreadable(self, why: str) -> Fault:
        return Fault("VT0911", f"the journal {self.path} {why}", help="undo by hand what it lists, then remove the job")

    @contextmanager
    def _locked(self, limit_s: float | None = None) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        try:
            lock(descriptor, limit_s)
            _cut_torn_line(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)


def _cut_torn_line(descriptor: int) -> None:
    """What a dead writer left after the last newline would run into the next record."""
    whole = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    os.ftruncate(descriptor, whole.rfind(b"\n") + 1)


def _append(descriptor: int, record: object) -> None:
    """A disk that fills up takes a part of the line: that is torn, and nothing may be done on the strength of it."""
    line = canonical_json(record).encode("ascii") + b"\n"
    if os.write(descriptor, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
