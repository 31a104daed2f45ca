"""What root checks of an OSv guest before it acts on it, and what it then makes in the spool."""

import io
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pycdlib
import pytest
import yaml
from lxml import etree

from tests.runtime import fakes
from vtorque_compilers.guests import compile_guests
from vtorque_runtime import prologue
from vtorque_runtime.identity import Reserved
from vtorque_runtime.images.digests import Digests
from vtorque_runtime.images.opened import OpenFiles
from vtorque_runtime.osv.disk import write_command_line
from vtorque_runtime.recheck import check_files, domain_xml, recheck
from vtorque_runtime.threads import verify
from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    Disk,
    Filesystem,
    NodeBundle,
    NodePlan,
    OfferedNetwork,
    OsvGuest,
    OsvImage,
    SaidImage,
    TapNic,
    spool_bytes,
)

LINE = "--verbose --power-off-on-abort /t exit 3"
Change = Callable[[NodePlan], NodePlan]


def site(boot: str = "kernel", *, cloud_init: bool = True) -> object:
    like = OsvImage(boot, "mainline", None, cloud_init)  # type: ignore[arg-type] # one of two words
    return fakes.site(images=(SaidImage("tiny", None, "", like),))


def plan(reserved: Reserved, boot: str = "kernel", *, cloud_init: bool = True) -> NodePlan:
    """The plan of `fakes`, its guest an OSv one."""
    found = fakes.plan(reserved.context)
    linux = found.guests[0]
    by_kernel = boot == "kernel"
    hardware = replace(
        linux.machine,
        kernel=f"{found.spool}/vm0/kernel.elf" if by_kernel else None,
        initrd=None,
        cmdline=LINE if by_kernel else "",
        disks=linux.machine.disks[: 1 + cloud_init],
    )
    own = OsvGuest(
        "osv", 0, hardware, linux.root_disk_bytes, "q35", boot, LINE, cloud_init, "job", linux.node, linux.hostname,  # type: ignore[arg-type]
    )  # fmt: skip
    return replace(found, guests=(own,), claim=replace(found.claim, disk_bytes=spool_bytes(own)))


@pytest.fixture
def reserved(tmp_path: Path) -> Reserved:
    return fakes.reserved(tmp_path)


@pytest.mark.parametrize("boot", ["kernel", "disk"])
@pytest.mark.parametrize("cloud_init", [True, False])
def test_an_honest_plan_passes(reserved: Reserved, boot: str, cloud_init: bool) -> None:
    found = plan(reserved, boot, cloud_init=cloud_init)
    recheck(found, reserved.context, site(boot, cloud_init=cloud_init))  # type: ignore[arg-type]
    check_files(NodeBundle(found, compile_guests(found.guests, reserved.context.vms)))


def guest(**to: object) -> Change:
    return lambda found: fakes.with_guest(found, **to)


def machine(**to: object) -> Change:
    return lambda found: fakes.with_machine(found, **to)


def line(text: str) -> Change:
    """The same line wherever one is said."""
    return lambda found: fakes.with_guest(fakes.with_machine(found, cmdline=text), command_line=text)


def image(**to: object) -> Change:
    return lambda found: replace(found, image=replace(found.image, **to))  # type: ignore[arg-type]


def disk(**to: object) -> Change:
    """The root disk is another one."""

    def change(found: NodePlan) -> NodePlan:
        root, *others = found.guests[0].machine.disks
        return fakes.with_machine(found, disks=(replace(root, **to), *others))  # type: ignore[arg-type]

    return change


def card(**to: object) -> Change:
    return lambda found: fakes.with_machine(found, nic=replace(found.guests[0].machine.nic, **to))  # type: ignore[arg-type]


def written_from(**to: object) -> Change:
    """It writes to a share, and its card is another one."""
    return lambda found: machine(filesystems=(SHARE,))(card(**to)(found))


