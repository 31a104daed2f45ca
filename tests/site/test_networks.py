"""The networks that a site offers, as root on a node gets them, and what they may be."""

import dataclasses
from typing import Any

import pytest
from pydantic import ValidationError

from tests.spec.helpers import site
from vtorque_runtime import network
from vtorque_spec.fault import Fault
from vtorque_spec.plan import AddressTable, OfferedNetwork
from vtorque_spec.site.address_tables import OWN
from vtorque_spec.site.network import SiteNetwork
from vtorque_spec.site.offers import offered_networks

BRIDGE: dict[str, Any] = {
    "kind": "bridge",
    "bridge": "br0",
    "subnet": "10.20.0.0/16",
    "addresses": {"first": "10.20.1.0", "slots": 4, "nodes": "n[9-11],a1"},
}


def offered(**networks: dict[str, Any]) -> tuple[OfferedNetwork, ...]:
    made = {name: SiteNetwork.model_validate(said) for name, said in networks.items()}
    return offered_networks(dataclasses.replace(site(), networks=made))


def test_a_network_that_says_nothing_is_filtered_and_has_nothing() -> None:
    assert offered(b={"kind": "user"}, a={"kind": "isolated"}, c={"kind": "nat", "unfiltered": True}) == tuple(
        OfferedNetwork(name, kind, filtered, None, None, None, None, (), (), ())
        for name, kind, filtered in (("a", "isolated", True), ("b", "user", True), ("c", "nat", False))
    )


def test_the_nodes_of_a_table_are_counted_as_clustershell_counts_them() -> None:
    (found,) = offered(a=BRIDGE | {"gateway": "10.20.0.1", "dns": ["10.20.0.53"], "ntp": ["ntp.example.org"]})
    assert found.table == AddressTable("10.20.1.0", 4, ("a1", "n9", "n10", "n11"))
    assert (found.bridge, found.subnet, found.gateway) == ("br0", "10.20.0.0/16", "10.20.0.1")
    assert (found.dns, found.search, found.ntp) == (("10.20.0.53",), (), ("ntp.example.org",))


def test_a_table_whose_nodes_cannot_be_read_is_a_fault() -> None:
    with pytest.raises(Fault, match="VT0941"):
        offered(a=BRIDGE | {"addresses": {"first": "10.20.1.0", "slots": 4, "nodes": "n[9-1]"}})


def test_the_range_of_the_nodes_own_networks_is_one() -> None:
    block = network.free_block(65532, ())
    assert block == str(OWN)


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "isolated", "dns": ["10.0.0.1"]},
        {"kind": "nat", "gateway": "10.0.0.1"},
        {"kind": "user", "unfiltered": True},
        {"kind": "user", "dns": ["10.0.0.1"]},
        {name: value for name, value in BRIDGE.items() if name != "subnet"},
        BRIDGE | {"subnet": "10.20.0.0/31"},
        BRIDGE | {"subnet": "10.20.0.0/0"},
        BRIDGE | {"subnet": "10.20.1.0/16"},
        BRIDGE | {"gateway": "10.20.0.01"},
        BRIDGE | {"bridge": "br0; rm"},
        BRIDGE | {"ntp": ["a b"]},
        BRIDGE | {"search": ["-a"]},
    ],
)
def test_what_no_network_can_say(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SiteNetwork.model_validate(said)
