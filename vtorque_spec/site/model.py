"""What a site's files say: facts about the cluster, and its images. Hard bounds, no defaults for jobs."""

from typing import Annotated, Literal

from pydantic import Field

from vtorque_spec.site.cpus import CpuList
from vtorque_spec.site.network import NodeNames, SiteNetwork
from vtorque_spec.site.siblings import Siblings
from vtorque_spec.spec.base import Duration, Form, Items, Model, Name, Size, Word

HostPath = Annotated[
    str,
    Form(
        r"(\$HOME|(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+(/\$USER)?)",
        "a directory of the host: $HOME, or an absolute path that may end in /$USER",
    ),
]
"""A path on the host or in the guest; `$HOME` and `$USER` are the job owner's."""

MountSource = Annotated[
    str,
    Form(
        r"(\$HOME|([A-Za-z0-9][A-Za-z0-9.-]{0,253}:)?(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+(/\$USER)?)",
        "a directory of the host: $HOME, or an absolute path that may end in /$USER; of nfs SERVER:/PATH",
    ),
]

MountOption = Annotated[str, Form(r"[a-z][a-z_]*(=[A-Za-z0-9.]+)?", "an option of a mount, as in vers=4.2 and hard")]

SiteText = Annotated[
    str,
    Form(
        r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,7}",
        "a file of the site: its path in the directory",
    ),
]


class Topology(Model):
    """How the CPUs of a node are built: sockets x cores x threads."""

    sockets: Annotated[int, Field(ge=1, le=64)] = Field(description="sockets of a node")
    cores: Annotated[int, Field(ge=1, le=1024)] = Field(description="cores of a socket")
    threads: Annotated[int, Field(ge=1, le=8)] = Field(description="threads of a core")

    @property
    def cpus(self) -> int:
        """The number of CPUs, a thread being one."""
        return self.sockets * self.cores * self.threads


class NumaCell(Model):
    """A NUMA cell of a node; it may lack CPUs or memory."""

    id: Annotated[int, Field(ge=0, le=1023)] = Field(description="the kernel's number of the cell")
    socket: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(
        None, description="the kernel's number of the socket that its CPUs are in"
    )
    cpus: CpuList | None = Field(None, description="its CPUs, by the kernel's numbers")
    siblings: Siblings | None = Field(
        None, description="which of its CPUs are threads of one core, as in 0-15+32-47; any other is a core of its own"
    )
    memory: Size | None = Field(None, description="its memory")
    hugepages: dict[Literal["2MiB", "1GiB"], Annotated[int, Field(ge=1, lt=2**31)]] | None = Field(
        None, description="how many huge pages of each size are set aside"
    )
    distances: Items[Annotated[int, Field(ge=10, le=254)]] | None = Field(
        None, description="ACPI distances to each cell, in the order of `cells`"
    )


def cores_of(cell: NumaCell, threads: int) -> tuple[tuple[int, ...], ...]:
    """Return the CPUs of each core of a cell, in the order of their first ones.

    A cell without `siblings` is taken to be numbered as x86 firmware does it: the first threads of all its cores, then
    the second ones. `threads` of a core are those of the class's topology, 1 without.
    """
    cpus = cell.cpus or ()
    if cell.siblings is None:
        count, rest = divmod(len(cpus), threads)
        return tuple(cpus[first::count] for first in range(count)) if count and not rest else tuple((c,) for c in cpus)
    named = {cpu for core in cell.siblings for cpu in core}
    return tuple(sorted([*cell.siblings, *((cpu,) for cpu in cpus if cpu not in named)]))


class Device(Model):
    """A device of a node that has a place."""

    name: Word = Field(description="the kernel's name of it, as in eth0, mlx5_0 and nvme0; a GPU's PCI address")
    kind: Literal["nic", "hca", "gpu", "nvme"] = Field(description="what it is; an hca is an InfiniBand adapter")
    cell: Annotated[int, Field(ge=0, le=1023)] | None = Field(None, description="the id of the cell that it hangs on")


class HostReserve(Model):
    """What of a node is the host's own and no job's."""

    cores: Annotated[int, Field(ge=0, le=1024)] = Field(description="whole cores")
    memory: Size | None = Field(None, description="memory")
    in_slots: bool | None = Field(
        None, description="whether the batch system counts these cores among the slots that it gives out; no if absent"
    )


class NodeClass(Model):
    """Nodes that are alike."""

    cpus: Annotated[int, Field(ge=1, le=65536)] = Field(description="CPUs that jobs can be given")
    memory: Size = Field(description="memory that jobs can be given")
    nodes: NodeNames | None = Field(None, description="the names of the nodes, as a node set of ClusterShell")
    property: Word | None = Field(None, description="the batch system's word for the class (Torque: a node property)")
    topology: Topology | None = Field(None, description="sockets, cores of a socket, threads of a core")
    cells: Items[NumaCell] | None = Field(None, description="NUMA cells")
    devices: Items[Device] | None = Field(None, description="devices, and the cells that they hang on")
    host_reserve: HostReserve | None = Field(None, description="what jobs are not given")
    slot: Literal["core", "thread"] | None = Field(
        None, description="what the batch system counts as one slot; a thread, that is a CPU, if absent"
    )
    vcpu: Literal["core", "thread"] | None = Field(
        None, description="what a pinned vCPU has to itself; a whole core if absent"
    )
    lock_memory: bool | None = Field(None, description="whether guests' memory is locked; no if absent")
    diskless: bool | None = Field(
        None, description="whether the spool is in memory, so that guests' disks count as memory; no if absent"
    )


