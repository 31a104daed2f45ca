"""Addresses and names of a job's VMs, and what the runtime asks of libvirt."""

import json
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime import fakes
from tests.runtime.fakes import ISOLATED
from vtorque_runtime import identity, network
from vtorque_runtime.batch.contract import Share
from vtorque_runtime.network import job_vms
from vtorque_spec.fault import Fault
from vtorque_spec.plan import AddressTable, JobVm, OfferedNetwork, TapNic, UserNic

NODES = tuple(f"n{number:03d}" for number in range(1, 33))
BRIDGE = OfferedNetwork(
    "cluster", "bridge", True, "br0", "10.20.0.0/16", AddressTable("10.20.1.0", 16, NODES), "10.20.0.1",
    ("10.20.0.53",), ("example.org",), ("ntp.example.org",),
)  # fmt: skip
NAT = replace(ISOLATED, name="out", kind="nat", dns=("10.0.0.53",))
USER = replace(ISOLATED, name="own", kind="user")
BLOCK = "10.213.0.8/29"


def share(node: str, slots: int = 8, first_slot: int = 0) -> Share:
    """What a job has of a node."""
    return Share(node, slots, first_slot, None, None)


def ip_says(monkeypatch: pytest.MonkeyPatch, links: object) -> None:
    """What `ip -json addr` answers."""
    done = SimpleNamespace(stdout=json.dumps(links).encode())
    monkeypatch.setattr(subprocess, "run", lambda *_arguments, **_options: done)


LINK = {"ifname": "br0", "flags": ["BROADCAST", "UP"], "addr_info": [{"local": "192.0.2.1"}, {"local": "10.20.200.7"}]}


# --- the block of a job on a node -----------------------------------------------------------------------------------


def card_of(block: str, index: int, offer: OfferedNetwork = ISOLATED) -> TapNic:
    """The card of VM `index` of a job that has the block."""
    vm = job_vms(offer, [share("node", 256)], 0, index + 1, block, exclusive=True)[index]
    return network.card(offer, vm, "local-1", block)


def test_addresses_come_from_a_table() -> None:
    where = [("10.213.0.0/29", 0), ("10.213.0.8/29", 0), ("10.213.2.0/23", 255), ("10.213.255.240/28", 4)]
    cards = [card_of(block, index) for block, index in where]
    assert [(card.host_address, card.address, card.prefix, card.mac) for card in cards] == [
        ("10.213.0.1", "10.213.0.2", 29, "52:54:0a:d5:00:02"),
        ("10.213.0.9", "10.213.0.10", 29, "52:54:0a:d5:00:0a"),
        ("10.213.2.1", "10.213.3.1", 23, "52:54:0a:d5:03:01"),
        ("10.213.255.241", "10.213.255.246", 28, "52:54:0a:d5:ff:f6"),
    ]
    assert {(card.source, card.kind, card.gateway) for card in cards} == {("vt-local-1", "network", None)}


@pytest.mark.parametrize("vms", [1, 2, 5, 6, 13, 14, 255, 256])
def test_a_block_holds_all_vms_and_is_no_larger_than_needed(vms: int) -> None:
    first = network.free_block(vms, ())
    assert first is not None
    whole = IPv4Network(first)
    hosts = {str(host) for host in whole.hosts()}
    cards = [card_of(first, index) for index in range(vms)]
    used = {card.address for card in cards} | {cards[0].host_address}
    assert len(used) == vms + 1
    assert used <= hosts
    assert len({card.mac for card in cards}) == vms
    assert str(whole[-2]) not in used, "the last one serves what OSv guests write to"
    assert whole.num_addresses // 2 < vms + 4 <= whole.num_addresses
    second = network.free_block(vms, [first])
    assert second is not None
    assert not IPv4Network(second).overlaps(whole)


def test_blocks_of_all_sizes_do_not_overlap() -> None:
    taken: list[str] = []
    for vms in (1, 256, 1, 7, 2, 100, 1, 3, 256):
        block = network.free_block(vms, taken)
        assert block is not None
        assert not any(IPv4Network(block).overlaps(IPv4Network(other)) for other in taken)
        taken.append(block)
    assert network.free_block(1, ["10.213.0.0/16"]) is None


# --- the site's table -----------------------------------------------------------------------------------------------


def test_a_table_gives_each_slot_of_each_node_its_address() -> None:
    shares = [share("n002"), share("n001.cluster.example.org"), share("n032")]
    found = job_vms(BRIDGE, shares, 1, 2, BLOCK, exclusive=True)
    assert [(vm.node, vm.index, vm.hostname, vm.address) for vm in found] == [
        ("n002", 0, "vn002-0", "10.20.1.16"),
        ("n002", 1, "vn002-1", "10.20.1.17"),
        ("n001.cluster.example.org", 0, "vn001-0", "10.20.1.0"),
        ("n001.cluster.example.org", 1, "vn001-1", "10.20.1.1"),
        ("n032", 0, "vn032-0", "10.20.2.240"),
        ("n032", 1, "vn032-1", "10.20.2.241"),
    ]
    shared = job_vms(BRIDGE, [share("n002", 4, first_slot=8)], 0, 2, BLOCK, exclusive=False)
    assert [vm.address for vm in shared] == ["10.20.1.24", "10.20.1.25"]


