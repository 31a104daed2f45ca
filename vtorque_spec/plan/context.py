"""NodeContext: everything that is not known at compile time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Pages:
    """Huge pages of one size."""

    size_bytes: int
    count: int


@dataclass(frozen=True)
class Cell:
    """One NUMA cell of the host; it may have no cores, or no memory.

    `cores` holds the CPUs of each core that are online, both ascending; `memory_bytes` what huge pages have not taken;
    `distances` the ACPI distance to each cell of the node, in their order (empty: not known).
    """

    id: int
    cores: tuple[tuple[int, ...], ...]
    memory_bytes: int
    hugepages: tuple[Pages, ...]
    distances: tuple[int, ...]


def lowest_cores(cells: Iterable[Cell], count: int) -> tuple[tuple[int, ...], ...]:
    """Return the lowest `count` cores of a node: those that its host keeps, where it keeps so many."""
    return tuple(sorted(core for cell in cells for core in cell.cores)[:count])


@dataclass(frozen=True)
class Device:
    """A device of the host by the kernel's name (eth0, mlx5_0; a GPU's PCI address), and the cell that it hangs on."""

    name: str
    kind: Literal["nic", "hca", "gpu", "nvme"]
    cell: int | None


@dataclass(frozen=True)
class CellMemory:
    """Memory in one cell: `pages` huge pages of `page_bytes`, or bytes of ordinary memory (`page_bytes` 1)."""

    cell: int
    page_bytes: int
    pages: int


@dataclass(frozen=True)
class Claim:
    """What a job holds of a node as long as it lives: no other job is given it."""

    cpus: tuple[int, ...]
    memory: tuple[CellMemory, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """A group of the user's, as the host has it."""

    name: str
    gid: int


@dataclass(frozen=True)
class Login:
    """Who the job's owner is on the host. `groups` holds all of them, the primary one first."""

    user: str
    uid: int
    groups: tuple[Group, ...]
    home: str
    public_key: str


@dataclass(frozen=True)
class ImageFiles:
    """Where this machine keeps a built image. The files are read-only and never replaced."""

    name: str
    sha256: str
    disk: str
    disk_format: Literal["qcow2", "raw"]
    kernel: str
    initrd: str


@dataclass(frozen=True)
class HostKey:
    """The guest's ssh host key, made on the host before the boot, so that the first connection is checked."""

    private: str
    public: str


@dataclass(frozen=True)
class BridgeNic:
    """A network card on a libvirt network that the runtime makes; the guest's address is fixed before the boot."""

    kind: Literal["bridge"]
    mac: str
    network: str
    address: str
    host_address: str
    prefix: int


@dataclass(frozen=True)
class UserNic:
    """A card on QEMU's user-mode network; host port `forward_port` on 127.0.0.1 leads to the guest's port 22."""

    kind: Literal["user"]
    mac: str
    forward_port: int


@dataclass(frozen=True)
class Slot:
    """The identity of one VM on one node. `nonce` returns in the boot token of the guest that finished this boot."""

    index: int
    uuid: str
    hostname: str
    nonce: str
    host_key: HostKey
    nic: BridgeNic | UserNic


@dataclass(frozen=True)
class NodeContext:
    """One node as one job finds it. `spool` is the job's own directory on the node.

    The batch system allots CPUs by their numbers or by a count of slots (`allotted_slots`, each a core or a thread as
    `slot` says; then `allotted_cpus` are those of the node). `host_cpus` are the host's own, which no job is given;
    `taken` is what the node's other jobs hold; `advised_cells` is numad's word, None: not asked.
    """

    version: int
    job_id: str
    node: str
    lane: Literal["system", "session"]
    virt: Literal["kvm", "qemu"]
    cells: tuple[Cell, ...]
    devices: tuple[Device, ...]
    allotted_cpus: tuple[int, ...]
    allotted_slots: int | None
    slot: Literal["core", "thread"]
    host_cpus: tuple[int, ...]
    allotted_memory_bytes: int
    taken: Claim
    advised_cells: tuple[int, ...] | None
    login: Login
    images: tuple[ImageFiles, ...]
    slots: tuple[Slot, ...]
    spool: str
