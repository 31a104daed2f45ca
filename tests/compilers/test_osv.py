"""OSv's domain and seed: what its kernel drives, and nothing that it would trip over."""

from dataclasses import replace

import pytest
import yaml
from lxml import etree

from tests.compilers.domains import QEMU, schema, tree
from tests.compilers.plans import GUESTS, LINE, OSV, OSV_GUESTS, VMS, osv
from vtorque_compilers.domain import compile_domain
from vtorque_compilers.guests import compile_guests
from vtorque_compilers.osv import compile_osv_seed
from vtorque_spec.plan import OsvGuest

ANY_GUEST = pytest.mark.parametrize("guest", OSV_GUESTS.values(), ids=OSV_GUESTS)

DRIVEN = {"disk", "controller", "filesystem", "interface", "serial", "memballoon", "rng"}


@ANY_GUEST
def test_valid_by_libvirts_schema(guest: OsvGuest) -> None:
    schema().assertValid(etree.fromstring(compile_domain(guest).text))


@ANY_GUEST
def test_devices_that_it_drives_and_no_other(guest: OsvGuest) -> None:
    """A CD drive, even an empty one, would hang it; two buses of disks would give it two first disks."""
    devices = tree(guest).find("devices")
    assert devices is not None
    assert {device.tag for device in devices} <= DRIVEN
    assert {disk.get("device") for disk in devices.findall("disk")} == {"disk"}
    assert {target.get("bus") for target in devices.findall("disk/target")} == {"virtio"}
    assert devices.findall("disk/target")[0].get("dev") == "vda"
    assert {device.get("type") for device in devices.findall("interface/model")} <= {"virtio"}
    assert [device.get("model") for device in devices.findall("controller")] == ["none"]
    assert [device.get("type") for device in devices.findall("serial/target")] == ["isa-serial"]
    assert len(tree(GUESTS["network"]).findall("devices/channel")) == 1


@ANY_GUEST
def test_it_is_gone_when_it_stops_and_has_a_clock(guest: OsvGuest) -> None:
    """Without ACPI it could not switch itself off; without an HPET it halts where the hypervisor is no clock."""
    domain = tree(guest)
    assert [domain.findtext(event) for event in ("on_poweroff", "on_reboot", "on_crash")] == ["destroy"] * 3
    assert domain.find("features/acpi") is not None
    assert [timer.attrib for timer in domain.findall("clock/timer")] == [{"name": "hpet", "present": "yes"}]
    assert tree(GUESTS["network"]).find("clock/timer") is None


def test_by_kernel_qemu_is_given_the_line_and_by_disk_nothing() -> None:
    """The firmware starts the first disk, in which the runtime has written the line."""
    by_kernel, by_disk = tree(OSV).find("os"), tree(osv("q35", "disk")).find("os")
    assert by_kernel is not None
    assert by_disk is not None
    assert [(node.tag, node.text) for node in by_kernel] == [
        ("type", "hvm"), ("kernel", "/spool/vm0/kernel.elf"), ("cmdline", LINE),
    ]  # fmt: skip
    assert [(node.tag, dict(node.attrib).get("dev")) for node in by_disk] == [("type", None), ("boot", "hd")]


def test_a_kernel_of_2018_is_on_a_board_with_virtios_older_devices() -> None:
    """libvirt puts virtio behind q35's root ports, where it is modern alone."""
    for board, bus in (("q35", "pcie.0"), ("pc", "pci.0")):
        domain = tree(OSV_GUESTS["osv-2018-user-nic" if board == "pc" else "osv-user-nic"])
        kind = domain.find("os/type")
        assert kind is not None
        assert kind.get("machine") == board
        assert str(domain.findall("qemu:commandline/qemu:arg", QEMU)[3].get("value")).endswith(f",bus={bus},addr=0x18")


def test_a_seed_in_its_own_dialect() -> None:
    """One key that it does not know ends it. A call by another method than the interface's is an error of the job."""
    (seed,) = compile_osv_seed(OSV)
    assert seed.path == "vm0/seed/user-data"
    assert yaml.safe_load(seed.text) == {"run": [{"POST": "/os/hostname", "name": "vt-42-0"}]}


def test_no_seed_for_an_image_that_reads_none_and_no_file_of_linux() -> None:
    without = replace(OSV, cloud_init=False)
    assert compile_osv_seed(without) == ()
    assert [file.path for file in compile_guests([without], VMS)] == ["vm0/domain.xml"]
    assert [file.path for file in compile_guests([OSV], VMS)] == ["vm0/domain.xml", "vm0/seed/user-data"]
