"""Where a guest's threads and memory go, element by element. What libvirt makes of it: test_domain_on_libvirt."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from lxml import etree

from tests.compilers.domains import schema, tree
from tests.compilers.plans import (
    FOUR,
    GIB,
    GUEST,
    GUESTS,
    TWO_CELLS,
    any_guest,
    with_machine,
    with_memory,
)
from vtorque_compilers.domain import compile_domain
from vtorque_compilers.domain.xml import numbers
from vtorque_spec.plan import GuestCell, LinuxGuest, Pins


def said(guest: LinuxGuest, *paths: str) -> str:
    """The elements at `paths`, without the blanks between them."""
    found = (node for path in paths for node in tree(guest).findall(path))
    return "".join(ET.canonicalize(ET.tostring(node, encoding="unicode"), strip_text=True) for node in found)


CPUS = ("vcpu", "iothreads", "cputune")
MEMORY = ("memory", "memoryBacking", "numatune", "cpu/numa")


def test_nothing_is_said_of_what_the_plan_leaves_open() -> None:
    assert said(GUEST, *CPUS) == '<vcpu placement="static">2</vcpu>'
    assert said(GUEST, *MEMORY) == '<memory unit="KiB">1048576</memory>'


def test_a_pin_for_each_vcpu_and_the_emulator() -> None:
    assert said(GUESTS["pinned"], *CPUS) == (
        '<vcpu placement="static">2</vcpu><cputune>'
        '<vcpupin cpuset="4-6,9" vcpu="0"></vcpupin><vcpupin cpuset="7" vcpu="1"></vcpupin>'
        '<emulatorpin cpuset="1-2"></emulatorpin></cputune>'
    )


def test_an_unpinned_guest_floats_over_its_cpus() -> None:
    assert said(GUESTS["floating"], *CPUS) == '<vcpu cpuset="2-3,6-7" placement="static">2</vcpu>'


def test_the_threads_of_its_io_are_pinned_where_the_vcpus_float() -> None:
    assert said(GUESTS["iocm-floating"], *CPUS) == (
        '<vcpu cpuset="2-3,6-7" placement="static">4</vcpu><iothreads>1</iothreads><cputune>'
        '<emulatorpin cpuset="0-1"></emulatorpin><iothreadpin cpuset="0-1" iothread="1"></iothreadpin></cputune>'
    )


def test_io_threads_are_counted_from_1_and_disks_name_theirs() -> None:
    assert said(GUESTS["iocm"], "iothreads", "cputune/iothreadpin") == (
        '<iothreads>2</iothreads><iothreadpin cpuset="0-1" iothread="1"></iothreadpin>'
        '<iothreadpin cpuset="0-1" iothread="2"></iothreadpin>'
    )
    drivers = tree(GUESTS["iocm"]).findall("devices/disk/driver")
    assert [(driver.get("iothread"), driver.get("queues")) for driver in drivers] == [
        ("1", "4"),
        ("2", "2"),
        (None, None),
    ]


def test_a_card_of_several_queues_says_so() -> None:
    assert said(GUESTS["iocm"], "devices/interface/driver") == '<driver queues="4"></driver>'
    assert said(GUESTS["bridge"], "devices/interface/driver") == ""


@pytest.mark.parametrize("virt", ["kvm", "qemu"])
def test_the_guest_is_always_told_its_threads(virt: str) -> None:
    topology = '<topology cores="1" sockets="2" threads="2"></topology>'
    assert said(with_machine(FOUR, virt=virt), "cpu/topology") == topology


def test_more_vcpus_than_xapic_names_need_an_iommu() -> None:
    assert said(GUESTS["vcpus-256"], "features/ioapic", "devices/iommu") == (
        '<ioapic driver="qemu"></ioapic><iommu model="intel"><driver eim="on" intremap="on"></driver></iommu>'
    )
    assert said(with_machine(vcpus=255), "features/ioapic", "devices/iommu") == ""


def test_a_cell_of_the_host_is_strict() -> None:
    assert said(GUESTS["one-cell"], *MEMORY) == (
        '<memory unit="KiB">1048576</memory><numatune><memory mode="strict" nodeset="1"></memory></numatune>'
    )


def test_guest_cells_mirror_the_hosts() -> None:
    assert said(GUESTS["two-cells"], "numatune") == (
        '<numatune><memory mode="strict" nodeset="0,3"></memory>'
        '<memnode cellid="0" mode="strict" nodeset="0"></memnode>'
        '<memnode cellid="1" mode="strict" nodeset="3"></memnode></numatune>'
    )
    assert said(GUESTS["two-cells"], "cpu/numa") == (
        '<numa><cell cpus="0-1" id="0" memory="524288" unit="KiB"><distances>'
        '<sibling id="0" value="10"></sibling><sibling id="1" value="21"></sibling></distances></cell>'
        '<cell cpus="2-3" id="1" memory="524288" unit="KiB"><distances>'
        '<sibling id="0" value="31"></sibling><sibling id="1" value="10"></sibling></distances></cell></numa>'
    )


def test_a_cell_without_vcpus_or_distances() -> None:
    bare = with_memory(nodeset=(0, 1), cells=(GuestCell(0, (0, 1), GIB, ()), GuestCell(1, (), GIB, ())))
    assert said(bare, "cpu/numa") == (
        '<numa><cell cpus="0-1" id="0" memory="1048576" unit="KiB"></cell>'
        '<cell id="1" memory="1048576" unit="KiB"></cell></numa>'
    )


def test_another_cell_is_never_as_near_as_the_own_one() -> None:
    """A host with `numa=fake` says 10 for all of its cells; libvirt 9.0 can crash on that."""
    first, second = TWO_CELLS
    odd = (replace(first, distances=(10, 10)), replace(second, distances=(256, 9)))
    guest = with_memory(GUESTS["two-cells"], cells=odd)
    values = [node.get("value") for node in tree(guest).findall("cpu/numa/cell/distances/sibling")]
    assert values == ["10", "11", "255", "10"]


MEMFD = '<source type="memfd"></source><access mode="shared"></access>'
PAGE_2M = '<page size="2048" unit="KiB"></page>'


@pytest.mark.parametrize(
    ("guest", "backing"),
    [
        ("filesystems", MEMFD),
        ("pages-2m", f"<hugepages>{PAGE_2M}</hugepages>{MEMFD}"),
        ("pages-1g", f'<hugepages><page size="1048576" unit="KiB"></page></hugepages>{MEMFD}'),
        ("pages-of-cells", f'<hugepages><page nodeset="0-1" size="2048" unit="KiB"></page></hugepages>{MEMFD}'),
        ("pages-and-filesystems", f"<hugepages>{PAGE_2M}</hugepages>{MEMFD}"),
        ("locked", "<locked></locked>"),
        (
            "locked-pages",
            f'<hugepages><page nodeset="0-1" size="2048" unit="KiB"></page></hugepages><locked></locked>{MEMFD}',
        ),
    ],
)
def test_what_is_behind_the_memory(guest: str, backing: str) -> None:
    assert said(GUESTS[guest], "memoryBacking") == f"<memoryBacking>{backing}</memoryBacking>"
    assert said(GUESTS[guest], "memtune") == ""


@pytest.mark.parametrize(
    ("cpus", "text"), [((3,), "3"), ((0, 1), "0-1"), ((8, 0, 2, 1), "0-2,8"), ((1, 3, 5), "1,3,5"), ((2, 2), "2")]
)
def test_sets_as_libvirt_prints_them(cpus: tuple[int, ...], text: str) -> None:
    assert numbers(cpus) == text


def cpus_of(text: str | None) -> tuple[int, ...]:
    """The reverse of `numbers`."""
    ranges = [part.split("-") for part in (text or "").split(",") if part]
    return tuple(cpu for first, *last in ranges for cpu in range(int(first), int((last or [first])[0]) + 1))


def pins_of(domain: ET.Element) -> Pins:
    """The pins that a domain states."""
    vcpu = domain.find("vcpu")
    assert vcpu is not None
    emulator = domain.find("cputune/emulatorpin")
    return Pins(
        vcpus=tuple(cpus_of(pin.get("cpuset")) for pin in domain.findall("cputune/vcpupin")),
        emulator=() if emulator is None else cpus_of(emulator.get("cpuset")),
        iothreads=tuple(cpus_of(pin.get("cpuset")) for pin in domain.findall("cputune/iothreadpin")),
        cpuset=cpus_of(vcpu.get("cpuset")),
    )


@given(guest=any_guest())
def test_any_placement_is_valid_and_can_be_read_from_it(guest: LinuxGuest) -> None:
    schema().assertValid(etree.fromstring(compile_domain(guest).text))
    domain, machine = tree(guest), guest.machine
    assert pins_of(domain) == machine.pins
    assert [cpus_of(node.get("cpus")) for node in domain.findall("cpu/numa/cell")] == [
        cell.vcpus for cell in machine.memory.cells
    ]
    assert [cpus_of(node.get("nodeset")) for node in domain.findall("numatune/memnode")] == [
        (cell.host_cell,) for cell in machine.memory.cells
    ]
    assert [cpus_of(node.get("nodeset")) for node in domain.findall("numatune/memory")] == [
        nodeset for nodeset in [machine.memory.nodeset] if nodeset
    ]