@st.composite
def jobs_of_nodes(draw: st.DrawFn) -> list[tuple[list[Share], int, bool]]:
    """Jobs as a batch system gives out its nodes: whole, or slots of them that no other job has."""
    left = dict.fromkeys(draw(st.permutations(NODES[:6])), 0)
    jobs = []
    while left and draw(st.booleans()):
        exclusive = draw(st.booleans())
        vms = draw(st.integers(1, 4))
        free = [node for node, used in left.items() if used + vms <= (16 if not exclusive or used == 0 else 0)]
        nodes = free[: draw(st.integers(1, 3))]
        if not nodes:
            break
        jobs.append(([share(node, vms, left[node]) for node in nodes], vms, exclusive))
        for node in nodes:
            left[node] = 16 if exclusive else left[node] + vms
    return jobs


@given(jobs_of_nodes())
def test_no_two_vms_share_an_address_or_a_mac(jobs: list[tuple[list[Share], int, bool]]) -> None:
    """Over all jobs and nodes, and each node of a job derives the same."""
    found: list[JobVm] = []
    for shares, vms, exclusive in jobs:
        ranks = [job_vms(BRIDGE, shares, rank, vms, BLOCK, exclusive=exclusive) for rank in range(len(shares))]
        assert len(set(ranks)) == 1
        found += ranks[0]
    addresses = [str(vm.address) for vm in found]
    assert len(set(addresses)) == len({network.mac(address) for address in addresses}) == len(found)
    first, last = IPv4Address("10.20.1.0"), IPv4Address("10.20.2.255")
    assert all(first <= IPv4Address(address) <= last for address in addresses)


@given(st.lists(st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number))), unique=True))
def test_a_mac_is_of_one_address_and_of_no_group(addresses: list[str]) -> None:
    macs = {network.mac(address) for address in addresses}
    assert len(macs) == len(addresses)
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)  # given locally, to one card


@pytest.mark.parametrize(
    ("shares", "vms", "exclusive", "words"),
    [
        ([share("n999")], 1, True, "no addresses for the node n999"),
        ([share("n001")], 17, True, "VM 16 of the job on n001 has the slot 16"),
        ([share("n001", 4, first_slot=14)], 3, False, "has the slot 16"),
        ([share("n001", 1)], 2, False, "the next job may have their addresses"),
        ([share("n-1"), share("n_1")], 1, True, "guests of one name: n-1, n-1"),
    ],
)
def test_a_vm_without_an_address_of_its_own_is_a_fault(
    shares: list[Share], vms: int, exclusive: bool, words: str
) -> None:
    with pytest.raises(Fault, match=words) as raised:
        job_vms(BRIDGE, shares, 0, vms, BLOCK, exclusive=exclusive)
    assert raised.value.code == "VT0941"
    assert raised.value.help


@pytest.mark.parametrize("first", ["10.19.255.255", "10.21.0.0"])
def test_a_table_that_leaves_its_subnet_gives_nothing(first: str) -> None:
    outside = replace(BRIDGE, table=AddressTable(first, 1, NODES))
    with pytest.raises(Fault, match=r"outside of 10\.20\.0\.0/16"):
        job_vms(outside, [share("n001")], 0, 1, BLOCK, exclusive=True)
    twice = replace(BRIDGE, table=AddressTable("10.20.1.0", 1, ("n001", "n002", "n001.other")))
    with pytest.raises(Fault, match="no addresses for the node n001"):
        job_vms(twice, [share("n001")], 0, 1, BLOCK, exclusive=True)


def test_elsewhere_only_this_node_knows_its_addresses() -> None:
    shares = [share("n001"), share("n002")]
    for offer, own in (
        (ISOLATED, ["10.213.0.10", "10.213.0.11"]),
        (NAT, ["10.213.0.10", "10.213.0.11"]),
        (USER, [None, None]),
    ):
        found = job_vms(offer, shares, 1, 2, BLOCK, exclusive=True)
        assert [vm.address for vm in found] == [None, None, *own]
        assert found[0].names == ("vn001-0",)


# --- cards ----------------------------------------------------------------------------------------------------------


def test_a_card_on_a_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    ip_says(monkeypatch, [{}, LINK])
    assert card_of(BLOCK, 0, replace(BRIDGE, table=AddressTable("10.20.1.0", 16, ("node",)))) == TapNic(
        "bridge", "52:54:0a:14:01:00", "br0", "vt-2", "10.20.1.0", 16, "10.20.200.7", "10.20.0.1", ("10.20.0.53",),
        ("example.org",), ("ntp.example.org",),
    )  # fmt: skip


