"""The JSON for an sKVM kernel's I/O manager: its keys, and that the manager gets by with it at any number of cores."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.fake_kernel import FakeKernel, guest, plan
from vtorque_runtime import iocm, skvm
from vtorque_runtime.spool import open_registry
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Cell, Claim, IoCores, LinuxGuest, NodeContext, NodePlan, UserNic


def io(most: int, nics: int = 1, threads: int = 1) -> IoCores:
    cores = tuple(tuple(range(n, n + threads)) for n in range(1, 1 + most * threads, threads))
    return IoCores("skvm", cores, 0, tuple(f"eth{n}" for n in range(nics)))


def floating(index: int, cpus: tuple[int, ...]) -> LinuxGuest:
    one = guest(index, vcpus=(), emulator=(), iothreads=(), cpuset=cpus)
    return replace(one, machine=replace(one.machine, nic_queues=1))


def job(most: int, nics: int = 1, vms: int = 1) -> NodePlan:
    cpus = tuple(range(most + 1, most + 5))
    return plan(*(floating(n, cpus) for n in range(vms)), io=io(most, nics), host_cpus=(0,))


def configuration(found: NodePlan) -> dict[str, Any]:
    vms = len(found.guests)
    made = skvm.configuration(found, range(4000, 4000 + vms), [f"d.{n}" for n in range(1, vms + 1)], "/spool")
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


class Manager:
    """What dynamic-io-manager does with its JSON: reads all of it at its start, then looks up by number of I/O cores.

    A KeyError here is the one that ends it there.
    """

    def __init__(self, conf: dict[str, Any]) -> None:
        assert float(conf["interval"]) > 0
        assert conf["daemon"] in ("start", "stop", "restart", "no")
        assert conf["workers"] == []
        assert {balance["id"] for name, balance in conf.items() if name.endswith("balance_policy")} == {"preconfigured"}
        self.cpus = sorted({cpu for vm in conf["vms"] for cpu in numbers(vm["cpu"])}, reverse=True)
        self.workers: list[int] = []
        self.most = int(conf["io_cores_restrictions"]["max"])
        assert 0 <= int(conf["io_cores_restrictions"]["min"]) <= self.most
        self.devices = {dev["id"]: vm["id"] for vm in conf["vms"] for dev in vm["devices"]}
        self.adapters = [adapter["id"] for adapter in conf["backing_devices"]]
        assert all(line["irq_prefix"] for adapter in conf["backing_devices"] for line in adapter["interrupts"])
        self.ratios = {int(one["vhost_workers"]): one for one in conf["throughput_policy"]["configurations"]}
        assert 0 <= 1 - float(self.ratios[1]["can_remove_ratio"]) <= 1
        assert 0 <= 1 - float(self.ratios[0]["add_ratio"]) <= 1
        self.by_workers = {len(one["vhost_workers"]): one for one in conf["io_cores_balance_policy"]["configurations"]}
        self.by_cores = {int(one["cores"]): one for one in conf["vms_balance_policy"]["configurations"]}
        bd = conf["backing_devices_balance_policy"]["configurations"]
        self.by_serving = {int(one["vhost_workers"]): one for one in bd}
        for policy, name in (("vm_core_addition_policy", "add_ratio"), ("throughput_regret_policy", "interval")):
            assert float(conf[policy][name]) > 0
        assert int(conf["virtual_queue_classifier"]["active_threshold"]) > 0
        assert conf["latency_policy"] == {}

    def add_core(self) -> None:
        """The lowest CPU that the VMs have becomes an I/O core."""
        self.workers.append(self.cpus.pop())

    def vm_cpus(self) -> dict[str, set[int]]:
        found = self.by_cores[len(self.cpus)]
        places = sorted({place for vm in found["vms"] for place in numbers(vm["cpu"])})
        cpus = dict(zip(places, self.cpus, strict=True))
        return {vm["id"]: {cpus[place] for place in numbers(vm["cpu"])} for vm in found["vms"]}

    def device_workers(self) -> dict[str, int]:
        """The I/O core of each vhost device."""
        found = self.by_workers[len(self.workers)]
        cores = dict(zip([worker["id"] for worker in found["vhost_workers"]], self.workers, strict=True))
        chosen = {vm["id"]: cores[vm["vhost_worker"]] for vm in found["vms"]}
        return {device: chosen[vm] for device, vm in self.devices.items()}

    def adapter_cpus(self) -> dict[str, set[int]]:
        found = self.by_serving[len(self.workers)]
        places = sorted({place for adapter in found["backing_devices"] for place in numbers(adapter["cpu"])})
        cpus = dict(zip(places, self.workers or self.cpus))  # noqa: B905 - as it does it; what is too much is missing
        chosen = {one["id"]: {cpus[place] for place in numbers(one["cpu"])} for one in found["backing_devices"]}
        return {name: chosen[name] for name in self.adapters}


def numbers(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@pytest.mark.parametrize("vms", [1, 2, 5])
@pytest.mark.parametrize("nics", [0, 1, 2])
@pytest.mark.parametrize("most", range(1, 27))
def test_it_works_at_every_number_of_io_cores(most: int, nics: int, vms: int) -> None:
    found = job(most, nics, vms)
    manager, own = Manager(configuration(found)), set(skvm.cpus_of(found))
    assert manager.most == most
    for count in range(most + 1):
        assert len(manager.workers) == count
        assert manager.ratios[count]["min_average_byte_per_packet"] == 1600
        floats = manager.vm_cpus()
        assert set(floats) == {str(n) for n in range(1, vms + 1)}
        assert all(cpus == own - set(manager.workers) for cpus in floats.values())
        adapters = manager.adapter_cpus()
        if count:
            served = list(manager.device_workers().values())
            assert set(served) <= set(manager.workers)
            assert max(served.count(core) - served.count(other) for core in served for other in served) <= 1
            assert all(cpus <= set(manager.workers) for cpus in adapters.values())
            assert len({min(cpus) for cpus in adapters.values()}) == min(count, nics)
        else:
            assert all(cpus <= own for cpus in adapters.values())
        manager.add_core()


def test_two_adapters_on_one_io_core() -> None:
    """Where upstream's own file names a core that has no worker."""
    wrong = configuration(job(2, nics=2))
    wrong["backing_devices_balance_policy"]["configurations"][1]["backing_devices"][1]["cpu"] = "1"
    manager = Manager(wrong)
    manager.add_core()
    with pytest.raises(KeyError):
        manager.adapter_cpus()


