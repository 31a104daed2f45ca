"""The domain compiler against XML and libvirt's schema: form, devices, text. test_domain_on_libvirt has the rest."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.compilers.domains import QEMU, misplaced, missing, schema, tree
from tests.compilers.plans import DATA, GUEST, GUESTS, MIB, NETWORK, OVERLAY, SCRATCH_DISK, SEED, USER, with_machine
from vtorque_compilers.domain import compile_domain
from vtorque_spec.fault import Fault
from vtorque_spec.placement.demand import GUEST_OVERHEAD_BYTES
from vtorque_spec.plan import LinuxGuest

ANY_GUEST = pytest.mark.parametrize("guest", GUESTS.values(), ids=GUESTS)


@ANY_GUEST
def test_path_and_form(guest: LinuxGuest) -> None:
    artifact = compile_domain(replace(guest, index=3))
    assert artifact.path == "vm3/domain.xml"
    assert artifact.text.endswith("</domain>\n")
    assert artifact == compile_domain(replace(guest, index=3))


@ANY_GUEST
def test_valid_by_libvirts_schema(guest: LinuxGuest) -> None:
    schema().assertValid(etree.fromstring(compile_domain(guest).text))


def test_a_loss_is_noticed() -> None:
    emitted = tree(GUESTS["filesystems"])
    returned = tree(GUESTS["filesystems"])
    returned.findall("devices/disk")[1].remove(returned.findall("devices/disk/readonly")[0])
    serial = returned.find("devices/serial")
    assert serial is not None
    serial.set("type", "pty")
    assert missing(emitted, returned) == [
        "/domain/devices/disk/readonly",
        "/domain/devices/serial/@type",
    ]


def test_another_order_is_noticed() -> None:
    returned = tree(GUEST)
    returned.insert(0, returned[2])
    disk = returned.find("devices/disk")
    assert disk is not None
    disk[:] = reversed(disk)
    assert misplaced(tree(GUEST), returned) == ["/domain", "/domain/devices/disk"]


def test_disks_have_explicit_formats_and_ended_chains() -> None:
    overlay, seed = tree(GUEST).findall("devices/disk")
    assert [node.get("type") for node in overlay.iter("driver")] == ["qcow2"]
    chain = overlay.find("backingStore")
    assert chain is not None
    assert [node.tag for node in chain] == ["format", "source", "backingStore"]
    assert list(chain[2]) == []
    assert seed.find("readonly") is not None
    assert seed.find("driver[@type='raw']") is not None
    assert [list(node) for node in seed.findall("backingStore")] == [[]]


def test_disks_live_as_long_as_their_guest_and_a_further_one_keeps_its_room() -> None:
    drivers = tree(with_machine(disks=(OVERLAY, SEED, SCRATCH_DISK))).findall("devices/disk/driver")
    assert [driver.get("discard") for driver in drivers] == ["unmap", None, None]
    assert [driver.get("cache") for driver in drivers] == ["unsafe", None, "unsafe"]


def test_9p_is_read_only_and_nfs_is_the_guests_own_affair() -> None:
    found = tree(GUESTS["every-way-to-mount"]).findall("devices/filesystem")
    told = [(item.find("driver").get("type"), item.find("source").get("dir")) for item in found]  # type: ignore[union-attr]
    assert told == [("virtiofs", "/shares/home"), ("virtiofs", "/shares/data"), ("path", "/shares/sw")]
    assert [item.find("readonly") is not None for item in found] == [False, False, True]
    assert tree(GUESTS["nothing-shared"]).find("memoryBacking") is None


def test_no_backing_file_of_a_format_to_be_guessed() -> None:
    with pytest.raises(Fault, match="VT0604: the disk vda has a backing file of an unknown format"):
        compile_domain(with_machine(disks=(replace(OVERLAY, backing_format=None),)))


def test_a_job_has_one_partition_and_an_ordinary_users_has_none() -> None:
    said = "<resource><partition>/machine/vt_42_2esrv</partition></resource>"
    assert said in re.sub(r"\s+<", "<", compile_domain(GUESTS["partition"]).text)
    assert "resource" not in compile_domain(GUESTS["user-nic"]).text


def test_an_emulator_keeps_less_code_than_the_job_has_memory_for() -> None:
    """QEMU's own default, 1 GiB, is four times what a job claims beside its guest's memory."""
    cache = tree(GUESTS["bridge"]).find("features/tcg/tb-cache")
    assert cache is not None
    assert (cache.text, cache.get("unit")) == (str(128 * 1024), "KiB")
    assert 2 * 128 * MIB <= GUEST_OVERHEAD_BYTES
    assert "tb-cache" not in compile_domain(with_machine(virt="kvm")).text


def test_qemus_command_line_only_for_the_user_nic() -> None:
    arguments = [node.get("value") for node in tree(GUEST).findall("qemu:commandline/qemu:arg", QEMU)]
    assert arguments[1] == "user,id=user0,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:22022-:22"
    assert USER.mac in str(arguments[3])
    assert tree(GUEST).find("devices/interface") is None
    assert "qemu:" not in compile_domain(GUESTS["bridge"]).text


def test_a_comma_in_an_option_is_not_another_option() -> None:
    guest = with_machine(nic=replace(USER, mac="52:54:00:00:00:01,romfile=/etc/shadow"))
    assert "mac=52:54:00:00:00:01,,romfile=" in compile_domain(guest).text


def carried(text: str) -> bool:
    """Whether XML gives `text` back: libxml2 says which characters it has; tabs and line ends get normalised."""
    try:
        etree.Element("any").text = text
    except ValueError:
        return False
    return not set(text) & set("\t\r\n")


@given(text=st.text(), field=st.sampled_from(["name", "kernel", "cmdline", "console_log"]))
def test_any_text_comes_back_or_is_refused(text: str, field: str) -> None:
    guest = replace(GUEST, machine=replace(GUEST.machine, **{field: text}))  # type: ignore[arg-type] # any of the four
    if not carried(text):
        with pytest.raises(Fault, match="VT0604"):
            compile_domain(guest)
        return
    where = {"name": "name", "kernel": "os/kernel", "cmdline": "os/cmdline", "console_log": "devices/serial/source"}
    found = tree(guest).find(where[field])
    assert found is not None
    assert (found.get("path") if field == "console_log" else found.text or "") == text


@given(text=st.text())
def test_any_text_in_an_attribute_stays_in_it(text: str) -> None:
    guest = with_machine(
        nic=replace(NETWORK, source=text),
        disks=(replace(OVERLAY, backing=text),),
        filesystems=(replace(DATA, path=text),),
    )
    if not carried(text):
        with pytest.raises(Fault, match="VT0604"):
            compile_domain(guest)
        return
    domain = tree(guest)
    assert [node.get("network") for node in domain.findall("devices/interface/source")] == [text]
    assert [node.get("file") for node in domain.findall("devices/disk/backingStore/source")] == [text]
    assert [node.get("dir") for node in domain.findall("devices/filesystem/source")] == [text]
