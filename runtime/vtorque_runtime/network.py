"""The isolated libvirt network of one job in the system lane; addresses come from a table, never from a hash.

Slot n has the n-th /30 of 10.213.0.0/16: the host is .1 of it, the guest .2.
"""

from ipaddress import IPv4Network
from xml.etree import ElementTree

from vtorque_spec.plan import BridgeNic

_ALL = IPv4Network("10.213.0.0/16")
_PREFIX = 30


def nic(job_id: str, slot: int) -> BridgeNic:
    """Return the card of the guest in network slot `slot` (0 to 16383)."""
    subnet = int(_ALL.network_address) + slot * 2 ** (32 - _PREFIX)
    host, guest = IPv4Network((subnet, _PREFIX)).hosts()
    return BridgeNic("bridge", mac(slot), f"vt-{job_id}", str(guest), str(host), _PREFIX)


def mac(slot: int) -> str:
    """Return the card's address: QEMU's prefix, then the slot."""
    return f"52:54:00:d5:{slot >> 8:02x}:{slot & 255:02x}"


def network_xml(card: BridgeNic, slot: int, uuid: str) -> str:
    """Return the network without a way out, DHCP or DNS (libvirt's formatnetwork.html)."""
    network = ElementTree.Element("network")
    ElementTree.SubElement(network, "name").text = card.network
    ElementTree.SubElement(network, "uuid").text = uuid
    ElementTree.SubElement(network, "bridge", name=f"vt-{slot}", stp="off", delay="0")
    ElementTree.SubElement(network, "dns", enable="no")
    ElementTree.SubElement(network, "ip", address=card.host_address, prefix=str(card.prefix))
    return ElementTree.tostring(network, encoding="unicode")
