"""Directories of the node that guests share: found without a link of a user's, then bound below a directory of root's.

What is opened is what is bound, so nobody can put another directory in its place before virtiofsd or QEMU opens it.
The bind is nosuid and nodev, and read-only where the guests may not write: what a guest's kernel says does not matter.
It lies outside of the spool, and goes by umount and rmdir alone: no removal of a tree can reach what is shared.
"""

import ctypes
import errno
import os
import stat
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, NoReturn

from vtorque_runtime.journal import Journal
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Filesystem, NodeContext, NodePlan, OfferedMount, shares_of

_LINKS_LIMIT = 40
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
MS_NOSUID, MS_NODEV = 0x2, 0x4
_MS_REMOUNT, _MS_BIND, _MS_PRIVATE = 0x20, 0x1000, 1 << 18
_MNT_DETACH, _UMOUNT_NOFOLLOW = 0x2, 0x8
_KEPT = os.ST_RDONLY | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME
"""What a mount says of itself and the bind must say again. These have the same numbers in statvfs(3) and mount(2)."""

_INIT = Path("/proc/1/mountinfo")
"""The mounts that libvirt's daemon sees: https://docs.kernel.org/filesystems/proc.html, section 3.5."""


@dataclass(frozen=True, slots=True)
class ShareUndo:
    """Unmount the share `name` of the job."""

    kind: Literal["share"]
    name: str


class Source(NamedTuple):
    """A directory that was found: an open descriptor (O_PATH) and the flags of its mount, as statvfs has them."""

    descriptor: int
    flags: int


def offer_of(share: Filesystem, context: NodeContext) -> OfferedMount | None:
    """Return the mount of the site that a guest's share is; None where there is none, or it may be read only."""
    for offer in context.mounts:
        by_qemu = context.lane == "session" and offer.kind != "nfs"
        same = (offer.source, offer.options) == (share.source, share.options)
        same = same and share.kind == ("9p" if by_qemu else offer.kind)
        if same and (offer.writable or share.read_only):
            return offer
    return None


def make(plan: NodePlan, context: NodeContext, journal: Journal) -> None:
    """Bind what the guests share, each a step of the journal. The plan has passed `recheck`. Raises Fault VT0942.

    For an ordinary user there is nothing to do: QEMU opens the directories itself, with the user's own rights.
    """
    if plan.lane == "session":
        return
    for share in plan.guests[0].machine.filesystems:
        offer = offer_of(share, context)
        if share.path and offer is not None:
            undo = ShareUndo("share", PurePosixPath(share.path).name)
            journal.step(undo, partial(_share, share, offer, context.login.uid))


def check(offer: OfferedMount) -> None:
    """Raise Fault VT0942 where this node cannot share what the site offers: it is not there, or not safe to share.

    What is each user's own ($HOME, /scratch/$USER) is looked at when the user's job comes; here, what holds it.
    """
    path = offer.source.removesuffix("/$USER")
    if offer.kind == "nfs" or path in ("$HOME", ""):
        return
    source = find(path, 0)
    try:
        if offer.writable and not offer.allow_suid:
            _check_flags(path, source.flags)
    finally:
        os.close(source.descriptor)


def _share(share: Filesystem, offer: OfferedMount, uid: int) -> None:
    source = find(share.source, uid)
    try:
        if not share.read_only and not offer.allow_suid:
            _check_flags(share.source, source.flags)
        bind(source, Path(share.path), read_only=share.read_only, by_qemu=share.kind == "9p")
    finally:
        os.close(source.descriptor)


def find(path: str, uid: int) -> Source:
    """Open a directory of the node that the job of `uid` shares; the caller closes it. Raises Fault VT0942.

    On its way are only directories that root alone changes, and root's own links; it may lie in one where all may
    write (with the sticky bit, as /tmp) when it is the user's or root's.
    """
    if PurePosixPath(path).parts[1:] == ():
        _refuse(path, "that is all of the node")
    here = os.open("/", os.O_PATH | os.O_DIRECTORY)
    parts, links, walked = deque(PurePosixPath(path).parts[1:]), 0, PurePosixPath("/")
    try:
        while parts:
            name, above = parts.popleft(), os.fstat(here)
            entry = os.stat(name, dir_fd=here, follow_symlinks=False)
            _check_step(path, walked, above, walked / name, entry, uid)
            if stat.S_ISLNK(entry.st_mode):
                target, links = PurePosixPath(os.readlink(name, dir_fd=here)), links + 1
                parts.extendleft(reversed(target.parts))  # an absolute one begins with "/", which leads to the root
                if links > _LINKS_LIMIT:
                    _refuse(path, "there are too many links on the way")
                continue
            # O_DIRECTORY, for an automounter to mount it; a link that has come in between is not followed
            below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here, walked = below, (walked / name)
        return Source(here, os.fstatvfs(here).f_flag)
    except OSError as error:
        os.close(here)
        _refuse(path, f"{walked / name}: {(error.strerror or '').lower()}")
    except Fault:
        os.close(here)
        raise


