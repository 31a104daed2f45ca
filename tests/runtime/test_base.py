"""What a root disk is read from: the image, the node's copy, or memory that the job has claimed."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.runtime.fake_cgroups import V2, cgroups
from tests.runtime.fakes import FileHypervisor
from vtorque_runtime import base, disks, epilogue, partition, prologue, ramdisk, verdict
from vtorque_runtime.identity import Reserved
from vtorque_runtime.images import bases
from vtorque_runtime.journal import BuriedError
from vtorque_runtime.recheck import recheck
from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    MIB,
    Backing,
    CellMemory,
    Disk,
    NodePlan,
    copy_name,
    memory_base,
    overlay_bytes,
)

GIB = fakes.GIB


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Reserved]:
    reserved = fakes.reserved(tmp_path)
    one_cell = replace(reserved.context, cells=reserved.context.cells[:1])  # this machine may have no second one
    yield replace(reserved, context=one_cell)
    epilogue.apply(reserved.registry, reserved.spool, FileHypervisor)


def plan(job: Reserved, backing: Backing) -> NodePlan:
    found = fakes.read_from(fakes.plan(job.context), backing, overlay_bytes(64 * MIB) if backing == "ram" else 0)
    recheck(found, job.context, job.site)
    return found


def mounts_below(directory: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.split()[4].startswith(f"{directory}/")]


def chain(overlay: str) -> list[str]:
    """The files of which qemu-img finds a disk to be made."""
    command = ["qemu-img", "info", "--backing-chain", "--output=json", overlay]
    return [one["filename"] for one in json.loads(subprocess.check_output(command))]


@pytest.mark.parametrize("backing", ["shared", "local", pytest.param("ram", marks=pytest.mark.root)])
def test_an_image_that_has_changed_is_none(tmp_path: Path, job: Reserved, backing: Backing) -> None:
    """Whoever reads it, the store's file is compared with its digest before a guest gets it."""
    bundle = fakes.compiled(plan(job, backing))
    disk = Path(bundle.plan.image.disk)
    disk.chmod(0o644)
    disk.write_bytes(disk.read_bytes() + bytes(512))
    hypervisor = FileHypervisor(f"files:{tmp_path}")
    with pytest.raises(Fault, match="VT0503"):
        prologue.apply(bundle, job, hypervisor, lambda: None, fakes.kernel_root(tmp_path, bundle))
    assert hypervisor.domain_uuids() == set()


def test_the_nodes_copy_is_below_the_overlay(tmp_path: Path, job: Reserved) -> None:
    bundle = fakes.compiled(plan(job, "local"))
    root = fakes.kernel_root(tmp_path, bundle)
    prologue.apply(bundle, job, FileHypervisor(f"files:{tmp_path}"), lambda: None, root)
    copy = bases.directory(job.registry) / copy_name(bundle.plan.image)
    overlay = bundle.plan.guests[0].machine.disks[0].file
    assert chain(overlay) == [overlay, str(copy)]
    epilogue.apply(job.registry, job.spool, FileHypervisor)
    assert copy.exists(), "it stays for the next job"


@pytest.mark.root
def test_an_image_in_memory(tmp_path: Path, job: Reserved) -> None:
    """Others than root read it; it has the size that is claimed; and it goes with the job."""
    found = plan(job, "ram")
    bundle = fakes.compiled(found)
    root = fakes.kernel_root(tmp_path, bundle)
    prologue.apply(bundle, job, FileHypervisor(f"files:{tmp_path}"), lambda: None, root)
    at = Path(memory_base(found.spool))
    copy, overlay = at / copy_name(found.image), found.guests[0].machine.disks[0].file
    assert chain(overlay) == [overlay, str(copy)]
    assert copy.read_bytes() == Path(found.image.disk).read_bytes()
    assert (copy.stat().st_mode & 0o777, at.stat().st_mode & 0o777) == (0o444, 0o711)
    (line,) = mounts_below(tmp_path)
    assert {"nosuid", "nodev"} <= set(line.split()[5].split(","))
    assert " - tmpfs vtorque " in line
    size = os.statvfs(at)
    assert found.base_memory_bytes <= size.f_blocks * size.f_frsize < found.base_memory_bytes + MIB
    epilogue.release(job.spool, FileHypervisor)
    assert mounts_below(tmp_path) == [], "the memory is free at once where a job fails, and its spool stays"
    epilogue.apply(job.registry, job.spool, FileHypervisor)
    assert not job.spool.path.exists()


