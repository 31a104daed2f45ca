"""What `vtorque-runtime doctor` finds of the machine, its programs and its networks."""

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.batch.installed import program
from tests.runtime.fake_cgroups import cgroups
from tests.runtime.fakes import ISOLATED
from tests.runtime.well_node import GIB, SAID, SITE, Daemon, found, node, told
from vtorque_runtime import kvm
from vtorque_runtime.doctor import machine, network, software
from vtorque_runtime.doctor.node import Node
from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    NodeSite,
    SaidDevice,
)

__all__ = ["node"]  # a fixture

# --- software -------------------------------------------------------------------------------------------------------


def test_programs(node: Node) -> None:
    assert len(told(software.programs, node)) == len(software.PROGRAMS)
    for name in software.PROGRAMS:
        program(node.root / "usr/bin" / name, "#!/bin/sh\n")
    assert told(software.programs, node) == []
    (node.root / "usr/bin/setpriv").chmod(0o644)
    assert found(software.programs, node) == "error VT0905 this host has no setpriv"


@pytest.mark.root
def test_the_jobs_own_command(node: Node) -> None:
    """It is there, and runs as whoever owns a job."""
    if os.geteuid() != 0:
        pytest.skip("a doctor is root")
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)  # everybody's, as / is
        node = replace(node, root=Path(root))
        assert found(software.jobs_command, node).startswith("warning VT0948 the scripts of jobs call vtorque-runtime")
        path = Path(root, "usr/local/bin/vtorque-runtime")
        program(path, '#!/bin/sh\n[ "$(/usr/bin/id -u)" != 0 ]\n')
        assert told(software.jobs_command, node) == []
        for text, mode in (("#!/bin/sh\n", 0o700), ("#!/root/none/python3\n", 0o755), ("#!/bin/false\n", 0o755)):
            path.write_text(text)
            path.chmod(mode)
            assert "an ordinary user cannot run" in found(software.jobs_command, node)


def test_modules(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "MODULES", ("json", "no_such_module"))
    assert found(software.modules, node) == "error VT0905 Python has no no_such_module module here"


def test_libvirt(node: Node) -> None:
    assert told(software.libvirt, node) == []
    assert "8.10.0 is too old" in found(software.libvirt, replace(node, connect=lambda: Daemon((8, 10, 0))))

    def silent() -> Daemon:
        raise Fault("VT0902", "libvirt does not answer", help="start it")

    assert found(software.libvirt, replace(node, connect=silent)).startswith("error VT0902")


# --- the machine ----------------------------------------------------------------------------------------------------


def test_kvm(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "fault", lambda _hypervisor: None)
    assert told(machine.kvm, node, replace(SITE, hypervisor="kvm")) == []
    monkeypatch.setattr(kvm, "fault", lambda _hypervisor: "no /dev/kvm")
    assert found(machine.kvm, node, replace(SITE, hypervisor="kvm")).startswith("error VT0907")
    assert found(machine.kvm, node, SITE).startswith("warning VT0907")
    assert told(machine.kvm, node, replace(SITE, hypervisor="emulation")) == []


def test_cgroups(node: Node) -> None:
    assert told(machine.cgroups, node) == []
    cgroups(node.root, v2=("cpu", "cpuset", "pids"))
    assert found(machine.cgroups, node).startswith("error VT0937")


def test_vhost_net(node: Node) -> None:
    assert found(machine.vhost_net, node).startswith("warning VT0948")
    (node.root / "dev").mkdir()
    (node.root / "dev/vhost-net").touch()
    assert told(machine.vhost_net, node) == []


def test_clock(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "synchronized", lambda: True)
    assert told(machine.clock, node) == []
    monkeypatch.setattr(machine, "synchronized", lambda: False)
    assert found(machine.clock, node).startswith("warning VT0948 nothing keeps the clock right")
    later = time.time() + 3600
    os.utime(node.site / "site.yaml", (later, later))
    assert "behind the newest file" in told(machine.clock, node)[0]


def test_the_kernel_says_whether_its_clock_is_kept_right() -> None:
    assert machine.synchronized() in (True, False)


