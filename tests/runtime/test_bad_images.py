"""A disk that is bad never gets as far as QEMU: no program of its is started for a job with such an image."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.runtime.bad_disks import BAD, qcow2
from tests.runtime.fakes import FileHypervisor
from vtorque_runtime import disks, epilogue, prologue, verdict
from vtorque_runtime.identity import Reserved
from vtorque_runtime.images import digests, opened, store
from vtorque_runtime.images.digests import Whole
from vtorque_runtime.images.opened import OpenFiles
from vtorque_runtime.images.provenance import Provenance
from vtorque_runtime.recheck import recheck
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, Backing, Disk, ImageFiles, NodeBundle, overlay_bytes


@pytest.fixture
def spied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each start of qemu-img by the runtime, which works as always."""
    log, program = tmp_path / "spied", tmp_path / "bin/qemu-img"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >>{log}\nexec {shutil.which("qemu-img")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setitem(disks._ENVIRONMENT, "PATH", f"{program.parent}:{disks._ENVIRONMENT['PATH']}")
    log.touch()
    return log


def image(directory: Path, spoil: Callable[[Path], object]) -> ImageFiles:
    """An image whose record is right: its digest is that of the bad disk."""
    with store.staging(directory / "images") as staging:
        disk = qcow2(staging / "root.qcow2")
        disk.with_suffix(".raw").unlink()
        spoil(disk)
        for name in ("vmlinuz", "initrd.img", "packages.txt", "contents.txt"):
            (staging / name).write_text(name)
        made = Provenance("", "", (), (), ())
        store.publish(staging, store.describe(staging, "tiny", created=1, provenance=made))
    return store.installed(directory / "images")[0]


def job(directory: Path, backing: Backing = "shared") -> tuple[NodeBundle, Reserved]:
    reserved = fakes.reserved(directory)
    reserved = replace(reserved, context=replace(reserved.context, cells=reserved.context.cells[:1]))
    memory = overlay_bytes(64 * MIB) if backing == "ram" else 0
    plan = fakes.read_from(fakes.plan(reserved.context), backing, memory)
    recheck(plan, reserved.context, reserved.site)
    return fakes.compiled(plan), reserved


def apply(bundle: NodeBundle, reserved: Reserved, hypervisor: FileHypervisor) -> None:
    root = fakes.kernel_root(Path(hypervisor.uri.removeprefix("files:")), bundle)
    try:
        prologue.apply(bundle, reserved, hypervisor, lambda: None, root)
    finally:
        epilogue.apply(reserved.registry, reserved.spool, FileHypervisor)


def test_a_good_image_gets_there(tmp_path: Path, spied: Path) -> None:
    """Else the others say nothing."""
    image(tmp_path, lambda _disk: None)
    apply(*job(tmp_path), FileHypervisor(f"files:{tmp_path}"))
    assert spied.read_text().startswith("create -q -f qcow2 -u -b ")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_does_not(name: str, tmp_path: Path, spied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "_SETTLED_NS", -(10**12))  # what was found to be right is recorded at once
    spoil, code, message = BAD[name]
    image(tmp_path, spoil)
    bundle, reserved = job(tmp_path)
    hypervisor = FileHypervisor(f"files:{tmp_path}")
    with pytest.raises(Fault) as raised:
        apply(bundle, reserved, hypervisor)
    told = raised.value
    assert (told.code, message in told.message) == (code, True) or "is raw, and is said to be qcow2" in told.message
    assert spied.read_text() == ""
    assert hypervisor.domain_uuids() == set()
    assert not (reserved.registry.base / digests.FILE).exists(), "the next job finds it as well"
    assert verdict.of_error(told, "staging").kind == "site"


@pytest.mark.parametrize("part", ["disk", "kernel", "initrd"])
@pytest.mark.parametrize("how", ["a link", "others may write to it", "cut off"])
def test_nor_does_one_that_is_not_as_it_was_stored(how: str, part: str, tmp_path: Path, spied: Path) -> None:
    found = image(tmp_path, lambda _disk: None)
    path = Path(getattr(found, part))
    bundle, reserved = job(tmp_path)
    if how == "a link":
        path.rename(path.with_suffix(".old"))
        path.symlink_to(path.with_suffix(".old"))
    elif how == "cut off":
        os.truncate(path, path.stat().st_size - 1)
    else:
        path.chmod(0o646)
    with pytest.raises(Fault, match=f"VT0503: .*{path.name}"):
        apply(bundle, reserved, FileHypervisor(f"files:{tmp_path}"))
    assert spied.read_text() == ""


@pytest.mark.parametrize("backing", ["local", pytest.param("ram", marks=pytest.mark.root)])
@pytest.mark.parametrize("name", ["backing file", "last cluster cut off", "vmdk"])
def test_nor_does_a_copy_of_one(name: str, backing: Backing, tmp_path: Path, spied: Path) -> None:
    spoil, code, _ = BAD[name]
    image(tmp_path, spoil)
    bundle, reserved = job(tmp_path, backing)
    with pytest.raises(Fault, match=code):
        apply(bundle, reserved, FileHypervisor(f"files:{tmp_path}"))
    assert spied.read_text() == ""
    assert list((tmp_path / "base").glob("bases/*@*")) == []


def test_who_reads_an_image_again_finds_it(tmp_path: Path) -> None:
    """`vtorque image verify`, and doctor."""
    spoil, code, _ = BAD["backing file"]
    opened.read_again(image(tmp_path, lambda _disk: None))
    with pytest.raises(Fault, match=code):
        opened.read_again(image(tmp_path / "bad", spoil))


@pytest.mark.parametrize("backing", ["shared", "local"])
def test_the_second_job_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backing: Backing) -> None:
    monkeypatch.setattr(opened, "_SETTLED_NS", -(10**12))
    image(tmp_path, lambda _disk: None)
    read: list[str] = []
    whole = OpenFiles._read

    def noted(self: OpenFiles, descriptor: int, file: Whole) -> Whole:
        read.append(Path(file.path).name)
        return whole(self, descriptor, file)

    monkeypatch.setattr(OpenFiles, "_read", noted)
    names = []
    for _ in range(2):
        apply(*job(tmp_path, backing), FileHypervisor(f"files:{tmp_path}"))
        names.append(sorted(read))
        read.clear()
    disk = ["root.qcow2"] if backing == "shared" else []  # who made the copy has read it
    assert names == [["initrd.img", *disk, "vmlinuz"], []]


