"""Root's table of what a domain holds: all that the compiler emits passes, and nothing else does."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compilers.plans import FOUR, GUESTS, NETWORK, TWO_CELLS, any_guest, with_machine, with_memory
from tests.spec.helpers import CONTEXT, EXAMPLES, ROOT, site
from vtorque_compilers.domain import compile_domain
from vtorque_runtime.recheck import recheck
from vtorque_runtime.recheck_domain import check_domain
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import check_file, plan_for_node
from vtorque_spec.fault import Fault
from vtorque_spec.placement.nodes import node_of_class
from vtorque_spec.placement.preview import preview_context
from vtorque_spec.plan import LinuxGuest, Pins

FULL = with_memory(
    with_machine(
        FOUR,
        virt="kvm",
        partition="vt_42_2esrv",
        pins=Pins(((4,), (5,), (6,), (7,)), (0, 1), ((0, 1), (0, 1)), (4, 5, 6, 7)),
        disks=GUESTS["iocm"].machine.disks,
        filesystems=GUESTS["every-way-to-mount"].machine.filesystems,
        nic=NETWORK,
        nic_queues=4,
    ),
    nodeset=(0, 3),
    cells=TWO_CELLS,
    page_bytes=2 * 1024**2,
    locked=True,
)
"""Almost all that a guest can have."""

DOMAIN = '<domain xmlns:q="http://libvirt.org/schemas/domain/qemu/1.0" type="kvm">'
DEVICES = "</devices>"
LIES = {
    "another type": ('type="kvm"', 'type="qemu"'),
    "another root": (("<domain", "<network"), ("</domain", "</network")),
    "another name": ("<name>", "<name>other-"),
    "another uuid": ("<uuid>", "<uuid>0"),
    "a second name": ("<uuid>", "<name>x</name><uuid>"),
    "no XML": ("<domain", "domain"),
    "an entity": ("<domain", '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/shadow">]><domain'),
    "a comment": ("<name>", "<!-- x --><name>"),
    "an instruction": ("<name>", "<?x y?><name>"),
    "another namespace": ("<domain", '<domain xmlns="urn:x"'),
    "text between elements": ("<features>", "<features>x"),
    "text after an element": ("<acpi />", "<acpi />x"),
    "text that no file carries": ("<name>", "<name>\ud800"),
    "another kernel": ("<kernel>", "<kernel>/home/tester"),
    "a loader": ("</os>", "<loader>/home/tester/x</loader></os>"),
    "other arguments of the kernel": ("<cmdline>", "<cmdline>init=/bin/sh "),
    "a guest that starts again": ("<on_crash>destroy", "<on_crash>restart"),
    "a guest that stays": ("<on_poweroff>destroy", "<on_poweroff>preserve"),
    "an on_ that is not ours": ("<on_crash>", "<on_lockfailure>ignore</on_lockfailure><on_crash>"),
    "a label": ("</domain>", '<seclabel type="none" /></domain>'),
    "ids of another map": ("</domain>", '<idmap><uid start="0" target="0" count="9" /></idmap></domain>'),
    "no partition": (("<resource>", "<!--"), ("</resource>", "-->")),
    "a partition that nothing caps": ("/machine/vt_42_2esrv<", "/machine<"),
    "another job's partition": ("/machine/vt_42_2esrv<", "/machine/vt_43_2esrv<"),
    "a second partition": ("</domain>", "<resource><partition>/machine</partition></resource></domain>"),
    "an application": ("</partition>", '</partition><fibrechannel appid="x" />'),
    "a launch security": ("</domain>", '<launchSecurity type="sev" /></domain>'),
    "QEMU arguments": (('<domain type="kvm">', DOMAIN), (DEVICES, "</devices><q:commandline />")),
    "an empty tune of blocks": (DEVICES, "</devices><blkiotune />"),
    "a feature": ("<acpi />", '<acpi /><kvm><hidden state="on" /></kvm>'),
    "an I/O APIC": ("<acpi />", '<acpi /><ioapic driver="qemu" />'),
    "another clock": ('offset="utc"', 'offset="localtime"'),
    "another cpuset": ('cpuset="4-7">4<', 'cpuset="0-511">4<'),
    "no cpuset": (' cpuset="4-7">4<', ">4<"),
    "a list of 10 MB": ('cpuset="4-7"', f'cpuset="{"0-65535," * 9000}0"'),
    "libvirt's own place": ('placement="static"', 'placement="auto"'),
    "more vCPUs": (">4</vcpu>", ">5</vcpu>"),
    "vCPUs to plug": ("</vcpu>", '</vcpu><vcpus><vcpu id="0" enabled="yes" /></vcpus>'),
    "another vCPU pin": ('<vcpupin vcpu="0" cpuset="4"', '<vcpupin vcpu="0" cpuset="7"'),
    "a vCPU pinned twice": ("<cputune>", '<cputune><vcpupin vcpu="0" cpuset="7" />'),
    "another emulator pin": ('<emulatorpin cpuset="0-1"', '<emulatorpin cpuset="0-31"'),
    "no emulator pin": ('<emulatorpin cpuset="0-1" />', ""),
    "another I/O thread's pin": ('iothread="2" cpuset="0-1"', 'iothread="2" cpuset="7"'),
    "more I/O threads": ("<iothreads>2<", "<iothreads>3<"),
    "a scheduler": ("<cputune>", '<cputune><vcpusched vcpus="0" scheduler="fifo" priority="99" />'),
    "more memory": ('<memory unit="KiB">1048576', '<memory unit="KiB">8388608'),
    "a larger unit": ('<memory unit="KiB">', '<memory unit="GiB">'),
    "memory to grow into": ("<cputune>", '<maxMemory slots="1" unit="GiB">64</maxMemory><cputune>'),
    "less to start with": ("<cputune>", "<currentMemory>1</currentMemory><cputune>"),
    "a limit of memory": ("<cputune>", "<memtune><hard_limit>1</hard_limit></memtune><cputune>"),
    "memory in another cell": ('<memory mode="strict" nodeset="0,3"', '<memory mode="strict" nodeset="0-7"'),
    "memory that may lie elsewhere": ('<memory mode="strict"', '<memory mode="preferred"'),
    "a guest cell in another cell": ('cellid="1" mode="strict" nodeset="3"', 'cellid="1" mode="strict" nodeset="0"'),
    "a guest cell with more memory": ('memory="524288"', 'memory="5242880"'),
    "a guest cell with other vCPUs": ('cpus="0-1"', 'cpus="0"'),
    "a guest cell's own access": ('<cell id="0"', '<cell memAccess="private" id="0"'),
    "a distance that ends libvirt": ('<sibling id="1" value="21" />', '<sibling id="1" value="10" />'),
    "a distance too large": ('<sibling id="1" value="21" />', '<sibling id="1" value="256" />'),
    "a distance too few": ('<sibling id="1" value="21" />', ""),
    "other pages": ('<page size="2048"', '<page size="1048576"'),
    "pages of another cell": ('unit="KiB" nodeset="0-1"', 'unit="KiB" nodeset="0-7"'),
    "no pages": (("<hugepages>", "<discard /><!--"), ("</hugepages>", "-->")),
    "memory that is not locked": ("<locked />", ""),
    "memory in a file": ('<source type="memfd" />', '<source type="file" />'),
    "memory that is not shared": ('<access mode="shared" />', '<access mode="private" />'),
    "memory allotted at once": ("<locked />", '<locked /><allocation mode="immediate" />'),
    "another topology": ('sockets="2" cores="1"', 'sockets="1" cores="2"'),
    "dies in the topology": ('sockets="2"', 'sockets="2" dies="2"'),
    "a CPU of another kind": ('mode="host-passthrough"', 'mode="host-model"'),
    "a CPU that can't move": ('mode="host-passthrough"', 'mode="host-passthrough" migratable="off"'),
    "a feature of the CPU": ("<numa>", '<feature policy="force" name="vmx" /><numa>'),
    "another program": (DEVICES, "<emulator>/home/tester/qemu</emulator></devices>"),
    "a host device": (DEVICES, '<hostdev mode="subsystem" type="pci" /></devices>'),
    "a host device as a card": ('<interface type="network">', '<interface type="hostdev">'),
    "a card of the host": ('<interface type="network">', '<interface type="ethernet">'),
    "another network": ('<source network="vtorque0" />', '<source network="default" />'),
    "a bridge of the host": ('<source network="vtorque0" />', '<source bridge="br0" />'),
    "no filter": ('<filterref filter="vt-42">', '<filterref filter="allow-ipv4">'),
    "another's address in the filter": ('name="IP" value="10.177.0.2"', 'name="IP" value="10.177.0.3"'),
    "two addresses in the filter": ("</filterref>", '<parameter name="IP" value="10.177.0.3" /></filterref>'),
    "another address": ('<mac address="52:54:00:12:34:56" />', '<mac address="52:54:00:12:34:57" />'),
    "a script of the card's": ("<interface ", '<interface managed="no" '),
    "another card's model": ('<model type="virtio" />', '<model type="e1000" />'),
    "other queues of the card": ('<driver queues="4" />', '<driver queues="8" />'),
    "a second card": (DEVICES, '<interface type="user" /></devices>'),
    "a block device": ('<disk type="file"', '<disk type="block"'),
    "a disk of NVMe": ('<disk type="file"', '<disk type="nvme"'),
    "a disk over the network": ('<disk type="file"', '<disk type="network"'),
    "a volume": ('<disk type="file"', '<disk type="volume"'),
    "a disk with a direct line to the host's": ('device="disk"', 'device="lun"'),
    "another file": ('<source file="/spool/vm0/overlay.qcow2"', '<source file="/etc/shadow"'),
    "the image itself": ('<source file="/spool/vm0/overlay.qcow2"', '<source file="/images/root.qcow2"'),
    "a format to be guessed": ('<driver name="qemu" type="raw" />', '<driver name="qemu" />'),
    "another format": ('<driver name="qemu" type="qcow2"', '<driver name="qemu" type="raw"'),
    "another image": ('<source file="/images/root.qcow2"', '<source file="/etc/shadow"'),
    "another format of the image": ('<format type="qcow2" />', '<format type="raw" />'),
    "an image that becomes the guest's": ('<seclabel model="dac" relabel="no" />', ""),
    "a label of the image's": ('relabel="no"', 'relabel="yes"'),
    "a chain without an end": ("</source>\n        <backingStore />", "</source>"),
    "a seed that can be written": ("<readonly />", ""),
    "a disk that others write": ("<readonly />", "<readonly /><shareable />"),
    "an encryption": ("<readonly />", '<readonly /><encryption format="luks" />'),
    "a limit of a disk": ("<readonly />", "<readonly /><iotune><total_iops_sec>1</total_iops_sec></iotune>"),
    "a third disk": (DEVICES, '<disk type="file" device="cdrom"><source file="/etc/shadow" /></disk></devices>'),
    "another directory": ('<source dir="/shares/home" />', '<source dir="/" />'),
    "another way to a directory": ('accessmode="passthrough"', 'accessmode="mapped"'),
    "another program for a directory": (
        '<driver type="virtiofs" />',
        '<driver type="virtiofs" /><binary path="/x" xattr="on" />',
    ),
    "a third directory": (DEVICES, '<filesystem type="mount"><source dir="/" /></filesystem></devices>'),
    "a console elsewhere": ('<source path="/spool/vm0/console.log"', '<source path="/etc/cron.d/x"'),
    "a console on a terminal": ('<serial type="file">', '<serial type="pty">'),
    "a port of the host's": (DEVICES, '<parallel type="dev"><source path="/dev/sda" /></parallel></devices>'),
    "a channel to a socket": ('<channel type="unix">', '<channel type="unix"><source path="/run/x" />'),
    "a device of the host for random numbers": (">/dev/urandom<", ">/dev/sda<"),
    "random numbers of a daemon's": ('<backend model="random"', '<backend model="egd"'),
    "a balloon": ('<memballoon model="none" />', '<memballoon model="virtio" />'),
    "a controller for USB": ('type="usb" model="none"', 'type="usb" model="qemu-xhci"'),
    "a screen": (DEVICES, '<graphics type="vnc" listen="0.0.0.0" /></devices>'),
    "a TPM of the host": (DEVICES, '<tpm><backend type="passthrough" /></tpm></devices>'),
    "memory of other guests": (DEVICES, '<shmem name="x" /></devices>'),
    "memory of the host's": (DEVICES, '<memory model="nvdimm"><source><path>/x</path></source></memory></devices>'),
    "deep": (DEVICES, "<a>" * 50_000 + "</a>" * 50_000 + DEVICES),
}

COMMAND_LINE_LIES = {
    "another port": (":22022-:22", ":22023-:22"),
    "a port for all": ("tcp:127.0.0.1:", "tcp::"),
    "a way out": ("restrict=on", "restrict=off"),
    "a directory to boot from": ("user,id=user0,", "user,id=user0,tftp=/etc,"),
    "another argument": ("</qemu:commandline>", '<qemu:arg value="-S" /></qemu:commandline>'),
    "an environment": ("</qemu:commandline>", '<qemu:env name="LD_PRELOAD" value="x.so" /></qemu:commandline>'),
    "no card": ("qemu:commandline", "qemu:other"),
    "capabilities": ("</domain>", '<qemu:capabilities><qemu:add capability="x" /></qemu:capabilities></domain>'),
    "overrides": ("</domain>", "<qemu:override /></domain>"),
    "a card of libvirt's": (DEVICES, '<interface type="user" /></devices>'),
}


def changed(guest: LinuxGuest, lie: tuple[object, ...]) -> str:
    """The guest's domain with a lie in it: one replacement, or several."""
    text = compile_domain(guest).text
    for old, new in (lie,) if isinstance(lie[0], str) else lie:  # type: ignore[misc] # pairs of texts
        assert str(old) in text
        text = text.replace(str(old), str(new), 1)
    return text


