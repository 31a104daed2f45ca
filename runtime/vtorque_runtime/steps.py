"""The kinds of undo: each says as plain data what to remove, removes it, and tells whether it is still there.

An undo must succeed when its act never began, was half done, or was undone before.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from vtorque_runtime import irq
from vtorque_runtime.irq import IrqUndo
from vtorque_spec.canonical import from_data
from vtorque_spec.fault import Fault


class Destroyer(Protocol):
    """What undoing needs of a hypervisor."""

    def destroy_domain(self, uuid: str) -> None:
        """End the domain; nothing happens when there is none."""

    def destroy_network(self, uuid: str) -> None:
        """End the network; nothing happens when there is none."""

    def domain_uuids(self) -> set[str]:
        """Return the UUIDs of all domains."""

    def network_uuids(self) -> set[str]:
        """Return the UUIDs of all networks."""


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
class TreeUndo:
    """Remove the entry `name` of the job's spool directory, with all below it."""

    kind: Literal["tree"]
    name: str


Undo = DomainUndo | NetworkUndo | TreeUndo | IrqUndo


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
        case TreeUndo(name=name):
            remove_entry(spool, name)
            return [f"file {spool / name}"] if os.path.lexists(spool / name) else []
        case IrqUndo():
            return irq.restore(undo)


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
