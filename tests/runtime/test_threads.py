"""Every thread of every guest is where the plan says, or the job does not run: on trees made by hand, and for real."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.fake_kernel import KERNEL_THREADS, FakeKernel, guest, text
from vtorque_runtime import threads
from vtorque_runtime.threads import Thread
from vtorque_spec.fault import Fault

OTHER = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    kernel = FakeKernel(tmp_path)
    kernel.process(1, ["/sbin/init"], {"systemd": "0-15"}, start=1)
    kernel.process(2, [], {"kthreadd": "0-15"}, start=1, parent=0)
    return kernel


def faults(kernel: FakeKernel, *guests: object) -> list[str]:
    """What verification says of these guests."""
    try:
        threads.verify(guests, kernel.root)  # type: ignore[arg-type]
    except Fault as fault:
        return (fault.detail or "").splitlines() if fault.code == "VT0920" else [str(fault)]
    return []


def test_all_are_where_they_should_be(kernel: FakeKernel, caplog: pytest.LogCaptureFixture) -> None:
    first, second = guest(0), guest(1)
    kernel.qemu(first, 4000, worker="2", **{"vhost-4000": "2-3"})
    kernel.qemu(second, 5000)
    with caplog.at_level(logging.INFO, "vtorque"):
        assert faults(kernel, first, second) == []
    assert caplog.messages == [
        "vm0: process 4000 has 11 threads: 4 vCPU, 2 I/O, 1 vhost, 4 other",
        "vm1: process 5000 has 9 threads: 4 vCPU, 2 I/O, 0 vhost, 3 other",
        "verified: every thread of 2 guests is where the plan says",
    ]


@pytest.mark.parametrize(
    ("name", "cpus", "place"),
    [
        ("CPU 2/KVM", "6-7", "6"),
        ("CPU 2/TCG", "7", "6"),
        ("IO iothread2", "2-4", "2-3"),
        ("qemu-system-x86", "0-15", "2-3"),
        ("worker", "1", "2-3"),
        ("IO mon_iothread", "4", "2-3"),
        ("vhost-4000", "0", "2-3"),
        ("CPU 9/KVM", "2", "4-7"),
    ],
)
def test_one_that_may_run_elsewhere(kernel: FakeKernel, name: str, cpus: str, place: str) -> None:
    one = guest()
    kernel.qemu(one, **{name: cpus})
    (said,) = [line for line in faults(kernel, one) if f"({name})" in line]
    assert said.endswith(f"({name}) may run on CPUs {cpus}, its place is {place}")
    assert said.startswith("vm0: thread 40")


def test_a_fault_names_the_first_and_counts_the_others(kernel: FakeKernel) -> None:
    one = guest()
    kernel.qemu(one, worker="9", rcu="10")
    with pytest.raises(Fault, match=r"VT0920: .*\(worker\).*its place is 2-3, and 1 more$"):
        threads.verify([one], kernel.root)


def test_threads_that_are_missing(kernel: FakeKernel) -> None:
    one = guest()
    kernel.process(4000, ["qemu", "-uuid", one.machine.uuid], {"qemu": "2", "CPU 1/KVM": "5", "IO iothread2": "3"})
    assert faults(kernel, one) == [
        "vm0: vCPU 0 has no thread",
        "vm0: vCPU 2 has no thread",
        "vm0: vCPU 3 has no thread",
        "vm0: I/O thread 1 is not there",
    ]


def test_a_guest_that_has_no_process(kernel: FakeKernel) -> None:
    kernel.process(4000, ["grep", guest().machine.uuid], {"grep": "0-15"})
    kernel.process(4001, ["qemu", "-uuid"], {"qemu": "0-15"})
    kernel.process(4002, ["qemu", "-uuid", OTHER], {"qemu": "0-15"})
    assert faults(kernel, guest()) == ["vm0: no process of QEMU runs it"]


def test_an_impostor_is_no_guest(kernel: FakeKernel) -> None:
    """Whoever read the UUID from the real one's arguments started later."""
    one = guest()
    kernel.process(3000, ["sleep", "-uuid", one.machine.uuid], {"sleep": "0-15"}, start=101)
    kernel.qemu(one, 4000)
    assert faults(kernel, one) == []


def test_vhost_before_linux_6_4(kernel: FakeKernel, caplog: pytest.LogCaptureFixture) -> None:
    """Threads of the kernel's own; a user's program that bears such a name is not one."""
    one = guest()
    kernel.qemu(one, 4000)
    kernel.process(4100, [], {"vhost-4000": "2-3"}, parent=KERNEL_THREADS)
    kernel.process(4200, [], {"vhost-4000": "0-15"}, parent=1)
    kernel.process(4300, [], {"vhost-400": "0-15"}, parent=KERNEL_THREADS)
    with caplog.at_level(logging.INFO, "vtorque"):
        assert faults(kernel, one) == []
    assert "1 vhost" in caplog.text
    kernel.thread(4100, 4100, "vhost-4000", "0-15")
    assert faults(kernel, one) == ["vm0: thread 4100 (vhost-4000) may run on CPUs 0-15, its place is 2-3"]


def test_emulation_with_one_thread(kernel: FakeKernel, caplog: pytest.LogCaptureFixture) -> None:
    one = guest()
    kernel.process(4000, ["qemu", "-uuid", one.machine.uuid],
                   {"qemu": "2-3", "ALL CPUs/TCG": "2-7", "IO iothread1": "2", "IO iothread2": "3"})  # fmt: skip
    with caplog.at_level(logging.INFO, "vtorque"):
        assert faults(kernel, one) == []
    assert "one thread emulates all vCPUs, so none has a CPU of its own" in caplog.text
    kernel.thread(4000, 4001, "ALL CPUs/TCG", "2-8")
    assert faults(kernel, one) == ["vm0: thread 4001 (ALL CPUs/TCG) may run on CPUs 2-8, its place is 2-7"]


