"""The picture of one node with a job on it: what `vtorque plan` draws. Guests count from 1: guest 1 is `vm0`."""

from dataclasses import dataclass
from typing import Literal

Owner = Literal["host", "io", "io-idle", "guest", "free", "other"]
"""Who has a core. `io-idle` is set aside for I/O and not active at start; `other`: other jobs', or not allotted."""


@dataclass(frozen=True, slots=True)
class PictureCore:
    """A core. `vcpus` says for each of `cpus` which vCPU of the guest is pinned there; None: none is."""

    cpus: tuple[int, ...]
    owner: Owner
    guest: int | None
    vcpus: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class PicturePages:
    """Huge pages of one size in a cell: `there` of them, and `used` as (guest, pages)."""

    page_bytes: int
    there: int
    used: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class PictureCell:
    """A NUMA cell. `used` holds (guest, bytes) of the `memory_bytes`, which are those outside of huge pages.

    `host_memory_bytes` of them are the host's. `devices` holds (kind, name).
    """

    id: int
    socket: int | None
    cores: tuple[PictureCore, ...]
    memory_bytes: int
    host_memory_bytes: int
    used: tuple[tuple[int, int], ...]
    hugepages: tuple[PicturePages, ...]
    devices: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A node with a job's guests on it. `node` is how messages call it: ``a node of class `thin```.

    `asked` are words of the batch system and their values. `floating`: the guests are not pinned, so their cores have
    owner `guest` and no guest.
    """

    job: str
    node: str
    cells: tuple[PictureCell, ...]
    host_memory_bytes: int
    reasons: tuple[str, ...]
    devices_elsewhere: tuple[tuple[str, str], ...]
    asked: tuple[tuple[str, str], ...]
    floating: bool
