"""The node's own copies of images' disks, for jobs whose root disk has the backing `local`.

    BASE/bases/NAME@DIGEST.FORMAT     a whole copy, read-only, never changed
    BASE/bases/.NAME@DIGEST.FORMAT    what one process has copied up to now
    BASE/bases/.lock                  which that process holds
    BASE/bases/.used/NAME@DIGEST.FORMAT   an empty file, whose time says when a job was last given the copy

A job needs a copy from the moment that its plan is kept until its spool is removed. A copy that no job needs stays for
the next one, until there is no room for something else: then those go first that were used longest ago. `vtorque image
remove` takes the copy of what it removes. Whoever looks whether a copy is there, or removes one, holds the registry's
lock meanwhile.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from vtorque_runtime import disks
from vtorque_runtime.files import locked, make_missing
from vtorque_runtime.log import LOG
from vtorque_runtime.spool import Registry, Spool
from vtorque_spec.canonical import DecodeError, from_data, plain_data
from vtorque_spec.plan import BASES, Claim, ImageFiles, copy_name


def directory(registry: Registry) -> Path:
    """Return where the copies are."""
    return registry.base / BASES


def lock_file(registry: Registry) -> Path:
    """Return what the process that copies holds."""
    return directory(registry) / ".lock"


def use(registry: Registry, name: str) -> bool:
    """Tell whether there is a copy of that name, which then counts as used now."""
    copy = directory(registry) / name
    with registry.locked():
        if not copy.exists():
            return False
        make_missing(_used(registry, name).parent, 0o700)
        _used(registry, name).touch()  # not the copy itself, whose times say that it is what it was (digests.py)
        return True


def _used(registry: Registry, name: str) -> Path:
    return directory(registry) / ".used" / name


def make_room(registry: Registry, claims: Mapping[str, Claim], need_bytes: int) -> int:
    """Remove copies that no job needs, no more than it takes; return how many bytes no job was promised.

    `claims` are those of the jobs. The caller holds the registry's lock.
    """
    spare = disks.spare_bytes(registry, claims)
    for path in _unneeded(registry) if spare < need_bytes else ():
        LOG.info("removes %s, which no job needs: %d MiB are needed", path, need_bytes >> 20)
        _remove(registry, path)
        spare = disks.spare_bytes(registry, claims)
        if spare >= need_bytes:
            break
    return spare


def copies(registry: Registry, name: str, sha256: str) -> list[Path]:
    """Return the node's copies of the disk of an image."""
    return sorted(directory(registry).glob(f"{name}@{sha256[:16]}.*"))


def remove(registry: Registry, copy: Path) -> bool:
    """Remove a copy and tell so, unless a job needs it, or may: one whose plan cannot be read."""
    with registry.locked():
        unneeded = copy in _unneeded(registry)
        if unneeded:
            _remove(registry, copy)
    return unneeded


def _remove(registry: Registry, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    _used(registry, copy.name).unlink(missing_ok=True)


def remove_unfinished(registry: Registry) -> None:
    """Remove what a process left that was killed while it copied; the caller holds the lock on copying."""
    for left in directory(registry).glob(".*@*"):
        left.unlink(missing_ok=True)


def _unneeded(registry: Registry) -> list[Path]:
    """The copies that no job needs, the one that was used longest ago first; what a dead process left goes at once."""
    if not directory(registry).is_dir():
        return []
    with contextlib.suppress(TimeoutError), locked(lock_file(registry), 0):
        remove_unfinished(registry)
    try:
        needed = {name for path in registry.jobs.iterdir() for name in _needed(Spool(path))}
    except DecodeError as error:
        LOG.error("no copy of an image is removed, for a plan is damaged: %s", error)
        return []
    copies = [path for path in directory(registry).glob("*@*") if path.name not in needed and path.name[0] != "."]
    return sorted(copies, key=lambda path: (_used_ns(registry, path.name), path.name))


def _used_ns(registry: Registry, name: str) -> int:
    try:
        return _used(registry, name).stat().st_mtime_ns
    except FileNotFoundError:  # fetched ahead, for no job yet
        return (directory(registry) / name).stat().st_ctime_ns


def _needed(spool: Spool) -> tuple[str, ...]:
    try:
        plan = plain_data(spool.plan.read_bytes())  # an earlier program's plan as well
    except (FileNotFoundError, NotADirectoryError):
        return ()
    if not isinstance(plan, dict):
        raise DecodeError(f"{spool.plan} is no plan")
    if plan.get("backing") != "local":
        return ()
    return (copy_name(cast("ImageFiles", from_data(ImageFiles, plan.get("image")))),)
