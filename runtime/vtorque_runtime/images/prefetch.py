"""Copy an image's disk from the store, which all nodes may share, to this node: once, however many jobs wait for it.

Called by a job's supervisor, never by a hook, and by `vtorque image prefetch`. The bytes are compared with the image's
digest on their way, and a copy is inspected before it has its name.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from vtorque_runtime import disks, ledger
from vtorque_runtime.files import locked, make_missing
from vtorque_runtime.images import bases
from vtorque_runtime.images.digests import Digests, Whole, identity_of
from vtorque_runtime.images.inspect import inspect
from vtorque_runtime.images.owned import open_stored
from vtorque_runtime.images.sparse import data_runs
from vtorque_runtime.spool import Registry
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, ImageFiles, copy_name

Look = Callable[[int, int], None]
"""Called again and again with the bytes that are done and all of them; it may raise, and nothing is left then."""

_CHUNK_BYTES = 4 * MIB
_WAIT_S = 0.2
_FULL = (errno.ENOSPC, errno.EDQUOT)


def prefetch(registry: Registry, image: ImageFiles, look: Look) -> bool:
    """See to it that the node has its copy of the image's disk; tell whether it had to be made.

    Others that want one meanwhile wait; where the process that copies dies, one of them takes over. On the store's own
    file system the copy is a second name of the same file. Raises Fault VT0503 (the disk is not the image's), VT0530 to
    VT0536 (no guest can have it), VT0966 (no room), OSError, and what `look` raises.
    """
    name = copy_name(image)
    make_missing(bases.directory(registry), 0o755)
    if bases.use(registry, name):
        return False
    with ExitStack() as turn:
        _wait_for_turn(registry, turn, look)
        if bases.use(registry, name):
            return False
        bases.remove_unfinished(registry)
        target = bases.directory(registry) / name
        unfinished = target.with_name(f".{name}")
        try:
            with _disk(image) as source:
                if not _linked(source, image, unfinished):
                    _set_aside(registry, source, image, unfinished)
                copy(source, image, unfinished, look)
            unfinished.rename(target)
            _note(registry, target, image)
        finally:
            unfinished.unlink(missing_ok=True)
    return True


def copy_to_memory(image: ImageFiles, target: Path, look: Look) -> None:
    """Copy an image's disk to a new file in memory. Raises as `prefetch` does, and Fault VT0967 for one too large."""
    with _disk(image) as source:
        size = os.fstat(source).st_size
        if size > disks.free_bytes(target.parent):
            raise Fault(
                "VT0967",
                f"the disk of the image `{image.name}` has {-(-size // MIB)} MiB, more than the memory that is counted "
                "for it",
                help="correct `min_disk` in the image's entry of the catalogue: it is the virtual size of its disk",
            )
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        copy(source, image, target, look)


def copy(source: int, image: ImageFiles, target: Path, look: Look) -> None:
    """Fill `target`, unless it is the same file, with the disk's bytes; compare their digest and inspect them.

    It is read-only then. Raises Fault VT0503, VT0530 to VT0536, OSError, and what `look` raises.
    """
    size, digest = os.fstat(source).st_size, hashlib.sha256()
    with _written(target, source) as descriptor:
        for at in range(0, size, _CHUNK_BYTES):
            look(at, size)
            chunk = os.pread(source, _CHUNK_BYTES, at)
            digest.update(chunk)
            if descriptor is not None:
                for within, run in data_runs(chunk):  # what is a hole there is one here
                    _write(descriptor, run, at + within)
        if descriptor is not None:
            os.ftruncate(descriptor, size)
            os.fchmod(descriptor, 0o444)
            os.fsync(descriptor)
    if digest.hexdigest() != image.sha256:
        raise Fault(
            "VT0503",
            f"{image.disk} is not the disk of the image `{image.name}`",
            help="build or add the image again",
            detail=f"recorded sha256:{image.sha256}\nfound    sha256:{digest.hexdigest()}",
        )
    with open_stored(target) as copied:
        inspect(copied.fileno(), image.disk_format, image.disk)


def _note(registry: Registry, copy: Path, image: ImageFiles) -> None:
    """The jobs that wait for the copy need not read it again: who made it has."""
    with open_stored(copy) as file:
        Digests(registry.base).note(Whole(str(copy), identity_of(file.fileno()), image.sha256, image.disk_format))


def _wait_for_turn(registry: Registry, turn: ExitStack, look: Look) -> None:
    while True:
        look(0, 0)
        with contextlib.suppress(TimeoutError):
            turn.enter_context(locked(bases.lock_file(registry), _WAIT_S))
            return


@contextlib.contextmanager
def _disk(image: ImageFiles) -> Iterator[int]:
    try:
        source = os.open(image.disk, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Fault("VT0503", f"cannot open {image.disk}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            raise Fault("VT0503", f"{image.disk} is not a plain file")
        yield source
    finally:
        os.close(source)


def _linked(source: int, image: ImageFiles, unfinished: Path) -> bool:
    """Give the store's file a second name, where that is possible and nobody else can write to the file."""
    status = os.fstat(source)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    try:
        os.link(image.disk, unfinished, follow_symlinks=False)
    except OSError:  # another file system, or one without links
        return False
    return os.path.samestat(unfinished.lstat(), status)


def _set_aside(registry: Registry, source: int, image: ImageFiles, unfinished: Path) -> None:
    """Make a file with room for the copy, which jobs that come meanwhile are not promised. Raises Fault VT0966."""
    extents = list(_extents(source))
    need = sum(end - start for start, end in extents)
    with registry.locked():
        spare = bases.make_room(registry, ledger.claims_of(registry), need)
        if spare < need:
            raise _no_room(image, need, spare, unfinished.parent)
        descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            for start, end in extents:
                os.posix_fallocate(descriptor, start, end - start)
        except OSError as error:
            if error.errno in _FULL:  # a quota, say
                raise _no_room(image, need, 0, unfinished.parent) from None
            raise
        finally:
            os.close(descriptor)


def _no_room(image: ImageFiles, need_bytes: int, spare_bytes: int, where: Path) -> Fault:
    fix = "write `root_disk: {backing: shared}`"
    return disks.no_room(f"the copy of the image `{image.name}`", need_bytes, spare_bytes, where, fix)


def _extents(source: int) -> Iterator[tuple[int, int]]:
    """Where the file has data (lseek(2)); a file system that does not know says everywhere."""
    end = 0
    while True:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return
        end = os.lseek(source, start, os.SEEK_HOLE)
        yield start, end


@contextlib.contextmanager
def _written(target: Path, source: int) -> Iterator[int | None]:
    """Open the target to be written, None where it is the source itself by another name."""
    if os.path.samestat(target.lstat(), os.fstat(source)):
        yield None
        return
    descriptor = os.open(target, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, chunk: bytes, at: int) -> None:
    while chunk:
        done = os.pwrite(descriptor, chunk, at)
        chunk, at = chunk[done:], at + done
