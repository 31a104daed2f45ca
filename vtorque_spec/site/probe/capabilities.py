"""The machine as libvirt describes it: ``virsh capabilities`` (https://libvirt.org/formatcaps.html).

libvirt tells of cells, CPUs, memory and pages; of no devices.
"""

from xml.etree.ElementTree import Element

from vtorque_spec.site.probe import xml_file
from vtorque_spec.site.probe.machine import HUGEPAGE_BYTES, Cell, Machine, ProbeError, cpu_list, machine

WRITTEN_BY = "virsh capabilities > FILE"

_MOST_THREADS = 256
"""More than any core has: a file that lists more would keep us for hours."""

_UNITS = {"B": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def read_capabilities(raw: bytes, source: str) -> Machine:
    """Return the machine of a capabilities XML; `source` is the file's name. Raises ProbeError."""
    root = xml_file.parse(raw, "capabilities", WRITTEN_BY, source)
    found = root.findall("host/topology/cells/cell")
    order = sorted(xml_file.number(cell, "id", source) for cell in found)
    return machine((_cell(cell, order, source) for cell in found), (), source)


def _cell(cell: Element, order: list[int], source: str) -> Cell:
    cores, sockets = set(), set()
    on = [cpu for cpu in cell.findall("cpus/cpu") if cpu.get("siblings")]  # one that is off has its id alone
    cpus = {xml_file.number(cpu, "id", source) for cpu in on}
    for cpu in on:
        siblings = cpu_list(cpu.get("siblings", ""), _MOST_THREADS)
        if siblings is None:
            raise ProbeError("`siblings` of a `cpu` is not a list of CPUs", f"write it anew: {WRITTEN_BY}", source, 1)
        cores.add(tuple(sorted(cpus.intersection(siblings))) or (xml_file.number(cpu, "id", source),))
        sockets.add(cpu.get("socket_id", ""))
    socket = sockets.pop() if len(sockets) == 1 else ""
    memory = cell.find("memory")
    return Cell(
        xml_file.number(cell, "id", source),
        tuple(sorted(cores)),
        0 if memory is None else _size(memory, memory.text, source),
        _hugepages(cell, source),
        _distances(cell, order, source),
        int(socket) if socket.isascii() and socket.isdecimal() else None,
    )


def _size(element: Element, amount: str | None, source: str) -> int:
    number = xml_file.to_number(amount, f"the size of a `{element.tag}`", source)
    unit = element.get("unit", "KiB")
    if unit not in _UNITS:
        raise ProbeError(f"`{unit[:40]}` is no unit of libvirt", f"write it anew: {WRITTEN_BY}", source, 1)
    return number * _UNITS[unit]


def _hugepages(cell: Element, source: str) -> dict[str, int]:
    pages = {
        _size(element, element.get("size"), source): xml_file.to_number(element.text, "the number of pages", source)
        for element in cell.findall("pages")
    }
    return {size: pages[size_bytes] for size, size_bytes in HUGEPAGE_BYTES.items() if pages.get(size_bytes)}


def _distances(cell: Element, order: list[int], source: str) -> tuple[int, ...]:
    """Return the distances in the order of the cells; none when one is missing."""
    siblings = cell.findall("distances/sibling")
    told = {xml_file.number(e, "id", source): xml_file.number(e, "value", source) for e in siblings}
    return tuple(told[cell_id] for cell_id in order) if set(order) <= set(told) else ()
