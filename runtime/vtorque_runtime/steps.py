"""The kinds of undo: each says as plain data what to remove, removes it, and tells whether it is still there.

An undo must succeed when its act never began, was half done, or was undone before.
"""

import errno
import itertools
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from vtorque_runtime import forwarding, irq, partition, ramdisk, shares, shutdown_hooks
from vtorque_runtime.forwarding import ForwardingUndo
from vtorque_runtime.irq import IrqUndo
from vtorque_runtime.osv import exports
from vtorque_runtime.osv.exports import ExportsUndo
from vtorque_runtime.partition import PartitionUndo
from vtorque_runtime.ramdisk import MemoryUndo
from vtorque_runtime.shares import ShareUndo
from vtorque_runtime.shutdown_hooks import ShutdownHooks
from vtorque_spec.canonical import from_data


class Destroyer(Protocol):
    """What undoing needs of a hypervisor."""

    def destroy_domain(self, uuid: str) -> None:
        """End the domain; nothing happens when there is none."""

    def destroy_network(self, uuid: str) -> None:
        """End the network; nothing happens when there is none."""

    def destroy_filter(self, uuid: str) -> None:
        """Remove the network filter; nothing happens when there is none."""

    def ask_agent(self, uuid: str, request: str, limit_s: int) -> str | None:
        """Return what the guest agent answers to a request; None where no agent or no domain does."""

    def domain_uuids(self) -> set[str]:
        """Return the UUIDs of all domains."""

    def network_uuids(self) -> set[str]:
        """Return the UUIDs of all networks."""

    def filter_uuids(self) -> set[str]:
        """Return the UUIDs of all network filters."""


Connect = Callable[[str], Destroyer]
"""From a libvirt URI to a connection; raises Fault VT0902."""


@dataclass(frozen=True, slots=True)
class DomainUndo:
    """End the domain `uuid` at `uri`."""

    kind: Literal["domain"]
    uri: str
    uuid: str


@dataclass(frozen=True, slots=True)
class NetworkUndo:
    """End the libvirt network `uuid` at `uri`."""

    kind: Literal["network"]
    uri: str
    uuid: str


@dataclass(frozen=True, slots=True)
class FilterUndo:
    """Remove the libvirt network filter `uuid` at `uri`."""

    kind: Literal["filter"]
    uri: str
    uuid: str


@dataclass(frozen=True, slots=True)
class TreeUndo:
    """Remove the entry `name` of the job's spool directory, with all below it."""

    kind: Literal["tree"]
    name: str


Undo = (
    DomainUndo
    | NetworkUndo
    | FilterUndo
    | ForwardingUndo
    | TreeUndo
    | ExportsUndo
    | IrqUndo
    | MemoryUndo
    | PartitionUndo
    | ShareUndo
    | ShutdownHooks
)


def undo_all(records: list[dict[str, Any]], spool: Path, connect: Connect) -> list[str]:
    """Carry out `records` in reverse, each whatever became of the others; return what is still there, by name."""
    left = []
    for record in reversed(records):
        try:
            undo = from_data(Undo, record)
            assert isinstance(undo, Undo)  # noqa: S101 - from_data returns what it was asked for; mypy can't see it
            left += _undo(undo, spool, connect)
        except Exception as error:  # whatever it is, the others are undone
            left.append(f"{record}: {error}")
    return left


def _undo(undo: Undo, spool: Path, connect: Connect) -> list[str]:
    match undo:
        case DomainUndo(uri=uri, uuid=uuid):
            hypervisor = connect(uri)
            hypervisor.destroy_domain(uuid)
            return [f"domain {uuid}"] if uuid in hypervisor.domain_uuids() else []
        case NetworkUndo(uri=uri, uuid=uuid):
            hypervisor = connect(uri)
            hypervisor.destroy_network(uuid)
            return [f"network {uuid}"] if uuid in hypervisor.network_uuids() else []
        case FilterUndo(uri=uri, uuid=uuid):
            hypervisor = connect(uri)
            hypervisor.destroy_filter(uuid)
            return [f"network filter {uuid}"] if uuid in hypervisor.filter_uuids() else []
        case ForwardingUndo():
            return forwarding.restore(undo, spool)
        case TreeUndo(name=name):
            remove_entry(spool, name)
            return [f"file {spool / name}"] if os.path.lexists(spool / name) else []
        case ExportsUndo():
            return exports.end(undo)
        case IrqUndo():
            return irq.restore(undo)
        case MemoryUndo():
            return ramdisk.remove(spool)
        case PartitionUndo():
            return partition.remove(undo)
        case ShareUndo():
            return shares.unbind(spool, undo)
        case ShutdownHooks(uri=uri, uuids=uuids):
            shutdown_hooks.run(uuids, connect(uri))
            return []


def remove_entry(directory: Path, name: str) -> None:
    """Remove `name` below the directory, following no symbolic link; nothing happens when it is not there.

    However deep its owner has nested it, and whatever they have mounted in it. Raises ValueError for a name with a
    slash, OSError for what cannot be removed.
    """
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"not the name of a directory entry: {name!r}")
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _unmount(descriptor, name)
        _remove_tree(descriptor, name)
    except NotADirectoryError:
        os.unlink(name, dir_fd=descriptor)
    except FileNotFoundError:
        pass
    finally:
        os.close(descriptor)


def _remove_tree(holder: int, name: str) -> None:
    """Directories that lie deeper come up to the top before they are emptied: two are open at a time, at any depth."""
    top = _taken_back(holder, name)
    try:
        left, risen = _emptied(top), f".{secrets.token_hex(8)}-"
        for number in itertools.count():
            if not left:
                break
            inner = _taken_back(top, own := left.pop())
            try:
                for place, below in enumerate(_emptied(inner)):
                    os.rename(below, new := f"{risen}{number}-{place}", src_dir_fd=inner, dst_dir_fd=top)
                    left.append(new)
            finally:
                os.close(inner)
            os.rmdir(own, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=holder)


def _taken_back(holder: int, name: str) -> int:
    """Open the directory and make it ours alone, so that its former owner can't add entries while it is removed."""
    entry = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=holder)
    try:
        os.fchown(entry, os.geteuid(), os.getegid())
        os.fchmod(entry, 0o700)
    except OSError:
        os.close(entry)
        raise
    return entry


def _emptied(descriptor: int) -> list[str]:
    """Remove what is no directory; return the names of those that are, with nothing mounted on them."""
    directories = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _unmount(descriptor, entry.name)
                directories.append(entry.name)
                continue
            try:
                os.unlink(entry.name, dir_fd=descriptor)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                _unmount(descriptor, entry.name)
                os.unlink(entry.name, dir_fd=descriptor)
    return directories


def _unmount(holder: int, name: str) -> None:
    """A user may mount on a directory or a file of theirs (fusermount3(1)), and root is not let into that."""
    if os.geteuid() == 0:
        shares.unmount(Path(f"/proc/self/fd/{holder}/{name}"))
