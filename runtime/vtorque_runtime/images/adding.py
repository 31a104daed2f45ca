"""Take an image's files into the store: inspected, copied, inspected again as root's own, and published at once."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vtorque_runtime.images.accounts import Accounts, read_accounts
from vtorque_runtime.images.again import check_boots
from vtorque_runtime.images.inspect import Format, GuestKind, Inspected, inspect, kernel_kind, open_file
from vtorque_runtime.images.sparse import data_runs
from vtorque_runtime.images.store import (
    VERSION,
    ImageRecord,
    Progress,
    StoredFile,
    changing,
    publish,
    records,
    remove,
    staging,
)
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB
from vtorque_spec.plan.storage import FILES_BYTES

_CHUNK_BYTES = 4 * MIB
_RESERVE_BYTES = 256 * MIB
"""What stays free where the store lies."""
_BOOT_LIMIT_BYTES = FILES_BYTES - 16 * MIB
"""Of a kernel and its initrd: a VM's seed and console need the rest."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files of an image. `disk_format` is what the disk is said to be, None: what its bytes say.

    QEMU starts `kernel` with `initrd`; an OSv guest has no initrd, and no kernel where it boots from its disk.
    """

    name: str
    disk: Path
    disk_format: Format | None
    kernel: Path | None
    initrd: Path | None


@dataclass(frozen=True, slots=True)
class Staged:
    """An image in the store's staging directory; nobody sees it yet."""

    directory: Path
    record: ImageRecord
    disk: Inspected
    guest: GuestKind

    def publish(self) -> bool:
        """Put the image into its place; False when it was there already.

        Raises Fault VT0521 when the store has its disk with another kernel or initrd.
        """
        store = self.directory.parent
        with changing(store):
            there = next((one for one in records(store) if one.directory == self.record.directory), None)
            if there is None:
                publish(self.directory, self.record)
                return True
            check_boots(store, there, self.record)
        return False  # maybe one that was built, whose record tells more

    def withdraw(self) -> None:
        """Take back what `publish` did."""
        store = self.directory.parent
        with changing(store), contextlib.suppress(FileNotFoundError):
            remove(store, self.record)


@contextlib.contextmanager
def staged(store: Path, source: Source, *, created: int, progress: Progress) -> Iterator[Staged]:
    """Give the image as it will be in `store`; what is not published by the end is removed.

    `created` is the time now, in seconds since 1970. Raises Fault VT0520 when a file cannot be taken in, VT0522 when
    the files make no guest that boots, VT0527 when the store cannot be written to, and what `inspect` raises.
    """
    is_format = examine(source)[0].format
    with writing(store), staging(store) as directory:

        def take(path: Path | None, name: str) -> StoredFile | None:
            return _take(path, directory / name, progress) if path is not None else None

        disk = _take(source.disk, directory / f"root.{is_format}", progress)
        kernel, initrd = take(source.kernel, "vmlinuz"), take(source.initrd, "initrd.img")
        own = [directory / part.file if part else None for part in (kernel, initrd)]  # nobody else can change these
        found, guest = examine(Source(source.name, directory / disk.file, is_format, *own))
        if guest == "linux" and is_format == "qcow2":  # whose data is written out for that
            progress(f"accounts in {source.disk.name}", 0, (directory / disk.file).stat().st_size)
        record = ImageRecord(
            version=VERSION,
            name=source.name,
            created=created,
            disk_format=is_format,
            disk=disk,
            kernel=kernel,
            initrd=initrd,
            packages=None,
            contents=None,
            provenance=None,
            accounts=Accounts((), ()) if guest == "osv" else read_accounts(directory / disk.file, found),
        )
        yield Staged(directory, record, found, guest)


@contextlib.contextmanager
def writing(store: Path) -> Iterator[None]:
    """Tell of a store that cannot be written to. Raises Fault VT0527."""
    try:
        yield
    except OSError as error:
        raise not_writable(error.filename or store, _reason(error)) from None


def not_writable(store: object, why: str) -> Fault:
    """Return the Fault VT0527 of a store."""
    hint = "run this as root: sudo vtorque image; else see that the disk is well and has room"
    return Fault("VT0527", f"cannot write to {store}: {why}", help=hint)


def is_osv(source: Source) -> bool:
    """Tell whether OSv's mark is on the disk, or the kernel is OSv's. Raises what `inspect` raises."""
    return _inspected(source).osv or (source.kernel is not None and _kernel_kind(source.kernel) == "osv")


