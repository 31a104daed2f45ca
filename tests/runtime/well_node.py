"""A made-up node that is well, and the site that is true of it: what the tests of `doctor` start from."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime import fakes
from tests.runtime.fake_cgroups import V2, cgroups
from tests.runtime.fakes import ISOLATED
from tests.runtime.test_sysfs import Sys
from vtorque_runtime import doctor
from vtorque_runtime.doctor.node import Node
from vtorque_spec.fault import Fault
from vtorque_spec.plan import SaidCell, SaidDevice, SaidNode
from vtorque_spec.plan.answer import ToldFinding

MIB, GIB = 1024**2, 1024**3
SITE_YAML = """\
apiVersion: vtorque-site/v1
name: here
batch: slurm
hypervisor: any
min_uid: 1000
hook_limit: 60s
node_classes: {here: {cpus: 1, memory: 64MiB}}
mounts: {}
networks: {default: {kind: isolated}}
"""
SAID = SaidNode(
    cpus=8,
    whole=True,
    memory_bytes=8 * GIB,
    cells=(
        SaidCell(0, (0, 1, 4, 5), ((0, 4), (1, 5)), 4 * GIB, 512, 1),
        SaidCell(1, (2, 3, 6, 7), ((2, 6), (3, 7)), 4 * GIB, 0, 0),
    ),
    devices=(SaidDevice("eth0", "nic", 1),),
    diskless=False,
)
SITE = fakes.site(
    name="test", node_class="thin", min_uid=1000, host_cores=0, networks=(ISOLATED,), node=SAID, images=()
)


class Daemon:
    """A libvirt that is well."""

    def __init__(self, libvirt: tuple[int, int, int] = (9, 0, 0), fault: Fault | None = None) -> None:
        self.fault, self.libvirt = fault, libvirt
        self.filters: set[str] = set()

    def versions(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        return self.libvirt, (7, 2, 0)

    def try_domain(self, xml: str) -> str | None:
        return None

    def create_filter(self, xml: str) -> None:
        if self.fault:
            raise self.fault
        self.filters.add(xml.split("<uuid>")[1].split("<")[0])

    def destroy_filter(self, uuid: str) -> None:
        self.filters.remove(uuid)

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node whose files lie below a directory, two cells with two cores of two threads each."""
    root = tmp_path / "root"
    machine = Sys(root, "0-7")
    machine.cores((0, 4), (1, 5), (2, 6), (3, 7))
    machine.cell(0, "0-1,4-5", 4, "10 21", {2048: (512, 100), 1048576: (1, 1)})
    machine.cell(1, "2-3,6-7", 4, "21 10")
    machine.put("sys/devices/pci0/card/numa_node", "1")
    machine.device("net", "eth0", "pci0/card")
    cgroups(root, v2=V2)
    site = tmp_path / "site"
    site.mkdir()
    (site / "site.yaml").write_text(SITE_YAML)
    daemon = Daemon()
    return Node("n1", site, root, tmp_path / "base", tmp_path / "images", False, {}, lambda: daemon)


def told(check: Callable[..., Iterator[str | ToldFinding]], *arguments: Any) -> list[str]:
    """What a check finds: `error VT0905 MESSAGE`, or `warning ...`; of a Fault too. Each has a fix."""
    result = doctor._result("it", lambda: check(*arguments))
    assert all(finding.help for finding in result.findings), result
    assert (result.state == "ok") == (not result.findings)
    return [f"{one.severity} {one.code} {one.message}" for one in result.findings]


def found(check: Callable[..., Iterator[str | ToldFinding]], *arguments: Any) -> str:
    """The one thing that a check finds."""
    (one,) = told(check, *arguments)
    return one
