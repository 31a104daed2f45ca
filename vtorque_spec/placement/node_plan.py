"""JobPlan x NodeContext -> NodePlan: every CPU, file and address decided."""

from dataclasses import replace
from pathlib import PurePosixPath
from string import ascii_lowercase

from vtorque_spec.carrier import job_plan_digest
from vtorque_spec.fault import Fault
from vtorque_spec.placement.fit import Placed, place
from vtorque_spec.placement.guests import GuestPlace, claim, guest_places, io_cores
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.placement.osv_guest import osv_guest
from vtorque_spec.placement.shortage import Shortage
from vtorque_spec.plan import (
    VERSION,
    DataDisk,
    Disk,
    Filesystem,
    Guest,
    ImageFiles,
    JobPlan,
    LinuxGuest,
    Login,
    Machine,
    Mount,
    NodeContext,
    NodePlan,
    Pinning,
    Slot,
    base_file,
    owned,
    spool_bytes,
)
from vtorque_spec.resolve.cpus import VCPUS_LIMIT

EMULATED_VCPUS_LIMIT = VCPUS_LIMIT["emulation"]
"""Whether a node emulates is known there alone."""


def plan_node(job: JobPlan, context: NodeContext, node: HostNode) -> NodePlan | tuple[Shortage, ...]:
    """Return what the runtime applies; or what is short. Raises Fault for what the node itself lacks.

    `node` is what the site and the context make of the machine (`nodes.node_of_context`).
    """
    if len(context.slots) != job.vms_per_node:
        message = f"the job has {job.vms_per_node} VMs, and {context.node} made ready for {len(context.slots)}"
        raise Fault("VT0914", message)
    _check_lane(job, context, node)
    _check_mounts(job, context.login)
    notes: list[str] = []
    _check_hypervisor(job, context, notes)
    image = _image(job, context)
    placed = _place(job, node, notes)
    if not isinstance(placed, Placed):
        return placed
    places = guest_places(job, node, placed, disks=1 + len(job.disks))
    guests = tuple(_guest(job, context, image, slot, at) for slot, at in zip(context.slots, places, strict=True))
    return NodePlan(
        version=VERSION,
        job_id=context.job_id,
        job_name=job.name,
        node=context.node,
        lane=context.lane,
        job_plan_digest=job_plan_digest(job),
        spool=context.spool,
        login=context.login,
        image=image,
        backing=job.root_disk_backing,
        base_memory_bytes=job.base_memory_bytes,
        guests=guests,
        host_cpus=node.host_cpus,
        io=io_cores(job, node, placed),
        claim=replace(claim(job, node, placed), disk_bytes=sum(map(spool_bytes, guests))),
        walltime_s=job.batch.walltime_s,
        boot_timeout_s=job.boot_timeout_s,
        grace_s=job.grace_s,
        notes=tuple(notes),
        reasons=placed.placement.reasons,
    )


def _check_lane(job: JobPlan, context: NodeContext, node: HostNode) -> None:
    if context.lane == "session" and node.lock_memory:
        hint = "run it as root for this user: sudo vtorque run JOB"
        raise Fault("VT0906", "an ordinary user's libvirt cannot lock memory, as the site asks for", help=hint)
    if context.lane == "session" and job.mounts and job.image.own is None:
        names = ", ".join(mount.name for mount in job.mounts)
        hint = "remove `mounts`, or run it as root for this user: sudo vtorque run JOB"
        raise Fault("VT0906", f"an ordinary user's libvirt has no virtiofs, so it cannot mount {names}", help=hint)

    if context.lane == "session" and job.root_disk_backing == "ram":
        hint = "write `root_disk: {backing: local}`, or run it as root for this user: sudo vtorque run JOB"
        raise Fault("VT0906", "an ordinary user cannot have the file system in memory of `backing: ram`", help=hint)


def _check_mounts(job: JobPlan, login: Login) -> None:
    """As in `resolve`, now that `$HOME` and `$USER` are known."""
    targets = [PurePosixPath(owned(mount.target, login)) for mount in job.mounts]
    targets += [PurePosixPath(disk.mount) for disk in job.disks]
    for target in targets:
        if targets.count(target) > 1 or any(other in target.parents for other in targets):
            hint = "mount them side by side, as in /data and /scratch"
            raise Fault("VT0313", f"the mount at {target} and another one lie one inside the other", help=hint)


def _check_hypervisor(job: JobPlan, context: NodeContext, notes: list[str]) -> None:
    if context.virt == "qemu" and job.vcpus > EMULATED_VCPUS_LIMIT:
        message = f"{job.vcpus} vCPUs are more than an emulated VM can have, and {context.node} has no KVM that works"
        raise Fault("VT0907", message, help=f"run it on a node with KVM, or write `vcpus: {EMULATED_VCPUS_LIMIT}`")
    if job.hypervisor != "kvm" or context.virt == "kvm":
        return
    if "emulation" not in job.allow_degraded:
        hint = "run it on a node with KVM, or write `allow_degraded: [emulation]`"
        raise Fault(
            "VT0907", f"the site `{job.site}` runs guests on KVM, and {context.node} has none that works", help=hint
        )
    notes.append("the guest is emulated, because this node's KVM does not work and the job allows it")


