"""The image store: a directory that holds `NAME@DIGEST/` for each image, never changed once it is there.

DIGEST is the first 16 hexadecimal digits of the disk's SHA-256. Beside the files stands `image.json`, canonical JSON
of an `ImageRecord`. A new image is written into a directory that starts with a dot and then renamed, so that nobody
sees half of one; its maker keeps that directory locked, so that another can tell what a killed one left behind.
Everything is readable by all: QEMU runs as another user than root. But not what locks are held on, for who can open
a file can lock it for ever: `.lock` is the owner's alone, and an unfinished directory nobody else can list.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from vtorque_runtime.files import locked
from vtorque_runtime.images.accounts import Accounts
from vtorque_runtime.images.owned import check_directory, check_owner, damaged, open_stored
from vtorque_runtime.images.provenance import Provenance
from vtorque_spec.canonical import DecodeError, canonical_json, from_data, plain_data
from vtorque_spec.fault import Fault
from vtorque_spec.plan import ImageFiles

SYSTEM_STORE = Path("/var/lib/vtorque/images")

Progress = Callable[[str, int, int], None]
"""(file that is read, bytes done, bytes of all)."""

VERSION = 2
"""Of ImageRecord. Version 1, of images that were built before any could be added, is read as well."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Of an image, as the catalogue has them."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STAGING = ".new-"
_CHUNK_BYTES = 4 * 2**20
_RECORD = "image.json"
_RECORD_LIMIT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an image: its plain name in the image's directory, and the SHA-256 of its bytes (64 digits)."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What `image.json` says. `created` is in seconds since 1970. An image that was added has no provenance, nor the
    lists of its packages and files, but `accounts` where they could be read; one that was built has no `accounts`. An
    OSv guest has no initrd, and no kernel where it boots from its disk.
    """

    version: int
    name: str
    created: int
    disk_format: Literal["qcow2", "raw"]
    disk: StoredFile
    kernel: StoredFile | None
    initrd: StoredFile | None
    packages: StoredFile | None
    contents: StoredFile | None
    provenance: Provenance | None
    accounts: Accounts | None

    @property
    def parts(self) -> tuple[StoredFile, ...]:
        """The files that it has."""
        parts = (self.disk, self.kernel, self.initrd, self.packages, self.contents)
        return tuple(part for part in parts if part is not None)

    @property
    def directory(self) -> str:
        """The name of the image's directory in the store."""
        return f"{self.name}@{self.disk.sha256[:16]}"

    def files(self, store: Path) -> ImageFiles:
        """Return where the image's parts are, given that its directory is in `store`."""
        home = store / self.directory
        return ImageFiles(
            name=self.name,
            sha256=self.disk.sha256,
            disk=str(home / self.disk.file),
            disk_format=self.disk_format,
            kernel=str(home / self.kernel.file) if self.kernel else None,
            initrd=str(home / self.initrd.file) if self.initrd else None,
        )


def installed(store: Path) -> tuple[ImageFiles, ...]:
    """Return all images in the order of names, the newest of each name first; nothing when there is no such directory.

    Raises Fault VT0503 when a record cannot be read or trusted.
    """
    return tuple(record.files(store) for record in records(store))


def records(store: Path) -> tuple[ImageRecord, ...]:
    """Return the record of each image, in the order of `installed`. Raises Fault VT0503 as that does."""
    if not store.exists():
        return ()
    check_directory(store.resolve())
    try:
        names = os.listdir(store)
    except PermissionError:
        hint = "ask the admin of this machine, who has closed its store to ordinary users (docs/security.md)"
        raise Fault("VT0503", f"you may not look into {store}", help=hint) from None
    found = [_read_record(store / name) for name in names if "@" in name]
    return tuple(sorted(found, key=lambda one: (one.name, -one.created, one.disk.sha256)))


def newest(store: Path) -> dict[str, ImageRecord]:
    """Return the record of the newest image of each name. Raises Fault VT0503 as `installed` does."""
    return {record.name: record for record in reversed(records(store))}


def recorded(image: ImageFiles) -> dict[Path, str]:
    """Return the files of a stored image that guests are made from, each with the digest that its record gives it.

    Raises Fault VT0503 when there is no record of just this image.
    """
    home = Path(image.disk).parent
    record = _read_record(home)
    if record.files(home.parent) != image:
        raise damaged(f"{home / _RECORD} describes another image than the one to verify")
    left_out = (record.packages, record.contents)
    return {home / part.file: part.sha256 for part in record.parts if part not in left_out}


def verify(image: ImageFiles, progress: Progress = lambda _file, _done, _size: None) -> None:
    """Read the disk, the kernel and the initrd of a stored image again and compare them with the image's record.

    Takes a second or so for each gigabyte. Raises Fault VT0503 when anything differs.
    """
    for path, sha256 in recorded(image).items():
        found = _sha256(path, progress)
        if found != sha256:
            raise changed(path, sha256, found)


def changed(path: Path, sha256: str, found: str) -> Fault:
    """Return the Fault VT0503 of a file, of an image or a copy of its disk, that has not its digest."""
    hint = f"remove {path}: the next job copies it again"
    if (path.parent / _RECORD).exists():
        hint = f"remove {path.parent} and build or add the image again"
    detail = f"recorded sha256:{sha256}\nfound    sha256:{found}"
    return Fault("VT0503", f"{path} has changed since its digest was recorded", help=hint, detail=detail)


@contextlib.contextmanager
def staging(store: Path) -> Iterator[Path]:
    """Give an empty directory in `store` in which to make an image; what `publish` did not take is removed.

    What others make at the same time stays; what a killed one left behind goes first.
    """
    _make_readable_directory(store)
    check_directory(store.resolve())
    with changing(store):
        _sweep(store)
        directory = Path(tempfile.mkdtemp(prefix=_STAGING, dir=store))
        held = _lock(directory)
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)


