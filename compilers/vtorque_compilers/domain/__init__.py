"""A guest -> libvirt domain XML: an element tree, one function per element, no decisions that the plan could hold.

The format: https://libvirt.org/formatdomain.html, as libvirt 9.0 reads it.
"""

from collections.abc import Iterator
from dataclasses import replace
from xml.etree.ElementTree import Element

from vtorque_compilers.domain import cpu, devices, memory
from vtorque_compilers.domain.board import OSV_BOARDS, Q35, Board
from vtorque_compilers.domain.xml import element, to_text
from vtorque_spec.plan import Artifact, Guest, LinuxGuest, Machine, UserNic, exports_of

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"

TRANSLATED_MIB = 128
"""Half of what a job claims for QEMU beside each guest's memory."""


def compile_domain(guest: Guest) -> Artifact:
    """Return `vmN/domain.xml`. Raises Fault VT0604 for text that XML does not carry."""
    board = Q35 if isinstance(guest, LinuxGuest) else OSV_BOARDS[guest.board]
    exported = exports_of(guest)
    attached = tuple(share for share in guest.machine.filesystems if share not in exported)
    machine = replace(guest.machine, filesystems=attached)
    return Artifact(f"vm{guest.index}/domain.xml", to_text(domain(machine, board)))


def domain(machine: Machine, board: Board) -> Element:
    """`<domain>`: a guest that is gone as soon as it stops, however that came about."""
    namespaces = {"xmlns:qemu": QEMU_NAMESPACE} if isinstance(machine.nic, UserNic) else {}
    return element(
        "domain",
        element("name", machine.name),
        element("uuid", machine.uuid),
        memory.memory(machine.memory),
        *memory.memory_backing(machine),
        cpu.vcpu(machine),
        *cpu.iothreads(machine.pins),
        *cpu.cputune(machine.pins),
        *memory.numatune(machine.memory),
        *resource(machine),
        boot(machine, board),
        features(machine),
        cpu.cpu(machine),
        clock(board),
        *(element(event, "destroy") for event in ("on_poweroff", "on_reboot", "on_crash")),
        devices.devices(machine, board),
        *devices.qemu_commandline(machine.nic, board),
        type=machine.virt,
        **namespaces,
    )


def resource(machine: Machine) -> Iterator[Element]:
    """`<resource>`: the partition that caps all guests of the job together; the runtime makes it, libvirt does not."""
    if machine.partition is not None:
        yield element("resource", element("partition", f"/machine/{machine.partition}"))


def features(machine: Machine) -> Element:
    """`<features>`; an IOMMU that remaps interrupts needs QEMU's own I/O APIC.

    An emulator keeps translated code: up to 1 GiB, if it is not told less, which is not in the job's memory.
    """
    more = [element("ioapic", driver="qemu")] if devices.needs_iommu(machine) else []
    if machine.virt == "qemu":
        more.append(element("tcg", element("tb-cache", str(TRANSLATED_MIB * 1024), unit="KiB")))
    return element("features", element("acpi"), element("apic"), *more)


def boot(machine: Machine, board: Board) -> Element:
    """`<os>`: QEMU starts the kernel itself, without firmware menus and boot loader; or the firmware the first disk."""
    files = (("kernel", machine.kernel), ("initrd", machine.initrd), ("cmdline", machine.cmdline))
    return element(
        "os",
        element("type", "hvm", arch="x86_64", machine=board.name),
        *(element(tag, text) for tag, text in files if machine.kernel is not None and text is not None),
        *([element("boot", dev="hd")] if machine.kernel is None else []),
    )


def clock(board: Board) -> Element:
    """`<clock>`: under emulation OSv has no clock but the HPET, and halts without one."""
    return element("clock", *([element("timer", name="hpet", present="yes")] if board.hpet else []), offset="utc")
