"""`vtorque site node-class`: what it reads of a machine, from three sources, and the entry that it writes."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.site.helpers import PLAIN
from tests.site.machines import GIB, ODD, capabilities, ranged, write, write_cpus, write_pages, write_sysfs
from tests.spec.helpers import document
from vtorque_spec.cli import group
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import open_site
from vtorque_spec.site.facts import check_facts
from vtorque_spec.site.model import NodeClass, SiteFile
from vtorque_spec.site.probe.capabilities import read_capabilities
from vtorque_spec.site.probe.entry import class_text
from vtorque_spec.site.probe.lstopo import read_lstopo
from vtorque_spec.site.probe.machine import Cell, Device, Kind, Machine, ProbeError, machine, machine_of
from vtorque_spec.site.probe.sysfs import read_sysfs
from vtorque_spec.site.siblings import print_siblings
from vtorque_spec.spec.parse import parse_as

SITE = (PLAIN / "site.yaml").read_text()
CLASS = "node_classes:\n  thin: {cpus: 8, memory: 16GiB}\n"


def node_class(text: str) -> NodeClass:
    report = Report()
    facts = parse_as(SiteFile, document(SITE.replace(CLASS, text)), report)
    assert facts, report.items
    return facts.node_classes["thin"]


def vtorque(*arguments: str | Path, given: bytes = b"") -> Result:
    words = ["site", "node-class", *map(str, arguments)]
    return CliRunner().invoke(group, words, standalone_mode=False, catch_exceptions=True, input=given)


@pytest.mark.parametrize("name", ODD)
def test_sysfs(name: str, tmp_path: Path) -> None:
    write_sysfs(tmp_path, ODD[name])
    assert read_sysfs(tmp_path) == ODD[name]


@pytest.mark.parametrize("name", ODD)
def test_capabilities(name: str) -> None:
    assert read_capabilities(capabilities(ODD[name]), "x.xml") == replace(ODD[name], devices=())


@pytest.mark.parametrize("name", ODD)
def test_hwloc_reads_the_same_of_the_same_files(name: str, tmp_path: Path) -> None:
    """lstopo's own reader of /sys, which shares nothing with ours."""
    if shutil.which("lstopo-no-graphics") is None:
        pytest.skip("lstopo is not installed (hwloc-nox)")
    write_sysfs(tmp_path, ODD[name])
    command = ["lstopo-no-graphics", "--of", "xml", "--input", str(tmp_path), "--input-format", "fsroot"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert read_lstopo(done.stdout, "x.xml").cells == ODD[name].cells


@pytest.mark.libvirt
def test_this_machine_is_the_same_to_all_three(libvirtd: object) -> None:
    if shutil.which("lstopo-no-graphics") is None:
        pytest.skip("lstopo is not installed (hwloc-nox)")
    ours = read_sysfs()
    command = ["virsh", "-c", "qemu:///system", "capabilities"]
    libvirts = subprocess.run(command, capture_output=True, check=True).stdout
    hwlocs = subprocess.run(["lstopo-no-graphics", "--of", "xml"], capture_output=True, check=True).stdout
    assert read_capabilities(libvirts, "x.xml") == replace(ours, devices=())
    assert read_lstopo(hwlocs, "x.xml") == ours


def test_a_kernel_without_numa(tmp_path: Path) -> None:
    cell = Cell(0, ranged(2, threads=2), GIB, {"2MiB": 7}, (10,), 0)
    write(tmp_path, "sys/devices/system/cpu/online", "0-3")
    write(tmp_path, "proc/meminfo", f"MemTotal: {GIB // 1024} kB")
    write_cpus(tmp_path, cell.cores, 0)
    write_pages(tmp_path, "sys/kernel/mm/hugepages", cell)
    assert read_sysfs(tmp_path) == Machine((cell,))


def test_devices_that_are_none(tmp_path: Path) -> None:
    """A loopback interface, a disk over the network, graphics for the board's management."""
    write_sysfs(tmp_path, ODD["one core"])
    (tmp_path / "sys/class/net/lo").mkdir(parents=True)
    write(tmp_path, "sys/class/nvme/nvme0/transport", "tcp")
    write(tmp_path, "sys/class/nvme/nvme0/device/numa_node", 0)
    write(tmp_path, "sys/bus/pci/devices/0000:02:00.0/class", "0x030000")
    write(tmp_path, "sys/bus/pci/devices/0000:02:00.0/vendor", "0x1a03")
    assert read_sysfs(tmp_path).devices == ()


def test_devices_of_lstopo() -> None:
    node = '<object type="NUMANode" os_index="%d" cpuset="0x%d" nodeset="0x%d" local_memory="9999999"/>'
    pci = '<object type="PCIDev" pci_busid="0000:0%d:00.0" pci_type="%s [%s:0001] x">%s</object>'
    osdev = '<object type="OSDev" name="%s" osdev_type="%d"/>'
    xml = (
        '<topology version="2.0"><object type="Machine" nodeset="0x3">'
        '<object type="Package" os_index="0" nodeset="0x1">' + node % (0, 1, 1)
        + '<object type="PU" os_index="0" nodeset="0x1"/>'
        + pci % (1, "0108", "144d", osdev % ("nvme3n1", 0)) + pci % (2, "0302", "10de", osdev % ("card0", 1))
        + pci % (3, "0300", "1a03", "") + "</object>" + node % (1, 2, 2)
        + pci % (4, "0207", "15b3", osdev % ("mlx5_0", 3) + osdev % ("ib0", 2) + osdev % ("sda", 0))
        + "</object></topology>"
    )  # fmt: skip
    assert read_lstopo(xml.encode(), "x.xml").devices == (
        Device("0000:02:00.0", "gpu", 0),
        Device("mlx5_0", "hca", None),
        Device("ib0", "nic", None),
        Device("nvme3", "nvme", 0),
    )


def test_the_order_of_cells_in_a_file_does_not_matter() -> None:
    made = ODD["asymmetric"]
    backwards = (replace(cell, distances=cell.distances[::-1]) for cell in reversed(made.cells))
    assert read_capabilities(capabilities(Machine(tuple(backwards))), "x.xml") == made


def test_a_cell_of_memory_beside_another_in_hwloc() -> None:
    """hwloc gives it the CPUs of the cell that it is nearest to (memory on the processor's package)."""
    node = '<object type="NUMANode" os_index="%d" cpuset="0x1" nodeset="0x%d" local_memory="9999999"/>'
    xml = (
        '<topology version="2.0"><object type="Machine" nodeset="0x5"><object type="Core" nodeset="0x5">'
        '<object type="PU" os_index="0"/></object>' + node % (2, 4) + node % (0, 1) + "</object></topology>"
    )
    assert [cell.cores for cell in read_lstopo(xml.encode(), "x.xml").cells] == [((0,),), ()]


# --- the entry ------------------------------------------------------------------------------------------------------


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Any machine: cores of any widths and numbers, spread over cells of any ids."""
    count = draw(st.integers(1, 5))
    ids = draw(st.lists(st.integers(0, 1023), min_size=count, max_size=count, unique=True))
    free = iter(draw(st.permutations(range(draw(st.integers(40, 60))))))
    cells = []
    for number in ids:
        widths = draw(st.lists(st.integers(1, 4), max_size=2))
        cores = tuple(sorted(tuple(sorted(next(free) for _ in range(width))) for width in widths))
        memory = draw(st.integers(0, 2**40)) // 1024 * 1024
        pages = {size: n for size, n in (("2MiB", memory // 2**23), ("1GiB", memory // 2**32)) if n}
        cells.append(Cell(number, cores, memory, pages, (), draw(st.integers(0, 3)) if cores else None))
    kinds: st.SearchStrategy[Kind] = st.sampled_from(("nic", "hca", "gpu", "nvme"))
    names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.@:+=/-]{0,9}", fullmatch=True)
    devices = draw(st.lists(st.builds(Device, names, kinds, st.sampled_from([*ids, None])), max_size=3))
    alike = {(device.kind, device.name): device for device in devices}
    values = st.lists(st.integers(11, 254), min_size=count, max_size=count)
    if draw(st.booleans()):
        for place in sorted(range(count), key=lambda place: ids[place]):
            row = draw(values)
            row[sorted(ids).index(ids[place])] = 10
            cells[place] = replace(cells[place], distances=tuple(row))
    return Machine(tuple(cells), tuple(alike.values()))


@settings(max_examples=300, deadline=None)
@given(machines())
def test_what_was_written_is_read_back(drawn: Machine) -> None:
    """And has no finding: class_text() itself refuses what has one."""
    try:
        made = machine(drawn.cells, drawn.devices, "it")
        text = class_text(made, "thin", "it")
    except ProbeError as error:
        few = not drawn.cells or sum(map(len, (cell.cores for cell in drawn.cells))) == 0
        assert few or drawn.memory_bytes < 2**24, error  # noqa: PT017 - fine only of such
        return
    assert machine_of(node_class(text)) == made.rounded()


@pytest.mark.parametrize("name", ODD)
def test_the_entry_passes_the_check_of_a_site(name: str, tmp_path: Path) -> None:
    shutil.copytree(PLAIN, tmp_path / "site")
    text = class_text(ODD[name], "thin", "it")
    (tmp_path / "site/site.yaml").write_text(SITE.replace(CLASS, text))
    report = Report()
    assert open_site(tmp_path / "site", report) is not None, report.items
    assert report.items == []
    assert machine_of(node_class(text)) == ODD[name].rounded()


def test_the_text() -> None:
    assert class_text(ODD["ids with gaps"], "thin", "it") == (
        "node_classes:\n"
        "  thin:\n"
        "    cpus: 6\n"
        "    memory: 5376MiB\n"
        "    # A suggestion: what the host keeps is not in `cpus` and `memory` above, so change them together.\n"
        "    host_reserve: {cores: 1, memory: 768MiB}\n"
        "    # slot: core      # if the batch system counts cores; `cpus` counts threads even then\n"
        "    # vcpu: thread    # if the threads of a core may be vCPUs of a guest; otherwise each has a core\n"
        "    topology: {sockets: 2, cores: 2, threads: 2}\n"
        "    cells:\n"
        "      - id: 1\n"
        "        socket: 3\n"
        "        cpus: 3,7,103,107\n"
        "        siblings: 3-7:4+103-107:4\n"
        "        memory: 1GiB\n"
        "        distances: [10, 12]\n"
        "      - id: 8\n"
        "        socket: 36\n"
        "        cpus: 20,40,120,140\n"
        "        siblings: 20-40:20+120-140:20\n"
        "        memory: 5GiB\n"
        "        distances: [12, 10]\n"
        "    devices:\n"
        "      - {name: eth0, kind: nic, cell: 8}\n"
        "      - {name: eth1, kind: nic}\n"
        "      - {name: nvme0, kind: nvme, cell: 1}\n"
    )


@pytest.mark.parametrize("name", ODD)
def test_what_the_comments_of_an_entry_say_can_be_taken(name: str) -> None:
    """`cpus` is a whole number of cores on any machine."""
    text = class_text(ODD[name], "thin", "it")
    several = any(len(core) > 1 for core in ODD[name].cores)
    assert ("# slot: core " in text, "# vcpu: thread " in text) == (several, several)
    taken = text.replace("# slot: core ", "slot: core ").replace("# vcpu: thread ", "vcpu: thread ")
    report, parsed = Report(), document(SITE.replace(CLASS, taken))
    facts = parse_as(SiteFile, parsed, report)
    assert facts, report.items
    check_facts(facts, parsed, report)
    assert report.items == []
    assert facts.node_classes["thin"].slot == ("core" if several else None)


def test_distances_go_with_their_cells() -> None:
    """They are in the order in which the class lists its cells, whatever that is."""
    cells = (
        "{id: 5, cpus: 0, memory: 1GiB, distances: [10, 30, 40]}",
        "{id: 2, cpus: 1, memory: 1GiB, distances: [31, 10, 50]}",
        "{id: 9, cpus: 2, memory: 1GiB, distances: [41, 51, 10]}",
    )
    text = f"node_classes:\n  thin: {{cpus: 3, memory: 3GiB, cells: [{', '.join(cells)}]}}\n"
    read_back = machine_of(node_class(text))
    assert read_back
    assert [(cell.id, cell.distances) for cell in read_back.cells] == [
        (2, (10, 31, 50)), (5, (30, 10, 40)), (9, (51, 41, 10))
    ]  # fmt: skip


def test_cores_that_differ_have_no_topology() -> None:
    assert "topology" not in class_text(ODD["threads mixed"], "thin", "it")
    assert print_siblings(ODD["4 and 8 threads"].cores).count("+") == 3 + 7


def test_a_cell_without_siblings_is_numbered_as_firmware_does() -> None:
    text = (
        "node_classes:\n  thin: {cpus: 8, memory: 1GiB, topology: {sockets: 1, cores: 4, threads: 2}, "
        "cells: [{id: 0, cpus: 0-7, memory: 2GiB}]}\n"
    )
    read_back = machine_of(node_class(text))
    assert read_back
    assert read_back.cores == [(0, 4), (1, 5), (2, 6), (3, 7)]


# --- what is wrong ----------------------------------------------------------------------------------------------------

LAUGHS = b'<!DOCTYPE topology [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>\n<topology version="2.0">&b;</topology>'
CELL = b"<capabilities><host><topology><cells><cell id='0'>%s</cell></cells></topology></host></capabilities>"
CPUS = b"<cpus><cpu id='0' siblings='%s'/></cpus><memory unit='%s'>%s</memory>"
NODE = b'<topology version="2.0"><object type="NUMANode" os_index="0" cpuset="%s" local_memory="%s"/></topology>'
BAD = [
    ("lstopo", LAUGHS, "the file defines entities"),
    ("capabilities", LAUGHS, "the file defines entities"),
    ("lstopo", b"<capabilities/>", "the XML is a `capabilities`, not the `topology` of lstopo --of xml"),
    ("capabilities", b"<topology/>", "the XML is a `topology`, not the `capabilities` of virsh capabilities"),
    ("lstopo", b"", "this is no XML: no element found"),
    ("lstopo", b"<topology>\n<x></topology>", "-:2:6: error[VT0762]: this is no XML: mismatched tag"),
    ("lstopo", b"\n\xff\xfe<", "-:2:1: error[VT0762]: this is no text in UTF-8"),
    ("lstopo", b" " * (16 * 2**20 + 1), "the file has more than 16 MiB"),
    ("lstopo", b"<topology/>", "this is the XML of hwloc 1"),
    ("lstopo", b'<topology version="2.0"/>', "- names no CPUs"),
    ("lstopo", NODE % (b"0xf...f", b"1"), "`0xf...f` is no finite set of CPUs or nodes"),
    ("lstopo", NODE % (b"0x1", b"1e9"), "`local_memory` is `1e9`, not a number"),
    ("lstopo", b"<topology version='2.0'>" + b"<object>" * 20000 + b"</object>" * 20000 + b"</topology>", "no CPUs"),
    ("capabilities", b"<capabilities/>", "- names no CPUs"),
    ("capabilities", CELL % (CPUS % (b"0-", b"KiB", b"9")), "`siblings` of a `cpu` is not a list of CPUs"),
    ("capabilities", CELL % (CPUS % (b"0-65535", b"KiB", b"9")), "`siblings` of a `cpu` is not a list of CPUs"),
    ("capabilities", CELL % (CPUS % (b"0", b"parsec", b"9")), "`parsec` is no unit of libvirt"),
    ("capabilities", CELL % (CPUS % (b"0", b"KiB", b"-9")), "the size of a `memory` is `-9`, not a number"),
    ("capabilities", CELL % (CPUS % (b"0", b"KiB", b"9")), "- names no memory"),
    ("capabilities", CELL % (CPUS % (b"0", b"GiB", b"9" * 15)), "no node class can be written of -: "),
    ("capabilities", (CELL % (CPUS % (b"0", b"GiB", b"9"))).replace(b"l id='0'", b"l id='5000'"), "no node class"),
]


@pytest.mark.parametrize(("kind", "raw", "message"), BAD, ids=lambda value: str(value)[:30])
def test_a_bad_file_ends_in_a_finding(kind: str, raw: bytes, message: str) -> None:
    done = vtorque(f"--from-{kind}", "-", given=raw)
    assert (done.return_value, done.stdout) == (1, "")
    assert message in done.stderr
    assert re.search(r"error\[VT0762\]: .*\n(.*\n)*  help: ", done.stderr)


@pytest.mark.parametrize("kind", ["capabilities", "lstopo"])
def test_a_cut_file_never_ends_in_a_traceback(kind: str) -> None:
    whole = capabilities(ODD["asymmetric"])
    for end in range(0, len(whole), 37):
        done = vtorque(f"--from-{kind}", "-", given=whole[:end])
        assert "error[VT0762]" in done.stderr


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("cpu/online", "0-x", "cpu/online: `0-x` is not a list of CPUs"),
        ("cpu/online", "0-1", "cpu1/topology/thread_siblings_list: no such file or directory"),
        ("node/node0/meminfo", "nothing", "node0/meminfo has no MemTotal"),
        ("node/node0/distance", "ten", "node0/distance: `ten` is not a number"),
        ("node/node0/cpulist", "", "the CPU 0 is online but in no cell of"),
    ],
)
def test_a_bad_file_of_sys_is_named(file: str, text: str, message: str, tmp_path: Path) -> None:
    write_sysfs(tmp_path, ODD["one core"])
    write(tmp_path, f"sys/devices/system/{file}", text)
    if text == "0-1":
        write(tmp_path, "sys/devices/system/node/node0/cpulist", text)
    with pytest.raises(ProbeError, match=re.escape(message)):
        read_sysfs(tmp_path)


def test_a_file_of_sys_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_sysfs(tmp_path, ODD["one core"])
    path = tmp_path / "sys/devices/system/node/node0/meminfo"
    path.unlink()
    path.mkdir()
    with pytest.raises(ProbeError, match=re.escape(f"{path}: is a directory")):
        read_sysfs(tmp_path)


def test_one_source_is_said() -> None:
    for words in ([], ["--from-host", "--from-lstopo", "-"]):
        assert "say one of --from-host" in str(vtorque(*words).exception)
    assert "`a: b` is not a name" in str(vtorque("--from-host", "a: b").exception)


def test_this_machine() -> None:
    done = vtorque("--from-host", "thin")
    assert machine_of(node_class(done.stdout)) == read_sysfs().rounded()
