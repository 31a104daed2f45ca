"""NodeContext: everything that is not known at compile time."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from vtorque_spec.plan.site import OfferedMount


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
    """What a job holds of a node as long as it lives: no other job is given it.

    `disk_bytes` is the most that its files take where the node's spool lies, all of its guests' disks written.
    """

    cpus: tuple[int, ...]
    memory: tuple[CellMemory, ...]
    devices: tuple[str, ...]
    disk_bytes: int = 0


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


def owned(path: str, login: Login) -> str:
    """Put the job's owner into a path of the site: `$HOME` as the whole, `$USER` as the last part."""
    if path == "$HOME":
        return login.home
    return path.removesuffix("$USER") + login.user if path.endswith("/$USER") else path


def shares_of(spool: str) -> str:
    """Return where the shares of the job with that spool are bound: beside it, because a spool is removed as a tree."""
    path = PurePosixPath(spool)
    return str(path.parent.parent / "shares" / path.name)


@dataclass(frozen=True)
class ImageFiles:
    """Where this machine keeps a built image. The files are read-only and never replaced.

    OSv's kernel needs no `initrd`; an image that boots from its disk has no `kernel` either. The files of an image that
    is its user's `own` are where that one has them, and may change.
    """

    name: str
    sha256: str
    disk: str
    disk_format: Literal["qcow2", "raw"]
    kernel: str | None
    initrd: str | None
    own: bool = False


@dataclass(frozen=True)
class HostKey:
    """The guest's ssh host key, made on the host before the boot, so that the first connection is checked.

    `certificate` is the word of the job's own authority for it, with the guest's names (PROTOCOL.certkeys of OpenSSH).
    """

    private: str = field(repr=False)
    public: str
    certificate: str


@dataclass(frozen=True)
class Keys:
    """What every guest of a job is told, so that its owner passes from one to another by ssh, and nobody else does.

    `login_key` is the owner's private key; each of `public_keys` opens a guest; `authorities` are lines of known_hosts,
    one for each authority that a guest's host key may be signed by.
    """

    login_key: str = field(repr=False)
    public_keys: tuple[str, ...]
    authorities: tuple[str, ...]


@dataclass(frozen=True)
class TapNic:
    """A network card on a bridge of the host, the guest's address fixed before the boot.

    `source` is, by `kind`, a libvirt network that the runtime makes for the job, or a bridge of the site's. `filter` is
    the libvirt network filter that lets nothing but `mac` and `address` out of the guest; None: there is none. The
    guest sees its host at `host_address`; without a `gateway` nothing leads out of the network.
    """

    kind: Literal["network", "bridge"]
    mac: str
    source: str
    filter: str | None
    address: str
    prefix: int
    host_address: str
    gateway: str | None
    dns: tuple[str, ...]
    search: tuple[str, ...]
    ntp: tuple[str, ...]


@dataclass(frozen=True)
class UserNic:
    """A card on QEMU's user-mode network; host port `forward_port` on 127.0.0.1 leads to the guest's port 22.

    `restricted` leaves no way out.
    """

    kind: Literal["user"]
    mac: str
    forward_port: int
    restricted: bool


@dataclass(frozen=True)
class JobVm:
    """One VM of the job, on whichever node: VM `index` of `node`. `address` is None where no guest reaches another."""

    node: str
    index: int
    hostname: str
    address: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """What other guests call it: its name, and its address where it has one."""
        return (self.hostname,) if self.address is None else (self.hostname, self.address)


@dataclass(frozen=True)
class Slot:
    """The identity of one VM on one node. `nonce` returns in the boot token of the guest that finished this boot."""

    index: int
    uuid: str
    hostname: str
    nonce: str = field(repr=False)
    host_key: HostKey
    nic: TapNic | UserNic


@dataclass(frozen=True)
class NodeContext:
    """One node as one job finds it. `spool` is the job's own directory on the node.

    The batch system allots CPUs by their numbers or by a count of slots (`allotted_slots`, each a core or a thread as
    `slot` says; then `allotted_cpus` are those of the node). `host_cpus` are the host's own, which no job is given;
    `taken` is what the node's other jobs hold; `advised_cells` is numad's word, None: not asked. `vms` are all VMs of
    the job in rank order, `slots` those of this node. `mounts` are what the site offers, as they are for the owner.
    `diskless`: the spool is in memory, and so are the guests' disks.
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
    keys: Keys
    images: tuple[ImageFiles, ...]
    vms: tuple[JobVm, ...]
    slots: tuple[Slot, ...]
    mounts: tuple[OfferedMount, ...]
    spool: str
    diskless: bool = False

    @property
    def shares(self) -> str:
        """The directory where the job's shares are bound."""
        return shares_of(self.spool)

    @property
    def partition(self) -> str | None:
        """The name of the job's partition; None for an ordinary user's job, whose libvirt has no cgroups."""
        return None if self.lane == "session" else partition_name(self.job_id)


def partition_name(job_id: str) -> str:
    """Return the name of the libvirt partition below /machine that caps the job: letters, digits and `_`.

    With other characters it would have other names in the kernel's trees and systemd's.
    """
    return "vt_" + re.sub(r"[^A-Za-z0-9]", lambda found: f"_{ord(found[0]):02x}", job_id)
