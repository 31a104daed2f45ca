"""A job's further disks: files in its spool with an ext4 file system that is the owner's, and empty.

Made here and not in the guest, so that it is the same whatever the image has: root formats a file that it just made.
"""

import os
import subprocess
from pathlib import Path

from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, DataDisk, Login

RESERVE_BYTES = 1024 * MIB
"""What stays free where the spool lies, for the guests' root disks and the node itself."""

FEATURES = (
    "none,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
)
"""Of ext4 (5): those that a kernel 3.10 knows. No journal: the disk is gone with the job."""

_LABEL_LIMIT = 16
_LIMIT_S = 300


def make(path: Path, disk: DataDisk, login: Login) -> None:
    """Make the file of a disk, its room set aside, and its file system. Raises Fault VT0905, VT0914."""
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
    _run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", FEATURES, "-m", "0", *options, str(path)])


def _run(argv: list[str]) -> None:
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "MKE2FS_CONFIG": "/dev/null"}
    try:
        done = subprocess.run(
            argv, env=path, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise Fault("VT0905", "this host has no mke2fs", help="apt install e2fsprogs") from None
    except subprocess.TimeoutExpired:
        raise Fault("VT0914", f"mke2fs took more than {_LIMIT_S} s to make an empty file system") from None
    if done.returncode:
        raise Fault("VT0914", "mke2fs could not make the file system of a disk", detail=done.stderr.strip())