def examine(source: Source) -> tuple[Inspected, GuestKind]:
    """Tell what the disk is and whose image it is, by OSv's mark on the disk, or else by the kernel.

    Raises Fault VT0522 when the files make no guest that boots, and what `inspect` raises.
    """
    found, kind = _inspected(source), "linux" if source.kernel is None else _kernel_kind(source.kernel)
    if found.osv and source.kernel is None and source.initrd is None:
        return found, "osv"
    if found.osv and kind == "linux":
        hint = "leave --kernel and --initrd out, or name OSv's own kernel: loader-stripped.elf or loader.elf"
        raise Fault("VT0522", f"{source.disk} is OSv's, and {source.kernel or source.initrd} is for Linux", help=hint)
    if source.kernel is None:
        hint = "give them by --kernel and --initrd: vmlinuz-* and initrd* are in the guest's /boot"
        raise Fault("VT0522", f"QEMU starts a Linux guest's kernel, and there is none beside {source.disk}", help=hint)
    _check_sizes(source.kernel, source.initrd)
    if kind is None:
        hint = "of Linux take a bzImage (/boot/vmlinuz-*), of OSv the ELF file loader-stripped.elf or loader.elf"
        raise Fault("VT0522", f"{source.kernel} is no kernel that QEMU starts", help=hint)
    if kind == "linux" and source.initrd is None:
        hint = "give it by --initrd: initrd* or initramfs* is in the guest's /boot"
        raise Fault("VT0522", f"there is no initrd for {source.kernel}", help=hint)
    if kind == "osv" and source.initrd is not None:
        raise Fault("VT0522", f"OSv's kernel takes no initrd: {source.initrd}", help="leave --initrd out")
    return found, kind


def _inspected(source: Source) -> Inspected:
    with _opened(source.disk) as disk:
        return inspect(disk.fileno(), source.disk_format, str(source.disk))


def _kernel_kind(path: Path) -> GuestKind | None:
    with _opened(path) as kernel:
        return kernel_kind(kernel.fileno(), str(path))


def _check_sizes(kernel: Path, initrd: Path | None) -> None:
    """Root reads them whole for each VM, which gets its own, of what is set aside for it."""
    size_bytes = 0
    for path in (kernel, initrd):
        if path is not None:
            with _opened(path) as file:
                size_bytes += os.fstat(file.fileno()).st_size
    if size_bytes > _BOOT_LIMIT_BYTES:
        hint = "make an initrd with what a virtual machine needs alone, as dracut --hostonly does in one"
        have, most = -(-size_bytes // MIB), _BOOT_LIMIT_BYTES // MIB
        message = f"{kernel} and its initrd have {have} MiB, more than the {most} of a VM"
        raise Fault("VT0522", message, help=hint)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with os.fdopen(open_file(path), "rb") as file:
        yield file


def _take(source: Path, target: Path, progress: Progress) -> StoredFile:
    """Copy a file, leaving holes where it has nothing but zeros, and return its name and digest."""
    with _opened(source) as file, target.open("xb") as copy:
        os.fchmod(copy.fileno(), 0o644)  # nobody's process reads it, whatever the umask is
        before = os.fstat(file.fileno())
        _check_room(source, before.st_blocks * 512, target.parent)
        digest, done = hashlib.sha256(), 0
        try:
            while chunk := file.read(min(_CHUNK_BYTES, before.st_size - done)):
                digest.update(chunk)
                for at, run in data_runs(chunk):
                    _check_room(source, len(run), target.parent)  # it may be written to just now, or be compressed
                    copy.seek(done + at)
                    copy.write(run)
                done += len(chunk)
                progress(source.name, done, before.st_size)
            copy.truncate(done)
        except OSError as error:
            raise _fault(f"cannot copy {source} to {target.parent.parent}: {_reason(error)}") from None
        after = os.fstat(file.fileno())
    if (done, after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
        raise _fault(f"{source} was changed while it was read", "end what writes to it, then try again")
    return StoredFile(target.name, digest.hexdigest())


def _check_room(source: Path, need_bytes: int, directory: Path) -> None:
    found = os.statvfs(directory)
    free = max(0, found.f_bavail * found.f_frsize - _RESERVE_BYTES)
    if need_bytes > free:
        need, spare = -(-need_bytes // MIB), free // MIB
        message = f"no room for {source}: it needs {need} MiB, {directory.parent} has {spare} MiB to give"
        raise _fault(message, "remove images that nobody needs: vtorque image list, vtorque image remove")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _fault(message: str, hint: str = "see that the disk is well and has room, then try again") -> Fault:
    return Fault("VT0520", message, help=hint)
