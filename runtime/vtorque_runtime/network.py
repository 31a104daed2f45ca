"""The networks of a job on this node: which addresses its VMs have, and the XML of what the runtime makes for them.

Addresses come from tables, never from a hash. On a bridge of the site's it is the site's table of node and VM slot
(`AddressTable`). Elsewhere a job has the lowest free block of 10.213.0.0/16 that holds its VMs on this node, the host,
a server of what OSv guests write to, and the two addresses that no machine may have: a /29 for one VM, a /23 for 256;
the range is enough for 8,192 jobs of one VM. The host is the first address of the block, VM n is number n + 2, the
server is the last.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any
from xml.etree import ElementTree

from vtorque_runtime.batch.contract import Share
from vtorque_spec.fault import Fault
from vtorque_spec.plan import JobVm, OfferedNetwork, TapNic

_ALL = IPv4Network("10.213.0.0/16")
_NODE_NAME_LIMIT = 50
"""Of what `vNODE-INDEX` takes from the node's name: a host name has 63 characters."""
_IP_LIMIT_S = 10
_ALLOWED: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("accept", "ip", {"srcmacaddr": "$MAC", "srcipaddr": "$IP"}),
    ("accept", "arp", {"srcmacaddr": "$MAC", "arpsrcmacaddr": "$MAC", "arpsrcipaddr": "$IP"}),
    ("drop", "mac", {}),
)
"""What may leave a guest, in this order: IPv4 and ARP in its own name, and nothing else (so no IPv6)."""


def free_block(vms: int, taken: Iterable[str]) -> str | None:
    """Return the lowest block for so many VMs that overlaps none of `taken` (`10.213.0.8/29`); None: none left."""
    prefix = _ALL.max_prefixlen - (vms + 3).bit_length()
    others = [IPv4Network(block) for block in taken]
    blocks = _ALL.subnets(new_prefix=prefix)
    return next((str(block) for block in blocks if not any(block.overlaps(other) for other in others)), None)


def first_slot(block: str) -> int:
    """Return a VM slot that starts as many as the block holds VMs, and that no job with another block has."""
    return int(IPv4Network(block).network_address) - int(_ALL.network_address)


def node_name(name: str) -> str:
    """Return what a node is called within its cluster, in the letters that a host name may have."""
    short = re.sub(r"[^a-z0-9-]", "-", name.partition(".")[0].lower())
    return short[:_NODE_NAME_LIMIT].strip("-") or "node"


def job_vms(
    offer: OfferedNetwork, shares: Sequence[Share], rank: int, vms_per_node: int, block: str, *, exclusive: bool
) -> tuple[JobVm, ...]:
    """Return all VMs of the job in rank order; each of its nodes finds the same, but for what lies in its own `block`.

    `rank` is this node's place among `shares`. Where several jobs may be on a node (not `exclusive`), a VM's slot is
    counted from the job's first batch slot there, which no other job has. Raises Fault VT0941.
    """
    names = [node_name(share.node) for share in shares]
    if len(set(names)) < len(names):
        hint = "give the nodes names that differ in their first 50 letters and digits"
        raise Fault("VT0941", f"two nodes of the job would have guests of one name: {', '.join(names)}", help=hint)
    table = _places(offer)
    found = []
    for place, (share, name) in enumerate(zip(shares, names, strict=True)):
        for index in range(vms_per_node):
            address = None
            if offer.kind == "bridge":
                address = _of_table(offer, table.get(name), share, index, exclusive=exclusive)
            elif offer.kind != "user" and place == rank:
                address = str(IPv4Network(block)[index + 2])
            found.append(JobVm(share.node, index, f"v{name}-{index}", address))
    return tuple(found)


def _places(offer: OfferedNetwork) -> dict[str, int]:
    """The place of each node in the network's table, by its name; a name that is there twice has none."""
    found: dict[str, int] = {}
    twice = set()
    for place, node in enumerate(offer.table.nodes if offer.table else ()):
        name = node_name(node)
        twice |= {name} & found.keys()
        found[name] = place
    return {name: place for name, place in found.items() if name not in twice}


def _of_table(offer: OfferedNetwork, place: int | None, share: Share, index: int, *, exclusive: bool) -> str:
    table, slot = offer.table, index if exclusive else share.first_slot + index
    if table is None or place is None:
        hint = (
            f"name it once in `networks.{offer.name}.addresses.nodes` of site.yaml, or name another network in the job"
        )
        raise Fault("VT0941", f"the network `{offer.name}` has no addresses for the node {share.node}", help=hint)
    if slot >= table.slots:
        hint = f"raise `networks.{offer.name}.addresses.slots` of site.yaml, ask for whole nodes (`exclusive: true`), "
        message = f"VM {index} of the job on {share.node} has the slot {slot}, and `{offer.name}` has {table.slots}"
        raise Fault("VT0941", message, help=hint + "or lower `vms_per_node`")
    if not exclusive and index >= share.slots:
        message = (
            f"the job has {share.slots} slots of {share.node}, and more VMs: the next job may have their addresses"
        )
        raise Fault("VT0941", message, help="ask for whole nodes (`exclusive: true`), or lower `vms_per_node`")
    address = IPv4Address(int(IPv4Address(table.first)) + place * table.slots + slot)
    if offer.subnet is None or address not in IPv4Network(offer.subnet):
        message = f"VM {index} on {share.node} would have {address}, outside of {offer.subnet}"
        raise Fault("VT0941", message, help="see what is wrong with the table: vtorque site check")
    return str(address)


