"""Root acts on nothing that its own context could not have led to."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime import fakes
from vtorque_runtime.recheck import recheck
from vtorque_runtime.spool import Lane
from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    Artifact,
    DataDisk,
    Disk,
    Filesystem,
    Group,
    HostKey,
    Keys,
    NodeBundle,
    NodeContext,
    OfferedMount,
    UserNic,
)

Change = Callable[[NodeBundle], NodeBundle]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> NodeContext:
    with fakes.reserved(tmp_path_factory.mktemp("spool")) as reserved:
        return reserved.context


def plan(**changes: Any) -> Change:
    return lambda found: replace(found, plan=replace(found.plan, **changes))


def guest(**changes: Any) -> Change:
    return lambda found: fakes.with_guest(found, **changes)


def machine(**changes: Any) -> Change:
    return lambda found: fakes.with_machine(found, **changes)


def disk(number: int, **changes: Any) -> Change:
    def change(found: NodeBundle) -> NodeBundle:
        disks = list(found.plan.guests[0].machine.disks)
        disks[number] = replace(disks[number], **changes)
        return fakes.with_machine(found, disks=tuple(disks))

    return change


def login(**changes: Any) -> Change:
    return lambda found: fakes.with_guest(found, login=replace(found.plan.login, **changes))


def files(change: Callable[[tuple[Artifact, ...]], tuple[Artifact, ...]]) -> Change:
    return lambda found: replace(found, files=change(found.files))


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
    "an image of the user's": lambda found: replace(
        found, plan=replace(found.plan, image=replace(found.plan.image, disk="/home/tester/root.qcow2"))
    ),
    "another user": lambda found: replace(found, plan=replace(found.plan, login=replace(found.plan.login, uid=4242))),
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
    "a third disk": lambda found: fakes.with_machine(found, disks=found.plan.guests[0].machine.disks * 2),
    "no disk": machine(disks=()),
    "a disk of another name": disk(0, target="sda"),
    "a file too many": files(lambda all_: (*all_, Artifact("vm0/seed/../../x", "x"))),
    "a file too few": files(lambda all_: all_[:-1]),
    "a file twice": files(lambda all_: (*all_, all_[-1])),
    "a file that is not UTF-8": files(lambda all_: (*all_[:-1], replace(all_[-1], text="\ud800"))),
    "a huge file": files(lambda all_: (*all_[:-1], replace(all_[-1], text="x" * 2**21))),
}


def test_an_honest_bundle_passes(context: NodeContext) -> None:
    recheck(fakes.bundle(context), context)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(context: NodeContext, lie: str) -> None:
    with pytest.raises(Fault, match="VT0912"):
        recheck(LIES[lie](fakes.bundle(context)), context)


def test_locked_memory_is_for_the_system_lane(tmp_path: Path) -> None:
    lanes: tuple[tuple[Lane, bool], ...] = (("system", True), ("session", False))
    for lane, fine in lanes:
        (tmp_path / lane).mkdir()
        with fakes.reserved(tmp_path / lane, lane) as reserved:
            found = fakes.bundle(reserved.context)
            locked = replace(found.plan.guests[0].machine.memory, locked=True)
            with nullcontext() if fine else pytest.raises(Fault, match=r"VT0912.*locked"):
                recheck(fakes.with_machine(found, memory=locked), reserved.context)


def test_mounts_are_for_the_system_lane(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with fakes.reserved(tmp_path / "a", "system") as reserved:
        recheck(*with_share(reserved.context))
    with (
        fakes.reserved(tmp_path / "b", "session") as reserved,
        pytest.raises(Fault, match="VT0906"),
    ):
        recheck(*with_share(reserved.context))


SITE_MOUNTS = (
    OfferedMount("home", "virtiofs", "/home/tester", "/home/tester", True, (), False),
    OfferedMount("opt", "virtiofs", "/opt", "/opt-hpc", False, (), False),
    OfferedMount("software", "9p", "/srv/software", "/software", False, (), False),
    OfferedMount("archive", "nfs", "nas:/archive/tester", "/archive", True, ("vers=4.2",), False),
)
HOME = Filesystem("virtiofs", "/home/tester", "", "mount0", "/home/tester", False, ())
ARCHIVE = Filesystem("nfs", "nas:/archive/tester", "", "", "/archive", False, ("vers=4.2",))


def with_share(context: NodeContext, share: Filesystem = HOME, **changes: Any) -> tuple[NodeBundle, NodeContext]:
    """A bundle whose guests share that, of a node whose site offers `SITE_MOUNTS`."""
    context = replace(context, mounts=SITE_MOUNTS)
    path = "" if share.kind == "nfs" else f"{context.shares}/{share.tag}"
    return fakes.with_machine(
        fakes.bundle(context), filesystems=(replace(share, **{"path": path, **changes}),)
    ), context


def test_honest_shares_pass(context: NodeContext) -> None:
    recheck(*with_share(context))
    recheck(*with_share(context, read_only=True))
    recheck(*with_share(context, source="/opt", target="/sw", read_only=True))
    recheck(*with_share(context, ARCHIVE))


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
        recheck(*with_share(context, share, **changes))


def test_shares_have_a_place_each_and_are_the_same_in_all_guests(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path, vms=2) as reserved:
        found, context = with_share(reserved.context)
        with pytest.raises(Fault, match=r"VT0912.*shares"):  # the second guest has none
            recheck(found, context)
        share = found.plan.guests[0].machine.filesystems[0]
        both = (share, replace(share, target="/other"))
        with pytest.raises(Fault, match=r"VT0912.*same tag"):
            recheck(fakes.with_machine(found, filesystems=both), context)


def with_disk(context: NodeContext, wanted: dict[str, Any], **changes: Any) -> NodeBundle:
    """A bundle with a further disk, as the plan and as the machine have it."""
    found = fakes.bundle(context)
    machine = found.plan.guests[0].machine
    disk = Disk("vdc", f"{context.spool}/vm0/vdc.raw", "raw", False, None, None, None, None)
    machine = replace(machine, disks=(*machine.disks, replace(disk, **changes)))
    told = replace(DataDisk("scratch", "vdc", 2**30, "/scratch"), **wanted)
    return fakes.with_guest(found, machine=machine, disks=(told,))


def test_an_honest_disk_passes(context: NodeContext) -> None:
    recheck(with_disk(context, {}), context)


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
    ],
)
def test_a_further_disk_is_a_file_of_the_guests_own(
    context: NodeContext, wanted: dict[str, Any], changes: dict[str, Any]
) -> None:
    with pytest.raises(Fault, match="VT0912"):
        recheck(with_disk(context, wanted, **changes), context)
