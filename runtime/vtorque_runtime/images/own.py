"""A user's own image: its files where the user keeps them, opened and inspected by the user's own process."""

import itertools
import os
import stat
from pathlib import Path

from vtorque_runtime.images.digests import Digests
from vtorque_runtime.images.inspect import inspect, kernel_kind, open_file
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

    Raises Fault VT0505 where the root disk is smaller than the image, VT0530 to VT0536 as `inspect` does, and VT0557.
    """
    disk = Path(wanted.files.disk)
    descriptor = _open(disk)
    try:
        found, size = inspect(descriptor, None, str(disk)), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if found.disk_bytes > wanted.root_disk_bytes:
        need, has = -(-found.disk_bytes // MIB), wanted.root_disk_bytes // MIB
        hint = f"write `root_disk: {{size: {need}MiB}}` or more"
        raise Fault("VT0505", f"{disk} has {need} MiB, the root disk above it {has} MiB", help=hint)
    _check_boot_files(Path(wanted.files.kernel), Path(wanted.files.initrd))
    chunks = itertools.count()
    with OpenFiles(Digests(base), lambda: progress(disk.name, next(chunks) * CHUNK_BYTES, size)) as opened:
        sha256 = opened.take(disk, found.format)
    return ImageFiles(
        wanted.name, sha256, str(disk), found.format, wanted.files.kernel, wanted.files.initrd, own=True
    )  # fmt: skip


def _check_boot_files(kernel: Path, initrd: Path) -> None:
    for path in (kernel, initrd):
        descriptor = _open(path)
        try:
            size = os.fstat(descriptor).st_size
            if not 0 < size <= _BOOT_FILE_LIMIT_BYTES:
                limit = _BOOT_FILE_LIMIT_BYTES // MIB
                raise Fault(
                    "VT0557",
                    f"{path} has {size} bytes, which no kernel or initrd has",
                    help=f"name a file that is not empty and has {limit} MiB at most",
                )
            if path == kernel and kernel_kind(descriptor, str(path)) != "linux":
                hint = "name the bzImage, as in /boot/vmlinuz-6.1.0-18-cloud-amd64"
                raise Fault("VT0557", f"{path} is no Linux kernel", help=hint)
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    """Open a file that nobody but its owner, or root, could have written."""
    descriptor = open_file(path)
    found = os.fstat(descriptor)
    if found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return descriptor
    os.close(descriptor)
    hint = f"boot a copy of your own that others cannot write to: chmod go-w {path}"
    raise Fault("VT0557", f"{path} could be changed by others: it belongs to uid {found.st_uid}", help=hint)