def _place(job: JobPlan, node: HostNode, notes: list[str]) -> Placed | tuple[Shortage, ...]:
    placed = place(job, node)
    if isinstance(placed, Placed) or "unpinned" not in job.allow_degraded or job.pinning.mode == "none":
        return placed
    unpinned = place(replace(job, pinning=Pinning("none", ())), node)
    if not isinstance(unpinned, Placed):
        return placed
    mode = job.pinning.mode
    notes.append(f"the vCPUs are not pinned, because `{mode}` does not fit on {node.name} and the job allows it")
    return unpinned


def _image(job: JobPlan, context: NodeContext) -> ImageFiles:
    if job.image.own is not None:
        return next(image for image in context.images if image.own)
    for image in context.images:
        if image.name == job.image.name and job.image.sha256 in (None, image.sha256):
            return image
    there = [image.sha256 for image in context.images if image.name == job.image.name]
    if there:
        message = f"{context.node} has the image `{job.image.name}` with the digest {', '.join(there)}"
        hint = f"add it there, beside the other: sudo vtorque image add {job.image.name} FILE"
        raise Fault("VT0503", f"{message}; the job needs {job.image.sha256}", help=hint)
    hint = f"build it: sudo vtorque image build {job.image.name}"
    raise Fault("VT0502", f"the image `{job.image.name}` is not on {context.node}", help=hint)


def _guest(job: JobPlan, context: NodeContext, image: ImageFiles, slot: Slot, at: GuestPlace) -> Guest:
    directory = f"{context.spool}/vm{slot.index}"
    threads = len(at.pins.iothreads)
    served = [1 + number % threads if threads else None for number in range(1 + len(job.disks))]
    base = base_file(image, job.root_disk_backing, context.spool)
    root = Disk("vda", f"{directory}/root.qcow2", "qcow2", False, base, image.disk_format, served[0], at.queues)
    seed = Disk("vdb", f"{directory}/seed.iso", "raw", True, None, None, None, None)
    disks = _data_disks(job, context, slot)
    data = (
        Disk(disk.target, f"{directory}/{disk.target}.raw", "raw", False, None, None, thread, at.queues)
        for disk, thread in zip(disks, served[1:], strict=False)
    )
    machine = Machine(
        name=f"vt-{context.job_id}-{slot.index}",
        uuid=slot.uuid,
        partition=context.partition,
        virt=context.virt,
        vcpus=job.vcpus,
        topology=at.topology,
        memory=at.memory,
        pins=at.pins,
        kernel=f"{directory}/vmlinuz",
        initrd=f"{directory}/initrd.img",
        cmdline=job.image.cmdline,
        disks=(root, seed, *data),
        filesystems=tuple(_filesystem(mount, n, context) for n, mount in enumerate(job.mounts)),
        nic=slot.nic,
        nic_queues=at.queues or 1,
        console_log=f"{directory}/console.log",
    )
    if job.osv is not None and job.image.osv is not None:
        return osv_guest(job, job.osv, job.image.osv, image, machine, slot, context)
    return LinuxGuest(
        kind="linux",
        index=slot.index,
        machine=machine,
        root_disk_bytes=job.root_disk_bytes,
        disks=disks,
        setup=job.setup,
        node=context.node,
        hostname=slot.hostname,
        nonce=slot.nonce,
        host_key=slot.host_key,
        login=context.login,
        keys=context.keys,
    )


def _data_disks(job: JobPlan, context: NodeContext, slot: Slot) -> tuple[DataDisk, ...]:
    """The disks of one VM, after the root disk (vda) and the seed (vdb)."""
    first = (context.vms[0].node, context.vms[0].index) == (context.node, slot.index)
    wanted = [disk for disk in job.disks if disk.every_vm or first]
    return tuple(
        DataDisk(disk.name, f"vd{letter}", disk.size_bytes, disk.mount)
        for disk, letter in zip(wanted, ascii_lowercase[2:], strict=False)
    )


def _filesystem(mount: Mount, index: int, context: NodeContext) -> Filesystem:
    tag = "" if mount.kind == "nfs" else f"mount{index}"
    source, target = owned(mount.source, context.login), owned(mount.target, context.login)
    path = f"{context.shares}/{tag}" if tag else ""
    if context.lane == "session":  # nobody binds it for an ordinary user
        path = source
    return Filesystem(mount.kind, source, path, tag, target, mount.read_only, mount.options)
