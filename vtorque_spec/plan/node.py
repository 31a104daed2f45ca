"""NodePlan: every CPU, file and address decided; and the files compiled from it."""

from dataclasses import dataclass, field
from typing import Literal

from vtorque_spec.plan.context import Claim, HostKey, ImageFiles, Keys, Login, TapNic, UserNic
from vtorque_spec.plan.job import Backing, GuestSetup, MountKind
from vtorque_spec.plan.storage import vm_spool_bytes


@dataclass(frozen=True)
class Artifact:
    """One file that a compiler emits: a relative path, its whole text, and its permission bits."""

    path: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class Disk:
    """A virtio disk. `backing` is the read-only base below a qcow2 overlay; `iothread`, from 1, does its I/O."""

    target: str
    file: str
    format: Literal["qcow2", "raw"]
    read_only: bool
    backing: str | None
    backing_format: Literal["qcow2", "raw"] | None
    iothread: int | None
    queues: int | None


@dataclass(frozen=True)
class DataDisk:
    """What a further disk is for: an ext4 file system of the owner's, made empty on the disk `target`.

    The guest mounts it at `mount`.
    """

    name: str
    target: str
    size_bytes: int
    mount: str


@dataclass(frozen=True)
class Filesystem:
    """What a guest mounts at `target`.

    virtiofs and 9p: the node's directory `source`, which the runtime binds to `path` and offers to the guest as `tag`;
    for an ordinary user, who can bind nothing, `path` is the `source`.
    nfs: the guest mounts `source` (SERVER:/PATH) itself, with `options`; then `path` and `tag` are empty.
    """

    kind: MountKind
    source: str
    path: str
    tag: str
    target: str
    read_only: bool
    options: tuple[str, ...]


@dataclass(frozen=True)
class Pins:
    """Host CPUs: `vcpus[i]` for vCPU i, `emulator` for QEMU's own threads, `iothreads[i]` for I/O thread i + 1.

    `cpuset` is where all that has no pin of its own may run. Empty tuples pin nothing.
    """

    vcpus: tuple[tuple[int, ...], ...]
    emulator: tuple[int, ...]
    iothreads: tuple[tuple[int, ...], ...]
    cpuset: tuple[int, ...]


@dataclass(frozen=True)
class GuestCell:
    """A NUMA cell of a guest: its vCPUs, its memory, and the cell of the host that both lie in.

    `distances` are those of the host's cells, in the order of the guest's cells; empty where they are not known.
    """

    host_cell: int
    vcpus: tuple[int, ...]
    memory_bytes: int
    distances: tuple[int, ...]


@dataclass(frozen=True)
class CpuTopology:
    """What the guest takes its vCPUs for; sockets x cores x threads are its vCPUs."""

    sockets: int
    cores: int
    threads: int


@dataclass(frozen=True)
class GuestMemory:
    """Where a guest's memory lies: `nodeset` are the host's cells that it may use (empty: any).

    `cells` mirror these where there are several (empty: the guest has no NUMA of its own); `page_bytes` is the size of
    the huge pages behind it (None: ordinary memory); `locked` memory is never swapped.
    """

    size_bytes: int
    nodeset: tuple[int, ...]
    cells: tuple[GuestCell, ...]
    page_bytes: int | None
    locked: bool


@dataclass(frozen=True)
class Machine:
    """The virtual hardware of one guest: all that the domain compiler needs, whatever runs inside.

    `partition` is that of the job on the node (`NodeContext.partition`). QEMU starts `kernel` with `initrd` and
    `cmdline`; without `kernel` the guest boots from its first disk (and `cmdline` is empty).
    """

    name: str
    uuid: str
    partition: str | None
    virt: Literal["kvm", "qemu"]
    vcpus: int
    topology: CpuTopology
    memory: GuestMemory
    pins: Pins
    kernel: str | None
    initrd: str | None
    cmdline: str
    disks: tuple[Disk, ...]
    filesystems: tuple[Filesystem, ...]
    nic: TapNic | UserNic
    nic_queues: int
    console_log: str


@dataclass(frozen=True)
class LinuxGuest:
    """A Linux guest: its machine, and what cloud-init is told. `root_disk_bytes` is the overlay's virtual size.

    `node` is its host.
    """

    kind: Literal["linux"]
    index: int
    machine: Machine
    root_disk_bytes: int
    disks: tuple[DataDisk, ...]
    setup: GuestSetup
    node: str
    hostname: str
    nonce: str = field(repr=False)
    host_key: HostKey
    login: Login
    keys: Keys


@dataclass(frozen=True)
class OsvGuest:
    """An OSv guest: its machine and its command line. `root_disk_bytes` is the overlay's virtual size, `node` its host.

    `boot` is how it starts: by `kernel` QEMU loads `machine.kernel`, and `command_line` is `machine.cmdline` too; by
    `disk` the firmware reads the root disk, and the runtime has written `command_line` into the overlay, at byte
    COMMAND_LINE_OFFSET and with a NUL at its end. Its disks are vda, the root, and with `cloud_init`
    vdb, a seed of OSv's own dialect. `board` is QEMU's machine: some kernels drive the devices of the older one alone.
    `console` says what of its console is the job's output (`OsvRun`).
    """

    kind: Literal["osv"]
    index: int
    machine: Machine
    root_disk_bytes: int
    board: Literal["q35", "pc"]
    boot: Literal["kernel", "disk"]
    command_line: str
    cloud_init: bool
    console: Literal["job", "all"]
    node: str
    hostname: str


COMMAND_LINE_OFFSET = 512
"""OSv, scripts/imgedit.py: where a disk holds the command line; arch/x64/boot16.S reads 63 sectors from there."""


Guest = LinuxGuest | OsvGuest
"""The guests that a node can run, told apart by `kind`."""


def spool_bytes(guest: Guest) -> int:
    """Return the most that a guest's files take of the spool, all of its disks written."""
    disks = guest.disks if isinstance(guest, LinuxGuest) else ()
    return vm_spool_bytes(guest.root_disk_bytes, (disk.size_bytes for disk in disks))


@dataclass(frozen=True)
class IoCores:
    """The cores of the job's I/O, each with all its CPUs: the first `min_cores` of them work from the start.

    `nics` are the host's adapters whose interrupts they serve.
    """

    mode: Literal["libvirt", "skvm"]
    cores: tuple[tuple[int, ...], ...]
    min_cores: int
    nics: tuple[str, ...]


@dataclass(frozen=True)
class NodePlan:
    """All that the runtime applies on one node. `host_cpus` are the host's own, which no job is given.

    `backing` is where the guests read the image from; where that is memory, it takes `base_memory_bytes` of the claim,
    else 0.
    """

    version: int
    job_id: str
    job_name: str
    node: str
    lane: Literal["system", "session"]
    job_plan_digest: str
    spool: str
    login: Login
    image: ImageFiles
    backing: Backing
    base_memory_bytes: int
    guests: tuple[Guest, ...]
    host_cpus: tuple[int, ...]
    io: IoCores
    claim: Claim
    walltime_s: int
    boot_timeout_s: int
    grace_s: int
    notes: tuple[str, ...]
    """What a person must be told, one sentence each: a permitted degradation, say."""
    reasons: tuple[str, ...]
    """Why each was given the CPUs and the memory that it has, one sentence for each choice."""


@dataclass(frozen=True)
class NodeBundle:
    """A NodePlan and the files compiled from it: `vmN/domain.xml` and `vmN/seed/*` of each guest, `seed/*` of all."""

    plan: NodePlan
    files: tuple[Artifact, ...]
