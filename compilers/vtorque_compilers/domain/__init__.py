"""LinuxGuest -> libvirt domain XML: an element tree, one function per element, no decisions that the plan could hold.

The format: https://libvirt.org/formatdomain.html, as libvirt 9.0 reads it.
"""

from xml.etree.ElementTree import Element

from vtorque_compilers.domain import cpu, devices, memory
from vtorque_compilers.domain.xml import element, to_text
from vtorque_spec.plan import Artifact, LinuxGuest, Machine, UserNic

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"


def compile_domain(guest: LinuxGuest) -> Artifact:
    """Return `vmN/domain.xml`. Raises Fault VT0604 for text that XML does not carry."""
    return Artifact(f"vm{guest.index}/domain.xml", to_text(domain(guest.machine)))


def domain(machine: Machine) -> Element:
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
        boot(machine),
        features(machine),
        cpu.cpu(machine),
        element("clock", offset="utc"),
        *(element(event, "destroy") for event in ("on_poweroff", "on_reboot", "on_crash")),
        devices.devices(machine),
        *devices.qemu_commandline(machine.nic),
        type=machine.virt,
        **namespaces,
    )


def features(machine: Machine) -> Element:
    """`<features>`; an IOMMU that remaps interrupts needs QEMU's own I/O APIC."""
    ioapic = [element("ioapic", driver="qemu")] if devices.needs_iommu(machine) else []
    return element("features", element("acpi"), element("apic"), *ioapic)


def boot(machine: Machine) -> Element:
    """`<os>`: QEMU starts the kernel itself, without firmware menus or a boot loader."""
    return element(
        "os",
        element("type", "hvm", arch="x86_64", machine="q35"),
        element("kernel", machine.kernel),
        element("initrd", machine.initrd),
        element("cmdline", machine.cmdline),
    )
