"""Apply a NodeBundle: make the files, the network and the guests, each undo on disk before its act."""

import io
import os
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from vtorque_runtime import base, disks, forwarding, iocm, network, partition, shares, skvm
from vtorque_runtime.files import make_directory
from vtorque_runtime.identity import Reserved
from vtorque_runtime.images.digests import Digests
from vtorque_runtime.images.opened import OpenFiles
from vtorque_runtime.images.store import recorded
from vtorque_runtime.log import LOG
from vtorque_runtime.osv import exports
from vtorque_runtime.osv.disk import write_command_line
from vtorque_runtime.recheck import check_files, domain_xml, guest_directory, recheck, seed_files
from vtorque_runtime.shutdown_hooks import ShutdownHooks
from vtorque_runtime.steps import DomainUndo, FilterUndo, NetworkUndo, TreeUndo
from vtorque_runtime.sysfs import ROOT
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Guest, Login, NodeBundle, NodePlan, TapNic, base_file


class Creator(Protocol):
    """What applying needs of a hypervisor."""

    uri: str

    def create_filter(self, xml: str) -> None:
        """Define a network filter; raises Fault VT0903, VT0905."""

    def create_network(self, xml: str) -> None:
        """Start a network; raises Fault VT0903."""

    def create_domain(self, xml: str) -> None:
        """Start a domain; raises Fault VT0903."""


def apply(
    bundle: NodeBundle, reserved: Reserved, hypervisor: Creator, proceed: Callable[[], None], root: Path = ROOT
) -> None:
    """Bring the guests of the plan up to the moment when their CPUs run, each where the plan says.

    `proceed` is called between the steps and may raise to stop there. Undoing is the caller's, by `epilogue.apply`.
    `root` is the directory that /proc and /sys lie in. Raises Fault VT0503 (the image changed), VT0530 to VT0536,
    VT0903, VT0905, VT0906, VT0912, VT0914, VT0920, VT0922, VT0966, VT0967, and `journal.BuriedError`.
    """
    plan = bundle.plan
    recheck(plan, reserved.context, reserved.site)
    check_files(bundle)
    if plan.io.cores and plan.io.mode == "skvm":
        skvm.check(plan, reserved.context)
    with OpenFiles(Digests(reserved.registry.base), proceed) as files:
        _check_image(plan, files)
        _make(bundle, reserved, hypervisor, proceed, root, files)
        files.check_same()
    reserved.release_ports()


def _make(
    bundle: NodeBundle, reserved: Reserved, hypervisor: Creator, proceed: Callable[[], None], root: Path,
    files: OpenFiles,
) -> None:  # fmt: skip
    """All that `apply` makes, of files that stay open, checked, meanwhile."""
    plan, journal, directory = bundle.plan, reserved.spool.journal, reserved.spool.path
    linux = [guest for guest in plan.guests if guest.kind == "linux"]
    proceed()
    iocm.keep_plan(plan, reserved.spool)
    proceed()
    base.make(plan, reserved, proceed)
    if plan.backing == "local":
        files.check(Path(base_file(plan.image, plan.backing, plan.spool)), plan.image.sha256, plan.image.disk_format)
    journal.step(TreeUndo("tree", "owner"), lambda: _make_owner(reserved, linux=bool(linux)))
    proceed()
    _make_network(plan, reserved, hypervisor)
    proceed()
    _make_partition(plan, reserved, root)
    proceed()
    shares.make(plan, reserved.context, journal)
    exports.make(plan, network.link_name(reserved.registration.network), journal, proceed)
    for guest in plan.guests:
        proceed()
        storage = TreeUndo("tree", Path(guest_directory(plan, guest)).name)
        journal.step(storage, partial(_make_storage, bundle, guest, files))
        domain = DomainUndo("domain", hypervisor.uri, guest.machine.uuid)
        proceed()
        files.check_same()
        journal.step(domain, partial(hypervisor.create_domain, domain_xml(bundle, guest)))
        LOG.info("started domain %s in %s", guest.machine.uuid, directory)
    hooked = tuple(guest.machine.uuid for guest in linux if guest.setup.shutdown is not None)
    if hooked:
        journal.step(ShutdownHooks("shutdown-hooks", hypervisor.uri, hooked), lambda: None)
    proceed()
    iocm.begin(plan, reserved.registry, reserved.spool, root)