class SiteMount(Model):
    """A file system that jobs may mount by name."""

    type: Literal["virtiofs", "9p", "nfs"] | None = Field(
        None, description="how a guest comes to it: through its node (virtiofs, 9p) or by itself; virtiofs if absent"
    )
    source: MountSource = Field(description="directory on the node; of nfs SERVER:/PATH")
    target: HostPath = Field(description="where a guest mounts it unless the job says otherwise")
    mode: Literal["ro", "rw"] = Field(description="rw lets a job ask for either, ro for read-only alone")
    options: Items[MountOption] | None = Field(None, description="options of an nfs mount, beside nosuid and nodev")
    allow_suid: bool | None = Field(
        None,
        description="whether jobs may write to it though the node honours set-uid and device files there; no if absent",
    )


class GuestHooks(Model):
    """Programs of the site that run in every guest as its root."""

    boot: SiteText | None = Field(None, description="runs before the job may come; when it fails, so does the boot")
    shutdown: SiteText | None = Field(None, description="runs before a guest that was ready is ended")


class SiteGuest(Model):
    """What the site does in every guest."""

    updates: Literal["none", "security"] | None = Field(
        None, description="security: the guest installs security updates before the job; none if absent"
    )
    apt_sources: SiteText | None = Field(
        None, description="where guests' apt gets packages from, as in *.sources files; what the image says if absent"
    )
    dnf_repos: SiteText | None = Field(
        None, description="where guests' dnf gets packages from, as in *.repo files; what the image says if absent"
    )
    hooks: GuestHooks | None = Field(None, description="programs of the site, run as the guest's root")


class SiteQueue(Model):
    """A queue of the batch system (Slurm: a partition)."""

    node_classes: Annotated[Items[Name], Field(min_length=1)] = Field(description="the classes that its jobs can get")
    default: bool | None = Field(None, description="whether jobs that name no queue get this one; no if absent")


class SiteIocm(Model):
    """How the nodes serve I/O cores."""

    mode: Literal["libvirt", "skvm"] = Field(
        description="libvirt pins the threads; skvm leaves them to the I/O manager of an sKVM kernel"
    )
    nics: Items[Word] | None = Field(
        None, description="the adapters that I/O cores serve, by name; all that are nic or hca if absent"
    )


class PhaseTimeouts(Model):
    """How long a guest may stay in each phase until its job runs."""

    staging: Duration | None = Field(None, description="the image, the overlay and the seed are made ready")
    firmware: Duration | None = Field(None, description="until the kernel runs")
    kernel: Duration | None = Field(None, description="until cloud-init starts")
    cloud_init: Duration | None = Field(None, description="until all is set up but the mounts")
    mounts: Duration | None = Field(None, description="until all is mounted")
    hooks: Duration | None = Field(None, description="the job's own prologue hook")


class SiteFile(Model):
    """`site.yaml`."""

    apiVersion: Literal["vtorque-site/v1"] = Field(description="the version of this language")  # noqa: N815 - its word
    name: Name = Field(description="name of the site")
    batch: Literal["torque", "openpbs", "slurm"] = Field(description="the batch system that scripts are compiled for")
    hypervisor: Literal["any", "kvm", "emulation"] = Field(description="what the nodes' guests run on")
    min_uid: Annotated[int, Field(ge=1)] = Field(description="users below have no jobs")
    hook_limit: Duration | None = Field(None, description="what the batch system gives a hook (Torque: $prologalarm)")
    when_changed: Literal["run", "refuse"] | None = Field(
        None,
        description="what becomes of a job that was compiled by other facts or rules than the node's; run if absent",
    )
    node_fault: Literal["offline", "none"] | None = Field(
        None,
        description="what becomes of a node that is proven broken: the batch system gets it out of service, or nothing",
    )
    timeouts: PhaseTimeouts | None = Field(None, description="limits of the phases of a boot")
    node_classes: dict[Name, NodeClass] = Field(
        description="the kinds of nodes", json_schema_extra={"minProperties": 1}
    )
    queues: dict[Name, SiteQueue] | None = Field(
        None, description="the queues; if absent, each reaches all node classes"
    )
    iocm: SiteIocm | None = Field(None, description="how I/O cores are served; by libvirt if absent")
    guest: SiteGuest | None = Field(None, description="what the site does in every guest")
    own_images: bool | None = Field(
        None, description="whether users may boot images of their own, all of it as themselves; no if absent"
    )
    mounts: dict[Name, SiteMount] = Field(description="file systems that jobs may mount")
    networks: dict[Name, SiteNetwork] = Field(description="networks that jobs may name")
