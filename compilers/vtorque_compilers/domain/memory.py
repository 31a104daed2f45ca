"""The domain's memory: how much, of which pages, in which cells of the host and of the guest.

Element names: https://libvirt.org/formatdomain.html#memory-backing, #numa-node-tuning and #guest-numa-topology
"""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from vtorque_compilers.domain.xml import element, numbers
from vtorque_spec.plan import GuestCell, GuestMemory, Machine

KIB = 1024

OWN, NEAREST, FARTHEST = 10, 11, 255
"""The distance to the cell itself, and those to others: libvirt 9.0 not only refuses any other, its daemon may crash.

A host may say 10 of two cells (the kernel's `numa=fake` does).
"""


def memory(memory: GuestMemory) -> Element:
    """`<memory>`, in the unit in which libvirt keeps it."""
    return element("memory", str(memory.size_bytes // KIB), unit="KiB")


def memory_backing(machine: Machine) -> Iterator[Element]:
    """`<memoryBacking>`, where it is not ordinary memory.

    A virtiofs daemon works on the guest's memory itself, so that must be shared. Huge pages come from a memfd too: they
    need no hugetlbfs to be mounted then, and of 1 GiB pages few hosts have one.
    """
    memory = machine.memory
    children: list[Element] = []
    if memory.page_bytes is not None:
        children.append(element("hugepages", page(memory, memory.page_bytes)))
    if memory.locked:
        children.append(element("locked"))
    shared = any(item.kind == "virtiofs" for item in machine.filesystems)
    if shared or memory.page_bytes is not None:
        children += [element("source", type="memfd"), element("access", mode="shared")]
    if children:
        yield element("memoryBacking", *children)


def page(memory: GuestMemory, size_bytes: int) -> Element:
    """`<page>`; its `nodeset` are cells of the guest, so it has one only where the guest has cells."""
    nodeset = {"nodeset": numbers(range(len(memory.cells)))} if memory.cells else {}
    return element("page", size=str(size_bytes // KIB), unit="KiB", **nodeset)


def numatune(memory: GuestMemory) -> Iterator[Element]:
    """`<numatune>`: the host's cells, `strict`: what they lack is a failure, and never taken from another cell."""
    if memory.nodeset:
        yield element(
            "numatune",
            element("memory", mode="strict", nodeset=numbers(memory.nodeset)),
            *(
                element("memnode", cellid=str(n), mode="strict", nodeset=str(cell.host_cell))
                for n, cell in enumerate(memory.cells)
            ),
        )


def numa(cells: Sequence[GuestCell]) -> Iterator[Element]:
    """`<numa>`: what the guest sees of the host's cells."""
    if cells:
        yield element("numa", *(numa_cell(n, cell) for n, cell in enumerate(cells)))


def numa_cell(number: int, cell: GuestCell) -> Element:
    """`<cell>`; one without vCPUs has memory only."""
    cpus = {"cpus": numbers(cell.vcpus)} if cell.vcpus else {}
    memory = str(cell.memory_bytes // KIB)
    return element("cell", *distances(number, cell), id=str(number), **cpus, memory=memory, unit="KiB")


def distances(number: int, cell: GuestCell) -> Iterator[Element]:
    """`<distances>`: to every cell, so that libvirt mirrors none from the other side; they need not be symmetric."""
    if cell.distances:
        yield element(
            "distances",
            *(
                element("sibling", id=str(n), value=str(OWN if n == number else min(max(value, NEAREST), FARTHEST)))
                for n, value in enumerate(cell.distances)
            ),
        )
