"""Who a job is for, and what only it has: keys, ports, addresses."""

import grp
import os
import pwd
import socket
import subprocess
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
    cards = [network.nic("local-1", slot) for slot in (0, 1, 64, 16383)]
    assert [(card.host_address, card.address, card.mac) for card in cards] == [
        ("10.213.0.1", "10.213.0.2", "52:54:00:d5:00:00"),
        ("10.213.0.5", "10.213.0.6", "52:54:00:d5:00:01"),
        ("10.213.1.1", "10.213.1.2", "52:54:00:d5:00:40"),
        ("10.213.255.253", "10.213.255.254", "52:54:00:d5:3f:ff"),
    ]


def test_a_network_has_no_way_out() -> None:
    xml = network.network_xml(network.nic("local-1", 16383), 16383, "uuid")
    assert "forward" not in xml
    assert "dhcp" not in xml
    assert 'name="vt-16383"' in xml  # a bridge's name has at most 15 bytes


def test_what_was_reserved_is_given_back(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path, "session") as reserved:
        assert reserved.port is not None
        port = reserved.port.getsockname()[1]
        assert open_registry("session", tmp_path / "base").registrations() == [reserved.registration]
    assert open_registry("session", tmp_path / "base").registrations() == []
    with socket.socket() as plain:
        plain.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("name", "node"), [("N001.cluster.org", "n001"), ("a_b", "a-b"), ("", "node"), ("-", "node"), ("x" * 64, "x" * 50)]
)
def test_a_node_name_can_stand_in_a_host_name(monkeypatch: pytest.MonkeyPatch, name: str, node: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert identity._node_name() == node


@pytest.mark.parametrize(("text", "cpus"), [("0\n", (0,)), ("0-3,8", (0, 1, 2, 3, 8)), ("", ())])
def test_cpu_lists(text: str, cpus: tuple[int, ...]) -> None:
    assert host.cpu_list(text) == cpus