@pytest.mark.root
@pytest.mark.parametrize("stop", [1, 2])
def test_who_is_stopped_while_it_is_copied_leaves_no_memory(tmp_path: Path, job: Reserved, stop: int) -> None:
    """The step is over, the copy is not: an epilogue unmounts it under the copier's hands."""
    found, looked = plan(job, "ram"), 0

    def proceed() -> None:
        nonlocal looked
        looked += 1
        if looked == stop:
            epilogue.apply(job.registry, job.spool, FileHypervisor)
            raise BuriedError

    def prepare() -> None:
        base.make(found, job, proceed)
        proceed()

    with pytest.raises(BuriedError):
        prepare()
    assert mounts_below(tmp_path) == []
    assert not job.spool.path.exists()


@pytest.mark.root
def test_an_image_larger_than_the_memory_that_is_counted(job: Reserved) -> None:
    found = replace(plan(job, "ram"), base_memory_bytes=4096)
    with pytest.raises(Fault, match=r"VT0967: the disk of the image `tiny` has [1-9]\d* MiB, more than") as caught:
        base.make(found, job, lambda: None)
    assert verdict.of_error(caught.value, "staging").kind == "site"


@pytest.mark.root
def test_an_image_that_has_changed_does_not_get_into_memory(job: Reserved) -> None:
    found = plan(job, "ram")
    with pytest.raises(Fault, match="VT0503"):
        base.make(replace(found, image=replace(found.image, sha256="0" * 64)), job, lambda: None)


def test_undoing_what_was_never_made(tmp_path: Path) -> None:
    assert ramdisk.remove(tmp_path) == []
    (tmp_path / "base").mkdir()  # after a reboot, say
    assert ramdisk.remove(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_memory_comes_from_the_cells_that_the_job_has() -> None:
    claimed = (CellMemory(1, 1, GIB), CellMemory(3, 2 * MIB, 9), CellMemory(0, 1, GIB))
    assert ramdisk.mount_options(5, claimed) == "size=5,nr_inodes=16,mode=0711,mpol=bind:0,1"
    assert ramdisk.mount_options(5, ()) == "size=5,nr_inodes=16,mode=0711"


@pytest.mark.parametrize(("diskless", "outside"), [(False, MIB), (True, MIB + 129 * MIB + GIB // 4096)])
def test_what_root_fills_is_not_the_guests(tmp_path: Path, job: Reserved, *, diskless: bool, outside: int) -> None:
    """The partition's cap is the claim less what the kernel counts to root: the image, and on a diskless node files."""
    found = replace(fakes.plan(job.context), backing="ram", base_memory_bytes=MIB)
    assert base.outside_bytes(found, diskless=diskless) == outside
    root = cgroups(tmp_path / "root", v2=V2)
    undo = partition.partition("vt_1", root)
    partition.make(found, undo, root, outside)
    claimed = found.claim.memory[0].pages
    assert [(Path(path) / "memory.max").read_text() for path in undo.directories] == [str(claimed - outside)]


@pytest.mark.parametrize("size", [64 * MIB, 200 * MIB + 512])
def test_an_overlay_grows_to_no_more_than_was_promised(tmp_path: Path, size: int) -> None:
    """All of it written, by the real qemu-img; beyond its end nothing can be."""
    below, overlay = tmp_path / "base.raw", tmp_path / "root.qcow2"
    with below.open("wb") as file:
        file.truncate(MIB)
    disk = Disk("vda", str(overlay), "qcow2", False, str(below), "raw", None, None)
    disks.make_overlay(disk, size)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P 7 0 {size}", overlay], check=True, capture_output=True)
    used = overlay.stat().st_blocks * 512
    assert size < used <= overlay_bytes(size)
    beyond = ["qemu-io", "-f", "qcow2", "-c", f"write -P 7 {size} 512", str(overlay)]
    assert subprocess.run(beyond, check=False, capture_output=True).returncode != 0
