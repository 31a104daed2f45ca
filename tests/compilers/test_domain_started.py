"""A started guest's threads and memory are where its plan says: by libvirt's word, and by the kernel's.

The machine may have one CPU and one NUMA cell, so a guest's cells are all the host's cell 0.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import sched_getaffinity
from pathlib import Path

import pytest

from tests.compilers.paused import SIZE, Bench
from tests.compilers.plans import MEMORY, MIB, SOFTWARE
from tests.support.libvirtd import Libvirtd
from vtorque_compilers.domain.xml import numbers
from vtorque_spec.plan import Filesystem, GuestCell, Pins

pytestmark = [pytest.mark.libvirt, pytest.mark.root]

CPUS = tuple(sorted(sched_getaffinity(0)))
ONE, OTHER = (CPUS[0],), (CPUS[-1],)
HALF = SIZE // 2
CELLS = (GuestCell(0, (0,), HALF, (10, 21)), GuestCell(0, (1,), HALF, (31, 10)))
ON_CELL_0 = replace(MEMORY, size_bytes=SIZE, nodeset=(0,))
CAP_SYS_RESOURCE = 24
PAGE = 2 * MIB
STRICT = 0  # VIR_DOMAIN_NUMATUNE_MEM_STRICT
PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


@pytest.fixture(scope="module")
def bench(libvirtd: Libvirtd) -> Iterator[Bench]:
    # Not pytest's own directory, which QEMU's user may not enter.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="vtorque-") as directory:
        bench = Bench(Path(directory))
        yield bench
        bench.close()


def of(cpumap: Sequence[bool]) -> str:
    """libvirt's map of CPUs, as the kernel prints a list."""
    return numbers(cpu for cpu, there in enumerate(cpumap) if there)


@pytest.mark.parametrize(
    "pins",
    [
        pytest.param(Pins((ONE, OTHER), CPUS, (), ()), id="pinned"),
        pytest.param(Pins((), (), (), OTHER), id="floating"),
        pytest.param(Pins((OTHER, OTHER), ONE, (ONE, OTHER), ()), id="iocm"),
        pytest.param(Pins((), ONE, (ONE,), OTHER), id="iocm-floating"),
    ],
)
def test_threads_run_where_they_are_pinned(bench: Bench, pins: Pins) -> None:
    wanted = {f"CPU {n}": numbers(cpus) for n, cpus in enumerate(pins.vcpus or (pins.cpuset, pins.cpuset))}
    wanted |= {f"iothread{n}": numbers(cpus) for n, cpus in enumerate(pins.iothreads, 1)}
    wanted |= {"emulator": numbers(pins.emulator or pins.cpuset)}
    with bench.paused(bench.guest(pins=pins)) as started:
        told = {f"CPU {n}": of(cpumap) for n, cpumap in enumerate(started.domain.vcpuPinInfo())}
        told |= {f"iothread{n}": of(cpumap) for n, cpumap in started.domain.ioThreadInfo()}
        assert told | {"emulator": of(started.domain.emulatorPinInfo())} == wanted
        assert started.cpus() == {name: {cpus} for name, cpus in wanted.items()}


def test_disks_and_cards_have_their_queues(bench: Bench) -> None:
    """On a machine without vhost too: then QEMU itself does the card's work."""
    with bench.paused(bench.guest(pins=Pins((), (), (CPUS, CPUS), ()))) as started:
        options = "\n".join(started.options())
    disks = [line for line in options.splitlines() if '"driver":"virtio-blk-pci"' in line and '"num-queues":2' in line]
    assert [f'"iothread":"iothread{n}"' in line for n, line in enumerate(disks, 1)] == [True, True]
    assert '"mq":true,"vectors":6' in options


def test_all_memory_comes_from_its_cell(bench: Bench) -> None:
    with bench.paused(bench.guest(memory=ON_CELL_0)) as started:
        assert started.domain.numaParameters() == {"numa_mode": STRICT, "numa_nodeset": "0"}
        assert f'"size":{SIZE},"host-nodes":[0],"policy":"bind"' in "\n".join(started.options())
        assert started.mapped(" bind:0")
        assert {status["Mems_allowed_list"] for status in started.statuses()} == {"0"}