@contextlib.contextmanager
def changing(directory: Path) -> Iterator[None]:
    """Keep others from changing which images there are, or entries, meanwhile. A process can't take it twice."""
    with locked(directory / ".lock"):
        yield


def _lock(directory: Path, how: int = fcntl.LOCK_EX) -> int:
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(held, how)
    except BlockingIOError:
        os.close(held)
        raise
    return held


def _sweep(store: Path) -> None:
    """Remove the staging directories that nobody holds; the caller holds the store."""
    for left in store.glob(_STAGING + "*"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            held = _lock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)  # a recipe that outlived its build may still write to it
            os.close(held)


def describe(directory: Path, name: str, *, created: int, provenance: Provenance) -> ImageRecord:
    """Return the record of the image whose files a recipe has left in `directory`."""

    def part(file: str) -> StoredFile:
        return StoredFile(file, _sha256(directory / file))

    return ImageRecord(
        version=VERSION,
        name=name,
        created=created,
        disk_format="qcow2",
        disk=part("root.qcow2"),
        kernel=part("vmlinuz"),
        initrd=part("initrd.img"),
        packages=part("packages.txt"),
        contents=part("contents.txt"),
        provenance=provenance,
        accounts=None,
    )


def publish(directory: Path, record: ImageRecord) -> ImageFiles:
    """Write the record, make everything read-only and rename a staging directory to its lasting name, in this order.

    An image with the same disk that is there already stays, and is the one that is returned. Raises Fault VT0520.
    """
    store = directory.parent
    (directory / _RECORD).write_text(_record_text(record), encoding="ascii")
    for path in directory.iterdir():
        path.chmod(0o444)
        _sync(path)
    directory.chmod(0o755)
    _sync(directory)
    target = store / record.directory
    try:
        directory.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    _sync(store)
    return _read_record(target).files(store)


def renew(directory: Path, record: ImageRecord) -> ImageFiles:
    """Put `record` in the place of that of a stored image, which came out in a staging directory once more.

    An image that was added, or built by an earlier program, gets the lists that it lacks. Raises Fault VT0520.
    """
    store, home = directory.parent, directory.parent / record.directory
    (directory / _RECORD).write_text(_record_text(record), encoding="ascii")
    with changing(store):
        lists = [part.file for part in (record.packages, record.contents) if part]
        for name in (*lists, _RECORD):  # the record last
            (directory / name).chmod(0o444)
            _sync(directory / name)
            (directory / name).replace(home / name)
        _sync(home)
    return _read_record(home).files(store)


def remove(store: Path, record: ImageRecord) -> None:
    """Take an image out of the store: its name at once, then its files. Who has a file open keeps it.

    The caller holds the store (`changing`). A killed one leaves what the next `staging` removes.
    """
    directory = Path(tempfile.mkdtemp(prefix=_STAGING, dir=store))
    (store / record.directory).rename(directory)  # in the place of an empty one
    _sync(store)
    shutil.rmtree(directory, ignore_errors=True)


def _record_text(record: ImageRecord) -> str:
    """Return what is to be in `image.json`; one that could not be read again would close the whole store."""
    text = canonical_json(record) + "\n"
    if len(text) > _RECORD_LIMIT_BYTES:
        raise Fault(
            "VT0520",
            f"the image `{record.name}` has so many accounts and groups that its record would have {len(text)} bytes",
            help=f"remove those that it does not need: a record has at most {_RECORD_LIMIT_BYTES} bytes",
        )
    return text


def _read_record(home: Path) -> ImageRecord:
    """Read `home/image.json` and check that it is of this directory and that nobody else could have written it."""
    check_directory(home)
    path = home / _RECORD
    with open_stored(path) as file:
        check_owner(path, os.fstat(file.fileno()))
        text = file.read(_RECORD_LIMIT_BYTES)
    try:
        record = _decoded(text)
    except DecodeError as error:
        raise damaged(f"{path} is not the record of an image: {error}") from None
    parts = record.parts
    if record.version != VERSION:
        raise damaged(f"{path} has version {record.version}, this program reads version {VERSION}")
    if not NAME.fullmatch(record.name) or any(not _SHA256.fullmatch(part.sha256) for part in parts):
        raise damaged(f"{path} has a name or a digest that no image has")
    if any("/" in part.file or part.file in ("", ".", "..") for part in parts):
        raise damaged(f"{path} names a file outside its directory")
    if record.directory != home.name:
        raise damaged(f"{path} belongs into a directory {record.directory}")
    return record


def _decoded(text: bytes) -> ImageRecord:
    data = plain_data(text)
    if isinstance(data, dict) and data.get("version") == 1:  # its two digests alone tell no provenance
        kept = {key: value for key, value in data.items() if key not in ("recipe", "archive")}
        data = {**kept, "version": VERSION, "contents": None, "provenance": None, "accounts": None}
    return cast(ImageRecord, from_data(ImageRecord, data))


def _sha256(path: Path, progress: Progress = lambda _file, _done, _size: None) -> str:
    with open_stored(path) as file:
        digest, done, size = hashlib.sha256(), 0, os.fstat(file.fileno()).st_size
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            progress(path.name, done, size)
    return digest.hexdigest()


def _make_readable_directory(path: Path) -> None:
    """Make `path` and its parents where they are missing, open to all readers whatever the umask is."""
    for directory in (*reversed(path.parents), path):
        if not directory.exists():
            directory.mkdir()
            directory.chmod(0o755)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
