"""A guest's disks, files in the job's spool: the root disk, an overlay on the image, and those that the job asks for.

The file system of the latter, ext4, empty and the owner's, is made here and not in the guest, so that it is the same
whatever the image has: root formats a file that it just made.
"""

import os
import subprocess
from pathlib import Path

from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, DataDisk, Disk, Login

RESERVE_BYTES = 1024 * MIB
"""What stays free where the spool lies, for the guests' root disks and the node itself."""

FEATURES = (
    "none,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
)
"""Of ext4 (5): those that a kernel 3.10 knows. No journal: the disk is gone with the job."""

_LABEL_LIMIT = 16
_LIMIT_S = 300
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "MKE2FS_CONFIG": "/dev/null"}


def make(path: Path, disk: DataDisk, login: Login) -> None:
    """Make a disk that the job asks for, its room set aside. Raises Fault VT0905, VT0914."""
    size = -(-disk.size_bytes // MIB) * MIB
    found = os.statvfs(path.parent)
    free = found.f_bavail * found.f_frsize
    if size > free - RESERVE_BYTES:
        raise Fault(
            "VT0914",
            f"no room for the disk `{disk.name}` of {size // MIB} MiB: {path.parent} has {free // MIB} MiB free",
            help=f"ask for a smaller disk, or clean up the node; {RESERVE_BYTES // MIB} MiB stay free",
        )
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
    owner = f"root_owner={login.uid}:{login.groups[0].gid}"
    options = ["-E", f"{owner},nodiscard,lazy_itable_init=1", "-L", disk.name[:_LABEL_LIMIT]]
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", FEATURES, "-m", "0", *options, str(path)]
    _run(argv, "e2fsprogs", f"the file system of the disk `{disk.name}`")


def make_overlay(overlay: Disk, size_bytes: int) -> None:
    """Make a guest's root disk, thin above its image: that takes no time. Raises Fault VT0905, VT0914."""
    base = ["-b", overlay.backing or "", "-F", overlay.backing_format or ""]
    argv = ["qemu-img", "create", "-q", "-f", overlay.format, *base, overlay.file, str(size_bytes)]
    _run(argv, "qemu-utils", "an empty overlay for the root disk")


def _run(argv: list[str], package: str, what: str) -> None:
    try:
        done = subprocess.run(
            argv, env=_ENVIRONMENT, umask=0o077, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S,
            check=False, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise Fault("VT0905", f"this host has no {argv[0]}", help=f"apt install {package}") from None
    except subprocess.TimeoutExpired:
        raise Fault("VT0914", f"{argv[0]} took more than {_LIMIT_S} s to make {what}") from None
    if done.returncode:
        raise Fault("VT0914", f"{argv[0]} could not make {what}", detail=done.stderr.strip())
