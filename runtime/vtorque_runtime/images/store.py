"""The image store: a directory that holds `NAME@DIGEST/` for each built image, never changed once it is there.

DIGEST is the first 16 hexadecimal digits of the disk's SHA-256. Beside the files stands `image.json`, canonical JSON
of an `ImageRecord`. A new image is written into a directory that starts with a dot and then renamed, so that nobody
sees half of one. Everything is readable by all: QEMU runs as another user than root.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vtorque_spec.canonical import DecodeError, canonical_json, from_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import ImageFiles

SYSTEM_STORE = Path("/var/lib/vtorque/images")

VERSION = 1
"""Of ImageRecord."""

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STAGING = ".new-"
_RECORD = "image.json"
_RECORD_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an image: its plain name in the image's directory, and the SHA-256 of its bytes (64 digits)."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What `image.json` says. `created` is in seconds since 1970; `recipe` and `archive` are digests of what it was
    made from: the recipe's text, and the state of the package archive on that day.
    """

    version: int
    name: str
    created: int
    disk_format: Literal["qcow2", "raw"]
    disk: StoredFile
    kernel: StoredFile
    initrd: StoredFile
    packages: StoredFile
    recipe: str
    archive: str

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
            kernel=str(home / self.kernel.file),
            initrd=str(home / self.initrd.file),
        )


def installed(store: Path) -> tuple[ImageFiles, ...]:
    """Return the newest image of each name, in the order of names; nothing when there is no such directory.

    Raises Fault VT0503 when a record cannot be read or trusted.
    """
    found = newest(store)
    return tuple(found[name].files(store) for name in sorted(found))


def newest(store: Path) -> dict[str, ImageRecord]:
    """Return the record of the newest image of each name. Raises Fault VT0503 as `installed` does."""
    if not store.exists():
        return {}
    _check_directory(store.resolve())
    records = [_read_record(store / name) for name in os.listdir(store) if "@" in name]
    return {record.name: record for record in sorted(records, key=lambda one: (one.created, one.disk.sha256))}


def verify(image: ImageFiles) -> None:
    """Read the disk, the kernel and the initrd of a stored image again and compare them with the image's record.

    Takes a second or so for each gigabyte. Raises Fault VT0503 when anything differs.
    """
    home = Path(image.disk).parent
    record = _read_record(home)
    if record.files(home.parent) != image:
        raise _fault(f"{home / _RECORD} describes another image than the one to verify")
    for part in (record.disk, record.kernel, record.initrd):
        found = _sha256(home / part.file)
        if found != part.sha256:
            raise Fault(
                "VT0503",
                f"{home / part.file} has changed since the image was built",
                help=f"remove {home} and build or add the image again",
                detail=f"recorded sha256:{part.sha256}\nfound    sha256:{found}",
            )


@contextlib.contextmanager
def staging(store: Path) -> Iterator[Path]:
    """Give an empty directory in `store` in which to make an image; what `publish` did not take is removed.

    The caller holds a lock on the store's builds: what an earlier, killed build left behind goes first.
    """
    _make_readable_directory(store)
    _check_directory(store.resolve())
    for left in store.glob(_STAGING + "*"):
        shutil.rmtree(left)
    directory = Path(tempfile.mkdtemp(prefix=_STAGING, dir=store))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def describe(directory: Path, name: str, *, created: int, recipe: str, archive: str) -> ImageRecord:
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
        recipe=recipe,
        archive=archive,
    )


def publish(directory: Path, record: ImageRecord) -> ImageFiles:
    """Write the record, make everything read-only and rename a staging directory to its lasting name, in this order.

    An image with the same disk that is there already stays, and is the one that is returned.
    """
    store = directory.parent
    (directory / _RECORD).write_text(canonical_json(record) + "\n", encoding="ascii")
    for path in directory.iterdir():
        path.chmod(0o444)
        _sync(path)
    _sync(directory)
    target = store / record.directory
    if not target.exists():
        directory.rename(target)
        _sync(store)
    return _read_record(target).files(store)


def _read_record(home: Path) -> ImageRecord:
    """Read `home/image.json` and check that it is of this directory and that nobody else could have written it."""
    _check_directory(home)
    path = home / _RECORD
    with _open(path) as file:
        _check_owner(path, os.fstat(file.fileno()))
        text = file.read(_RECORD_LIMIT_BYTES)
    try:
        record = from_json(ImageRecord, text)
    except DecodeError as error:
        raise _fault(f"{path} is not the record of an image: {error}") from None
    parts = (record.disk, record.kernel, record.initrd, record.packages)
    if record.version != VERSION:
        raise _fault(f"{path} has version {record.version}, this program reads version {VERSION}")
    if not _NAME.fullmatch(record.name) or any(not _SHA256.fullmatch(part.sha256) for part in parts):
        raise _fault(f"{path} has a name or a digest that no image has")
    if any("/" in part.file or part.file in ("", ".", "..") for part in parts):
        raise _fault(f"{path} names a file outside its directory")
    if record.directory != home.name:
        raise _fault(f"{path} belongs into a directory {record.directory}")
    return record


def _sha256(path: Path) -> str:
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: Path) -> io.BufferedReader:
    """Open a plain file for reading; a link, a device, a pipe or what others could change is a Fault VT0503."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise _fault(f"cannot open {path}: {error.strerror}") from None
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _fault(f"{path} is not a plain file")
        _check_owner(path, status)
    except Fault:
        file.close()
        raise
    return file


def _make_readable_directory(path: Path) -> None:
    """Make `path` and its parents where they are missing, open to all readers whatever the umask is."""
    for directory in (*reversed(path.parents), path):
        if not directory.exists():
            directory.mkdir()
            directory.chmod(0o755)


def _check_directory(path: Path) -> None:
    try:
        status = path.lstat()
    except OSError as error:
        raise _fault(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise _fault(f"{path} is not a directory")
    _check_owner(path, status)


def _check_owner(path: Path, status: os.stat_result) -> None:
    """Only root, or the person who runs this on a store of their own, may have had a hand in it."""
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _fault(f"{path} belongs to uid {status.st_uid} or others may write to it")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fault(message: str) -> Fault:
    return Fault("VT0503", message, help="remove that image's directory, then build or add the image again")
