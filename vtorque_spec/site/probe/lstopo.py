"""The machine as hwloc 2 describes it: ``lstopo --of xml`` (hwloc2.dtd of https://www.open-mpi.org/projects/hwloc)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from vtorque_spec.site.probe import xml_file
from vtorque_spec.site.probe.machine import (
    HUGEPAGE_BYTES,
    MANAGEMENT_VENDORS,
    Cell,
    Device,
    Kind,
    Machine,
    ProbeError,
    machine,
)

WRITTEN_BY = "lstopo --of xml > FILE"

_KINDS: dict[str, Kind] = {"0": "nvme", "2": "nic", "3": "hca"}
"""hwloc_obj_osdev_type: block, network, OpenFabrics."""


@dataclass(frozen=True, slots=True)
class _Above:
    """What an object lies in: indexes of its package and core, its nodes, the address and class of its PCI device."""

    package: str | None = None
    core: str | None = None
    nodes: frozenset[int] = frozenset()
    pci: str = ""


def read_lstopo(raw: bytes, source: str) -> Machine:
    """Return the machine of hwloc's XML; `source` is the file's name. Raises ProbeError."""
    root = xml_file.parse(raw, "topology", WRITTEN_BY, source)
    if not root.get("version", "1").startswith("2"):
        raise ProbeError("this is the XML of hwloc 1", "write it with lstopo of hwloc 2 or later", source, 1)
    objects = list(_objects(root, source))
    nodes = {xml_file.number(e, "os_index", source): e for e, _ in objects if e.get("type") == "NUMANode"}
    distances = _distances(root, sorted(nodes), source)
    units = _units(objects, source)
    taken: set[int] = set()
    cells = []
    for number, node in sorted(nodes.items()):
        # A cell without CPUs has those of the nearest cell in hwloc; that one came first, as it does at boot.
        cpus = _bits(node.get("cpuset"), source).intersection(units) - taken
        taken |= cpus
        cores: dict[str, list[int]] = {}
        for cpu in cpus:
            cores.setdefault(units[cpu][0], []).append(cpu)
        packages = {units[cpu][1] for cpu in cpus}
        package = packages.pop() if len(packages) == 1 else None
        cells.append(
            Cell(
                number, tuple(sorted(tuple(sorted(core)) for core in cores.values())),
                xml_file.to_number(node.get("local_memory", "0"), "`local_memory`", source),
                _hugepages(node, source), distances.get(number, ()),
                int(package) if package and re.fullmatch("[0-9]{1,9}", package) else None,
            )
        )  # fmt: skip
    return machine(cells, _devices(objects), source)


def _objects(root: Element, source: str) -> Iterator[tuple[Element, _Above]]:
    """All objects, each with what it lies in; no recursion, however deep the file is."""
    waiting = [(element, _Above()) for element in root.findall("object")]
    while waiting:
        element, above = waiting.pop()
        yield element, above
        kind, index = element.get("type"), element.get("os_index")
        below = _Above(
            index if kind == "Package" else above.package,
            element.get("gp_index", str(id(element))) if kind == "Core" else above.core,
            frozenset(_bits(element.get("nodeset"), source)) if element.get("nodeset") else above.nodes,
            f"{element.get('pci_busid')} {element.get('pci_type')}" if kind == "PCIDev" else above.pci,
        )
        waiting += [(child, below) for child in element.findall("object")]


def _units(objects: list[tuple[Element, _Above]], source: str) -> dict[int, tuple[str, str | None]]:
    """Return the core and the package of each CPU; a CPU outside of cores is one."""
    found = {}
    for element, above in objects:
        if element.get("type") == "PU":
            cpu = xml_file.number(element, "os_index", source)
            found[cpu] = (above.core or f"cpu{cpu}", above.package)
    return found


def _bits(text: str | None, source: str) -> set[int]:
    """Return the set bits of ``0x3,0x0000000f``: words of 32 bits, the highest first; an empty word has none."""
    if text is None:
        return set()
    words = text.split(",")
    if len(words) > 4096 or not all(re.fullmatch(r"(0x[0-9a-f]{1,8})?", word) for word in words):
        raise ProbeError(f"`{text[:40]}` is no finite set of CPUs or nodes", "write the file anew", source, 1)
    return {
        32 * place + bit
        for place, word in enumerate(reversed(words))
        if word
        for bit in range(32)
        if int(word, 16) >> bit & 1
    }


def _hugepages(node: Element, source: str) -> dict[str, int]:
    pages = {
        xml_file.number(element, "size", source): xml_file.number(element, "count", source)
        for element in node.findall("page_type")
    }
    return {size: pages[size_bytes] for size, size_bytes in HUGEPAGE_BYTES.items() if pages.get(size_bytes)}


def _distances(root: Element, nodes: list[int], source: str) -> dict[int, tuple[int, ...]]:
    """Return the latencies from each node to all, in their order; a table that leaves out a node is none."""
    for table in root.findall("distances2"):
        if table.get("type") != "NUMANode" or table.get("name") != "NUMALatency":
            continue
        order = [xml_file.to_number(word, "an index", source) for e in table.findall("indexes") for word in _words(e)]
        values = [
            xml_file.to_number(word, "a distance", source) for e in table.findall("u64values") for word in _words(e)
        ]
        if set(nodes) <= set(order) and len(values) == len(order) ** 2:
            rows = {node: dict(zip(order, values[i * len(order) :], strict=False)) for i, node in enumerate(order)}
            return {node: tuple(rows[node][other] for other in nodes) for node in nodes}
    return {nodes[0]: (10,)} if len(nodes) == 1 else {}


def _words(element: Element) -> list[str]:
    return (element.text or "").split()


def _devices(objects: list[tuple[Element, _Above]]) -> Iterator[Device]:
    for element, above in objects:
        cell = next(iter(above.nodes)) if len(above.nodes) == 1 else None
        name, kind = element.get("name", ""), _KINDS.get(element.get("osdev_type", ""))
        if element.get("type") == "OSDev" and kind == "nvme":
            name = "".join(re.findall(r"^nvme\d+(?=(?:c\d+)?n\d+$)", name))  # of other disks nothing
        if element.get("type") == "OSDev" and kind and name:
            yield Device(name, kind, cell)
        gpu = re.match(r"(03|12)[0-9a-f]{2} \[([0-9a-f]{4}):", element.get("pci_type", ""))
        if element.get("type") == "PCIDev" and gpu and gpu[2] not in MANAGEMENT_VENDORS:
            yield Device(element.get("pci_busid", ""), "gpu", cell)