def cell(**changes: Any) -> NodeSite:
    """The site, which says something else of the first cell."""
    first, second = SAID.cells
    return replace(SITE, node=replace(SAID, cells=(replace(first, **changes), second)))


def node_said(**changes: Any) -> NodeSite:
    return replace(SITE, node=replace(SAID, **changes))


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (node_said(cpus=6), "nodes of `thin` have 6 CPUs; this one has 8"),
        (node_said(cpus=9, whole=False), "9 CPUs"),
        (node_said(memory_bytes=9 * GIB), "9216 MiB of memory; this one has 8192 MiB"),
        (cell(cpus=(0, 1, 2, 3)), "in the cell 0 the CPUs 0-3; this one has 0-1,4-5"),
        (cell(cores=((0, 1), (4, 5))), "in the cell 0 a core with the CPUs 0-1"),
        (cell(memory_bytes=5 * GIB), "in the cell 0 5120 MiB; this one has 4096 MiB"),
        (cell(pages_2mib=513), "the cell 0 has 512 huge pages of 2 MiB, the site says 513"),
        (cell(pages_1gib=2), "the cell 0 has 1 huge pages of 1024 MiB"),
        (cell(id=7, pages_1gib=0, pages_2mib=0), "a NUMA cell 7; this one has none"),
        (node_said(cells=SAID.cells[:1]), "no other cells; this one has the cell 1 too"),
    ],
)
def test_a_class_that_lies(node: Node, site: NodeSite, words: str) -> None:
    assert any(words in one and one.startswith("error VT0947") for one in told(machine.topology, node, site))


@pytest.mark.parametrize(
    "site", [SITE, node_said(cpus=6, whole=False), node_said(cells=()), cell(cores=(), pages_2mib=0, memory_bytes=GIB)]
)
def test_a_class_that_is_true(node: Node, site: NodeSite) -> None:
    assert told(machine.topology, node, site) == []


def test_devices(node: Node) -> None:
    assert told(machine.devices, node, SITE) == []
    assert told(machine.devices, node, node_said(devices=(SaidDevice("eth0", "nic", None),))) == []
    assert "at the cell 0" in found(machine.devices, node, node_said(devices=(SaidDevice("eth0", "nic", 0),)))
    assert "the hca eth0" in found(machine.devices, node, node_said(devices=(SaidDevice("eth0", "hca", 1),)))


# --- networks -------------------------------------------------------------------------------------------------------


def test_networks(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    bridge = replace(ISOLATED, name="cluster", kind="bridge", bridge="vt-none0", subnet="10.20.0.0/16")
    site = replace(SITE, networks=(ISOLATED, bridge))
    assert found(network.networks, node, site).startswith("error VT0940 cluster: this node has no bridge vt-none0")
    monkeypatch.setattr(network, "host_address", lambda _offer: "10.20.0.1")
    assert told(network.networks, node, site) == []
    nat = replace(SITE, networks=(replace(ISOLATED, name="out", kind="nat"),))
    switch = node.root / "proc/sys/net/ipv4/ip_forward"
    switch.parent.mkdir(parents=True)
    switch.write_text("0\n")
    assert told(network.networks, node, nat) == [], "libvirt turns it on"
    monkeypatch.setattr(network.os, "access", lambda *_: False)
    assert found(network.networks, node, nat).startswith("error VT0948 out:")
    switch.write_text("1\n")
    assert told(network.networks, node, nat) == []


def test_the_traffic_filter(node: Node) -> None:
    daemon = Daemon()
    well = replace(node, connect=lambda: daemon)
    assert told(network.traffic_filter, well, SITE) == []
    assert daemon.filters == set(), "nothing stays"
    daemon.fault = Fault("VT0905", "libvirt cannot keep guests", help="install libvirt's nwfilter driver")
    assert found(network.traffic_filter, well, SITE).startswith("error VT0905")
    unfiltered = replace(SITE, networks=(replace(ISOLATED, filtered=False),))
    assert told(network.traffic_filter, well, unfiltered) == []
