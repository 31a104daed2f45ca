"""Where a guest's root disk is read from and written to on a node, and the most room that this takes."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from vtorque_spec.plan.context import ImageFiles
from vtorque_spec.plan.job import Backing

BASES = "bases"
"""The directory beside those of the jobs that holds the node's copies of images' disks."""

FILES_BYTES = 128 * 2**20
"""What a VM has in the spool beside its disks: its own kernel and initrd, its seed, what is kept of its console."""


def base_file(image: ImageFiles, backing: Backing, spool: str) -> str:
    """Return the file below a root disk of the job with that spool: the image's own disk, or the copy of it."""
    copy = copy_name(image)
    match backing:
        case "shared":
            return image.disk
        case "local":
            return str(PurePosixPath(spool).parent.parent / BASES / copy)
        case "ram":
            return f"{memory_base(spool)}/{copy}"


def copy_name(image: ImageFiles) -> str:
    """Return the name of a copy of the image's disk, which says by its digest what is in it."""
    return f"{image.name}@{image.sha256[:16]}.{image.disk_format}"


def memory_base(spool: str) -> str:
    """Return where the job with that spool has its file system in memory."""
    return f"{spool}/base"


def overlay_bytes(size_bytes: int) -> int:
    """Return no less than a qcow2 file of that virtual size can take, with its tables.

    Of clusters of 64 KiB, and without snapshots: https://www.qemu.org/docs/master/interop/qcow2.html
    """
    return size_bytes + size_bytes // 4096 + 2**20


def vm_spool_bytes(root_disk_bytes: int, disks_bytes: Iterable[int]) -> int:
    """Return the most that a VM with such disks takes of the spool."""
    return FILES_BYTES + overlay_bytes(root_disk_bytes) + sum(-(-size // 2**20) * 2**20 for size in disks_bytes)