def test_every_key() -> None:
    """The keys and numbers of create_configuration_file.py, for two VMs, one adapter and two I/O cores at most."""
    one = job(2, vms=2)
    assert configuration(one) == {
        "daemon": "no",
        "log": "/spool/io-manager.log",
        "path": "/spool",
        "use_mover": False,
        "interval": "0.1",
        "vms": [
            {"id": "1", "pid": "4000", "cpu": "1,2,3,4,5,6", "devices": [{"id": "d.1", "vhost_worker": "w.1"}]},
            {"id": "2", "pid": "4001", "cpu": "1,2,3,4,5,6", "devices": [{"id": "d.2", "vhost_worker": "w.2"}]},
        ],
        "workers": [],
        "io_cores_restrictions": {"min": 0, "max": 2},
        "io_cores_balance_policy": {
            "id": "preconfigured",
            "configurations": [
                {
                    "id": "elvis-1",
                    "vms": [{"id": "1", "vhost_worker": "w.1"}, {"id": "2", "vhost_worker": "w.1"}],
                    "vhost_workers": [{"id": "w.1"}],
                },
                {
                    "id": "elvis-2",
                    "vms": [{"id": "1", "vhost_worker": "w.1"}, {"id": "2", "vhost_worker": "w.2"}],
                    "vhost_workers": [{"id": "w.1"}, {"id": "w.2"}],
                },
            ],
        },
        "vms_balance_policy": {
            "id": "preconfigured",
            "configurations": [
                {"id": "elvis-0", "cores": "6", "vms": [{"id": "1", "cpu": "0-5"}, {"id": "2", "cpu": "0-5"}]},
                {"id": "elvis-1", "cores": "5", "vms": [{"id": "1", "cpu": "1-5"}, {"id": "2", "cpu": "1-5"}]},
                {"id": "elvis-2", "cores": "4", "vms": [{"id": "1", "cpu": "2-5"}, {"id": "2", "cpu": "2-5"}]},
            ],
        },
        "backing_devices": [{"id": "bd.1", "type": "physical", "interrupts": [{"irq_prefix": "eth0"}]}],
        "backing_devices_balance_policy": {
            "id": "preconfigured",
            "configurations": [
                {"id": f"elvis-{x}", "vhost_workers": x, "backing_devices": [{"id": "bd.1", "cpu": "0"}]}
                for x in range(3)
            ],
        },
        "throughput_policy": {
            "configurations": [
                {
                    "id": f"elvis-{x}",
                    "vhost_workers": x,
                    "add_ratio": add,
                    "can_remove_ratio": remove,
                    "min_average_byte_per_packet": 1600,
                }
                for x, add, remove in ((0, 0.5, 0.0), (1, 0.12, 0.8), (2, 0.12, 0.8))
            ]
        },
        "vm_core_addition_policy": {"add_ratio": "0.05", "can_remove_ratio": "1.0"},
        "throughput_regret_policy": {"interval": "0.1"},
        "latency_policy": {},
        "poll_policy": {"stop_idle": "17179869184", "start_rate": "4194304"},
        "virtual_queue_classifier": {
            "items_threshold": "50",
            "throughput_min_processed_data_limit": "32768",
            "latency_threshold": "10",
            "throughput_max_processed_data_limit": "524288",
            "throughput_threshold": "10",
            "active_threshold": "1048576",
            "latency_max_processed_data_limit": "65536",
            "work_list_max_stuck_cycles": "16384",
            "latency_min_processed_data_limit": "8192",
            "max_stuck_cycles": "16384",
        },
    }


