"""JobPlan: the whole job, no node facts. UserPart: what only the user's own process reads."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Flavour = Literal["torque", "openpbs", "slurm"]
"""The batch systems that scripts are written for."""


Hugepages = Literal["none", "any", "2MiB", "1GiB"]
"""The size of the pages behind a guest's memory; `none` are ordinary ones."""


Backing = Literal["shared", "local", "ram"]
"""Where the base of a root disk, the image's disk, is read from: the image store, a copy of the node's, or memory."""


@dataclass(frozen=True)
class IndexRange:
    """The indices of an array from `first` to `last`, both included."""

    first: int
    last: int


@dataclass(frozen=True)
class Array:
    """One job for each index. The ranges ascend and do not overlap; `at_once` is how many may run together."""

    ranges: tuple[IndexRange, ...]
    at_once: int | None

    @property
    def step(self) -> int | None:
        """The distance of neighbours where all are equally far apart; None where they are not, and for one index."""
        inside = {1 for part in self.ranges if part.first < part.last}
        between = {after.first - before.last for before, after in pairwise(self.ranges)}
        return next(iter(inside | between)) if len(inside | between) == 1 else None


@dataclass(frozen=True)
class Dependency:
    """The jobs that this one waits for: until all of them started, ended well, ended badly, or ended."""

    kind: Literal["after", "afterok", "afternotok", "afterany"]
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class Mail:
    """Whom the batch system writes to, and when; no events: never."""

    to: tuple[str, ...]
    events: tuple[Literal["abort", "begin", "end"], ...]


@dataclass(frozen=True)
class BatchRequest:
    """What is asked of the batch system and does not depend on the kind of node.

    `exclusive` asks for whole nodes, or says that they may be shared; None leaves that to the batch system.
    """

    nodes: int
    exclusive: bool | None
    walltime_s: int
    queue: str | None
    account: str | None
    output: str | None
    join: bool
    features: tuple[str, ...]
    array: Array | None
    depends: tuple[Dependency, ...]
    mail: Mail | None


@dataclass(frozen=True)
class NodeRequest:
    """What is asked of the batch system for each node: the numbers that the placement will use.

    `slots` are what the batch system counts (Torque's ppn, OpenPBS's ncpus, Slurm's CPUs): cores or threads, as the
    class says. `property` is its own word for the nodes that are asked for, None where any node of the queue does.
    """

    slots: int
    memory_bytes: int
    property: str | None


@dataclass(frozen=True)
class OsvImage:
    """What an image of OSv is like.

    `boot` is where its kernel finds the command line: QEMU loads the kernel and hands it over, or it is in the disk.
    `options` is the set of options that the kernel knows, `rootfs` its root file system (None: it looks for one), and
    `cloud_init` says whether it reads a seed.
    """

    boot: Literal["kernel", "disk"]
    options: Literal["mainline", "fork-2018"]
    rootfs: Literal["rofs", "zfs", "ramfs", "ext", "virtiofs"] | None
    cloud_init: bool


@dataclass(frozen=True)
class OwnImage:
    """The files of a user's own image, by absolute paths of the node that runs the job."""

    disk: str
    kernel: str
    initrd: str


@dataclass(frozen=True)
class Image:
    """A catalogue entry. `sha256` is None for a shipped recipe that has not been built ("unbuilt").

    `cmdline` is what a Linux kernel is started with, empty for OSv; `osv` is None for Linux. `own` has the files of an
    image that is its user's own, and in no catalogue.
    """

    name: str
    sha256: str | None
    guest: Literal["linux", "osv"]
    cmdline: str
    osv: OsvImage | None
    own: OwnImage | None = None


@dataclass(frozen=True)
class OsvRun:
    """What every OSv guest of a job runs: `commands` one after the other, each a program's path and its arguments.

    `env` holds values alone: nothing in the guest could read a file of the user's. `console` says what of the guest's
    console is the job's output: what the job prints, or the kernel's lines too.
    """

    commands: tuple[tuple[str, ...], ...]
    env: tuple["Variable", ...]
    console: Literal["job", "all"]


