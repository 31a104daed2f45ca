"""Who a job is for, and what only it has: keys, ports, addresses."""

import grp
import os
import pwd
import socket
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.runtime import fakes
from vtorque_runtime import host, identity, network
from vtorque_runtime.identity import find_login, key_pair, reserve_port
from vtorque_runtime.spool import open_registry
from vtorque_spec.fault import Fault


def test_a_key_pair_is_one_that_ssh_reads(tmp_path: Path) -> None:
    private, public = key_pair("a comment")
    (tmp_path / "key").write_text(private)
    (tmp_path / "key").chmod(0o600)
    done = subprocess.run(["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == public.split()[:2]
    assert public.endswith(" a comment")


def test_a_login_has_all_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.struct_passwd(("alice", "x", 12345, 54321, "", "/home/alice", ""))
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: entry)
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid, 7, 999, 54321])
    monkeypatch.setattr(grp, "getgrgid", lambda gid: {7: grp.struct_group(("lp", "", 7, [])), 54321: hpc}[gid])
    hpc = grp.struct_group(("hpc", "", 54321, []))
    login = find_login("alice", 1000, "key")
    assert [(group.name, group.gid) for group in login.groups] == [("hpc", 54321), ("lp", 7), ("gid999", 999)]
    assert (login.uid, login.home, login.public_key) == (12345, "/home/alice", "key")


@pytest.mark.parametrize(("name", "min_uid"), [("root", 0), ("root", 1000), ("daemon", 1000), ("no-such-user", 0)])
def test_who_has_no_jobs(name: str, min_uid: int) -> None:
    with pytest.raises(Fault, match="VT0901"):
        find_login(name, min_uid, "key")


def test_a_reserved_port_is_nobody_elses_but_qemus(tmp_path: Path) -> None:
    reserved = reserve_port()
    port = reserved.getsockname()[1]
    others = [reserve_port() for _ in range(50)]
    assert port not in {other.getsockname()[1] for other in others}
    with socket.socket() as plain, pytest.raises(OSError, match="in use"):
        plain.bind(("127.0.0.1", port))
    netdev = f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
    qmp = tmp_path / "qmp"
    command = ["qemu-system-x86_64", "-S", "-display", "none", "-nodefaults", "-m", "32", "-netdev", netdev]
    command += ["-device", "virtio-net-pci,netdev=n", "-qmp", f"unix:{qmp},server=on,wait=off"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as qemu:
        try:
            while not qmp.exists():
                assert qemu.poll() is None, qemu.communicate()
            with socket.socket(socket.AF_UNIX) as monitor:
                monitor.connect(str(qmp))
                assert b"QMP" in monitor.recv(16)  # as libvirt does before its create returns
            reserved.close()
            with socket.create_connection(("127.0.0.1", port)):
                pass
        finally:
            qemu.kill()
    for other in others:
        other.close()


def test_addresses_come_from_a_table() -> None:
    where = [("10.213.0.0/30", 0), ("10.213.0.4/30", 0), ("10.213.2.0/23", 255), ("10.213.255.248/29", 4)]
    cards = [network.nic("local-1", block, index) for block, index in where]
    assert [(card.host_address, card.address, card.prefix, card.mac) for card in cards] == [
        ("10.213.0.1", "10.213.0.2", 30, "52:54:00:d5:00:02"),
        ("10.213.0.5", "10.213.0.6", 30, "52:54:00:d5:00:06"),
        ("10.213.2.1", "10.213.3.1", 23, "52:54:00:d5:03:01"),
        ("10.213.255.249", "10.213.255.254", 29, "52:54:00:d5:ff:fe"),
    ]
    assert {card.network for card in cards} == {"vt-local-1"}


@pytest.mark.parametrize("vms", [1, 2, 5, 6, 13, 14, 255, 256])
def test_a_block_holds_all_vms_and_is_no_larger_than_needed(vms: int) -> None:
    first = network.free_block(vms, ())
    assert first is not None
    whole = IPv4Network(first)
    hosts = {str(host) for host in whole.hosts()}
    cards = [network.nic("j", first, index) for index in range(vms)]
    used = {card.address for card in cards} | {cards[0].host_address}
    assert len(used) == vms + 1
    assert used <= hosts
    assert len({card.mac for card in cards}) == vms
    assert whole.num_addresses // 2 < vms + 3 <= whole.num_addresses
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


def test_a_network_has_no_way_out() -> None:
    block = "10.213.255.252/30"
    xml = network.network_xml(network.nic("local-1", block, 0), block, "uuid")
    assert "forward" not in xml
    assert "dhcp" not in xml
    assert 'name="vt-16383"' in xml  # a bridge's name has at most 15 bytes
    assert 'address="10.213.255.253" prefix="30"' in xml


def test_each_vm_has_an_identity_of_its_own(tmp_path: Path) -> None:
    for lane in ("system", "session"):
        (tmp_path / lane).mkdir()
        with fakes.reserved(tmp_path / lane, lane, vms=3) as reserved:  # type: ignore[arg-type] # a lane
            slots = reserved.context.slots
            assert [slot.index for slot in slots] == [0, 1, 2]
            assert [slot.hostname for slot in slots] == ["vnode-0", "vnode-1", "vnode-2"]
            for name in ("uuid", "nonce", "host_key", "nic"):
                assert len({getattr(slot, name) for slot in slots}) == 3
            assert len({slot.nic.mac for slot in slots}) == 3
            assert len(reserved.ports) == (3 if lane == "session" else 0)


def test_a_draft_knows_what_the_site_keeps_for_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = host.HostFacts(fakes.node_cells(), (), tuple(range(32)), fakes.GIB, "qemu", "none")
    monkeypatch.setattr(identity, "connect", lambda _uri: fakes.FileHypervisor(str(tmp_path)))
    monkeypatch.setattr(fakes.FileHypervisor, "close", lambda _self: None, raising=False)
    monkeypatch.setattr(host, "facts", lambda _hypervisor: found)
    monkeypatch.setattr(identity, "find_login", lambda _user, _min_uid, key: fakes.login(key))
    for cores, cpus in ((0, ()), (2, (0, 1, 16, 17))):
        made = identity.draft(
            user="tester", images=tmp_path, min_uid=0, slot="core", host_cores=cores, lane="session", base=tmp_path
        )
        assert (made.context.slot, made.context.host_cpus) == ("core", cpus)


def test_what_was_reserved_is_given_back(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path, "session") as reserved:
        (port,) = [one.getsockname()[1] for one in reserved.ports]
        assert open_registry("session", tmp_path / "base").registrations() == [reserved.registration]
    assert open_registry("session", tmp_path / "base").registrations() == []
    with socket.socket() as plain:
        plain.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("name", "node"), [("N001.cluster.org", "n001"), ("a_b", "a-b"), ("", "node"), ("-", "node"), ("x" * 64, "x" * 50)]
)
def test_a_node_name_can_stand_in_a_host_name(monkeypatch: pytest.MonkeyPatch, name: str, node: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert identity.node_name() == node