def refused(xml: str, guest: LinuxGuest) -> None:
    with pytest.raises(Fault, match=r"VT0912.*the domain XML"):
        check_domain(xml, guest.machine)


@pytest.mark.parametrize("guest", [*GUESTS.values(), FULL], ids=[*GUESTS, "full"])
def test_what_the_compiler_emits_passes(guest: LinuxGuest) -> None:
    check_domain(compile_domain(guest).text, guest.machine)


@given(guest=any_guest())
def test_any_placement_passes(guest: LinuxGuest) -> None:
    check_domain(compile_domain(guest).text, guest.machine)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name.split(".")[0])
def test_every_golden_file_passes_all_of_roots_check(path: Path) -> None:
    at, report = site(), Report()
    found = check_file(path, at, CONTEXT, report)
    assert found is not None, report.items
    name = found.choice.node_class
    context = preview_context(found.job, name, node_of_class(at, name))
    bundle = plan_for_node(found.job, context, at, name, found.normal, report)
    assert bundle is not None, report.items
    recheck(bundle, context)
    golden = ROOT / "tests/golden" / path.name.removesuffix(".vjob.yaml")
    for guest in bundle.plan.guests:
        check_domain((golden / f"vm{guest.index}/domain.xml").read_text(), guest.machine)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(lie: str) -> None:
    refused(changed(FULL, LIES[lie]), FULL)