def test_a_card_on_a_network_of_the_jobs_own() -> None:
    isolated, nat = card_of(BLOCK, 1), card_of(BLOCK, 1, NAT)
    assert (isolated.source, isolated.filter, isolated.gateway) == ("vt-local-1", "vt-2", None)
    assert nat == replace(isolated, gateway="10.213.0.9", dns=("10.0.0.53",))
    assert card_of(BLOCK, 1, replace(NAT, filtered=False)).filter is None


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ([], "no bridge br0"),
        ([{**LINK, "ifname": "br1"}], "no bridge br0"),
        ([{**LINK, "flags": ["BROADCAST"]}], "is down"),
        ([{**LINK, "addr_info": [{"local": "192.0.2.1"}]}], r"no address in 10\.20\.0\.0/16"),
    ],
)
def test_a_node_without_its_bridge_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, links: list[dict[str, object]], words: str
) -> None:
    ip_says(monkeypatch, links)
    with pytest.raises(Fault, match=words) as raised:
        network.host_address(BRIDGE)
    assert raised.value.code == "VT0940"


def test_this_hosts_bridges_can_be_read() -> None:
    with pytest.raises(Fault, match="no bridge vtorque-none"):
        network.host_address(replace(BRIDGE, bridge="vtorque-none"))


def test_an_ordinary_users_guests_are_on_qemus_network(tmp_path: Path) -> None:
    for offer, restricted in ((ISOLATED, True), (USER, False)):
        (tmp_path / offer.name).mkdir()
        with identity.reserve(fakes.draft(tmp_path / offer.name, "session"), 2, offer) as reserved:
            cards = [slot.nic for slot in reserved.context.slots]
            assert all(isinstance(card, UserNic) and card.restricted is restricted for card in cards)
            assert len(reserved.ports) == 2
    (tmp_path / "no").mkdir()
    draft = fakes.draft(tmp_path / "no", "session")
    for offer in (NAT, replace(BRIDGE, table=AddressTable("10.20.1.0", 16, ("node",)))):
        with pytest.raises(Fault, match=f"has no {offer.kind} network") as raised:
            identity.cards_for(offer, (), draft.registry.register(f"local-{offer.kind}", 1)[1])
        assert raised.value.code == "VT0906"


def test_roots_guests_are_on_qemus_network_where_the_site_says_so(tmp_path: Path) -> None:
    with identity.reserve(fakes.draft(tmp_path), 2, USER) as reserved:
        assert [type(slot.nic) for slot in reserved.context.slots] == [UserNic, UserNic]
        assert len(reserved.ports) == 2
        assert [vm.address for vm in reserved.context.vms] == [None, None]


def test_jobs_of_one_machine_have_other_slots_of_a_bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ip_says(monkeypatch, [LINK])
    offer = replace(BRIDGE, table=AddressTable("10.20.1.0", 16, ("node",)))
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(fakes, "image_store", lambda _directory: ())
    with (
        identity.reserve(fakes.draft(tmp_path, number=1), 2, offer) as one,
        identity.reserve(fakes.draft(tmp_path, number=2), 1, offer) as other,
    ):
        assert [vm.address for vm in one.context.vms] == ["10.20.1.0", "10.20.1.1"]
        assert [vm.address for vm in other.context.vms] == ["10.20.1.8"]


# --- what libvirt is asked for --------------------------------------------------------------------------------------


def test_an_isolated_network_has_no_way_out() -> None:
    block = "10.213.255.248/29"
    xml = network.network_xml(card_of(block, 0), block, "uuid")
    assert "forward" not in xml
    assert "dhcp" not in xml
    assert 'name="vt-16382"' in xml  # a bridge's name has at most 15 bytes
    assert 'address="10.213.255.249" prefix="29"' in xml
    assert '<forward mode="nat" />' in network.network_xml(card_of(block, 0, NAT), block, "uuid")


def test_the_filter_lets_ipv4_and_arp_in_the_guests_own_name_out_and_nothing_else() -> None:
    rules = ElementTree.fromstring(network.filter_xml("vt-2", "uuid")).findall("rule")
    assert {rule.get("direction") for rule in rules} == {"out"}
    assert [(rule.get("action"), rule[0].tag, rule[0].attrib) for rule in rules] == [
        ("accept", "ip", {"srcmacaddr": "$MAC", "srcipaddr": "$IP"}),
        ("accept", "arp", {"srcmacaddr": "$MAC", "arpsrcmacaddr": "$MAC", "arpsrcipaddr": "$IP"}),
        ("drop", "mac", {}),
    ]
    assert sorted(rules, key=lambda rule: int(rule.get("priority", ""))) == rules
