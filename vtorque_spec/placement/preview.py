"""The node that `vtorque compile -o` shows the guests on: nothing in it is of any real machine, and no key is one."""

from vtorque_spec.placement.nodes import NOTHING, HostNode
from vtorque_spec.plan import (
    VERSION,
    Group,
    HostKey,
    ImageFiles,
    JobPlan,
    JobVm,
    Keys,
    Login,
    Mount,
    NodeContext,
    OfferedMount,
    Slot,
    TapNic,
    UserNic,
    owned,
)

JOB_ID = "0.preview"
_IMAGES = "/var/lib/vtorque/images"
_LOGIN = Login("user", 1000, (Group("user", 1000),), "/home/user")
_KEYS = Keys(
    login_key="PREVIEW-LOGIN-KEY, made on the node\n",
    public_keys=("ssh-ed25519 PREVIEW-LOGIN-KEY",),
    authorities=("@cert-authority * ssh-ed25519 PREVIEW-AUTHORITY",),
)
_HOST = "10.213.0.1"


def preview_context(job: JobPlan, node_class: str, node: HostNode) -> NodeContext:
    """Return the fixed context: job `0.preview`, user `user`, a node of the named class, placeholder keys."""
    slots = tuple(_slot(index, _nic(job, index)) for index in range(job.vms_per_node))
    return NodeContext(
        version=VERSION,
        job_id=JOB_ID,
        node=node_class,
        lane="session" if job.image.own else "system",
        virt="qemu" if job.hypervisor == "emulation" else "kvm",
        cells=node.cells,
        devices=node.devices,
        allotted_cpus=node.allotted,
        allotted_slots=None,
        slot=node.slot,
        host_cpus=node.host_cpus,
        allotted_memory_bytes=node.memory_bytes,
        taken=NOTHING,
        advised_cells=None,
        login=_LOGIN,
        keys=_KEYS,
        images=(_image(job),),
        vms=tuple(_vm(node_class, slot) for slot in slots),
        slots=slots,
        mounts=tuple(_offer(mount) for mount in job.mounts),
        spool=f"/var/tmp/vtorque-{_LOGIN.uid}/jobs/{JOB_ID}" if job.image.own else f"/var/lib/vtorque/jobs/{JOB_ID}",  # noqa: S108 - shown, not used
    )


def _offer(mount: Mount) -> OfferedMount:
    source, target = owned(mount.source, _LOGIN), owned(mount.target, _LOGIN)
    return OfferedMount(mount.name, mount.kind, source, target, not mount.read_only, mount.options, False)


def _image(job: JobPlan) -> ImageFiles:
    if own := job.image.own:
        return ImageFiles(job.image.name, "unread", own.disk, "qcow2", own.kernel, own.initrd, own=True)
    sha256 = job.image.sha256 or "unbuilt"
    directory = f"{_IMAGES}/{job.image.name}@{sha256[:16]}"
    kernel: str | None = f"{directory}/vmlinuz"
    initrd: str | None = f"{directory}/initrd.img"
    if job.image.osv is not None:
        kernel, initrd = f"{directory}/kernel.elf" if job.image.osv.boot == "kernel" else None, None
    return ImageFiles(job.image.name, sha256, f"{directory}/root.qcow2", "qcow2", kernel, initrd)


def _vm(node: str, slot: Slot) -> JobVm:
    return JobVm(node, slot.index, slot.hostname, slot.nic.address if isinstance(slot.nic, TapNic) else None)


def _nic(job: JobPlan, index: int) -> TapNic | UserNic:
    """The host is the network's first address, the VMs follow; what a site's own bridge has is known on nodes alone."""
    mac, kind = f"52:54:00:00:00:{index:02x}", job.network.kind
    if kind == "user" or job.image.own:
        return UserNic("user", mac, 22022 + index, restricted=kind == "isolated")
    return TapNic(
        kind="bridge" if kind == "bridge" else "network",
        mac=mac,
        source="vt-preview",
        filter="vt-preview",
        address=f"10.213.{(index + 2) // 256}.{(index + 2) % 256}",
        prefix=min(24, 32 - (job.vms_per_node + 3).bit_length()),
        host_address=_HOST,
        gateway=_HOST if kind == "nat" else None,
        dns=(),
        search=(),
        ntp=(),
    )


def _slot(index: int, nic: TapNic | UserNic) -> Slot:
    return Slot(
        index=index,
        uuid=f"00000000-0000-4000-8000-{index:012d}",
        hostname=f"vpreview-{index}",
        nonce=f"PREVIEW-NONCE-{index}",
        host_key=HostKey(
            "PREVIEW-HOST-KEY, made on the node\n",
            "ssh-ed25519 PREVIEW-HOST-KEY",
            "ssh-ed25519-cert-v01@openssh.com PREVIEW-HOST-CERTIFICATE",
        ),
        nic=nic,
    )
