"""NodeSite: what the site's own files say of one node, for the part that runs as root there."""

from dataclasses import dataclass
from typing import Literal

from vtorque_spec.plan.job import Flavour, GuestSetup, MountKind, NetworkKind, OsvImage

GUEST_OWNS = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run", "/sbin", "/sys",
    "/tmp", "/usr", "/var",  # noqa: S108 - a mount point that is refused
)  # fmt: skip
"""Directories of a guest that nothing may be mounted on or in."""


@dataclass(frozen=True)
class OfferedMount:
    """A file system that jobs may mount by name.

    `source` and `target` may have `$HOME` or `$USER` of the job's owner in them. `source` is a directory of the node
    for virtiofs and 9p, and `SERVER:/PATH` for nfs, which guests mount themselves with `options`. `allow_suid`: it may
    be written to although the node would honour set-uid and device files there.
    """

    name: str
    kind: MountKind
    source: str
    target: str
    writable: bool
    options: tuple[str, ...]
    allow_suid: bool


@dataclass(frozen=True)
class AddressTable:
    """Addresses of VMs on a bridge: VM slot s of the n-th of `nodes` has `first` + n * `slots` + s (IPv4)."""

    first: str
    slots: int
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class OfferedNetwork:
    """A network that jobs may name.

    isolated: one for each job and node, host and guests reach each other and nothing else; nat: the same with a way
    out; user: QEMU's user-mode network, one for each guest; bridge: the site's own `bridge`, on which a guest has its
    address of `table`, of the network `subnet` (10.20.0.0/16). `filtered`: a guest sends from no address but its own.
    `osv`: OSv guests, whose users are their kernels, may be on the bridge.
    """

    name: str
    kind: NetworkKind
    filtered: bool
    bridge: str | None
    subnet: str | None
    table: AddressTable | None
    gateway: str | None
    dns: tuple[str, ...]
    search: tuple[str, ...]
    ntp: tuple[str, ...]
    osv: bool = False


@dataclass(frozen=True)
class SaidCell:
    """A NUMA cell as the site says it is. `cores` are the CPUs of each core, empty where it does not say."""

    id: int
    cpus: tuple[int, ...]
    cores: tuple[tuple[int, ...], ...]
    memory_bytes: int
    pages_2mib: int
    pages_1gib: int


@dataclass(frozen=True)
class SaidDevice:
    """A device of a node as the site says it is; `cell` is None where it does not say."""

    name: str
    kind: str
    cell: int | None


@dataclass(frozen=True)
class SaidNode:
    """What the site says its nodes of a class are; `vtorque-runtime doctor` compares it with a node.

    `cpus` and `memory_bytes` are what a node has at least, the host's own included; `whole`: it has no more CPUs;
    `diskless`: guests' disks are in memory.
    """

    cpus: int
    whole: bool
    memory_bytes: int
    cells: tuple[SaidCell, ...]
    devices: tuple[SaidDevice, ...]
    diskless: bool


@dataclass(frozen=True)
class SaidImage:
    """An image of the catalogue; `sha256` is that of its disk, None where the catalogue does not say.

    `cmdline` is what a Linux kernel is started with, empty for OSv; `osv` is None for Linux.
    """

    name: str
    sha256: str | None
    cmdline: str
    osv: OsvImage | None


@dataclass(frozen=True)
class NodeSite:
    """The facts about one node by which root acts; read from root's own files before any byte of a user's.

    `node_fault` is what becomes of a node that is proven broken: the batch system takes it offline, or nothing.
    `hook_limit_s` is what the batch system gives a hook, None where the site does not say. `io_nics` are the adapters
    that I/O cores serve, None: all; `lock_memory`: guests' memory is locked; `own_images`: users may boot images
    of their own.
    """

    version: int
    name: str
    batch: Flavour
    node_class: str
    min_uid: int
    slot: Literal["core", "thread"]
    host_cores: int
    mounts: tuple[OfferedMount, ...]
    networks: tuple[OfferedNetwork, ...]
    node_fault: Literal["offline", "none"]
    hypervisor: Literal["any", "kvm", "emulation"]
    hook_limit_s: int | None
    node: SaidNode
    images: tuple[SaidImage, ...]
    setup: GuestSetup
    io_mode: Literal["libvirt", "skvm"]
    io_nics: tuple[str, ...] | None
    lock_memory: bool
    own_images: bool = False
