"""Root acts on nothing that its own context could not have led to."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.runtime import fakes
from vtorque_runtime.recheck import _PACKAGE, _PLACE, check_files, recheck
from vtorque_runtime.spool import Lane
from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    NO_SETUP,
    Artifact,
    DataDisk,
    Disk,
    Filesystem,
    Group,
    HostKey,
    Keys,
    NodeContext,
    NodePlan,
    OfferedMount,
    SaidImage,
    UserNic,
    spool_bytes,
)
from vtorque_spec.spec.base import Form, GuestPath, PackageName

Change = Callable[[NodePlan], NodePlan]
SITE = fakes.site()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> NodeContext:
    with fakes.reserved(tmp_path_factory.mktemp("spool")) as reserved:
        return reserved.context


def plan(**changes: Any) -> Change:
    return lambda found: replace(found, **changes)


def guest(**changes: Any) -> Change:
    return lambda found: fakes.with_guest(found, **changes)


def machine(**changes: Any) -> Change:
    return lambda found: fakes.with_machine(found, **changes)


def disk(number: int, **changes: Any) -> Change:
    def change(found: NodePlan) -> NodePlan:
        disks = list(found.guests[0].machine.disks)
        disks[number] = replace(disks[number], **changes)
        return fakes.with_machine(found, disks=tuple(disks))

    return change


def login(**changes: Any) -> Change:
    return lambda found: fakes.with_guest(found, login=replace(found.login, **changes))


LIES: dict[str, Change] = {
    "another version": plan(version=2),
    "another job": plan(job_id="local-00000002"),
    "another node": plan(node="elsewhere"),
    "another lane": plan(lane="session"),
    "a spool above": plan(spool="/var/lib/vtorque/jobs"),
    "no walltime": plan(walltime_s=0),
    "no time to boot": plan(boot_timeout_s=-1),
    "a walltime of years": plan(walltime_s=2 * 10**14),
    "a boot of years": plan(boot_timeout_s=2 * 10**14),
    "a grace of years": plan(grace_s=2 * 10**14),
    "a name that moves the cursor": plan(job_name="a\x1b[2J"),
    "a note that moves the cursor": plan(notes=("a\x1b[2J",)),
    "a reason of two lines": plan(reasons=("fine", "a\nb")),
    "a long note": plan(notes=("a" * 2**16,)),
    "many reasons": plan(reasons=("a",) * 2**12),
    "no guest": plan(guests=()),
    "an image of the user's": lambda found: replace(found, image=replace(found.image, disk="/home/tester/root.qcow2")),
    "another user": lambda found: replace(found, login=replace(found.login, uid=4242)),
    "another user in the guest": login(uid=4242),
    "another group in the guest": login(groups=(Group("shadow", 42),)),
    "another nonce": guest(nonce="known"),
    "another host name": guest(hostname="other"),
    "another host key": guest(host_key=HostKey("known", "known", "known")),
    "another login key": guest(keys=Keys("known", ("known",), ("known",))),
    "another index": guest(index=1),
    "a disk without size": guest(root_disk_bytes=0),
    "another uuid": machine(uuid="6f6a9f5e-8f0f-4c4f-9a3e-1d7a7c3f0a11"),
    "another accelerator": machine(virt="kvm"),
    "another job's partition": machine(partition="vt_other"),
    "no partition": machine(partition=None),
    "a name with a blank": machine(name="vt 1"),
    "a name from a path": machine(name="../../etc"),
    "another card": machine(nic=UserNic("user", "52:54:00:00:00:01", 22, True)),
    "another kernel": machine(kernel="/home/tester/vmlinuz"),
    "another initrd": machine(initrd="/home/tester/initrd"),
    "a console elsewhere": machine(console_log="/etc/cron.d/x"),
    "another base": disk(0, backing="/etc/shadow"),
    "no base": disk(0, backing=None, backing_format=None),
    "another format of the base": disk(0, backing_format="raw"),
    "an overlay elsewhere": disk(0, file="/etc/shadow"),
    "an overlay in place of the console": disk(0, file="/var/lib/vtorque/jobs/x"),
    "a raw overlay": disk(0, format="raw"),
    "a seed that can be written": disk(1, read_only=False),
    "a seed elsewhere": disk(1, file="/etc/shadow"),
    "a seed with a base": disk(1, backing="/etc/shadow", backing_format="raw"),
    "a third disk": lambda found: fakes.with_machine(found, disks=found.guests[0].machine.disks * 2),
    "no disk": machine(disks=()),
    "a disk of another name": disk(0, target="sda"),
    "a name of another job's": machine(name="vt-local-00000002-0"),
    "a shell in place of init": machine(cmdline="console=ttyS0 init=/bin/sh"),
    "no command line": machine(cmdline=""),
    "a program at boot": guest(setup=replace(NO_SETUP, boot="#!/bin/sh\nid\n")),
    "a program at the end": guest(setup=replace(NO_SETUP, shutdown="#!/bin/sh\nid\n")),
    "updates that the site does not want": guest(setup=replace(NO_SETUP, updates="security")),
    "packages from elsewhere": guest(setup=replace(NO_SETUP, apt_sources="Types: deb\n")),
    "packages for dnf from elsewhere": guest(setup=replace(NO_SETUP, dnf_repos="[a]\n")),
    "an option in place of a package": guest(setup=replace(NO_SETUP, packages=("-oDPkg::Pre-Invoke::=id",))),
    "a package that is to go": guest(setup=replace(NO_SETUP, packages=("sudo-",))),
    "locked memory": lambda found: machine(memory=replace(found.guests[0].machine.memory, locked=True))(found),
    "another I/O manager": lambda found: replace(found, io=replace(found.io, mode="skvm")),
}


def test_an_honest_plan_passes(context: NodeContext) -> None:
    found = fakes.plan(context)
    recheck(found, context, SITE)
    recheck(fakes.with_guest(found, setup=replace(NO_SETUP, packages=("libmetis5", "g++"))), context, SITE)
    recheck(fakes.with_guest(found, setup=replace(NO_SETUP, packages=("R",), packager="dnf")), context, SITE)


def test_root_knows_the_forms_of_the_jobs_language() -> None:
    for own, said in ((_PLACE, GuestPath), (_PACKAGE, PackageName)):
        (form,) = (one for one in get_args(said) if isinstance(one, Form))
        assert form.pattern == own.pattern


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(context: NodeContext, lie: str) -> None:
    with pytest.raises(Fault, match="VT0912"):
        recheck(LIES[lie](fakes.plan(context)), context, SITE)


def test_locked_memory_is_for_the_system_lane(tmp_path: Path) -> None:
    lanes: tuple[tuple[Lane, bool], ...] = (("system", True), ("session", False))
    for lane, fine in lanes:
        (tmp_path / lane).mkdir()
        with fakes.reserved(tmp_path / lane, lane) as reserved:
            found = fakes.plan(reserved.context)
            locked = replace(found.guests[0].machine.memory, locked=True)
            with nullcontext() if fine else pytest.raises(Fault, match=r"VT0912.*locked"):
                recheck(fakes.with_machine(found, memory=locked), reserved.context, fakes.site(lock_memory=True))


def test_mounts_are_for_the_system_lane(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with fakes.reserved(tmp_path / "a", "system") as reserved:
        recheck(*with_share(reserved.context), SITE)
    with (
        fakes.reserved(tmp_path / "b", "session") as reserved,
        pytest.raises(Fault, match="VT0906"),
    ):
        recheck(*with_share(reserved.context), SITE)


SITE_MOUNTS = (
    OfferedMount("home", "virtiofs", "/home/tester", "/home/tester", True, (), False),
    OfferedMount("opt", "virtiofs", "/opt", "/opt-hpc", False, (), False),
    OfferedMount("software", "9p", "/srv/software", "/software", False, (), False),
    OfferedMount("archive", "nfs", "nas:/archive/tester", "/archive", True, ("vers=4.2",), False),
)
HOME = Filesystem("virtiofs", "/home/tester", "", "mount0", "/home/tester", False, ())
ARCHIVE = Filesystem("nfs", "nas:/archive/tester", "", "", "/archive", False, ("vers=4.2",))


def with_share(context: NodeContext, share: Filesystem = HOME, **changes: Any) -> tuple[NodePlan, NodeContext]:
    """A plan whose guests share that, of a node whose site offers `SITE_MOUNTS`."""
    context = replace(context, mounts=SITE_MOUNTS)
    path = "" if share.kind == "nfs" else f"{context.shares}/{share.tag}"
    return fakes.with_machine(fakes.plan(context), filesystems=(replace(share, **{"path": path, **changes}),)), context


def test_honest_shares_pass(context: NodeContext) -> None:
    recheck(*with_share(context), SITE)
    recheck(*with_share(context, read_only=True), SITE)
    recheck(*with_share(context, source="/opt", target="/sw", read_only=True), SITE)
    recheck(*with_share(context, ARCHIVE), SITE)


@pytest.mark.parametrize(
    ("share", "changes"),
    [
        (HOME, {"source": "/home/other"}),
        (HOME, {"source": "/"}),
        (HOME, {"source": "/home"}),
        (HOME, {"source": "/home/tester/../other"}),
        (HOME, {"source": "/home/tester/"}),
        (HOME, {"source": "$HOME"}),
        (HOME, {"source": "/opt"}),
        (HOME, {"source": "/opt", "kind": "9p", "read_only": True}),
        (HOME, {"kind": "9p", "read_only": True}),
        (HOME, {"kind": "nfs"}),
        (HOME, {"path": "/home/other"}),
        (HOME, {"path": "/var/lib/vtorque/shares/other/mount0"}),
        (HOME, {"tag": "../other/mount0"}),
        (HOME, {"tag": "mount1"}),
        (HOME, {"options": ("suid",)}),
        (ARCHIVE, {"source": "nas:/archive/other"}),
        (ARCHIVE, {"source": "other:/archive/tester"}),
        (ARCHIVE, {"options": ()}),
        (ARCHIVE, {"options": ("vers=4.2", "suid")}),
        (ARCHIVE, {"path": "/etc"}),
        (ARCHIVE, {"tag": "mount0"}),
    ],
)
def test_a_share_that_the_site_does_not_offer_is_refused(
    context: NodeContext, share: Filesystem, changes: dict[str, Any]
) -> None:
    with pytest.raises(Fault, match="VT0912"):
        recheck(*with_share(context, share, **changes), SITE)


def test_shares_have_a_place_each_and_are_the_same_in_all_guests(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path, vms=2) as reserved:
        found, context = with_share(reserved.context)
        with pytest.raises(Fault, match=r"VT0912.*shares"):  # the second guest has none
            recheck(found, context, SITE)
        share = found.guests[0].machine.filesystems[0]
        both = (share, replace(share, target="/other"))
        with pytest.raises(Fault, match=r"VT0912.*same tag"):
            recheck(fakes.with_machine(found, filesystems=both), context, SITE)


@pytest.mark.parametrize(
    "target", ["/etc", "/etc/ssh", "/usr", "/", "//etc", "/home/../etc", "/a b", "/a\nb", "etc", "", "/var/lib/x"]
)
def test_nothing_is_mounted_over_what_is_the_guests_own(context: NodeContext, target: str) -> None:
    with pytest.raises(Fault, match="VT0912: nothing may be mounted at"):
        recheck(*with_share(context, target=target), SITE)


def test_a_home_is_where_the_host_has_it(context: NodeContext) -> None:
    """Its place is the site's word; another directory at the same place is the job's."""
    found, context = with_share(context, source="/var/lib/tester", target="/var/lib/tester")
    (home, *others) = SITE_MOUNTS
    moved = replace(home, source="/var/lib/tester", target="/var/lib/tester")
    recheck(found, replace(context, mounts=(moved, *others)), SITE)
    (share,) = found.guests[0].machine.filesystems
    other = fakes.with_machine(found, filesystems=(replace(share, source="/opt", read_only=True),))
    with pytest.raises(Fault, match="VT0912: nothing may be mounted at"):
        recheck(other, replace(context, mounts=(moved, *others)), SITE)


def test_an_image_is_one_of_the_sites_with_its_digest_and_command_line(context: NodeContext) -> None:
    found = fakes.plan(context)
    sha256 = found.image.sha256
    recheck(found, context, fakes.site(images=(SaidImage("tiny", sha256, "console=ttyS0", None),)))
    earlier = SaidImage("tiny", "0" * 64, "console=ttyS0 quiet", None)
    recheck(found, context, fakes.site(images=(earlier, SaidImage("tiny", sha256, "console=ttyS0", None))))
    for name, digest, cmdline in (
        ("other", sha256, "console=ttyS0"),
        ("tiny", "0" * 64, "console=ttyS0"),
        ("tiny", sha256, "console=ttyS0 quiet"),
    ):
        with pytest.raises(Fault, match="VT0912"):
            recheck(found, context, fakes.site(images=(SaidImage(name, digest, cmdline, None),)))


def test_io_cores_serve_the_adapters_that_the_site_names(context: NodeContext) -> None:
    found = fakes.plan(context, io_cores=1)
    recheck(found, context, fakes.site(io_nics=("eth0",)))
    with pytest.raises(Fault, match=r"VT0912.*adapter"):
        recheck(found, context, fakes.site(io_nics=("eth1",)))


def test_the_files_are_those_of_the_guests(context: NodeContext) -> None:
    found = fakes.bundle(context)
    check_files(found)
    for files in (found.files[:-1], (*found.files, found.files[-1]), (*found.files, Artifact("vm0/seed/../../x", "x"))):
        with pytest.raises(Fault, match=r"VT0912.*files"):
            check_files(replace(found, files=files))


def with_room(found: NodePlan) -> NodePlan:
    """The plan with a claim of what its disks may come to."""
    return replace(found, claim=replace(found.claim, disk_bytes=sum(map(spool_bytes, found.guests))))


def with_disk(context: NodeContext, wanted: dict[str, Any], **changes: Any) -> NodePlan:
    """A plan with a further disk, as the plan and as the machine have it."""
    found = fakes.plan(context)
    machine = found.guests[0].machine
    disk = Disk("vdc", f"{context.spool}/vm0/vdc.raw", "raw", False, None, None, None, None)
    machine = replace(machine, disks=(*machine.disks, replace(disk, **changes)))
    told = replace(DataDisk("scratch", "vdc", 2**30, "/scratch"), **wanted)
    return with_room(fakes.with_guest(found, machine=machine, disks=(told,)))


def test_an_honest_disk_passes(context: NodeContext) -> None:
    recheck(with_disk(context, {}), context, SITE)


@pytest.mark.parametrize(
    ("wanted", "changes"),
    [
        ({}, {"file": "/etc/shadow"}),
        ({}, {"file": "/dev/sda"}),
        ({}, {"target": "vdd"}),
        ({}, {"format": "qcow2"}),
        ({}, {"backing": "/etc/shadow", "backing_format": "raw"}),
        ({}, {"read_only": True}),
        ({"target": "vda"}, {"target": "vda"}),
        ({"target": "../../x"}, {}),
        ({"size_bytes": 0}, {}),
        ({"size_bytes": 2**60}, {}),
        ({"name": "a\x1b[2J"}, {}),
        ({"name": "a" * 64}, {}),
        ({"mount": "/etc"}, {}),
        ({"mount": "/usr/bin"}, {}),
        ({"mount": "/"}, {}),
        ({"mount": "/scratch/.."}, {}),
        ({"mount": "scratch"}, {}),
        ({"mount": "/a\n/etc"}, {}),
    ],
)
def test_a_further_disk_is_a_file_of_the_guests_own(
    context: NodeContext, wanted: dict[str, Any], changes: dict[str, Any]
) -> None:
    with pytest.raises(Fault, match="VT0912"):
        recheck(with_disk(context, wanted, **changes), context, SITE)
