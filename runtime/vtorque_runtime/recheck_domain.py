"""Root's own check of the domain XML: every element, attribute and text that may be there, from the plan.

The table below is all that a guest has, so what libvirt would take from anything else (a host device, another file, a
label, a scheduler, QEMU arguments) needs no rule of its own. The format: https://libvirt.org/formatdomain.html
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.etree import ElementTree

from vtorque_runtime.cpulist import list_text
from vtorque_runtime.recheck_cpus import HINT
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Disk, GuestMemory, Machine, Pins, TapNic

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
KIB = 1024
XAPIC_CPUS = 255
"""More vCPUs need an IOMMU that remaps interrupts."""
OWN_CELL, NEAREST, FARTHEST = 10, 11, 255
"""Distances of a guest's cells: libvirt's daemon may crash on others."""


class Row(NamedTuple):
    """One element: its path below `<domain>`, its text, its attributes. A second one of a name is `name[2]`."""

    path: str
    text: str
    attributes: dict[str, str]


def check_domain(xml: str, machine: Machine) -> None:
    """Raise Fault VT0912 unless the domain XML is that of the machine, and nothing else."""
    if "<!" in xml or "<?" in xml:
        raise _refused("has a document type, a comment or an instruction")
    try:
        domain = ElementTree.fromstring(xml)  # noqa: S314 - no document type, so no entities
    except (ElementTree.ParseError, UnicodeEncodeError) as error:
        raise _refused(f"can't be read: {error}") from None
    missing = {row.path: row for row in rows(machine)}
    for found in _found(domain):
        wanted = missing.pop(found.path, None)
        if wanted is None:
            raise _refused(f"has {_shown(found)}, which the plan does not")
        if found != wanted:
            raise _refused(f"has {_shown(found)} instead of {_shown(wanted)}")
    if missing:
        raise _refused(f"lacks {_shown(next(iter(missing.values())))}")


def rows(machine: Machine) -> Iterator[Row]:
    """Yield all that the domain XML of a machine holds."""
    yield row("domain", type=machine.virt)
    yield row("name", machine.name)
    yield row("uuid", machine.uuid)
    if machine.partition is not None:
        yield row("resource")
        yield row("resource/partition", f"/machine/{machine.partition}")
    yield row("os")
    yield row("os/type", "hvm", arch="x86_64", machine="q35")
    yield row("os/kernel", machine.kernel)
    yield row("os/initrd", machine.initrd)
    yield row("os/cmdline", machine.cmdline)
    yield row("features")
    yield row("features/acpi")
    yield row("features/apic")
    yield row("clock", offset="utc")
    yield row("on_poweroff", "destroy")
    yield row("on_reboot", "destroy")
    yield row("on_crash", "destroy")
    yield from _processors(machine)
    yield from _pins(machine.pins)
    yield from _memory(machine.memory, shared=any(share.kind == "virtiofs" for share in machine.filesystems))
    yield from _devices(machine)
    yield from _network(machine)


def _processors(machine: Machine) -> Iterator[Row]:
    shape, kvm = machine.topology, machine.virt == "kvm"
    yield row("vcpu", str(machine.vcpus), placement="static", **_listed(cpuset=machine.pins.cpuset))
    yield row("cpu", **({"mode": "host-passthrough"} if kvm else {"mode": "custom", "match": "exact"}))
    if not kvm:
        yield row("cpu/model", "Nehalem", fallback="forbid")
        yield row("features/tcg")
        yield row("features/tcg/tb-cache", "131072", unit="KiB")
    yield row("cpu/topology", sockets=str(shape.sockets), cores=str(shape.cores), threads=str(shape.threads))
    if machine.vcpus > XAPIC_CPUS:
        yield row("features/ioapic", driver="qemu")
        yield row("devices/iommu", model="intel")
        yield row("devices/iommu/driver", intremap="on", eim="on")


def _pins(pins: Pins) -> Iterator[Row]:
    if pins.iothreads:
        yield row("iothreads", str(len(pins.iothreads)))
    if pins.vcpus or pins.emulator or pins.iothreads:
        yield row("cputune")
    for n, cpus in enumerate(pins.vcpus):
        yield row(_nth("cputune/vcpupin", n), vcpu=str(n), cpuset=list_text(cpus))
    if pins.emulator:
        yield row("cputune/emulatorpin", cpuset=list_text(pins.emulator))
    for n, cpus in enumerate(pins.iothreads):
        yield row(_nth("cputune/iothreadpin", n), iothread=str(n + 1), cpuset=list_text(cpus))


def _memory(memory: GuestMemory, *, shared: bool) -> Iterator[Row]:
    yield row("memory", str(memory.size_bytes // KIB), unit="KiB")
    if memory.nodeset:
        yield row("numatune")
        yield row("numatune/memory", mode="strict", nodeset=list_text(memory.nodeset))
    if memory.page_bytes or memory.locked or shared:
        yield row("memoryBacking")
    if memory.page_bytes:
        cells = _listed(nodeset=range(len(memory.cells)))
        yield row("memoryBacking/hugepages")
        yield row("memoryBacking/hugepages/page", size=str(memory.page_bytes // KIB), unit="KiB", **cells)
    if memory.locked:
        yield row("memoryBacking/locked")
    if memory.page_bytes or shared:
        yield row("memoryBacking/source", type="memfd")
        yield row("memoryBacking/access", mode="shared")
    yield from _cells(memory)


def _cells(memory: GuestMemory) -> Iterator[Row]:
    if memory.cells:
        yield row("cpu/numa")
    for n, cell in enumerate(memory.cells):
        yield row(_nth("numatune/memnode", n), cellid=str(n), mode="strict", nodeset=str(cell.host_cell))
        path, size = _nth("cpu/numa/cell", n), str(cell.memory_bytes // KIB)
        yield row(path, id=str(n), memory=size, unit="KiB", **_listed(cpus=cell.vcpus))
        if cell.distances:
            yield row(f"{path}/distances")
        for other, distance in enumerate(cell.distances):
            value = OWN_CELL if other == n else min(max(distance, NEAREST), FARTHEST)
            yield row(_nth(f"{path}/distances/sibling", other), id=str(other), value=str(value))


def _devices(machine: Machine) -> Iterator[Row]:
    yield row("devices")
    for n, disk in enumerate(machine.disks):
        yield from _disk(_nth("devices/disk", n), disk)
    for n, share in enumerate(share for share in machine.filesystems if share.kind != "nfs"):
        path = _nth("devices/filesystem", n)
        by_9p = share.kind == "9p"
        yield row(path, type="mount", accessmode="passthrough", **({"multidevs": "remap"} if by_9p else {}))
        yield row(f"{path}/driver", type="path" if by_9p else "virtiofs")
        yield row(f"{path}/source", dir=share.path)
        yield row(f"{path}/target", dir=share.tag)
        if by_9p:
            yield row(f"{path}/readonly")
    yield row("devices/controller", type="usb", model="none")
    yield row("devices/serial", type="file")
    yield row("devices/serial/source", path=machine.console_log)
    yield row("devices/serial/target", type="isa-serial", port="0")
    yield row("devices/channel", type="unix")
    yield row("devices/channel/target", type="virtio", name="org.qemu.guest_agent.0")
    yield row("devices/memballoon", model="none")
    yield row("devices/rng", model="virtio")
    yield row("devices/rng/backend", "/dev/urandom", model="random")


def _disk(path: str, disk: Disk) -> Iterator[Row]:
    """The formats are said and the chain ends, so that libvirt probes no file; the image keeps its owner."""
    own = {"iothread": disk.iothread, "queues": disk.queues}
    driver = {name: str(value) for name, value in own.items() if value is not None}
    driver |= {} if disk.read_only else {"cache": "unsafe"}
    driver |= {"discard": "unmap"} if disk.backing else {}
    yield row(path, type="file", device="disk")
    yield row(f"{path}/driver", name="qemu", type=disk.format, **driver)
    yield row(f"{path}/source", file=disk.file)
    yield row(f"{path}/target", dev=disk.target, bus="virtio")
    yield row(f"{path}/serial", disk.target)
    if disk.read_only:
        yield row(f"{path}/readonly")
    yield row(f"{path}/backingStore", **({"type": "file"} if disk.backing else {}))
    if disk.backing:
        yield row(f"{path}/backingStore/format", type=str(disk.backing_format))
        yield row(f"{path}/backingStore/source", file=disk.backing)
        yield row(f"{path}/backingStore/source/seclabel", model="dac", relabel="no")
        yield row(f"{path}/backingStore/backingStore")


def _network(machine: Machine) -> Iterator[Row]:
    card = machine.nic
    if isinstance(card, TapNic):
        yield row("devices/interface", type=card.kind)
        yield row("devices/interface/mac", address=card.mac)
        yield row("devices/interface/source", **{card.kind: card.source})
        yield row("devices/interface/model", type="virtio")
        if card.filter is not None:
            yield row("devices/interface/filterref", filter=card.filter)
            yield row("devices/interface/filterref/parameter", name="IP", value=card.address)
        if machine.nic_queues > 1:
            yield row("devices/interface/driver", queues=str(machine.nic_queues))
        return
    restrict = "on" if card.restricted else "off"
    netdev = f"user,id=user0,restrict={restrict},ipv6=off,hostfwd=tcp:127.0.0.1:{card.forward_port}-:22"
    device = f"virtio-net-pci,netdev=user0,mac={card.mac},bus=pcie.0,addr=0x18"
    yield row(f"{QEMU}commandline")
    for n, argument in enumerate(("-netdev", netdev, "-device", device)):
        yield row(_nth(f"{QEMU}commandline/{QEMU}arg", n), value=argument)


def row(path: str, text: str = "", /, **attributes: str) -> Row:
    """Return a row of the table."""
    return Row(path, text, attributes)


def _listed(**lists: Iterable[int]) -> dict[str, str]:
    """Attributes that are lists of numbers; an empty list is not said."""
    return {name: list_text(numbers) for name, numbers in lists.items() if tuple(numbers)}


def _found(domain: ElementTree.Element) -> Iterator[Row]:
    """Yield what is there, parents first: nothing below an element is looked at before the element itself."""
    waiting = [(domain.tag, "", domain)]
    for path, below, element in waiting:
        text = "".join([element.text or "", *(child.tail or "" for child in element)])
        indented = len(element) > 0 and not text.strip()
        yield Row(path, "" if indented else text, dict(element.attrib))
        seen: Counter[str] = Counter()
        for child in element:
            at = _nth(f"{below}{child.tag}", seen[child.tag])
            waiting.append((at, f"{at}/", child))
            seen[child.tag] += 1


def _nth(path: str, number: int) -> str:
    return path if number == 0 else f"{path}[{number + 1}]"


def _shown(found: Row) -> str:
    said = "".join(f" {name}={value!r}" for name, value in sorted(found.attributes.items()))
    return f"<{found.path}{said}>{found.text}"[:200]


def _refused(what: str) -> Fault:
    return Fault("VT0912", f"the domain XML {what}", help=HINT)