def test_guest_cells_have_their_memory_and_asymmetric_distances(bench: Bench) -> None:
    with bench.paused(bench.guest(memory=replace(ON_CELL_0, cells=CELLS))) as started:
        options = started.options()
    assert [line for line in options if line.startswith(("node,", "dist,"))] == [
        "node,nodeid=0,cpus=0,memdev=ram-node0",
        "node,nodeid=1,cpus=1,memdev=ram-node1",
        "dist,src=0,dst=0,val=10",
        "dist,src=0,dst=1,val=21",
        "dist,src=1,dst=0,val=31",
        "dist,src=1,dst=1,val=10",
    ]
    bound = f'"size":{HALF},"host-nodes":[0],"policy":"bind"'
    assert len([line for line in options if bound in line]) == len(CELLS)


def test_a_guest_cell_may_have_memory_only(bench: Bench) -> None:
    cells = (replace(CELLS[0], vcpus=(0, 1)), replace(CELLS[1], vcpus=()))
    with bench.paused(bench.guest(memory=replace(ON_CELL_0, cells=cells))) as started:
        assert "node,nodeid=1,memdev=ram-node1" in started.options()


@pytest.fixture
def pages() -> Iterator[None]:
    """Enough huge pages for a guest, beside those that the machine has."""
    before = int(PAGES.read_text())
    try:
        PAGES.write_text(str(before + SIZE // PAGE))
    except OSError as error:
        pytest.skip(f"this machine gives no huge pages: {error}")
    yield
    PAGES.write_text(str(before))


@pytest.mark.parametrize("cells", [(), CELLS], ids=["no-cells", "cells"])
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with-virtiofs"])
def test_huge_pages_are_behind_all_memory(
    bench: Bench, pages: None, cells: tuple[GuestCell, ...], shared: bool
) -> None:
    filesystems: tuple[Filesystem, ...] = (bench.home,) if shared else ()
    memory = replace(ON_CELL_0, cells=cells, page_bytes=PAGE)
    pins = Pins((OTHER, OTHER), ONE, (), ())
    with bench.paused(bench.guest(memory=memory, filesystems=filesystems, pins=pins)) as started:
        backing = started.mapped("memory-backend-memfd")
        assert started.cpus()["emulator"] == {numbers(ONE)}  # QEMU's threads that took the pages among them
    assert {entry["kernelpagesize_kB"] for entry in backing} == {"2048"}
    assert sum(int(entry["N0"]) for entry in backing) == SIZE // PAGE


def may_lift_limits() -> bool:
    """Whether root has CAP_SYS_RESOURCE here, which some containers keep from it."""
    status = Path("/proc/self/status").read_text()
    return bool(int(status.split("CapEff:\t")[1].split()[0], 16) & 1 << CAP_SYS_RESOURCE)


def test_locked_memory_is_locked_or_the_guest_does_not_start(bench: Bench) -> None:
    """libvirt lifts the limit itself; who may not do so (a container, say) gets no guest at all."""
    import libvirt

    guest = bench.guest(memory=replace(ON_CELL_0, locked=True))
    refused = pytest.raises(libvirt.libvirtError, match="cannot limit locked memory")
    with contextlib.nullcontext() if may_lift_limits() else refused, bench.paused(guest) as started:
        assert int(started.statuses()[0]["VmLck"].split()[0]) >= SIZE // 1024


def test_9p_is_served_read_only_by_a_qemu_that_is_no_root(bench: Bench) -> None:
    """The image of the other tests has no 9p in its kernel, so this is as far as it is tried: what QEMU was told."""
    software = replace(SOFTWARE, path=bench.home.path)
    with bench.paused(bench.guest(filesystems=(software,), memory=ON_CELL_0)) as started:
        options = started.options()
        assert started.statuses()[0]["Uid"].split()[0] != "0"
    served = options[options.index("-fsdev") + 1].split(",")
    assert {"local", "security_model=none", "multidevs=remap"} <= set(served)
    assert {"readonly", "readonly=on"} & set(served)  # the one is libvirt 9's word, the other that of later ones