def test_the_manager_divides_whole_cores() -> None:
    """Of an I/O core it gets one thread, of the guests' CPUs those that vCPUs have; both even where they float."""
    pinned = replace(guest(vcpus=((8,), (10,)), cpuset=(8, 9, 10, 11)), index=0)
    assert skvm.cpus_of(plan(pinned, io=io(2, threads=2))) == (1, 3, 8, 10)
    assert skvm.cpus_of(plan(floating(0, (1, 2, 3, 4, 8, 9)), io=io(2, threads=2))) == (1, 3, 8, 9)


def node(tmp_path: Path, found: NodePlan, devices: int) -> FakeKernel:
    kernel = FakeKernel(tmp_path / "root")
    for number, one in enumerate(found.guests):
        kernel.qemu(one, 4000 + 100 * number)
    for number in range(9, 9 + devices):
        (kernel.root / f"sys/class/vhost/dev/d.{number}").mkdir(parents=True)
    (kernel.root / "sys/class/vhost/dev/power").mkdir(parents=True, exist_ok=True)
    kernel.adapter("eth0", [40, 41])
    return kernel


def test_the_start_writes_it(tmp_path: Path) -> None:
    found = job(2, vms=3)
    kernel = node(tmp_path, found, 3)
    irqs = [kernel.interrupt(number, "0-15") for number in (40, 41)]
    registry = open_registry("system", tmp_path / "base")
    spool, _ = registry.register(found.job_id, os.getuid())
    iocm.begin(found, registry, spool, kernel.root)
    written = json.loads(spool.io_manager.read_text())
    assert [(vm["pid"], vm["devices"][0]["id"]) for vm in written["vms"]] == [
        ("4000", "d.9"), ("4100", "d.10"), ("4200", "d.11"),
    ]  # fmt: skip
    assert written["log"] == f"{spool.path}/io-manager.log"
    assert oct(spool.io_manager.stat().st_mode & 0o777) == "0o600"
    assert [path.read_text() for path in irqs] == ["0-15\n"] * 2
    for path, cpu in zip(irqs, ("1", "2"), strict=True):  # as the manager moves them
        path.write_text(f"{cpu}\n")
    assert iocm.irq.give_back(spool.journal, kernel.root) == []
    assert [path.read_text() for path in irqs] == ["0-15"] * 2


@pytest.mark.parametrize("devices", [0, 1, 3])
def test_not_one_vhost_device_for_each_vm(tmp_path: Path, devices: int) -> None:
    found = job(2, vms=2)
    kernel = node(tmp_path, found, devices)
    registry = open_registry("system", tmp_path / "base")
    spool, _ = registry.register(found.job_id, os.getuid())
    with pytest.raises(Fault, match=f"VT0922.*2 guests run as 2 processes with {devices} vhost devices"):
        iocm.begin(found, registry, spool, kernel.root)
    assert not spool.io_manager.exists()


def context(cores: int, *, taken: tuple[int, ...] = (), allotted: int | None = None, first: int = 0) -> NodeContext:
    """As much of a node as is looked at."""
    cpus = tuple(range(first, first + cores))
    found = object.__new__(NodeContext)
    for name, value in {
        "cells": (Cell(0, tuple((cpu,) for cpu in cpus), 0, (), ()),),
        "taken": Claim(taken, (), ()),
        "allotted_cpus": cpus[:allotted],
    }.items():
        object.__setattr__(found, name, value)
    return found


def test_a_node_that_it_serves() -> None:
    for cores in (5, 32):
        skvm.check(job(2, 2), context(cores))
    skvm.check(job(2), context(16, allotted=None))


@pytest.mark.parametrize(
    ("found", "node", "why"),
    [
        (job(2), context(33), "the node has CPU 32, it knows 0-31"),
        (job(2), context(8, first=30), "the node has CPU 37"),
        (job(2), context(4), "the node has 4 cores, it needs more than 4"),
        (job(2, nics=3), context(8), "3 adapters are to be served, it takes 2"),
        (job(2), context(8, taken=(7,)), "does not have the node to itself"),
        (job(2), context(8, allotted=6), "does not have the node to itself"),
    ],
)
def test_a_node_that_it_cannot_serve(found: NodePlan, node: NodeContext, why: str) -> None:
    with pytest.raises(Fault, match=f"VT0922: sKVM's I/O manager cannot serve this job: .*{why}"):
        skvm.check(found, node)


def test_io_cores_that_it_would_not_take() -> None:
    """It takes the lowest CPUs first; a guest that is pinned there would wait for a thread that never sleeps."""
    found = replace(job(2), io=IoCores("skvm", ((1,), (7,)), 0, ("eth0",)))
    with pytest.raises(Fault, match=r"VT0922.*takes the lowest CPUs of the job for I/O, and those are a guest's"):
        skvm.check(found, context(8))


@pytest.mark.parametrize("card", [{"nic_queues": 2}, {"nic": UserNic("user", "52:54:00:12:34:56", 22022, True)}])
def test_a_card_that_is_not_one_vhost_device(card: dict[str, Any]) -> None:
    found = job(2)
    one = replace(found.guests[0], machine=replace(found.guests[0].machine, **card))
    with pytest.raises(Fault, match=r"VT0922.*vm0 has not exactly one vhost device"):
        skvm.check(replace(found, guests=(one,)), context(8))
