"""The files of an image as a job's guests get them: opened, compared with their digests, watched until these run."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from vtorque_runtime.images.digests import Digests, Identity, Whole, identity_of
from vtorque_runtime.images.inspect import Format, inspect
from vtorque_runtime.images.owned import open_stored
from vtorque_runtime.images.store import Progress, changed, verify
from vtorque_runtime.log import LOG
from vtorque_spec.fault import Fault
from vtorque_spec.plan import ImageFiles

CHUNK_BYTES = 4 * 2**20
"""So much is read between two calls of `proceed`."""
_ANY = ""
"""In the place of a digest that is not known yet."""
_SETTLED_NS = 2 * 10**9
"""A file system's clock is coarse (at worst 2 s, FAT's): what has just been changed could be once more, unseen."""


class OpenFiles:
    """Checked files, open until the end of the `with`. `proceed` is called while one is read, and may raise."""

    def __init__(self, digests: Digests, proceed: Callable[[], None]) -> None:
        self._digests, self._proceed = digests, proceed
        self._files: dict[Path, tuple[int, Whole]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def check(self, path: Path, sha256: str, disk_format: Format | None = None) -> None:
        """Open the file and see that it has the digest, and as a disk nothing that QEMU must not open.

        It is read for that unless the node's record knows it. Raises Fault VT0503, and those of `inspect` for a disk.
        """
        descriptor = self._stack.enter_context(open_stored(path)).fileno()
        whole = Whole(str(path), identity_of(descriptor), sha256, disk_format)
        if not self._digests.known(whole):
            LOG.info("reads %s, of which nothing is recorded", path)
            whole = self._read(descriptor, whole)
        self._files[path] = descriptor, whole

    def take(self, path: Path, disk_format: Format | None = None) -> str:
        """Open a file as `check` does, whichever digest it has, and return that."""
        descriptor = self._stack.enter_context(open_stored(path)).fileno()
        whole = Whole(str(path), identity_of(descriptor), _ANY, disk_format)
        known = self._digests.digest_of(whole)
        whole = replace(whole, sha256=known) if known else self._read(descriptor, whole)
        self._files[path] = descriptor, whole
        return whole.sha256

    def content(self, path: Path) -> bytes:
        """Return what is in a file that was checked."""
        descriptor, whole = self._files[path]
        return b"".join(_chunks(descriptor, int(whole.identity.size)))

    def check_same(self) -> None:
        """Raise Fault VT0503 unless each name still leads to the file that was checked, and that is what it was.

        Then who opened one by its name meanwhile has what was checked. Where nothing but the ctime is another, as after
        a job has linked the file as the node's copy, it is read again.
        """
        for path, (_, before) in list(self._files.items()):
            with open_stored(path) as now:  # opened, for of NFS that alone tells the present state
                identity = identity_of(now.fileno())
            if not _same_bytes(identity, before.identity):
                raise _moved(path)
            if identity != before.identity:
                self.check(path, before.sha256, before.disk_format)

    def _read(self, descriptor: int, whole: Whole) -> Whole:
        """Return it as it is after it was read, and record it."""
        began_ns, path = time.time_ns(), Path(whole.path)
        found = self._digest(descriptor, int(whole.identity.size))
        if whole.sha256 not in (found, _ANY):
            raise changed(path, whole.sha256, found)
        if whole.disk_format is not None:
            inspect(descriptor, whole.disk_format, whole.path)
        after, whole = identity_of(descriptor), replace(whole, sha256=found)
        if not _same_bytes(after, whole.identity):
            raise _moved(path)
        if after == whole.identity and int(after.ctime_ns) < began_ns - _SETTLED_NS:
            self._digests.note(whole)
        return replace(whole, identity=after)

    def _digest(self, descriptor: int, size: int) -> str:
        digest = hashlib.sha256()
        for chunk in _chunks(descriptor, size):
            self._proceed()
            digest.update(chunk)
        return digest.hexdigest()


def _chunks(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes, for a file could grow as fast as it is read."""
    at = 0
    while chunk := os.pread(descriptor, min(CHUNK_BYTES, size - at), at):
        yield chunk
        at += len(chunk)


def _same_bytes(one: Identity, other: Identity) -> bool:
    """Whether nobody has written there, unless they set the time of that back."""
    return replace(one, ctime_ns="") == replace(other, ctime_ns="")


def read_again(image: ImageFiles, progress: Progress = lambda _file, _done, _size: None) -> None:
    """Read a stored image whole, whatever is recorded of it. Raises Fault VT0503 and those of `inspect`."""
    verify(image, progress)
    with open_stored(Path(image.disk)) as disk:
        inspect(disk.fileno(), image.disk_format, image.disk)


def _moved(path: Path) -> Fault:
    hint = "see who writes there; images are never replaced: vtorque image update adds a new one"
    return Fault("VT0503", f"{path} was changed while a job was made ready with it", help=hint)
