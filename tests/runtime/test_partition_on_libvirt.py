"""A job's partition on the real qemu:///system: the kernel holds its guests to it, and nothing of it is left."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.compilers.plans import with_machine
from tests.runtime.fake_kernel import plan as any_plan
from tests.support.libvirtd import Libvirtd
from vtorque_compilers.domain import compile_domain
from vtorque_runtime import epilogue, partition
from vtorque_runtime.cgroups import trees
from vtorque_runtime.cpulist import read_list
from vtorque_runtime.hypervisor import Hypervisor, connect
from vtorque_runtime.partition import PartitionUndo
from vtorque_runtime.spool import Spool, open_registry
from vtorque_runtime.steps import DomainUndo
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, CellMemory, Claim, IoCores, LinuxGuest, NodePlan

pytestmark = [pytest.mark.libvirt, pytest.mark.root]

SYSTEM = "qemu:///system"
NAME = "vt_test_2d4711"
GUEST_BYTES = 64 * MIB


@dataclass
class Job:
    """A job that has its partition and no domain yet."""

    plan: NodePlan
    spool: Spool
    undo: PartitionUndo
    hypervisor: Hypervisor

    def start(self, *, touch_all: bool = False) -> str:
        """Start its guest, which runs its firmware and nothing else; `touch_all`: QEMU takes all its memory at once."""
        (guest,) = self.plan.guests
        text = compile_domain(guest).text
        for name in ("kernel", "initrd", "cmdline"):
            text = without(text, name)
        if touch_all:
            text = text.replace("</memory>", '</memory><memoryBacking><allocation mode="immediate"/></memoryBacking>')
        machine = guest.machine
        step = DomainUndo("domain", SYSTEM, machine.uuid)
        self.spool.journal.step(step, lambda: self.hypervisor.create_domain(text))
        return Path(f"/run/libvirt/qemu/{machine.name}.pid").read_text()


def without(text: str, name: str) -> str:
    head, _, rest = text.partition(f"<{name}>")
    return head.rstrip() + rest.partition(f"</{name}>")[2]


def guest(directory: Path) -> LinuxGuest:
    found = with_machine(name="vt-test-4711-0", uuid=str(uuid.uuid4()), partition=NAME, vcpus=1, disks=())
    machine = found.machine
    cpu = max(os.sched_getaffinity(0))
    pins = replace(machine.pins, cpuset=(cpu,))
    memory = replace(machine.memory, size_bytes=GUEST_BYTES)
    topology = replace(machine.topology, sockets=1, cores=1, threads=1)
    console = directory / "console.log"
    changed = replace(machine, pins=pins, memory=memory, topology=topology, console_log=str(console))
    return replace(found, machine=changed)


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that libvirt reaches."""
    path = Path(tempfile.mkdtemp(prefix="vtorque-test-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def job(libvirtd: Libvirtd, directory: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Job]:
    """`request.param` MiB are the job's. At its end nothing of it may be left."""
    one = guest(directory)
    claim = Claim(one.machine.pins.cpuset, (CellMemory(0, 1, request.param * MIB),), ())
    plan = any_plan(one, io=IoCores("libvirt", (), 0, ()), claim=claim)
    registry = open_registry("system", tmp_path / "base")
    spool, _ = registry.register(plan.job_id, os.getuid())
    undo = partition.partition(NAME)
    hypervisor = connect(SYSTEM)
    spool.journal.step(undo, lambda: partition.make(plan, undo))
    yield Job(plan, spool, undo, hypervisor)
    epilogue.apply(registry, spool)
    hypervisor.close()
    assert not any(Path(path).exists() for path in undo.directories)
    assert all(Path(path).parent.is_dir() for path in undo.directories), "what is above it is libvirt's"


def where(pid: str, controller: str) -> Path:
    """The cgroup of a process that the controller rules."""
    tree = next(tree for tree in trees() if controller in tree.controllers)
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    wanted = "" if tree.version == 2 else controller
    place = next(place for _, names, place in lines if wanted in names.split(","))
    return tree.path / place.lstrip("/")


@pytest.mark.parametrize("job", [400], indirect=True)
def test_a_guest_is_in_its_jobs_partition(job: Job) -> None:
    pid = job.start().strip()
    memory, cpus = where(pid, "memory"), where(pid, "cpuset")
    capped = [path for path in job.undo.directories if memory.is_relative_to(path)]
    assert capped, f"{memory} is not in the partition"
    assert any(cpus.is_relative_to(path) for path in job.undo.directories)
    limits = [Path(capped[0], name) for name in ("memory.limit_in_bytes", "memory.max")]
    assert [path.read_text().strip() for path in limits if path.exists()] == [str(400 * MIB)]
    allowed = read_list(Path(f"/proc/{pid}/status").read_text().split("Cpus_allowed_list:")[1].split("\n")[0])
    assert allowed == job.plan.claim.cpus
    until = time.monotonic() + 60
    while (used := partition.usage(NAME)) is not None and used.cpu_time_ns == 0 and time.monotonic() < until:
        time.sleep(0.1)
    assert used is not None
    assert used.cpu_time_ns > 0
    assert MIB < used.peak_memory_bytes <= 400 * MIB


@pytest.mark.parametrize("job", [400], indirect=True)
def test_no_thread_leaves_the_jobs_cpus(job: Job) -> None:
    """Not even where QEMU's own user asks the kernel for others: the cpuset says no, or cuts it down."""
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("this machine has a single CPU")
    pid = job.start().strip()
    own = set(job.plan.claim.cpus)
    for task in os.listdir(f"/proc/{pid}/task"):
        command = ["taskset", "--cpu-list", "--pid", ",".join(map(str, os.sched_getaffinity(0))), task]
        subprocess.run(command, capture_output=True, check=False)
        status = Path(f"/proc/{pid}/task/{task}/status").read_text()
        assert set(read_list(status.split("Cpus_allowed_list:")[1].split("\n")[0])) == own


@pytest.mark.parametrize("job", [40], indirect=True)
def test_a_guest_above_the_cap_is_killed_and_nothing_else(job: Job) -> None:
    """QEMU takes 64 MiB for its guest; the job has 40."""
    hungry = [sys.executable, "-c", "memory = b'x' * (256 << 20); print(flush=True); input()"]
    with subprocess.Popen(hungry, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as neighbour:
        assert neighbour.stdout is not None
        neighbour.stdout.readline()
        with pytest.raises(Fault, match="VT0903") as caught:
            job.start(touch_all=True)
        assert neighbour.poll() is None, "a process that is no guest was killed"
        neighbour.communicate(b"\n")
    used = partition.usage(NAME)
    assert used is not None
    assert used.peak_memory_bytes <= 40 * MIB
    why = partition.explained(caught.value, NAME)
    assert why.code == "VT0938", why.detail


@pytest.mark.parametrize("job", [400], indirect=True)
def test_without_the_partition_libvirt_refuses(job: Job) -> None:
    """So a domain can't run without its cap."""
    assert partition.remove(job.undo) == []
    with pytest.raises(Fault, match="VT0903") as caught:
        job.start()
    assert f"machine/{NAME}.partition" in str(caught.value.detail)
    partition.make(job.plan, job.undo)


@pytest.mark.parametrize("job", [400], indirect=True)
def test_a_partition_in_use_stays(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.start()
    monkeypatch.setattr(partition, "_PATIENCE_S", 0)
    assert partition.remove(job.undo) != []
    assert job.hypervisor.domain_state(job.plan.guests[0].machine.uuid) == "running"
    assert partition.usage(NAME) is not None
    monkeypatch.undo()
