"""LinuxGuest -> libvirt domain XML: an element tree, one function per element, no decisions that the plan could hold.

The format: https://libvirt.org/formatdomain.html, as libvirt 9.0 reads it.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from vtorque_compilers.domain import cpu, devices, memory
from vtorque_compilers.domain.xml import element, to_text
from vtorque_spec.plan import Artifact, LinuxGuest, Machine, UserNic

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"

TRANSLATED_MIB = 128
"""Half of what a job claims for QEMU beside each guest's memory."""


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
        *resource(machine),
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


def boot(machine: Machine) -> Element:
    """`<os>`: QEMU starts the kernel itself, without firmware menus or a boot loader."""
    return element(
        "os",
        element("type", "hvm", arch="x86_64", machine="q35"),
        element("kernel", machine.kernel),
        element("initrd", machine.initrd),
        element("cmdline", machine.cmdline),
    )
