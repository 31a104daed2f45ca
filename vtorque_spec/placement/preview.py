"""The node that `vtorque compile -o` shows the guests on: nothing in it is of any real machine, and no key is one."""

from vtorque_spec.placement.nodes import NOTHING, HostNode
from vtorque_spec.plan import (
    VERSION,
    BridgeNic,
    Group,
    HostKey,
    ImageFiles,
    JobPlan,
    Login,
    NodeContext,
    Slot,
)

JOB_ID = "0.preview"
_IMAGES = "/var/lib/vtorque/images"


def preview_context(job: JobPlan, node_class: str, node: HostNode) -> NodeContext:
    """Return the fixed context: job `0.preview`, user `user`, a node of the named class, placeholder keys."""
    return NodeContext(
        version=VERSION,
        job_id=JOB_ID,
        node=node_class,
        lane="system",
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
        login=Login("user", 1000, (Group("user", 1000),), "/home/user", "ssh-ed25519 PREVIEW-LOGIN-KEY"),
        images=(_image(job),),
        slots=tuple(_slot(index, job.vms_per_node) for index in range(job.vms_per_node)),
        spool=f"/var/lib/vtorque/jobs/{JOB_ID}",
    )


def _image(job: JobPlan) -> ImageFiles:
    sha256 = job.image.sha256 or "unbuilt"
    directory = f"{_IMAGES}/{job.image.name}@{sha256[:16]}"
    return ImageFiles(
        job.image.name, sha256, f"{directory}/root.qcow2", "qcow2", f"{directory}/vmlinuz", f"{directory}/initrd.img"
    )


def _slot(index: int, vms: int) -> Slot:
    """The host is the network's first address, the VMs follow."""
    prefix = min(24, 32 - (vms + 2).bit_length())
    address = f"10.213.{(index + 2) // 256}.{(index + 2) % 256}"
    return Slot(
        index=index,
        uuid=f"00000000-0000-4000-8000-{index:012d}",
        hostname=f"vpreview-{index}",
        nonce=f"PREVIEW-NONCE-{index}",
        host_key=HostKey("PREVIEW-HOST-KEY, made on the node\n", "ssh-ed25519 PREVIEW-HOST-KEY"),
        nic=BridgeNic("bridge", f"52:54:00:00:00:{index:02x}", "vt-preview", address, "10.213.0.1", prefix),
    )