SHARE = Filesystem("virtiofs", "/srv", "/x", "mount0", "/data", False, ())
AS_ITS_IMAGE, LINE_SAID, OWN_DISKS = "boot as its image does", "that its kernel could read", "other disks than its own"
LIES: dict[str, tuple[Change, str]] = {
    "the other way to boot": (guest(boot="disk"), AS_ITS_IMAGE),
    "a seed that the image does not read": (guest(cloud_init=False), AS_ITS_IMAGE),
    "another board": (guest(board="pc"), AS_ITS_IMAGE),
    "a line that is cut off": (line("x" * 3649), LINE_SAID),
    "a line that is cut off by its bytes": (line("\u00e9" * 1825), LINE_SAID),
    "a NUL": (line("a\0b"), LINE_SAID),
    "half of a character": (line("a\ud800"), LINE_SAID),
    "two lines": (guest(command_line="/other"), "two command lines"),
    "another line for QEMU": (machine(cmdline="/other"), "two command lines"),
    "too many vCPUs": (machine(vcpus=65), "more than 64 vCPUs"),
    "no vCPU": (machine(vcpus=0), "no vCPU"),
    "another kernel": (machine(kernel="/boot/vmlinuz"), "another kernel"),
    "the image's kernel": (machine(kernel=None), "another kernel"),
    "an initrd": (machine(initrd="/boot/initrd"), "another kernel"),
    "a kernel that is not there": (image(kernel=None), "not one of this node's"),
    "another image": (image(name="other"), "not one of this node's"),
    "another console": (machine(console_log="/var/log/syslog"), "console"),
    "no disk": (machine(disks=()), OWN_DISKS),
    "a disk of the host's": (disk(file="/dev/sda"), OWN_DISKS),
    "the image itself": (disk(file="/images/tiny/root.qcow2"), OWN_DISKS),
    "another base": (disk(backing="/etc/shadow"), OWN_DISKS),
    "a base of another format": (disk(backing_format="raw"), OWN_DISKS),
    "a disk that libvirt probes": (disk(format="raw"), OWN_DISKS),
    "a disk that nobody serves": (disk(iothread=9), "I/O thread"),
    "too many queues": (disk(queues=99), "queues"),
    "a root disk without a size": (guest(root_disk_bytes=0), "disk space"),
    "a share to write to": (machine(filesystems=(SHARE,)), "none that the site offers"),
    "a share to write to from a bridge": (written_from(kind="bridge"), "not the job's own"),
    "a share to write to at another machine's address": (written_from(address="10.213.0.6"), "is a machine's"),
    "a share that nobody offers": (machine(filesystems=(replace(SHARE, read_only=True),)), "none that the site offers"),
    "the site's own NFS": (machine(filesystems=(replace(SHARE, kind="nfs", read_only=True),)), "reads its shares"),
    "another host": (guest(node="other"), "a guest's node"),
    "another name": (guest(hostname="other"), "a guest's hostname"),
    "another number": (guest(index=1), "kernel"),
    "another domain's name": (machine(name="vt-1-0"), "a machine's name"),
    "another domain": (machine(uuid="0" * 36), "a machine's uuid"),
    "another card": (card(mac="52:54:00:00:00:99"), "a machine's network card"),
    "another hypervisor": (machine(virt="kvm"), "a machine's virt"),
    "another partition": (machine(partition=None), "a machine's partition"),
}


@pytest.mark.parametrize(("change", "message"), LIES.values(), ids=LIES)
def test_every_lie_is_found(reserved: Reserved, change: Change, message: str) -> None:
    with pytest.raises(Fault, match=f"VT0912.*{message}"):
        recheck(change(plan(reserved)), reserved.context, site())  # type: ignore[arg-type]


def test_a_kernel_that_the_image_does_not_have(tmp_path: Path) -> None:
    """Root's own record of the image says so."""
    found = fakes.reserved(tmp_path)
    bare = replace(found.context.images[0], kernel=None, initrd=None)
    found = replace(found, context=replace(found.context, images=(bare,)))
    with pytest.raises(Fault, match="VT0912: an OSv guest is to boot a kernel"):
        recheck(plan(found), found.context, site())  # type: ignore[arg-type]


@pytest.mark.parametrize("osv", [True, False])
def test_a_bridge_of_the_site(reserved: Reserved, osv: bool) -> None:
    """On one an OSv guest can claim any uid at the site's servers, so the site must have said that it may be there."""
    nic = TapNic("bridge", "52:54:00:00:00:01", "br0", "vt-1", "10.20.1.0", 16, "10.20.0.9", None, (), (), ())
    context = replace(reserved.context, slots=(replace(reserved.context.slots[0], nic=nic),))
    lan = OfferedNetwork("lan", "bridge", True, "br0", "10.20.0.0/16", None, None, (), (), (), osv)
    there = fakes.with_machine(plan(reserved), nic=nic)
    image = SaidImage("tiny", None, "", OsvImage("kernel", "mainline", None, True))
    facts = fakes.site(images=(image,), networks=(lan,))
    if osv:
        recheck(there, context, facts)
    else:
        with pytest.raises(Fault, match="VT0912: an OSv guest is to be on a bridge"):
            recheck(there, context, facts)


@pytest.mark.parametrize("of", ["linux", "osv"])
def test_a_guest_of_the_other_kind_than_its_image(reserved: Reserved, of: str) -> None:
    found, facts = (plan(reserved), fakes.site()) if of == "osv" else (fakes.plan(reserved.context), site())
    with pytest.raises(Fault, match="VT0912: a guest is to run"):
        recheck(found, reserved.context, facts)  # type: ignore[arg-type]


