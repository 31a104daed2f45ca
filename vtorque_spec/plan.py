"""What passes from stage to stage: JobPlan, NodeContext, NodePlan, and the files made from them.

Frozen dataclasses on the standard library, because the root runtime reads them too. Sizes are bytes, durations are
seconds, CPUs are the host's numbers, paths are absolute. JSON form: `vtorque_spec.canonical`.
"""

from dataclasses import dataclass
from typing import Literal

VERSION = 1
"""Of every type in this module; a change that an older reader would misread raises it."""

MIB = 1024 * 1024


@dataclass(frozen=True)
class Artifact:
    """One file that a compiler emits: a relative path, its whole text, and its permission bits."""

    path: str
    text: str
    mode: int = 0o644


# --- JobPlan: the whole job, no node facts ------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchRequest:
    """What is asked of the batch system, in its own words; `ppn` and `memory_bytes` are per node."""

    nodes: int
    ppn: int
    memory_bytes: int
    walltime_s: int
    queue: str | None
    account: str | None
    output: str | None
    join: bool


@dataclass(frozen=True)
class Image:
    """A catalogue entry. `sha256` is None for a shipped recipe that has not been built ("unbuilt")."""

    name: str
    sha256: str | None
    guest: Literal["linux"]
    cmdline: str


@dataclass(frozen=True)
class Pinning:
    """`map[i]` is the place of vCPU i in the ascending list of the CPUs that the job was allotted."""

    mode: Literal["none", "map"]
    map: tuple[int, ...]


@dataclass(frozen=True)
class Mount:
    """A file system that the site offers by name, at `target` in the guest."""

    name: str
    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class JobPlan:
    """The job as the site understands it: every default filled, every name resolved, nothing of the user's own text.

    Root derives it again on the node from the machine part that travels, so it holds neither `run`, `env` nor hooks.
    """

    version: int
    name: str
    site: str
    batch: BatchRequest
    image: Image
    vcpus: int
    memory_bytes: int
    vms_per_node: int
    pinning: Pinning
    root_disk_bytes: int
    mounts: tuple[Mount, ...]
    network: str
    boot_timeout_s: int
    grace_s: int
    allow_degraded: tuple[str, ...]
    hypervisor: Literal["any", "kvm", "emulation"]
    policy_digest: str


# --- UserPart: what only the user's own process reads ----------------------------------------------------------------


@dataclass(frozen=True)
class Variable:
    """One environment variable: its `value`, or the file (absolute path) whose text is read when the job starts."""

    name: str
    value: str | None
    from_file: str | None


@dataclass(frozen=True)
class Script:
    """A program's text (with or without a #! line; without one bash reads it) and its arguments."""

    text: str
    args: tuple[str, ...]


@dataclass(frozen=True)
class UserPart:
    """Everything that runs inside the guest as the user."""

    version: int
    run: Script
    prologue: Script | None
    epilogue: Script | None
    env: tuple[Variable, ...]


# --- NodeContext: everything that is not known at compile time -------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One NUMA cell of the host."""

    id: int
    cpus: tuple[int, ...]
    memory_bytes: int


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
    """One node as one job finds it. `spool` is the job's own directory on the node."""

    version: int
    job_id: str
    node: str
    lane: Literal["system", "session"]
    virt: Literal["kvm", "qemu"]
    cells: tuple[Cell, ...]
    allotted_cpus: tuple[int, ...]
    allotted_memory_bytes: int
    login: Login
    images: tuple[ImageFiles, ...]
    slots: tuple[Slot, ...]
    spool: str


# --- NodePlan: every CPU, file and address decided --------------------------------------------------------------------


@dataclass(frozen=True)
class Disk:
    """A virtio disk. `backing` is the read-only base below a qcow2 overlay."""

    target: str
    file: str
    format: Literal["qcow2", "raw"]
    read_only: bool
    backing: str | None
    backing_format: Literal["qcow2", "raw"] | None


@dataclass(frozen=True)
class Filesystem:
    """A directory of the host, offered to the guest by virtiofs under `tag` and mounted there at `target`."""

    source: str
    tag: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class Pins:
    """Host CPUs: `vcpus[i]` for vCPU i, `emulator` for QEMU's own threads. Empty tuples pin nothing."""

    vcpus: tuple[tuple[int, ...], ...]
    emulator: tuple[int, ...]


@dataclass(frozen=True)
class Machine:
    """The virtual hardware of one guest: all that the domain compiler needs, whatever runs inside."""

    name: str
    uuid: str
    virt: Literal["kvm", "qemu"]
    vcpus: int
    memory_bytes: int
    pins: Pins
    kernel: str
    initrd: str
    cmdline: str
    disks: tuple[Disk, ...]
    filesystems: tuple[Filesystem, ...]
    nic: BridgeNic | UserNic
    console_log: str


@dataclass(frozen=True)
class LinuxGuest:
    """A Linux guest: its machine, and what cloud-init is told. `root_disk_bytes` is the overlay's virtual size."""

    kind: Literal["linux"]
    index: int
    machine: Machine
    root_disk_bytes: int
    hostname: str
    nonce: str
    host_key: HostKey
    login: Login


Guest = LinuxGuest
"""The guests that a node can run, told apart by `kind`."""


@dataclass(frozen=True)
class NodePlan:
    """All that the runtime applies on one node."""

    version: int
    job_id: str
    job_name: str
    node: str
    lane: Literal["system", "session"]
    job_plan_digest: str
    spool: str
    login: Login
    image: ImageFiles
    guests: tuple[Guest, ...]
    walltime_s: int
    boot_timeout_s: int
    grace_s: int
    notes: tuple[str, ...]
    """What a person should be told about the choices made, one sentence each (a permitted degradation, say)."""


@dataclass(frozen=True)
class NodeBundle:
    """A NodePlan and the files compiled from it: `vmN/domain.xml` and `vmN/seed/*` for each guest."""

    plan: NodePlan
    files: tuple[Artifact, ...]
