"""A guest's disks, files in the job's spool: the root disk, an overlay on the image, and those that the job asks for.

The file system of the latter, ext4, empty and the owner's, is made here and not in the guest, so that it is the same
whatever the image has: root formats a file that it just made.
"""

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from vtorque_runtime.spool import Registry
from vtorque_runtime.sysfs import ROOT
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, Claim, DataDisk, Disk, Login

RESERVE_BYTES = 1024 * MIB
"""What stays free where the spool lies, for the node itself."""

MEMORY_KINDS = ("tmpfs", "ramfs")
"""File systems in memory."""

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
    free = free_bytes(path.parent)
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
    """Make a guest's root disk, thin above its image: that takes no time. Raises Fault VT0905, VT0914.

    The image is not opened (-u): root's process takes nothing from it.
    """
    base = ["-u", "-b", overlay.backing or "", "-F", overlay.backing_format or ""]
    argv = ["qemu-img", "create", "-q", "-f", overlay.format, *base, overlay.file, str(size_bytes)]
    _run(argv, "qemu-utils", "an empty overlay for the root disk")


def spare_bytes(registry: Registry, claims: Mapping[str, Claim]) -> int:
    """Return what is free where the spool lies and was promised to no job of `claims`; below 0 where that is less.

    Guests' disks are thin: of what a job was promised, its files have taken a part already.
    """
    owed = (max(0, own.disk_bytes - used_bytes(registry.jobs / job_id)) for job_id, own in claims.items())
    return free_bytes(registry.jobs) - RESERVE_BYTES - sum(owed)


def free_bytes(path: Path) -> int:
    """Return what is free where a directory lies."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def used_bytes(spool: Path) -> int:
    """Return what the files of a job's guests take of the disk."""
    used = 0
    for path in spool.glob("vm*/*"):
        with contextlib.suppress(FileNotFoundError):
            used += path.lstat().st_blocks * 512
    return used


def no_room(what: str, need_bytes: int, spare_bytes: int, where: Path, fix: str) -> Fault:
    """Return the Fault VT0966 that says what of `need_bytes` there is no room for; `fix` beside waiting."""
    need, spare = -(-need_bytes // MIB), max(0, spare_bytes // MIB)
    return Fault(
        "VT0966",
        f"no room for {what}: that may take {need} MiB, and {where} has {spare} MiB that no job was promised",
        help=f"{fix}, or run it again when the node's other jobs are over",
    )


def kind_of(path: Path, root: Path = ROOT) -> str:
    """Return the type of the file system that a directory is on (proc(5): /proc/PID/mountinfo)."""
    found, longest = "?", -1
    for line in (root / "proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        mount = Path(before.split(" ")[4])
        if path.resolve().is_relative_to(mount) and len(mount.parts) >= longest:
            found, longest = after.split(" ")[0], len(mount.parts)
    return found


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