@pytest.mark.parametrize("lie", COMMAND_LINE_LIES)
def test_a_lie_to_qemu_is_refused(lie: str) -> None:
    refused(changed(GUESTS["user-nic"], COMMAND_LINE_LIES[lie]), GUESTS["user-nic"])


def test_an_emulated_cpu_is_ours() -> None:
    refused(changed(GUESTS["bridge"], ("Nehalem", "EPYC")), GUESTS["bridge"])
    refused(changed(GUESTS["bridge"], (">131072</tb-cache>", ">1048576</tb-cache>")), GUESTS["bridge"])
    refused(changed(GUESTS["bridge"], ('fallback="forbid"', 'fallback="allow"')), GUESTS["bridge"])


def test_an_iommu_where_there_is_none_to_be() -> None:
    guest = GUESTS["vcpus-256"]
    refused(compile_domain(guest).text, with_machine(guest, vcpus=255))
    refused(changed(guest, ('intremap="on"', 'intremap="off"')), guest)


@given(guest=any_guest(), data=st.data())
def test_no_element_is_left_out_or_doubled(guest: LinuxGuest, data: st.DataObject) -> None:
    domain = ElementTree.fromstring(compile_domain(guest).text)
    parents = [element for element in domain.iter() if len(element)]
    parent = data.draw(st.sampled_from(parents))
    child = data.draw(st.sampled_from(list(parent)))
    if data.draw(st.booleans()):
        parent.remove(child)
    else:
        parent.append(child)
    refused(ElementTree.tostring(domain, encoding="unicode"), guest)


@given(guest=any_guest(), data=st.data())
def test_no_attribute_or_text_is_another(guest: LinuxGuest, data: st.DataObject) -> None:
    domain = ElementTree.fromstring(compile_domain(guest).text)
    element = data.draw(st.sampled_from(list(domain.iter())))
    match data.draw(st.sampled_from(["attribute", "less", "text"])):
        case "less" if element.attrib:
            del element.attrib[data.draw(st.sampled_from(sorted(element.attrib)))]
        case "text":
            element.text = (element.text or "") + "x"
        case _:
            name = data.draw(st.sampled_from([*element.attrib, "other"]))
            element.set(name, element.get(name, "") + "x")
    refused(ElementTree.tostring(domain, encoding="unicode"), guest)


def test_a_card_of_the_other_kind() -> None:
    refused(compile_domain(GUESTS["user-nic"]).text, GUESTS["bridge"])
    refused(compile_domain(GUESTS["bridge"]).text, GUESTS["user-nic"])