def test_kvms_own_thread(kernel: FakeKernel) -> None:
    """It has the affinity of the vCPU that was first to run, or QEMU's on older kernels."""
    one = guest()
    for tid, cpus in ((4098, "5"), (4099, "2-3")):
        kernel.thread(4000, tid, "kvm-nx-lpage-re", cpus)
    kernel.qemu(one)
    assert faults(kernel, one) == []
    kernel.thread(4000, 4098, "kvm-nx-lpage-re", "8")
    assert faults(kernel, one) == ["vm0: thread 4098 (kvm-nx-lpage-re) may run on CPUs 8, its place is 2-7"]


def test_a_guest_that_floats(kernel: FakeKernel) -> None:
    """Without pins all threads have the guest's CPUs; without those either, anywhere will do."""
    one = guest(vcpus=(), emulator=(), iothreads=())
    kernel.qemu(one, worker="5")
    assert faults(kernel, one) == []
    kernel.thread(4000, 4001, "qemu-event", "3-5")
    assert faults(kernel, one) == ["vm0: thread 4001 (qemu-event) may run on CPUs 3-5, its place is 4-7"]
    assert faults(kernel, guest(vcpus=(), emulator=(), iothreads=(), cpuset=())) == []


def test_floating_vcpus_beside_an_emulator_with_io_cores(kernel: FakeKernel) -> None:
    one = guest(vcpus=())
    kernel.qemu(one)
    assert faults(kernel, one) == []
    kernel.thread(4000, 4003, "CPU 0/KVM", "3-7")
    assert faults(kernel, one) == ["vm0: thread 4003 (CPU 0/KVM) may run on CPUs 3-7, its place is 4-7"]


@pytest.mark.parametrize("groups", ["0::/own/emulator\n", "7:blkio:/{}\n3:cpuset:/own/emulator\n0::/{}\n"])
def test_virtiofsd_is_told_and_not_held_to_anything(
    kernel: FakeKernel, caplog: pytest.LogCaptureFixture, groups: str
) -> None:
    one = guest()
    kernel.qemu(one, 4000)
    for pid in (4100, 4200):
        kernel.process(pid, ["/usr/lib/qemu/virtiofsd", "--fd=31"], {"virtiofsd": "0-15", "fv_queue_worker": "0-15"})
    for pid in (4000, 4100):
        (kernel.root / f"proc/{pid}/cgroup").write_text(groups.format(pid, pid))
    with caplog.at_level(logging.INFO, "vtorque"):
        assert faults(kernel, one) == []
    assert "; virtiofsd 4100 may run on CPUs 0-15" in caplog.text
    assert "4200" not in caplog.text


def test_what_ends_meanwhile_is_left_out(kernel: FakeKernel) -> None:
    one = guest()
    kernel.qemu(one)
    (kernel.root / "proc/4003/task").mkdir(parents=True)  # a process without files: it has ended
    (kernel.root / "proc/4000/task/4099").mkdir()
    assert faults(kernel, one) == []


NAMES = st.sampled_from(["CPU 0/KVM", "CPU 3/TCG", "CPU 07/KVM", "CPU x/KVM", "IO iothread1", "IO iothread0",
                         "IO iothread99", "ALL CPUs/TCG", "worker"]) | st.text(max_size=15)  # fmt: skip
CPUS = st.frozensets(st.integers(0, 20), min_size=1)


@given(st.lists(st.tuples(NAMES, CPUS)))
def test_what_is_outside_the_job_is_always_found(found: list[tuple[str, frozenset[int]]]) -> None:
    """Whatever threads are called, one that may run on a CPU that is not the guest's is named; no name is an error."""
    one = guest()
    there = [Thread(tid, name, cpus) for tid, (name, cpus) in enumerate(found, 100)]
    said = "\n".join(threads.differences(one, there))
    for thread in there:
        assert thread.cpus <= set(range(2, 8)) or f"thread {thread.tid} " in said


@given(st.text(st.characters(blacklist_characters="\n\t", blacklist_categories=["Cs"]), max_size=15), CPUS)
def test_status_is_read(tmp_path_factory: pytest.TempPathFactory, name: str, cpus: frozenset[int]) -> None:
    """The kernel writes a name on one line (it escapes a new line); whatever else is in it is kept."""
    kernel = FakeKernel(tmp_path_factory.mktemp("root"))
    kernel.thread(7, 8, name, text(sorted(cpus)))
    assert threads.threads(7, kernel.root) == [Thread(8, name, cpus)]


def test_this_process() -> None:
    """The real /proc: our own threads, and ourselves among the processes."""
    me = os.getpid()
    (own,) = [one for one in threads.processes() if one.pid == me]
    assert own.parent == os.getppid()
    (main,) = [one for one in threads.threads(me) if one.tid == me]
    assert main.cpus == os.sched_getaffinity(0)
    assert own.name == main.name


def test_a_guest_is_found_by_its_uuid_alone(kernel: FakeKernel) -> None:
    first, second = guest(0), guest(1)
    kernel.qemu(second, 4000)
    kernel.qemu(first, 5000)
    found = threads.qemu_pids({first.machine.uuid, second.machine.uuid}, list(threads.processes(kernel.root)))
    assert found == {second.machine.uuid: 4000, first.machine.uuid: 5000}
    assert faults(kernel, first, second) == []
    assert faults(kernel, replace(first, index=1)) == []
