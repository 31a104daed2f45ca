"""What the I/O manager of an sKVM kernel (dynamic-io-manager) reads: its JSON, made from the plan and what runs.

It was made by its create_configuration_file.py, whose keys and numbers these are. What differs: the CPUs are the job's
own instead of the first of the node, there is a configuration for each number of I/O cores up to the job's, and an
adapter is never given an I/O core that does not work. On such a kernel vhost's devices stand in /sys/class/vhost/dev.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vtorque_runtime import irq, threads
from vtorque_runtime.cpulist import list_text
from vtorque_runtime.files import write_private
from vtorque_runtime.log import LOG
from vtorque_runtime.spool import Spool
from vtorque_runtime.steps import TreeUndo
from vtorque_runtime.sysfs import ROOT
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodeContext, NodePlan, UserNic

CPUS_LIMIT = 32
"""Its sets of CPUs have no more bits."""
MORE_THAN_CORES = 4
"""It refuses to start on so few."""
NICS_LIMIT = 2
"""It was made for no more."""

_VHOST_DEVICE = re.compile(r"d\.([0-9]+)")
_CLASSIFIER = {
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
}


def check(plan: NodePlan, context: NodeContext) -> None:
    """Raise Fault VT0922 when the manager cannot serve the job on this node."""
    cpus = {cpu for cell in context.cells for core in cell.cores for cpu in core}
    cores = sum(len(cell.cores) for cell in context.cells)
    _require(max(cpus, default=0) < CPUS_LIMIT, f"the node has CPU {max(cpus, default=0)}, it knows 0-{CPUS_LIMIT - 1}")
    _require(cores > MORE_THAN_CORES, f"the node has {cores} cores, it needs more than {MORE_THAN_CORES}")
    _require(len(plan.io.nics) <= NICS_LIMIT, f"{len(plan.io.nics)} adapters are to be served, it takes {NICS_LIMIT}")
    serving, own = [core[0] for core in plan.io.cores], _vcpu_cpus(plan)
    lowest = max(serving, default=-1) < min(own - set(serving), default=CPUS_LIMIT)
    _require(lowest, "it takes the lowest CPUs of the job for I/O, and those are a guest's")
    shared = bool(context.taken.cpus) or not cpus - set(plan.host_cpus) <= set(context.allotted_cpus)
    _require(not shared, "the job does not have the node to itself")
    for guest in plan.guests:
        one = guest.machine.nic_queues == 1 and not isinstance(guest.machine.nic, UserNic)
        _require(one, f"vm{guest.index} has not exactly one vhost device: one card of one queue")


def write(plan: NodePlan, spool: Spool, root: Path = ROOT) -> None:
    """Write the manager's JSON for the guests, which run now, into the job's spool; the manager is the site's to start.

    Where the adapters' interrupts run is journaled, because the manager moves them and does not give them back. Raises
    Fault VT0922 when the kernel has not one vhost device for each guest, and `journal.BuriedError`.
    """
    found = threads.qemu_pids({guest.machine.uuid for guest in plan.guests}, list(threads.processes(root)))
    pids = [found[guest.machine.uuid] for guest in plan.guests if guest.machine.uuid in found]
    devices = vhost_devices(root)
    there = f"{len(plan.guests)} guests run as {len(pids)} processes with {len(devices)} vhost devices"
    _require(len(pids) == len(devices) == len(plan.guests), there)
    path = spool.io_manager
    text = json.dumps(configuration(plan, pids, devices, str(spool.path)), indent=2, sort_keys=True) + "\n"
    irq.watch(plan.io.nics, cpus_of(plan), spool.journal, root)
    spool.journal.step(TreeUndo("tree", path.name), lambda: write_private(path, text))
    LOG.info("wrote %s for the I/O manager, which has CPUs %s", path, list_text(cpus_of(plan)))


def vhost_devices(root: Path = ROOT) -> list[str]:
    """Return the kernel's vhost devices, oldest first; none on a kernel that is not sKVM's."""
    found = [match for path in root.glob("sys/class/vhost/dev/*") if (match := _VHOST_DEVICE.fullmatch(path.name))]
    return [match[0] for match in sorted(found, key=lambda match: int(match[1]))]


def cpus_of(plan: NodePlan) -> tuple[int, ...]:
    """Return the CPUs among which the manager divides: one of each I/O core, and those of the vCPUs."""
    others = {cpu for core in plan.io.cores for cpu in core[1:]}
    return tuple(sorted((_vcpu_cpus(plan) | {core[0] for core in plan.io.cores}) - others))


def _vcpu_cpus(plan: NodePlan) -> set[int]:
    pins = [guest.machine.pins for guest in plan.guests]
    return {cpu for one in pins for cpus in one.vcpus or (one.cpuset,) for cpu in cpus}


def configuration(plan: NodePlan, pids: Sequence[int], devices: Sequence[str], directory: str) -> dict[str, Any]:
    """Return the JSON: VM n is process `pids[n]` with vhost device `devices[n]`; the log goes to `directory`."""
    cpus, most = cpus_of(plan), len(plan.io.cores)
    vms = [str(n) for n in range(1, len(pids) + 1)]
    adapters = [f"bd.{n}" for n in range(1, len(plan.io.nics) + 1)]
    return {
        "daemon": "no",
        "log": f"{directory}/io-manager.log",
        "path": directory,
        "use_mover": False,
        "interval": "0.1",
        "vms": [_vm(vm, pid, device, cpus) for vm, pid, device in zip(vms, pids, devices, strict=True)],
        "workers": [],
        "io_cores_restrictions": {"min": plan.io.min_cores, "max": most},
        "io_cores_balance_policy": _preconfigured([_workers(vms, x) for x in range(1, most + 1)]),
        "vms_balance_policy": _preconfigured([_cores(vms, len(cpus), x) for x in range(most + 1)]),
        "backing_devices": [
            {"id": name, "type": "physical", "interrupts": [{"irq_prefix": nic}]}
            for name, nic in zip(adapters, plan.io.nics, strict=True)
        ],
        "backing_devices_balance_policy": _preconfigured([_adapters(adapters, x) for x in range(most + 1)]),
        "throughput_policy": {"configurations": [_throughput(x) for x in range(max(most, 1) + 1)]},
        "vm_core_addition_policy": {"add_ratio": "0.05", "can_remove_ratio": "1.0"},
        "throughput_regret_policy": {"interval": "0.1"},
        "latency_policy": {},
        "poll_policy": {"stop_idle": "17179869184", "start_rate": "4194304"},
        "virtual_queue_classifier": _CLASSIFIER,
    }


def _vm(vm: str, pid: int, device: str, cpus: Sequence[int]) -> dict[str, Any]:
    worker = {"id": device, "vhost_worker": f"w.{vm}"}
    return {"id": vm, "pid": str(pid), "cpu": ",".join(map(str, cpus)), "devices": [worker]}


def _preconfigured(configurations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "preconfigured", "configurations": configurations}


def _workers(vms: Sequence[str], x: int) -> dict[str, Any]:
    """Which worker serves which VM when `x` I/O cores work."""
    assigned = [{"id": vm, "vhost_worker": f"w.{n % x + 1}"} for n, vm in enumerate(vms)]
    return {"id": f"elvis-{x}", "vms": assigned, "vhost_workers": [{"id": f"w.{n}"} for n in range(1, x + 1)]}


def _cores(vms: Sequence[str], count: int, x: int) -> dict[str, Any]:
    """The VMs float over the CPUs that are left; these are places in the manager's own list, not CPUs."""
    places = f"{x}-{count - 1}"
    return {"id": f"elvis-{x}", "cores": str(count - x), "vms": [{"id": vm, "cpu": places} for vm in vms]}


def _adapters(adapters: Sequence[str], x: int) -> dict[str, Any]:
    """Which I/O core serves which adapter: a place among those that work, the first CPU where none does."""
    places = [{"id": name, "cpu": str(n % max(x, 1))} for n, name in enumerate(adapters)]
    return {"id": f"elvis-{x}", "vhost_workers": x, "backing_devices": places}


def _throughput(x: int) -> dict[str, Any]:
    return {
        "id": f"elvis-{x}",
        "vhost_workers": x,
        "add_ratio": 0.12 if x else 0.5,
        "can_remove_ratio": 0.0 if x == 0 else 0.8 if x < 4 else 1.0,
        "min_average_byte_per_packet": 1600,
    }


def _require(fine: bool, message: str) -> None:
    if not fine:
        hint = "use another node class, or `iocm: {mode: libvirt}` in the site file"
        raise Fault("VT0922", f"sKVM's I/O manager cannot serve this job: {message}", help=hint)