def card(offer: OfferedNetwork, vm: JobVm, job_id: str, block: str) -> TapNic:
    """Return the card of one of this node's VMs on any network but QEMU's own.

    Raises Fault VT0940 where the node's bridge is not as the site says, VT0905.
    """
    assert vm.address is not None  # noqa: S101 - `job_vms` gives all VMs of this node one, on such a network
    own = IPv4Network(block)
    host, prefix = str(own[1]), own.prefixlen
    if offer.kind == "bridge":
        host, prefix = host_address(offer), IPv4Network(offer.subnet or "").prefixlen
    return TapNic(
        kind="bridge" if offer.kind == "bridge" else "network",
        mac=mac(vm.address),
        source=(offer.bridge or "") if offer.kind == "bridge" else f"vt-{job_id}",
        filter=link_name(block) if offer.filtered else None,
        address=vm.address,
        prefix=prefix,
        host_address=host,
        gateway=host if offer.kind == "nat" else offer.gateway,
        dns=offer.dns,
        search=offer.search,
        ntp=offer.ntp,
    )


def mac(address: str) -> str:
    """Return the hardware address of the card that has this address: no two in one network are alike."""
    return ":".join(f"{byte:02x}" for byte in (0x52, 0x54, *IPv4Address(address).packed))


def user_mac(block: str, index: int) -> str:
    """Return the hardware address of a card on QEMU's own network, where addresses are QEMU's to give."""
    return mac(str(IPv4Network(block)[index + 2]))


def host_address(offer: OfferedNetwork) -> str:
    """Return the node's own address on the site's bridge. Raises Fault VT0940 where it has none, VT0905."""
    bridge = offer.bridge or ""
    found = _links("-4", "addr", "show", "type", "bridge")
    link = next((one for one in found if one.get("ifname") == bridge), None)
    if link is None:
        hint = f"make the bridge on each node, with an address of {offer.subnet}, before the batch system starts"
        raise Fault("VT0940", f"this node has no bridge {bridge} with an IPv4 address", help=hint)
    if "UP" not in link.get("flags", ()):
        raise Fault("VT0940", f"the bridge {bridge} of this node is down", help=f"ip link set {bridge} up")
    for one in link.get("addr_info", ()):
        if IPv4Address(one["local"]) in IPv4Network(offer.subnet or ""):
            return str(IPv4Interface(one["local"]).ip)
    hint = f"give it one on each node: guests reach their node at that address, and nodes their guests through {bridge}"
    raise Fault("VT0940", f"the bridge {bridge} of this node has no address in {offer.subnet}", help=hint)


def _links(*words: str) -> list[dict[str, Any]]:
    """What ip(8) says; links without what is asked for are empty mappings."""
    try:
        argv = ["ip", "-json", *words]
        done = subprocess.run(argv, capture_output=True, timeout=_IP_LIMIT_S, check=True, stdin=subprocess.DEVNULL)
        links: list[dict[str, Any]] = json.loads(done.stdout or b"[]")
    except FileNotFoundError:
        raise Fault("VT0905", "this host has no ip(8)", help="apt install iproute2") from None
    except (subprocess.SubprocessError, ValueError) as error:
        raise Fault("VT0940", "the node's bridges cannot be listed", detail=f"{' '.join(argv)}: {error}") from None
    return links


def network_xml(card: TapNic, block: str, uuid: str) -> str:
    """Return the libvirt network of a card of the kind `network` (libvirt's formatnetwork.html).

    It has neither DHCP nor DNS, and a way out, by address translation, where the card has a gateway.
    """
    network = ElementTree.Element("network")
    ElementTree.SubElement(network, "name").text = card.source
    ElementTree.SubElement(network, "uuid").text = uuid
    if card.gateway is not None:
        ElementTree.SubElement(network, "forward", mode="nat")
    ElementTree.SubElement(network, "bridge", name=link_name(block), stp="off", delay="0")
    ElementTree.SubElement(network, "dns", enable="no")
    ElementTree.SubElement(network, "ip", address=card.host_address, prefix=str(card.prefix))
    return ElementTree.tostring(network, encoding="unicode")


def link_name(block: str) -> str:
    """Return what the job's bridge and its filter are called: neither takes all that is in a job's id."""
    return f"vt-{first_slot(block) // 4}"


def filter_xml(name: str, uuid: str) -> str:
    """Return the filter for guests' cards (libvirt's formatnwfilter.html): each sends in its own name alone.

    All of it is matched on the bridge's side of the guest's tap, so the guest cannot change it.
    """
    found = ElementTree.Element("filter", name=name, chain="root")
    ElementTree.SubElement(found, "uuid").text = uuid
    for priority, (action, protocol, match) in enumerate(_ALLOWED, 1):
        rule = ElementTree.SubElement(found, "rule", action=action, direction="out", priority=str(100 * priority))
        ElementTree.SubElement(rule, protocol, match)
    return ElementTree.tostring(found, encoding="unicode")
