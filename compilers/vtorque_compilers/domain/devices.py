"""The domain's devices, virtio only. Element names: https://libvirt.org/formatdomain.html#devices"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from vtorque_compilers.domain.board import Board
from vtorque_compilers.domain.xml import element
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Disk, Filesystem, Machine, TapNic, UserNic

GUEST_AGENT_CHANNEL = "org.qemu.guest_agent.0"

XAPIC_CPUS = 255

USER_NIC_SLOT = "0x18"
"""Slot on the first bus of the card that libvirt does not know of: far above those that libvirt fills from below."""


def devices(machine: Machine, board: Board) -> Element:
    """`<devices>`, with what libvirt would add by itself (USB, a balloon) switched off."""
    return element(
        "devices",
        *(disk(item) for item in machine.disks),
        element("controller", type="usb", model="none"),
        *(filesystem(item) for item in machine.filesystems if item.kind != "nfs"),
        *interface(machine),
        serial(machine.console_log),
        *([guest_agent()] if board.agent else []),
        element("memballoon", model="none"),
        element("rng", element("backend", "/dev/urandom", model="random"), model="virtio"),
        *iommu(machine),
    )


def disk(disk: Disk) -> Element:
    """`<disk>`. Its `<serial>` names it in the guest: /dev/disk/by-id/virtio-vda."""
    driver = {"name": "qemu", "type": disk.format}
    if disk.iothread is not None:
        driver["iothread"] = str(disk.iothread)
    if disk.queues is not None:
        driver["queues"] = str(disk.queues)
    if not disk.read_only:
        # It lives as long as its guest: what a crash of the host would lose is thrown away anyhow, so the guest need
        # not wait for flushes. An overlay's freed blocks go back to the spool; a further disk keeps what was set aside.
        driver |= {"cache": "unsafe"} | ({"discard": "unmap"} if disk.backing is not None else {})
    return element(
        "disk",
        element("driver", **driver),
        element("source", file=disk.file),
        backing_store(disk),
        element("target", dev=disk.target, bus="virtio"),
        *([element("readonly")] if disk.read_only else []),
        element("serial", disk.target),
        type="file",
        device="disk",
    )


def backing_store(disk: Disk) -> Element:
    """`<backingStore>`, always said: without it libvirt probes the file, which the guest can write.

    The image stays root's: libvirt would give it to QEMU's user and not take it back.
    """
    if disk.backing is None:
        return element("backingStore")
    if disk.backing_format is None:
        raise Fault("VT0604", f"the disk {disk.target} has a backing file of an unknown format")
    return element(
        "backingStore",
        element("format", type=disk.backing_format),
        element("source", element("seclabel", model="dac", relabel="no"), file=disk.backing),
        element("backingStore"),
        type="file",
    )


def filesystem(filesystem: Filesystem) -> Element:
    """`<filesystem>`, owners and modes as they are on the host.

    A read-only one by virtiofs looks the same as any: libvirt 9.0 refuses `<readonly/>` here ("virtiofs does not yet
    support read-only mode"). What the runtime binds to its `path` is read-only then. 9p is served by QEMU itself, which
    is no root: it opens what its user may, and what the guest creates is that user's (QEMU's security model `none`).
    """
    by_9p = filesystem.kind == "9p"
    return element(
        "filesystem",
        element("driver", type="path" if by_9p else "virtiofs"),
        element("source", dir=filesystem.path),
        element("target", dir=filesystem.tag),
        *([element("readonly")] if by_9p and filesystem.read_only else []),
        type="mount",
        accessmode="squash" if by_9p else "passthrough",
        **({"multidevs": "remap"} if by_9p else {}),
    )


def interface(machine: Machine) -> Iterator[Element]:
    """`<interface>` on a bridge; a card on QEMU's user-mode network is on QEMU's command line instead.

    Its driver has no name: libvirt takes the kernel's (vhost) where there is one, and QEMU itself where there is none.
    """
    card = machine.nic
    if isinstance(card, TapNic):
        yield element(
            "interface",
            element("mac", address=card.mac),
            element("source", **{card.kind: card.source}),
            element("model", type="virtio"),
            *([element("driver", queues=str(machine.nic_queues))] if machine.nic_queues > 1 else []),
            *filterref(card),
            type=card.kind,
        )


def filterref(card: TapNic) -> Iterator[Element]:
    """`<filterref>`: the filter, and the address that it leaves the guest; libvirt adds the MAC.

    https://libvirt.org/formatnwfilter.html#usage-of-variables-in-filters
    """
    if card.filter is not None:
        yield element("filterref", element("parameter", name="IP", value=card.address), filter=card.filter)


def qemu_commandline(nic: TapNic | UserNic, board: Board) -> Iterator[Element]:
    """`<qemu:commandline>`: libvirt's own user-mode network forwards no port in 9.0.

    https://libvirt.org/drvqemu.html#pass-through-of-arbitrary-qemu-commands
    """
    if isinstance(nic, UserNic):
        restrict = "on" if nic.restricted else "off"
        netdev = f"user,id=user0,restrict={restrict},ipv6=off,hostfwd=tcp:127.0.0.1:{nic.forward_port}-:22"
        mac = nic.mac.replace(",", ",,")  # QEMU's quoting of a comma in an option's value
        device = f"virtio-net-pci,netdev=user0,mac={mac},bus={board.bus},addr={USER_NIC_SLOT}"
        arguments = ("-netdev", netdev, "-device", device)
        yield element("qemu:commandline", *(element("qemu:arg", value=argument) for argument in arguments))


def serial(console_log: str) -> Element:
    """`<serial>`: the only console, written to a file."""
    return element(
        "serial",
        element("source", path=console_log),
        element("target", type="isa-serial", port="0"),
        type="file",
    )


def needs_iommu(machine: Machine) -> bool:
    """Whether an interrupt for the last vCPU has no place in xAPIC's 8 bits."""
    return machine.vcpus > XAPIC_CPUS


def iommu(machine: Machine) -> Iterator[Element]:
    """`<iommu>`: what libvirt asks of a guest with more than 255 vCPUs. QEMU has it under KVM only."""
    if needs_iommu(machine):
        yield element("iommu", element("driver", intremap="on", eim="on"), model="intel")


def guest_agent() -> Element:
    """`<channel>` of the QEMU guest agent; libvirt chooses the socket's path."""
    return element("channel", element("target", type="virtio", name=GUEST_AGENT_CHANNEL), type="unix")