def _check_step(
    path: str, above: PurePosixPath, holder: os.stat_result, name: PurePosixPath, entry: os.stat_result, uid: int
) -> None:
    """Who may change `above` may put anything in the place of `name`."""
    roots = holder.st_uid == 0
    if roots and not holder.st_mode & _OTHERS_WRITE:
        return
    if not (roots and holder.st_mode & stat.S_ISVTX):
        owner = "can be written by others" if roots else f"belongs to the uid {holder.st_uid}"
        hint = f"give it to root alone: chown root: {above} && chmod go-w {above}"
        _refuse(path, f"{above} {owner}, who could share anything in its place", hint)
    if stat.S_ISLNK(entry.st_mode):
        _refuse(path, f"{name} is a link in a directory where all may write")
    if entry.st_uid not in (0, uid):
        _refuse(path, f"{name} belongs to another user, the uid {entry.st_uid}")


def _check_flags(path: str, flags: int) -> None:
    lacking = [word for word, flag in (("nosuid", os.ST_NOSUID), ("nodev", os.ST_NODEV)) if not flags & flag]
    if lacking:
        hint = (
            "mount it on the nodes with nosuid,nodev, or offer it read-only or by nfs; `allow_suid: true` in site.yaml "
            "is for machines whose users are their admins"
        )
        _refuse(path, f"guests may write to it, and it is mounted without {' and '.join(lacking)}", hint)


def bind(source: Source, path: Path, *, read_only: bool, by_qemu: bool = False) -> None:
    """Mount the directory at `path`, which is made, without set-uid and device files. Raises Fault VT0914, OSError.

    The way there is root's alone: a directory above the source may be what keeps others from it. Only what QEMU,
    another user, opens itself can be reached by all.
    """
    path.parent.parent.mkdir(mode=0o711, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if by_qemu:
        path.parent.chmod(0o711)
    path.mkdir(mode=0o700)
    flags = source.flags & _KEPT | os.ST_NOSUID | os.ST_NODEV | (os.ST_RDONLY if read_only else 0)
    mount(f"/proc/self/fd/{source.descriptor}", path, _MS_BIND)
    mount(None, path, _MS_PRIVATE)  # what is mounted below the source later is not shared, nor unmounted with the bind
    mount(None, path, _MS_BIND | _MS_REMOUNT | flags)
    check_seen(path)


def check_seen(path: Path) -> None:
    """Raise Fault VT0914 where what is mounted at the path is not there for libvirt's daemon."""
    if str(path) not in (line.split()[4] for line in _INIT.read_text("utf-8", "replace").splitlines()):
        hint = "start it outside of the batch system's own mount namespace (systemd: PrivateTmp=no, ProtectSystem=no)"
        raise Fault("VT0914", f"what is mounted at {path} is not seen by the rest of the node", help=hint)


def unbind(spool: Path, undo: ShareUndo) -> list[str]:
    """Take a bind away; return its path if it stays. Nothing happens when it was never made."""
    directory = Path(shares_of(str(spool)))
    path = directory / undo.name
    if PurePosixPath(undo.name).name != undo.name or undo.name in ("", ".", ".."):
        raise ValueError(f"not the name of a share: {undo.name!r}")
    unmount(path)
    for empty in (path, directory):  # never a tree: were it still mounted, this were the user's directory
        try:
            empty.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            break
    return [f"mount {path}"] if os.path.lexists(path) else []


def unmount(path: Path) -> None:
    """Take off all that is mounted at the path; the way there must be free of links of a user's. Raises OSError."""
    while _unmounted(path):
        pass


def mount(source: str | None, path: Path, flags: int, kind: str | None = None, options: str | None = None) -> None:
    """Mount by mount(2), `kind` being the file system's type. Raises OSError."""
    words = (None if word is None else os.fsencode(word) for word in (source, str(path), kind))
    if _libc().mount(*words, flags, None if options is None else options.encode("ascii")):
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}", str(path))


def _unmounted(path: Path) -> bool:
    """Take one mount off; False when there is none. It goes at once, and for who still uses it when they end."""
    if _libc().umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOENT):
        return False
    raise OSError(number, f"umount: {os.strerror(number)}", str(path))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
    return libc


def _refuse(path: str, why: str, hint: str | None = None) -> NoReturn:
    raise Fault("VT0942", f"{path} cannot be shared with guests: {why}", help=hint)