def made(reserved: Reserved, boot: str, *, cloud_init: bool) -> Path:
    """Return the guest's directory with what root makes of an honest plan."""
    found = plan(reserved, boot, cloud_init=cloud_init)
    bundle = NodeBundle(found, compile_guests(found.guests, reserved.context.vms))
    prologue._make_owner(reserved, linux=False)
    with OpenFiles(Digests(reserved.registry.base), lambda: None) as files:
        prologue._check_image(found, files)
        prologue._make_storage(bundle, found.guests[0], files)
    return Path(found.spool) / "vm0"


@pytest.mark.parametrize("boot", ["kernel", "disk"])
@pytest.mark.parametrize("cloud_init", [True, False])
def test_what_is_made_in_the_spool(
    reserved: Reserved, boot: str, cloud_init: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key, no initrd; the command line is in the overlay alone where the guest boots from it.

    While nobody has the overlay, others who are nobody do not reach it.
    """
    modes = []

    def write(overlay: Disk, line: str) -> None:
        modes.append(Path(overlay.file).parent.stat().st_mode & 0o777)
        write_command_line(overlay, line)

    monkeypatch.setattr(prologue, "write_command_line", write)
    own = made(reserved, boot, cloud_init=cloud_init)
    assert list(reserved.spool.owner.iterdir()) == []
    names = {"root.qcow2"} | ({"kernel.elf"} if boot == "kernel" else set()) | ({"seed.iso"} if cloud_init else set())
    assert {path.name for path in own.iterdir()} == names
    subprocess.run(["qemu-img", "convert", "-O", "raw", own / "root.qcow2", own / "flat"], check=True)
    with (own / "flat").open("rb") as file:
        head = file.read(4096)
    wanted = LINE.encode() if boot == "disk" else b""
    assert head[512:].split(b"\0")[0] == wanted
    assert modes == ([0o700] if boot == "disk" else [])
    assert (own.stat().st_mode & 0o777, (own / "root.qcow2").stat().st_mode & 0o777) == (0o711, 0o600)


@pytest.mark.parametrize("names", ["joliet_path", "rr_path"])
def test_the_seed_in_the_spool_is_one_that_osv_reads(reserved: Reserved, names: str) -> None:
    """The whole disk is ISO 9660 with Joliet or Rock Ridge names; of those `user-data` alone, in OSv's own dialect."""
    seed, text = pycdlib.PyCdlib(), io.BytesIO()
    seed.open_fp(io.BytesIO((made(reserved, "kernel", cloud_init=True) / "seed.iso").read_bytes()))
    files = [file for file in seed.list_children(**{names: "/"}) if not (file.is_dot() or file.is_dotdot())]
    assert [seed.full_path_from_dirrecord(file, rockridge=names == "rr_path") for file in files] == ["/user-data"]
    seed.get_file_from_iso_fp(text, **{names: "/user-data"})
    assert yaml.safe_load(text.getvalue()) == {
        "run": [{"POST": "/os/hostname", "name": reserved.context.slots[0].hostname}]
    }


@pytest.mark.parametrize("boot", ["kernel", "disk"])
def test_the_domain_has_what_was_made_as_its_disks(reserved: Reserved, boot: str) -> None:
    """OSv looks for its root on the first and for the seed on the second, both of virtio's bus; a CD drive hangs it."""
    own, found = made(reserved, boot, cloud_init=True), plan(reserved, boot)
    bundle = NodeBundle(found, compile_guests(found.guests, reserved.context.vms))
    disks = etree.fromstring(domain_xml(bundle, found.guests[0])).findall("devices/disk")
    files = [disk.find("source").get("file") for disk in disks]
    assert files == [str(own / "root.qcow2"), str(own / "seed.iso")]
    assert all(Path(file).is_file() for file in files)
    assert [(disk.get("device"), dict(disk.find("target").attrib)) for disk in disks] == [
        ("disk", {"dev": "vda", "bus": "virtio"}),
        ("disk", {"dev": "vdb", "bus": "virtio"}),
    ]
    assert [disk.find("driver").get("type") for disk in disks] == ["qcow2", "raw"]
    assert [disk.find("readonly") is not None for disk in disks] == [False, True]


def test_a_guest_that_ended_before_its_threads_were_looked_at(reserved: Reserved, tmp_path: Path) -> None:
    """An OSv job may take less than a second; a Linux guest that is gone so soon is lost."""
    (tmp_path / "proc").mkdir()
    verify(plan(reserved).guests, tmp_path)
    with pytest.raises(Fault, match="VT0920"):
        verify(fakes.plan(reserved.context).guests, tmp_path)
