"""A user's own image: its files where the user keeps them, opened and inspected by the user's own process."""

import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vtorque_runtime.images.digests import Digests
from vtorque_runtime.images.inspect import Inspected, inspect, kernel_kind, open_file
from vtorque_runtime.images.opened import CHUNK_BYTES, OpenFiles
from vtorque_runtime.images.store import Progress
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, ImageFiles
from vtorque_spec.plan.answer import WantedImage

_BOOT_FILE_LIMIT_BYTES = 512 * MIB
"""Of a kernel and an initrd, which are copied for each job."""


def own_files(wanted: WantedImage, base: Path, progress: Progress) -> ImageFiles:
    """Look at the files of a user's own image; `base` is where the user keeps the digests of files that were read.

    `progress` is told while the disk is read, which is when nothing is kept of it.

    Raises Fault as `check_disk`, `check_kernel` and `check_initrd` do.
    """
    disk = Path(wanted.files.disk)
    found = check_disk(disk, wanted.root_disk_bytes)
    check_kernel(Path(wanted.files.kernel))
    check_initrd(Path(wanted.files.initrd))
    with _opened(disk) as descriptor:
        size = os.fstat(descriptor).st_size
    chunks = itertools.count()
    with OpenFiles(Digests(base), lambda: progress(disk.name, next(chunks) * CHUNK_BYTES, size)) as opened:
        sha256 = opened.take(disk, found.format)
    return ImageFiles(
        wanted.name, sha256, str(disk), found.format, wanted.files.kernel, wanted.files.initrd, own=True
    )  # fmt: skip


def check_disk(disk: Path, root_disk_bytes: int) -> Inspected:
    """Inspect the disk of a user's own image; it is not read whole.

    Raises Fault VT0505 where the root disk above it is smaller, VT0557, and those of `open_file` and `inspect`.
    """
    with _opened(disk) as descriptor:
        found = inspect(descriptor, None, str(disk))
    if found.disk_bytes > root_disk_bytes:
        need, has = -(-found.disk_bytes // MIB), root_disk_bytes // MIB
        hint = f"write `root_disk: {{size: {need}MiB}}` or more"
        raise Fault("VT0505", f"{disk} has {need} MiB, the root disk above it {has} MiB", help=hint)
    return found


def check_kernel(path: Path) -> None:
    """Raise Fault VT0536 or VT0557 for a file that cannot be the kernel of a user's own image."""
    with _opened(path) as descriptor:
        _check_size(descriptor, path)
        if kernel_kind(descriptor, str(path)) != "linux":
            hint = "name the bzImage, as in /boot/vmlinuz-6.1.0-18-cloud-amd64"
            raise Fault("VT0557", f"{path} is no Linux kernel", help=hint)


def check_initrd(path: Path) -> None:
    """Raise Fault VT0536 or VT0557 for a file that cannot be the initrd of a user's own image."""
    with _opened(path) as descriptor:
        _check_size(descriptor, path)


def _check_size(descriptor: int, path: Path) -> None:
    size, limit = os.fstat(descriptor).st_size, _BOOT_FILE_LIMIT_BYTES // MIB
    if not 0 < size <= _BOOT_FILE_LIMIT_BYTES:
        hint = f"name a file that is not empty and has {limit} MiB at most"
        raise Fault("VT0557", f"{path} has {size} bytes, which no kernel or initrd has", help=hint)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a file that nobody but its owner, or root, could have written."""
    descriptor = open_file(path)
    try:
        found = os.fstat(descriptor)
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            hint = f"boot a copy of your own that others cannot write to: chmod go-w {path}"
            message = f"{path} could be changed by others: it belongs to uid {found.st_uid}"
            raise Fault("VT0557", message, help=hint)
        yield descriptor
    finally:
        os.close(descriptor)
