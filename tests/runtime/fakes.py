"""A store, a context, a plan and a bundle made by hand, and a hypervisor that is a directory of files."""

import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.runtime.fake_cgroups import V2, cgroups
from tests.runtime.fake_kernel import FakeKernel
from vtorque_compilers.domain import compile_domain
from vtorque_runtime import identity
from vtorque_runtime.handover import Handover, of_plan
from vtorque_runtime.identity import Draft, Reserved
from vtorque_runtime.images import store
from vtorque_runtime.images.provenance import Provenance
from vtorque_runtime.keys import JobKeys
from vtorque_runtime.recheck import SEED_FILES, SHARED_FILES
from vtorque_runtime.spool import Lane, open_registry
from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    MIB,
    NO_SETUP,
    VERSION,
    Artifact,
    Backing,
    Cell,
    CellMemory,
    Claim,
    CpuTopology,
    Device,
    Disk,
    Group,
    Guest,
    GuestMemory,
    ImageFiles,
    IoCores,
    Keys,
    LinuxGuest,
    Login,
    Machine,
    NodeBundle,
    NodeContext,
    NodePlan,
    NodeSite,
    OfferedNetwork,
    Pages,
    Pins,
    SaidImage,
    SaidNode,
    Slot,
    base_file,
    spool_bytes,
)

GIB = 1024**3
ISOLATED = OfferedNetwork("default", "isolated", True, None, None, None, None, (), (), ())


def site(**changes: object) -> NodeSite:
    """The words of a site that offers next to nothing."""
    said = NodeSite(
        version=VERSION,
        name="site",
        batch="slurm",
        node_class="generic",
        min_uid=1,
        slot="thread",
        host_cores=1,
        mounts=(),
        networks=(ISOLATED,),
        node_fault="none",
        hypervisor="any",
        hook_limit_s=None,
        node=SaidNode(1, False, 0, (), (), False),
        images=(SaidImage("tiny", None, "console=ttyS0", None),),
        setup=NO_SETUP,
        io_mode="libvirt",
        io_nics=None,
        lock_memory=False,
    )
    return replace(said, **changes)  # type: ignore[arg-type] # of several types


def login(uid: int | None = None) -> Login:
    """The user that runs the tests, or another."""
    uid, gid = (os.getuid(), os.getgid()) if uid is None else (uid, uid)
    return Login("tester", uid, (Group("testers", gid),), str(Path.home()))


def image_store(directory: Path) -> tuple[ImageFiles, ...]:
    """A store with one image whose disk is empty."""
    with store.staging(directory) as staging:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", staging / "root.qcow2", "64M"], check=True)
        for name in ("vmlinuz", "initrd.img", "packages.txt", "contents.txt"):
            (staging / name).write_text(name)
        made = Provenance("", "", (), (), ())
        store.publish(staging, store.describe(staging, "tiny", created=1, provenance=made))
    return store.installed(directory)


def node_cells() -> tuple[Cell, ...]:
    """Two cells with eight cores each; core n has the CPUs n and n + 16."""
    cores = [tuple((core, core + 16) for core in range(first, first + 8)) for first in (0, 8)]
    pages = (Pages(2 * MIB, 512), Pages(GIB, 2))
    return Cell(0, cores[0], 8 * GIB, pages, (10, 21)), Cell(1, cores[1], 8 * GIB, pages, (21, 10))


def draft(directory: Path, lane: Lane = "system", uid: int | None = None, number: int = 1) -> Draft:
    """What `identity.draft` finds out, for the calling user and without a hypervisor, on the node of `node_cells`."""
    registry, job_id = open_registry(lane, directory / "base"), f"local-{number:08d}"
    context = NodeContext(
        version=VERSION,
        job_id=job_id,
        node="node",
        lane=lane,
        virt="qemu",
        cells=node_cells(),
        devices=(Device("eth0", "nic", 1),),
        allotted_cpus=tuple(range(32)),
        allotted_slots=None,
        slot="thread",
        host_cpus=(0, 16),
        allotted_memory_bytes=16 * GIB,
        taken=Claim((), (), ()),
        advised_cells=None,
        login=login(uid),
        keys=Keys("", (), ()),
        images=store.installed(directory / "images") or image_store(directory / "images"),
        vms=(),
        slots=(),
        mounts=(),
        spool=str(registry.spool(job_id).path),
    )
    return Draft(context, site(), "", registry, directory / "images", JobKeys.random(job_id, context.login.uid))


