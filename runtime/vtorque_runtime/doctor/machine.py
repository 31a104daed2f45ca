"""The machine: KVM, cgroups, clock, and whether it is what the site says of its class."""

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path

from vtorque_runtime import kvm as kvm_probe
from vtorque_runtime import partition, sysfs
from vtorque_runtime.cpulist import list_text
from vtorque_runtime.doctor.node import Node, Told, error, warning
from vtorque_spec.plan import Cell, NodeSite, SaidCell
from vtorque_spec.plan.answer import ToldFinding

_TIME_ERROR = 5
_TIMEX_BYTES = 256
_NODES = "sys/devices/system/node"


def kvm(node: Node, site: NodeSite) -> Told:
    """KVM runs a guest, or the site says that guests are emulated."""
    if site.hypervisor == "emulation":
        yield "not looked for: the site says `hypervisor: emulation`"
        return
    connection = node.connect()
    try:
        fault = kvm_probe.fault(connection)
    finally:
        connection.close()
    fix = "turn virtualization on in the firmware, then: modprobe kvm_intel (or kvm_amd)"
    if fault is None:
        yield "works"
    elif site.hypervisor == "kvm":
        yield error("VT0907", f"KVM does not work here ({fault}), and the site says `hypervisor: kvm`", fix)
    else:
        fix += "; where there is none, `hypervisor: emulation` in site.yaml spares each job the 3 s of finding out"
        yield warning("VT0907", f"KVM does not work here ({fault}): guests are emulated, ten times slower", fix)


def cgroups(node: Node) -> Told:
    """The controllers are there that cap a job."""
    found = partition.partition("vt_doctor", node.root)
    yield f"{len(found.directories)} trees" if len(found.directories) != 1 else "one tree"


def vhost_net(node: Node) -> Told:
    """The kernel, and not QEMU, moves the guests' packets."""
    if node.path("/dev/vhost-net").exists():
        yield "there"
    else:
        message = "there is no /dev/vhost-net: QEMU moves the guests' packets itself, at half the speed"
        yield warning("VT0948", message, "modprobe vhost_net, and: echo vhost_net > /etc/modules-load.d/vhost_net.conf")


def clock(node: Node) -> Told:
    """It is not behind the site's files, and the kernel says that something keeps it right."""
    newest = max((path.stat().st_mtime for path in node.site.glob("*")), default=0.0)
    if time.time() < newest - 1:
        message = f"the clock is {newest - time.time():.0f} s behind the newest file of {node.site}"
        yield error("VT0948", message, "set it: chronyc makestep")
    if not synchronized():
        message = "nothing keeps the clock right, says the kernel: nodes whose clocks differ end jobs too early"
        yield warning("VT0948", message, "apt install chrony")
    yield time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def synchronized() -> bool:
    """Ask the kernel whether its clock is synchronized (adjtimex(2), which changes nothing with `modes` 0)."""
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))) != _TIME_ERROR


def topology(node: Node, site: NodeSite) -> Told:
    """CPUs, cores, cells, memory and huge pages are those of the node class: jobs are planned by what that says."""
    said, cells = site.node, sysfs.cells(node.root)
    cpus = sum(len(core) for cell in cells for core in cell.cores)
    memory = sysfs.meminfo(node.root / "proc/meminfo", "MemTotal")
    if cpus < said.cpus or (said.whole and cpus != said.cpus):
        yield _differs(site, f"{said.cpus} CPUs", f"{cpus}")
    if memory < said.memory_bytes:
        yield _differs(site, f"{said.memory_bytes >> 20} MiB of memory", f"{memory >> 20} MiB")
    there = {cell.id: cell for cell in cells}
    for own in said.cells:
        if own.id in there:
            yield from _cell(node, site, own, there[own.id])
        else:
            yield _differs(site, f"a NUMA cell {own.id}", "none of that number")
    more = sorted(cell.id for cell in cells if cell.cores and cell.id not in {own.id for own in said.cells})
    if said.cells and more:
        yield _differs(site, "no other cells", f"the cell {', '.join(map(str, more))} too")
    yield f"{cpus} CPUs in {len(cells)} cell{'' if len(cells) == 1 else 's'}, {memory >> 20} MiB"


def devices(node: Node, site: NodeSite) -> Told:
    """Each device of the class is here, and where the class says."""
    there = {(found.name, found.kind): found.cell for found in sysfs.devices(node.root)}
    for said in site.node.devices:
        place = next((cell for (name, kind), cell in there.items() if (name, kind) == (said.name, said.kind)), -1)
        if place == -1:
            yield _differs(site, f"the {said.kind} {said.name}", "none of that name")
        elif None not in (place, said.cell) and place != said.cell:
            yield _differs(site, f"the {said.kind} {said.name} at the cell {said.cell}", f"it at the cell {place}")
    yield ", ".join(said.name for said in site.node.devices) or "the class names none"


def _cell(node: Node, site: NodeSite, said: SaidCell, found: Cell) -> Iterator[ToldFinding]:
    cpus = tuple(sorted(cpu for core in found.cores for cpu in core))
    name = f"the cell {said.id}"
    if tuple(sorted(said.cpus)) != cpus:
        yield _differs(site, f"in {name} the CPUs {list_text(said.cpus) or 'none'}", list_text(cpus) or "none")
    elif said.cores and sorted(said.cores) != sorted(found.cores):
        other = next(core for core in sorted(said.cores) if core not in found.cores)
        yield _differs(site, f"in {name} a core with the CPUs {list_text(other)}", "others")
    memory = _cell_memory(node.root, said.id)
    if memory < said.memory_bytes:
        yield _differs(site, f"in {name} {said.memory_bytes >> 20} MiB", f"{memory >> 20} MiB")
    for size_kib, wanted in ((2048, said.pages_2mib), (1048576, said.pages_1gib)):
        path = _pages(node.root, said.id, size_kib)
        have = int(path.read_text(encoding="ascii")) if path.exists() else 0
        if have < wanted:
            message = f"the cell {said.id} has {have} huge pages of {size_kib >> 10} MiB, the site says {wanted}"
            shown = f"/{path.relative_to(node.root)}"
            fix = f"echo {wanted} > {shown} at boot, before other programs take the memory; or correct site.yaml"
            yield error("VT0947", message, fix)


def _cell_memory(root: Path, number: int) -> int:
    own = root / _NODES / f"node{number}/meminfo"
    return sysfs.meminfo(own if own.exists() else root / "proc/meminfo", "MemTotal")


def _pages(root: Path, number: int, size_kib: int) -> Path:
    own = root / _NODES / f"node{number}"
    return (own if own.exists() else root / "sys/kernel/mm") / f"hugepages/hugepages-{size_kib}kB/nr_hugepages"


def _differs(site: NodeSite, said: str, has: str) -> ToldFinding:
    message = f"the site says that nodes of `{site.node_class}` have {said}; this one has {has}"
    fix = f"vtorque site node-class {site.node_class} --from-host shows what to write into site.yaml; or give the node "
    return error("VT0947", message, fix + "another class")