class _Swapping(FileHypervisor):
    """Another disk comes to the image's name while a domain starts."""

    disk = Path()

    def create_domain(self, xml: str) -> None:
        super().create_domain(xml)
        swap(self.disk)


def swap(disk: Path) -> None:
    shutil.copy(disk, disk.with_name("same"))
    os.rename(disk.with_name("same"), disk)


def test_a_disk_that_is_swapped_while_a_domain_starts_is_found(tmp_path: Path) -> None:
    hypervisor = _Swapping(f"files:{tmp_path}")
    hypervisor.disk = Path(image(tmp_path, lambda _disk: None).disk)
    with pytest.raises(Fault, match=r"VT0503: .*root\.qcow2 was changed"):
        apply(*job(tmp_path), hypervisor)
    assert hypervisor.domain_uuids() == set()


def test_a_disk_that_is_swapped_before_gets_no_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, whole = image(tmp_path, lambda _disk: None), disks.make_overlay

    def make_overlay(overlay: Disk, size_bytes: int) -> None:
        whole(overlay, size_bytes)
        swap(Path(found.disk))

    started: list[str] = []
    hypervisor = FileHypervisor(f"files:{tmp_path}")
    monkeypatch.setattr(disks, "make_overlay", make_overlay)
    monkeypatch.setattr(hypervisor, "create_domain", started.append)
    with pytest.raises(Fault, match=r"VT0503: .*root\.qcow2 was changed"):
        apply(*job(tmp_path), hypervisor)
    assert started == []
