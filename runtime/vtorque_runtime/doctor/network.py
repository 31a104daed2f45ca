"""The networks that the site offers, as this node has them."""

import os
import uuid
from contextlib import suppress

from vtorque_runtime.doctor.node import Node, Told, error
from vtorque_runtime.network import filter_xml, host_address
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodeSite

_FORWARDING = "/proc/sys/net/ipv4/ip_forward"
_FILTER = "vt-doctor"


def networks(node: Node, site: NodeSite) -> Told:
    """Each bridge is there, up, and has the node's own address; packets can be passed on where a network needs it."""
    for offer in site.networks:
        if offer.kind == "bridge":
            try:
                yield f"{offer.name}: {offer.bridge} has {host_address(offer)}"
            except Fault as fault:
                yield error(fault.code, f"{offer.name}: {fault.message}", fault.help or "", fault.detail)
        elif offer.kind == "nat":
            switch = node.path(_FORWARDING)
            if switch.read_text(encoding="ascii").strip() != "1" and not os.access(switch, os.W_OK):
                message = f"{offer.name}: {_FORWARDING} is 0 and cannot be written, so nothing leads out of the network"
                yield error("VT0948", message, "sysctl -w net.ipv4.ip_forward=1; in a container, on its host")
            yield offer.name
        else:
            yield offer.name


def traffic_filter(node: Node, site: NodeSite) -> Told:
    """Libvirt takes a filter such as each card gets; this one is removed again."""
    wanted = [offer.name for offer in site.networks if offer.filtered and offer.kind != "user"]
    if not wanted:
        yield "no network of the site has one"
        return
    connection, own = node.connect(), str(uuid.uuid4())
    try:
        connection.create_filter(filter_xml(_FILTER, own))
        with suppress(Fault):  # what keeps it from going keeps the next doctor from making one, and then it is told
            connection.destroy_filter(own)
    finally:
        connection.close()
    yield f"works, for {', '.join(wanted)}"