def _check_image(plan: NodePlan, files: OpenFiles) -> None:
    """What is read from the store while the job runs; who copies a disk from there compares and inspects it.

    Of a user's own image the disk is still to be what was inspected; its kernel and initrd are taken as they are.
    """
    if plan.image.own:
        files.check(Path(plan.image.disk), plan.image.sha256, plan.image.disk_format)
        for boot_file in (plan.image.kernel, plan.image.initrd):
            if boot_file is not None:
                files.take(Path(boot_file))
        return
    for path, sha256 in recorded(plan.image).items():
        if str(path) != plan.image.disk:
            files.check(path, sha256)
        elif plan.backing == "shared":
            files.check(path, sha256, plan.image.disk_format)


def _make_partition(plan: NodePlan, reserved: Reserved, root: Path) -> None:
    """Cap the job before its first domain starts, for that starts in it."""
    if reserved.context.partition is not None:
        undo = partition.partition(reserved.context.partition, root)
        outside = base.outside_bytes(plan, diskless=reserved.context.diskless)
        reserved.spool.journal.step(undo, lambda: partition.make(plan, undo, root, outside))


def _make_owner(reserved: Reserved, *, linux: bool) -> None:
    """Fill the owner's directory, then hand it over: from there on root opens nothing in it.

    Nobody logs in to an OSv guest.
    """
    directory, login, keys = reserved.spool.owner, reserved.context.login, reserved.context.keys
    directory.mkdir(mode=0o700)
    if linux:
        _give(directory / "id_ed25519", keys.login_key, login, 0o600)
        _give(directory / "known_hosts", "".join(f"{line}\n" for line in keys.authorities), login, 0o600)
    os.chown(directory, login.uid, login.groups[0].gid)


def _give(path: Path, text: str, login: Login, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        os.fchown(file.fileno(), login.uid, login.groups[0].gid)


def _make_storage(bundle: NodeBundle, guest: Guest, files: OpenFiles) -> None:
    directory = Path(guest_directory(bundle.plan, guest))
    make_directory(directory, 0o700)
    machine, image = guest.machine, bundle.plan.image
    overlay, *others = machine.disks
    disks.make_overlay(overlay, guest.root_disk_bytes)
    # libvirt gives the kernel and the initrd to QEMU's user: the guest has its own, the image's stay root's.
    for own, images in ((machine.kernel, image.kernel), (machine.initrd, image.initrd)):
        if own is not None and images is not None:
            _put(own, files.content(Path(images)))
    if seed := seed_files(bundle, guest):
        _put(others[0].file, seed_image(seed))
    if guest.kind == "osv":
        if guest.boot == "disk":
            write_command_line(overlay, guest.command_line)
    else:
        for disk, wanted in zip(others[1:], guest.disks, strict=True):
            disks.make(Path(disk.file), wanted, guest.login)
    if bundle.plan.lane == "system":
        directory.chmod(0o711)  # QEMU, another user, passes through; until now the overlay may have been nobody's


def _put(path: str, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)


def seed_image(files: dict[str, str]) -> bytes:
    """Return an ISO 9660 image labelled `cidata` (cloud-init's NoCloud), with Rock Ridge and Joliet names."""
    try:
        import pycdlib
    except ImportError as error:
        raise Fault(
            "VT0905", "Python has no pycdlib module here", help="pip install 'vtorque[runtime]'", detail=str(error)
        ) from None
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for name, text in files.items():
        content = text.encode("utf-8")
        short = name.upper().replace("-", "_")
        iso.add_fp(io.BytesIO(content), len(content), f"/{short}.;1", rr_name=name, joliet_path=f"/{name}")
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()


def _make_network(plan: NodePlan, reserved: Reserved, hypervisor: Creator) -> None:
    """The filter and the network of all guests of the job, where they have any."""
    card, journal = plan.guests[0].machine.nic, reserved.spool.journal
    if not isinstance(card, TapNic):
        return
    if card.filter is not None:
        identity = str(uuid.uuid4())
        xml = network.filter_xml(card.filter, identity)
        journal.step(FilterUndo("filter", hypervisor.uri, identity), partial(hypervisor.create_filter, xml))
    if card.kind == "network":
        if card.gateway is not None:
            forwarding.note(journal)
        identity = str(uuid.uuid4())
        xml = network.network_xml(card, reserved.registration.network, identity)
        journal.step(NetworkUndo("network", hypervisor.uri, identity), partial(hypervisor.create_network, xml))