def reserved(directory: Path, lane: Lane = "system", uid: int | None = None, vms: int = 1, number: int = 1) -> Reserved:
    """What `identity.reserve` gives out."""
    return identity.reserve(draft(directory, lane, uid, number), vms, ISOLATED)


def bundle(context: NodeContext, io_cores: int = 0, first: int = 1) -> NodeBundle:
    """`plan` with its files."""
    return compiled(plan(context, io_cores, first))


def plan(context: NodeContext, io_cores: int = 0, first: int = 1) -> NodePlan:
    """A plan that passes root's check: each VM has two cores, from `first` on, I/O those from 8 on, the host core 0.

    One I/O core works from the start.
    """
    io = IoCores("libvirt", tuple((core, core + 16) for core in range(8, 8 + io_cores)), min(io_cores, 1), ("eth0",))
    guests = tuple(_guest(context, slot, io, first + 2 * slot.index) for slot in context.slots)
    image, spool = context.images[0], context.spool
    return NodePlan(
        version=VERSION,
        job_id=context.job_id,
        job_name="test",
        node=context.node,
        lane=context.lane,
        job_plan_digest="sha256:0",
        spool=spool,
        login=context.login,
        image=image,
        backing="shared",
        base_memory_bytes=0,
        guests=guests,
        host_cpus=(0, 16),
        io=io,
        claim=claimed(guests, io),
        walltime_s=600,
        boot_timeout_s=120,
        grace_s=10,
        notes=(),
        reasons=(),
    )


def read_from(found: NodePlan, backing: Backing, memory_bytes: int = 0) -> NodePlan:
    """The plan with root disks that are read from there; in memory the image takes so much."""
    base = base_file(found.image, backing, found.spool)

    def based(guest: Guest) -> Guest:
        root, *others = guest.machine.disks
        return replace(guest, machine=replace(guest.machine, disks=(replace(root, backing=base), *others)))

    guests = tuple(map(based, found.guests))
    return replace(found, backing=backing, base_memory_bytes=memory_bytes, guests=guests)


def claimed(guests: Sequence[LinuxGuest], io: IoCores) -> Claim:
    """What a job holds whose guests lie in cell 0."""
    cpus = {cpu for guest in guests for cpu in guest.machine.pins.cpuset} | {cpu for core in io.cores for cpu in core}
    memory = sum(guest.machine.memory.size_bytes + 256 * MIB for guest in guests)
    return Claim(tuple(sorted(cpus)), (CellMemory(0, 1, memory),), (), sum(map(spool_bytes, guests)))


def compiled(plan: NodePlan) -> NodeBundle:
    """The plan with its files; the seeds' are short, for the user of the tests may be root."""
    files = [Artifact(f"seed/{name}", f"# {name}\n") for name in SHARED_FILES]
    for guest in plan.guests:
        own = (Artifact(f"vm{guest.index}/seed/{name}", f"# {name}\n") for name in SEED_FILES)
        files += [compile_domain(guest), *own]
    return NodeBundle(plan, tuple(files))


