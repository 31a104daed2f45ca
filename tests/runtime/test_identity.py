"""Who a job is for, and what only it has: keys, ports, addresses."""

import contextlib
import grp
import os
import pwd
import socket
import subprocess
from pathlib import Path

import pytest

from tests.runtime import fakes
from vtorque_runtime import host, identity
from vtorque_runtime.identity import find_login, reserve_port
from vtorque_runtime.spool import open_registry
from vtorque_spec.fault import Fault


def test_a_login_has_all_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.struct_passwd(("alice", "x", 12345, 54321, "", "/home/alice", ""))
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: entry)
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid, 7, 999, 54321])
    monkeypatch.setattr(grp, "getgrgid", lambda gid: {7: grp.struct_group(("lp", "", 7, [])), 54321: hpc}[gid])
    hpc = grp.struct_group(("hpc", "", 54321, []))
    login = find_login("alice", 1000)
    assert [(group.name, group.gid) for group in login.groups] == [("hpc", 54321), ("lp", 7), ("gid999", 999)]
    assert (login.uid, login.home) == (12345, "/home/alice")


@pytest.mark.parametrize(("name", "min_uid"), [("root", 0), ("root", 1000), ("daemon", 1000), ("no-such-user", 0)])
def test_who_has_no_jobs(name: str, min_uid: int) -> None:
    with pytest.raises(Fault, match="VT0901"):
        find_login(name, min_uid)


def test_a_reserved_port_is_nobody_elses_but_qemus(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        reserved, *others = [held.enter_context(reserve_port()) for _ in range(51)]
        port = reserved.getsockname()[1]
        assert port not in {other.getsockname()[1] for other in others}
        with socket.socket() as plain, pytest.raises(OSError, match="in use"):
            plain.bind(("127.0.0.1", port))
        netdev = f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
        qmp = held.enter_context(socket.socket(socket.AF_UNIX))
        qmp.bind(str(tmp_path / "qmp"))
        qmp.listen()
        command = ["qemu-system-x86_64", "-S", "-display", "none", "-nodefaults", "-m", "32", "-netdev", netdev]
        command += ["-device", "virtio-net-pci,netdev=n", "-qmp", f"unix:{tmp_path / 'qmp'}"]
        with subprocess.Popen(command) as qemu:
            try:
                qmp.settimeout(60)
                with qmp.accept()[0] as monitor:
                    assert b"QMP" in monitor.recv(16)  # as libvirt does before its create returns
                reserved.close()
                with socket.create_connection(("127.0.0.1", port)):
                    pass
            finally:
                qemu.kill()


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
    monkeypatch.setattr(host, "facts", lambda _hypervisor, *, emulated: found)
    monkeypatch.setattr(identity, "find_login", lambda _user, _min_uid: fakes.login())
    for cores, cpus in ((0, ()), (2, (0, 1, 16, 17))):
        site = fakes.site(slot="core", host_cores=cores)
        made = identity.draft("tester", tmp_path, site, "session", tmp_path)
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