@dataclass(frozen=True)
class Pinning:
    """`map` has, VM by VM, the place of each vCPU in the ascending list of the CPUs that the job was allotted."""

    mode: Literal["auto", "compact", "spread", "none", "numad", "map"]
    map: tuple[int, ...]


@dataclass(frozen=True)
class Iocm:
    """Cores of a node for the guests' I/O: `min_cores` work from the start, `max_cores` are set aside; 0 and 0: off.

    `mode` is the site's: libvirt pins the threads, or an sKVM kernel's own manager does.
    """

    mode: Literal["libvirt", "skvm"]
    min_cores: int
    max_cores: int


@dataclass(frozen=True)
class DeviceRequest:
    """So many devices of one of the site's pools, for each VM."""

    name: str
    count: int


MountKind = Literal["virtiofs", "9p", "nfs"]
"""How a guest comes to a file system: virtiofs and 9p through its node, nfs by itself over the network."""


@dataclass(frozen=True)
class Mount:
    """A file system that the site offers by name, at `target` in the guest; as `OfferedMount` has it."""

    name: str
    kind: MountKind
    source: str
    target: str
    read_only: bool
    options: tuple[str, ...]


@dataclass(frozen=True)
class DiskRequest:
    """A further disk, empty at first, mounted at `mount`: in each VM, or in the first one of the job alone."""

    name: str
    size_bytes: int
    mount: str
    every_vm: bool


Packager = Literal["apt", "dnf"]
"""What installs packages in a Linux guest: of Debian's family, or of Red Hat's."""


@dataclass(frozen=True)
class GuestSetup:
    """What is done in every guest as its root: texts of the site, None where there is none, and the job's packages.

    `apt_sources` and `dnf_repos` say where either gets packages from, None: what the image says. `updates`: security
    updates are installed, and then the `packages`, by the image's own `packager`. `boot` runs before the job may come,
    `shutdown` before the guest is ended.
    """

    apt_sources: str | None
    updates: Literal["none", "security"]
    packages: tuple[str, ...]
    boot: str | None
    shutdown: str | None
    dnf_repos: str | None = None
    packager: Packager = "apt"


NO_SETUP = GuestSetup(None, "none", (), None, None)


NetworkKind = Literal["isolated", "nat", "user", "bridge"]
"""What a site's network is made of (`OfferedNetwork`)."""


@dataclass(frozen=True)
class JobNetwork:
    """The site's network that the job's guests are on."""

    name: str
    kind: NetworkKind


@dataclass(frozen=True)
class JobPlan:
    """The job as the site understands it: every default filled, every name resolved, nothing of the user's own text.

    Root derives it again on the node from the machine part that travels, so it holds neither `run`, `env` nor hooks. Of
    an OSv guest `run` and `env` travel there, as `osv`: they are its kernel's command line. `base_memory_bytes` is what
    the image takes of each node's memory where the root disk is read from there, else 0.
    """

    version: int
    name: str
    site: str
    batch: BatchRequest
    image: Image
    osv: OsvRun | None
    vcpus: int
    memory_bytes: int
    vms_per_node: int
    pinning: Pinning
    iocm: Iocm
    hugepages: Hugepages
    shared_memory_bytes: int
    root_disk_bytes: int
    root_disk_backing: Backing
    base_memory_bytes: int
    devices: tuple[DeviceRequest, ...]
    disks: tuple[DiskRequest, ...]
    mounts: tuple[Mount, ...]
    setup: GuestSetup
    network: JobNetwork
    boot_timeout_s: int
    grace_s: int
    allow_degraded: tuple[str, ...]
    hypervisor: Literal["any", "kvm", "emulation"]
    policy_digest: str


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
    """Everything that runs inside the guest as the user. An OSv guest has no `run` and `env` here: see JobPlan."""

    version: int
    run: Script | None
    prologue: Script | None
    epilogue: Script | None
    env: tuple[Variable, ...]