def _guest(context: NodeContext, slot: Slot, io: IoCores, first: int) -> LinuxGuest:
    image, directory = context.images[0], f"{context.spool}/vm{slot.index}"
    own = (first, first + 1, first + 16, first + 17)
    active = tuple(cpu for core in io.cores[: io.min_cores] for cpu in core)
    iothreads = tuple(active for _ in io.cores)
    iothread = 1 if io.cores else None
    machine = Machine(
        name=f"vt-{context.job_id}-{slot.index}",
        uuid=slot.uuid,
        partition=context.partition,
        virt=context.virt,
        vcpus=2,
        topology=CpuTopology(1, 2, 1),
        memory=GuestMemory(GIB, (0,), (), None, False),
        pins=Pins(((first,), (first + 1,)), active or own, iothreads, own),
        kernel=f"{directory}/vmlinuz",
        initrd=f"{directory}/initrd.img",
        cmdline="console=ttyS0",
        disks=(
            Disk("vda", f"{directory}/root.qcow2", "qcow2", False, image.disk, image.disk_format, iothread, None),
            Disk("vdb", f"{directory}/seed.iso", "raw", True, None, None, None, None),
        ),
        filesystems=(),
        nic=slot.nic,
        nic_queues=1,
        console_log=f"{directory}/console.log",
    )
    return LinuxGuest(
        kind="linux",
        index=slot.index,
        machine=machine,
        root_disk_bytes=GIB,
        disks=(),
        setup=NO_SETUP,
        node=context.node,
        hostname=slot.hostname,
        nonce=slot.nonce,
        host_key=slot.host_key,
        login=context.login,
        keys=context.keys,
    )


def handover(found: Reserved) -> Handover:
    """What the body of the job is told."""
    return of_plan(plan(found.context), found.context.vms, "42.srv", int(time.time()) + 600)


def with_guest(found: NodePlan, **changes: object) -> NodePlan:
    """The plan with another first guest."""
    guest = replace(found.guests[0], **changes)  # type: ignore[arg-type]
    return replace(found, guests=(guest, *found.guests[1:]))


def with_machine(found: NodePlan, **changes: object) -> NodePlan:
    """The plan with another first machine."""
    return with_guest(found, machine=replace(found.guests[0].machine, **changes))  # type: ignore[arg-type]


def kernel_root(directory: Path, found: NodeBundle) -> Path:
    """A directory that looks like / of a node on which the bundle's guests run where their plan says."""
    for guest in found.plan.guests:
        FakeKernel(directory / "root").qemu(guest, 4000 + 100 * guest.index)
    return cgroups(directory / "root", v2=V2)


class FileHypervisor:
    """Domains and networks are files, so that they outlive a process that is killed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._directory = Path(uri.removeprefix("files:"))

    def create_filter(self, xml: str) -> None:
        self._create("filter", xml)

    def create_network(self, xml: str) -> None:
        self._create("network", xml)

    def create_domain(self, xml: str) -> None:
        self._create("domain", xml)

    def destroy_domain(self, uuid: str) -> None:
        (self._directory / f"domain-{uuid}").unlink(missing_ok=True)

    def destroy_network(self, uuid: str) -> None:
        (self._directory / f"network-{uuid}").unlink(missing_ok=True)

    def destroy_filter(self, uuid: str) -> None:
        (self._directory / f"filter-{uuid}").unlink(missing_ok=True)

    def ask_agent(self, uuid: str, request: str, limit_s: int) -> str | None:
        """No guest has an agent."""

    def domain_uuids(self) -> set[str]:
        return self._uuids("domain")

    def network_uuids(self) -> set[str]:
        return self._uuids("network")

    def filter_uuids(self) -> set[str]:
        return self._uuids("filter")

    def _create(self, kind: str, xml: str) -> None:
        match = re.search("<uuid>(.*)</uuid>", xml)
        assert match is not None
        (self._directory / f"{kind}-{match[1]}").write_text(xml)

    def _uuids(self, kind: str) -> set[str]:
        return {path.name.removeprefix(f"{kind}-") for path in self._directory.glob(f"{kind}-*")}


def no_hypervisor(uri: str) -> FileHypervisor:
    """A daemon that does not answer."""
    raise Fault("VT0902", f"libvirt does not answer at {uri}")
