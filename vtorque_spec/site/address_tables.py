"""What `vtorque site check` finds in the networks' tables of addresses: each VM of the site has one, and no other's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from ClusterShell.NodeSet import NodeSet

from vtorque_spec.diagnostics import Code, Note, Report
from vtorque_spec.document import Document, Path
from vtorque_spec.site.model import NodeClass, SiteFile
from vtorque_spec.site.nodes import read_nodes

OWN = IPv4Network("10.213.0.0/16")
"""Where isolated and NAT networks come from, on each node."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A network's table: the addresses from `first` to `last`, and where site.yaml says so."""

    name: str
    subnet: IPv4Network
    first: IPv4Address
    last: IPv4Address
    slots: int
    nodes: NodeSet

    def at(self, *member: str) -> Path:
        return ("networks", self.name, *member)


def check_tables(facts: SiteFile, document: Document, report: Report) -> None:
    """Check all tables of `site.yaml`, whose text is `document`."""
    tables = list(_tables(facts, document, report))
    for table in tables:
        _check_bounds(table, document, report)
        _check_gateway(table, facts, document, report)
        _check_classes(table, facts.node_classes, document, report)
    for one, other in combinations(tables, 2):
        if one.first <= other.last and other.first <= one.last:
            notes = [Note(f"`{one.name}` is here", document.span(one.at("addresses", "first")))]
            both = f"{max(one.first, other.first)} to {min(one.last, other.last)}"
            message = f"the networks `{one.name}` and `{other.name}` both give the addresses {both} to VMs"
            place, hint = document.span(other.at("addresses", "first")), "let one table begin where the other ends"
            report.add(Code.TABLES_OVERLAP, message, place, notes=notes, help=hint)


def _tables(facts: SiteFile, document: Document, report: Report) -> Iterator[_Table]:
    for name, said in facts.networks.items():
        if said.addresses is None or said.subnet is None:
            continue
        nodes = read_nodes(said.addresses.nodes)
        if isinstance(nodes, str):
            place = document.span(("networks", name, "addresses", "nodes"))
            message = f"the node set `{said.addresses.nodes}` cannot be read: {nodes}"
            hint = "write names and ascending ranges, as in n[001-128] or n1,n2"
            report.add(Code.NODE_SET, message, place, help=hint)
            continue
        first, length = IPv4Address(said.addresses.first), len(nodes) * said.addresses.slots
        last = IPv4Address(min(int(first) + length - 1, 2**32 - 1))
        yield _Table(name, IPv4Network(said.subnet), first, last, said.addresses.slots, nodes)


def _check_bounds(table: _Table, document: Document, report: Report) -> None:
    least, most = table.subnet[1], table.subnet[-2]
    place = document.span(table.at("addresses", "first"))
    if table.first < least or table.last > most:
        count = f"{len(table.nodes)} nodes with {table.slots} slots"
        message = f"the table of `{table.name}` goes from {table.first} to {table.last}, outside of {table.subnet}"
        hint = f"{count} need so many: lower `first` or `slots`, or correct `subnet` (hosts: {least} to {most})"
        report.add(Code.TABLE_BOUNDS, message, place, help=hint)
    if table.subnet.overlaps(OWN):
        message = f"the subnet of `{table.name}` overlaps {OWN}, where the nodes' isolated and NAT networks lie"
        place, hint = document.span(table.at("subnet")), "give the bridge another network"
        report.add(Code.TABLES_OVERLAP, message, place, help=hint)


def _check_gateway(table: _Table, facts: SiteFile, document: Document, report: Report) -> None:
    said = facts.networks[table.name].gateway
    if said is None:
        return
    gateway = IPv4Address(said)
    if gateway not in table.subnet:
        message, hint = f"the gateway {gateway} is outside of {table.subnet}", "a guest reaches it on the bridge alone"
    elif table.first <= gateway <= table.last:
        message, hint = f"the gateway {gateway} is in the table: a VM would have its address", "move one of them"
    else:
        return
    report.add(Code.GATEWAY, message, document.span(table.at("gateway")), help=hint)


def _check_classes(table: _Table, classes: Mapping[str, NodeClass], document: Document, report: Report) -> None:
    place = document.span(table.at("addresses", "nodes"))
    known = NodeSet()
    for name, said in classes.items():
        nodes = read_nodes(said.nodes) if said.nodes is not None else ""
        if not isinstance(nodes, NodeSet):
            return  # a class that has all nodes, or a finding already
        known |= nodes
        missing = nodes - table.nodes
        if missing and len(missing) < len(nodes):
            message = f"the network `{table.name}` has no addresses for {missing}, which `{name}` has"
            notes = [Note(f"`{name}` is here", document.span(("node_classes", name, "nodes")))]
            report.add(Code.TABLE_NODES, message, place, notes=notes, help="add them at the end of `nodes`")
        slots = _slots(said)
        if table.slots < slots and nodes & table.nodes:
            message = f"the network `{table.name}` has {table.slots} addresses for a node, `{name}` has {slots} slots"
            hint = f"write `slots: {slots}`, or tell users to ask for whole nodes: jobs that share one may get none"
            report.add(Code.FEW_ADDRESSES, message, document.span(table.at("addresses", "slots")), help=hint)
    strangers = table.nodes - known
    if strangers:
        message = f"the network `{table.name}` has addresses for {strangers}, which no node class has"
        report.add(Code.TABLE_NODES, message, place, help="correct the names, or add the nodes to their class")


def _slots(said: NodeClass) -> int:
    """How many slots the batch system counts on a node of the class: as many jobs may share it."""
    threads = said.topology.threads if said.topology else 1
    return said.cpus // threads if said.slot == "core" else said.cpus
