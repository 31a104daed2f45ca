"""The isolated libvirt network that the VMs of one job on this node share, in the system lane.

Addresses come from a table, never from a hash: a job has the lowest free block of 10.213.0.0/16 that holds all its VMs,
the host, and the two addresses that no machine may have. That is a /30 for one VM, a /23 for 256; the range is enough
for 16,384 jobs of one VM. The host is the first address of the block, VM n is number n + 2.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network
from xml.etree import ElementTree

from vtorque_spec.plan import BridgeNic

_ALL = IPv4Network("10.213.0.0/16")


def free_block(vms: int, taken: Iterable[str]) -> str | None:
    """Return the lowest block for so many VMs that overlaps none of `taken` (`10.213.0.8/29`); None: none left."""
    prefix = _ALL.max_prefixlen - (vms + 2).bit_length()
    others = [IPv4Network(block) for block in taken]
    blocks = _ALL.subnets(new_prefix=prefix)
    return next((str(block) for block in blocks if not any(block.overlaps(other) for other in others)), None)


def nic(job_id: str, block: str, index: int) -> BridgeNic:
    """Return the card of the job's VM number `index`."""
    network = IPv4Network(block)
    host, guest = network[1], network[index + 2]
    return BridgeNic("bridge", mac(block, index), f"vt-{job_id}", str(guest), str(host), network.prefixlen)


def mac(block: str, index: int) -> str:
    """Return the card's hardware address: QEMU's prefix, then what tells the VM's address from others of the range."""
    _, _, high, low = IPv4Network(block)[index + 2].packed
    return f"52:54:00:d5:{high:02x}:{low:02x}"


def network_xml(card: BridgeNic, block: str, uuid: str) -> str:
    """Return the network without a way out, DHCP or DNS (libvirt's formatnetwork.html)."""
    number = (int(IPv4Network(block).network_address) - int(_ALL.network_address)) // 4
    network = ElementTree.Element("network")
    ElementTree.SubElement(network, "name").text = card.network
    ElementTree.SubElement(network, "uuid").text = uuid
    ElementTree.SubElement(network, "bridge", name=f"vt-{number}", stp="off", delay="0")
    ElementTree.SubElement(network, "dns", enable="no")
    ElementTree.SubElement(network, "ip", address=card.host_address, prefix=str(card.prefix))
    return ElementTree.tostring(network, encoding="unicode")
