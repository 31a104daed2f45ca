"""What a check looks at, and what it tells."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from vtorque_spec.plan.answer import ToldFinding


class Libvirt(Protocol):
    """What the checks need of `hypervisor.Hypervisor`."""

    def versions(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Return those of libvirt's daemon and of QEMU."""

    def try_domain(self, xml: str) -> str | None:
        """Start a domain without running it and end it; return None, or why it can't start."""

    def create_filter(self, xml: str) -> None:
        """Define a network filter."""

    def destroy_filter(self, uuid: str) -> None:
        """Remove it."""

    def close(self) -> None:
        """End the connection."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node: `name` is the batch system's, `root` where its /sys, /proc, /etc and /var lie, `base` its spool."""

    name: str
    site: Path
    root: Path
    base: Path
    store: Path
    images: bool
    environment: Mapping[str, str]
    connect: Callable[[], Libvirt]

    def path(self, absolute: str) -> Path:
        """Return where a file of the node is."""
        return self.root / absolute.lstrip("/")


Told = Iterator[str | ToldFinding]
"""What a check tells: facts for a person, and findings. It may raise Fault or RefusedError as well."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a check came to; a `skipped` one needs the site's files, which cannot be used."""

    check: str
    state: Literal["ok", "warning", "error", "skipped"]
    facts: tuple[str, ...]
    findings: tuple[ToldFinding, ...]


def error(code: str, message: str, fix: str, detail: str | None = None) -> ToldFinding:
    """Return a finding of what keeps jobs from running, or from being safe."""
    return ToldFinding(code, "error", message, fix, detail)


def warning(code: str, message: str, fix: str) -> ToldFinding:
    """Return a finding of what makes jobs slower, or will be in their way one day."""
    return ToldFinding(code, "warning", message, fix, None)


def this_node(site: Path, name: str | None, *, images: bool) -> Node:
    """Return the node that this runs on; `images`: their disks are read as well."""
    from vtorque_runtime.hypervisor import URIS, connect
    from vtorque_runtime.images.store import SYSTEM_STORE
    from vtorque_runtime.spool import base_directory
    from vtorque_runtime.sysfs import ROOT

    return Node(
        name=name or os.uname().nodename,
        site=site,
        root=ROOT,
        base=base_directory("system"),
        store=SYSTEM_STORE,
        images=images,
        environment=dict(os.environ),
        connect=lambda: connect(URIS["system"]),
    )
