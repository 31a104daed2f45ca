"""A slot of an OSv job: the machine that its kernel drives, and its command line."""

from dataclasses import replace

from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    ImageFiles,
    JobPlan,
    Machine,
    NodeContext,
    OsvGuest,
    OsvImage,
    OsvRun,
    Slot,
    TapNic,
    exports_address,
)
from vtorque_spec.resolve.osv_line import command_line, mount_commands, mount_options, network_options


def osv_guest(
    job: JobPlan, run: OsvRun, like: OsvImage, image: ImageFiles, machine: Machine, slot: Slot, context: NodeContext
) -> OsvGuest:
    """Return the guest; `machine` is what a Linux guest would have there. Raises Fault VT0502, VT0610.

    A disk or a card of OSv's has one queue. Kernels of 2018 drive virtio's older devices alone, which the machine q35
    does not have.
    """
    targets = (share.target for share in machine.filesystems if share.read_only)
    options = (*network_options(slot.nic), *mount_options(targets))
    mounts = _mount_commands(machine, like)
    line = command_line(replace(run, commands=(*mounts, *run.commands)), like, options)
    by_kernel = like.boot == "kernel"
    if by_kernel and image.kernel is None:
        hint = "add it with its kernel, or write `boot: disk` in its entry of the catalogue"
        raise Fault(
            "VT0502", f"the image `{image.name}` is on {context.node} without the kernel that it boots", help=hint
        )
    root, seed = (replace(disk, queues=None if disk.read_only else 1) for disk in machine.disks[:2])
    own = replace(
        machine,
        kernel=f"{context.spool}/vm{slot.index}/kernel.elf" if by_kernel else None,
        initrd=None,
        cmdline=line if by_kernel else "",
        disks=(root, seed) if like.cloud_init else (root,),
        nic_queues=1,
    )
    return OsvGuest(
        kind="osv",
        index=slot.index,
        machine=own,
        root_disk_bytes=job.root_disk_bytes,
        board="pc" if like.options == "fork-2018" else "q35",
        boot=like.boot,
        command_line=line,
        cloud_init=like.cloud_init,
        console=run.console,
        node=context.node,
        hostname=slot.hostname,
    )


def _mount_commands(machine: Machine, like: OsvImage) -> tuple[tuple[str, ...], ...]:
    served = [(share.tag, share.target) for share in machine.filesystems if not share.read_only]
    if not served:
        return ()
    if not isinstance(machine.nic, TapNic) or machine.nic.kind != "network":
        hint = "write `mode: ro`, or run it as root for this user, on a network of the job's own"
        raise Fault("VT0334", f"on this network the node cannot serve what is mounted at {served[0][1]}", help=hint)
    return tuple(mount_commands(served, exports_address(machine.nic), like))
