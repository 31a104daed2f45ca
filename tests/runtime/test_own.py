"""A user's own image as its owner's process finds it, and as the plan is rechecked."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.runtime.test_boot import LOOP, World, kill_left, part, ready_then, world
from vtorque_runtime.images import opened
from vtorque_runtime.images.own import own_files
from vtorque_runtime.recheck import recheck
from vtorque_runtime.shares import offer_of
from vtorque_runtime.signals import SignalledError
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Filesystem, OfferedMount, OwnImage
from vtorque_spec.plan.answer import WantedImage

__all__ = ["world"]  # a fixture
KERNEL = b"\0" * 0x202 + b"HdrS" + b"\0" * 100


def image(directory: Path) -> WantedImage:
    files = [directory / name for name in ("d.qcow2", "vmlinuz", "initrd")]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", files[0], "64M"], check=True)
    files[1].write_bytes(KERNEL)
    files[2].write_bytes(b"an initrd")
    for file in files:
        file.chmod(0o644)
    return WantedImage("mine", OwnImage(*map(str, files)), 64 * 2**20)


def quiet(_name: str, _done: int, _size: int) -> None:
    """Nobody waits for it."""


def test_what_is_found_is_what_is_there(tmp_path: Path) -> None:
    wanted = image(tmp_path)
    found = own_files(wanted, tmp_path, quiet)
    assert found.sha256 == hashlib.sha256(Path(wanted.files.disk).read_bytes()).hexdigest()
    assert (found.disk, found.disk_format, found.own) == (wanted.files.disk, "qcow2", True)


def test_a_disk_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "_SETTLED_NS", -(10**12))
    wanted = image(tmp_path)
    size, told = Path(wanted.files.disk).stat().st_size, list[tuple[str, int, int]]()
    first = own_files(wanted, tmp_path, lambda *said: told.append(said))
    assert told == [("d.qcow2", 0, size)]
    monkeypatch.setattr(opened.OpenFiles, "_digest", lambda *_: pytest.fail("it was read again"))
    assert own_files(wanted, tmp_path, quiet) == first


def others_may_write(wanted: WantedImage) -> None:
    Path(wanted.files.initrd).chmod(0o664)


def anothers(wanted: WantedImage) -> None:
    os.chown(wanted.files.disk, 4711, 4711)


def no_kernel(wanted: WantedImage) -> None:
    Path(wanted.files.kernel).write_bytes(b"\x7fELF")


def empty(wanted: WantedImage) -> None:
    Path(wanted.files.initrd).write_bytes(b"")


def leads_elsewhere(wanted: WantedImage) -> None:
    subprocess.run(
        ["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", wanted.files.disk], check=True
    )


def link(wanted: WantedImage) -> None:
    Path(wanted.files.kernel).rename(wanted.files.kernel + ".real")
    Path(wanted.files.kernel).symlink_to(wanted.files.kernel + ".real")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (others_may_write, "VT0557"),
        (no_kernel, "VT0557"),
        (empty, "VT0557"),
        (leads_elsewhere, "VT0531"),
        (link, "VT0536"),
        pytest.param(anothers, "VT0557", marks=pytest.mark.root),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, change: Callable[[WantedImage], None], code: str) -> None:
    if change is anothers and os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    wanted = image(tmp_path)
    change(wanted)
    with pytest.raises(Fault) as fault:
        own_files(wanted, tmp_path, quiet)
    assert fault.value.code == code
    assert fault.value.help


def test_a_root_disk_is_no_smaller(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="VT0505"):
        own_files(replace(image(tmp_path), root_disk_bytes=63 * 2**20), tmp_path, quiet)


@pytest.mark.parametrize(
    ("lane", "allowed", "fine"), [("session", True, True), ("session", False, False), ("system", True, False)]
)
def test_a_plan_with_one_is_roots_nowhere(tmp_path: Path, lane: str, allowed: bool, fine: bool) -> None:
    with fakes.reserved(tmp_path, lane) as reserved:  # type: ignore[arg-type] # one of two words
        found = fakes.plan(reserved.context)
        own = replace(found.image, own=True)
        context = replace(reserved.context, images=(own,))
        plan = replace(found, image=own)
        if fine:
            recheck(plan, context, fakes.site(own_images=allowed))
            return
        with pytest.raises(Fault, match="VT0912"):
            recheck(plan, context, fakes.site(own_images=allowed))


def test_the_sites_programs_are_not_for_it(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path, "session") as reserved:
        found = fakes.plan(reserved.context)
        own = replace(found.image, own=True)
        setup = replace(found.guests[0].setup, boot="#!/bin/sh\n")  # type: ignore[union-attr] # a Linux guest
        plan = fakes.with_guest(replace(found, image=own), setup=setup)
        with pytest.raises(Fault, match="VT0912"):
            recheck(plan, replace(reserved.context, images=(own,)), fakes.site(own_images=True, setup=setup))


def test_what_a_site_offers_is_shared_by_qemu_and_read_only_stays_so(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path, "session") as reserved:
        offers = (
            OfferedMount("data", "virtiofs", "/srv/data", "/data", False, (), False),
            OfferedMount("nas", "nfs", "/srv/nas", "/nas", True, (), False),
        )
        context = replace(reserved.context, mounts=offers)
    share = Filesystem("9p", "/srv/data", "/srv/data", "mount0", "/data", True, ())
    assert offer_of(share, context) == offers[0]
    assert offer_of(replace(share, read_only=False), context) is None
    assert offer_of(replace(share, source="/srv/nas"), context) is None
    assert offer_of(share, replace(context, lane="system")) is None


def test_a_signal_that_ends_qemu_as_well_is_what_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch system's comes to each process of a job; that the guest is lost by it is no fault of the guest's."""
    told = world.run_directory / "told"
    monkeypatch.setattr(world.domains, "domain_state", lambda _uuid: None if told.exists() else "running")
    thread = ready_then(world, "os.kill(me, signal.SIGTERM)")
    with pytest.raises(SignalledError, match="signal 15"):
        world.run(part(f"trap 'touch {told}' TERM\ntouch {world.run_directory}/ready{LOOP}"))
    thread.join()
    kill_left(world)
