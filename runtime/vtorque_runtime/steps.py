"""The kinds of undo: each says as plain data what to remove, removes it, and tells whether it is still there.

An undo must succeed when its act never began, was half done, or was undone before.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from vtorque_runtime import forwarding, irq, partition, shares, shutdown_hooks
from vtorque_runtime.forwarding import ForwardingUndo
from vtorque_runtime.irq import IrqUndo
from vtorque_runtime.partition import PartitionUndo
from vtorque_runtime.shares import ShareUndo
from vtorque_runtime.shutdown_hooks import ShutdownHooks
from vtorque_spec.canonical import from_data
from vtorque_spec.fault import Fault


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
    | IrqUndo
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
        except (Fault, OSError, ValueError) as error:
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
        case IrqUndo():
            return irq.restore(undo)
        case PartitionUndo():
            return partition.remove(undo)
        case ShareUndo():
            return shares.unbind(spool, undo)
        case ShutdownHooks(uri=uri, uuids=uuids):
            shutdown_hooks.run(uuids, connect(uri))
            return []


def remove_entry(directory: Path, name: str) -> None:
    """Remove `name` below the directory, following no symbolic link; nothing happens when it is not there.

    Raises ValueError for a name with a slash, OSError for what cannot be removed.
    """
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"not the name of a directory entry: {name!r}")
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _take_back(descriptor, name)
        shutil.rmtree(name, dir_fd=descriptor)
    except NotADirectoryError:
        os.unlink(name, dir_fd=descriptor)
    except FileNotFoundError:
        pass
    finally:
        os.close(descriptor)


def _take_back(descriptor: int, name: str) -> None:
    """Make the directory ours alone, so that its former owner can't add entries while it is removed."""
    entry = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
    try:
        os.fchown(entry, os.geteuid(), os.getegid())
        os.fchmod(entry, 0o700)
    finally:
        os.close(entry)
