"""Before root acts on what an unprivileged child made, it checks it: a NodeBundle against the context that root gave.

Nothing here trusts the bundle; a difference is a Fault VT0912 that names it. Whether the domain XML is what the plan
says is not taken on trust either. What root does not know, and takes from the child, is the job file's: the guests'
numbers and sizes, and which of the images and mounts that the site offers are wanted; and the kernel's command line.
"""

import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from vtorque_runtime.recheck_cpus import check_cpus, check_devices, check_machine, check_memory, require
from vtorque_runtime.recheck_domain import check_domain
from vtorque_runtime.shares import offer_of
from vtorque_spec.fault import Fault
from vtorque_spec.plan import DataDisk, Disk, Guest, Machine, NodeBundle, NodeContext, NodePlan, Slot

FILE_LIMIT_BYTES = 1024 * 1024
"""No seed file or domain XML is near this."""

LONGEST_S = 10**14
"""More than the job language can say."""

LARGEST_BYTES = 2**53
"""As the job language has it."""

SENTENCES_LIMIT = 1024
SENTENCE_LIMIT = 32 * 1024
"""Characters: of a large machine with scattered numbers a list of CPUs is that long."""

SEED_FILES = frozenset({"meta-data", "network-config", "user-data"})
_DOMAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\[\]-]{0,63}")
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_UNCARRIED = re.compile("[\ud800-\udfff]")
_TARGET = re.compile(r"vd[a-z]")
_TAG = re.compile(r"mount[0-9]{1,3}")


def recheck(bundle: NodeBundle, context: NodeContext) -> None:
    """Raise Fault VT0912 unless the bundle is one that `context` could have led to."""
    plan = bundle.plan
    for name in ("version", "job_id", "node", "lane", "login", "spool"):
        _same(f"the plan's {name}", getattr(plan, name), getattr(context, name))
    require(plan.image in context.images, "the plan's image is not one of this node's")
    require(len(plan.guests) == len(context.slots) > 0, "the plan has not one guest for each slot")
    _check_times(plan)
    _check_words(plan)
    for guest, slot in zip(plan.guests, context.slots, strict=True):
        _check_guest(guest, slot, plan, context)
    check_cpus(plan, context)
    check_memory(plan, context)
    check_devices(plan.claim.devices, context)
    _check_files(bundle)


def _check_times(plan: NodePlan) -> None:
    times = (plan.walltime_s, plan.boot_timeout_s, plan.grace_s)
    require(
        min(plan.walltime_s, plan.boot_timeout_s, plan.grace_s + 1) > 0, "the plan has a time limit that is too short"
    )
    require(max(times) <= LONGEST_S, "the plan has a time limit that no job can have")


def _check_words(plan: NodePlan) -> None:
    """They are shown on terminals, and kept."""
    require(max(len(plan.notes), len(plan.reasons)) <= SENTENCES_LIMIT, "the plan has too many sentences")
    words = (plan.job_name, plan.job_plan_digest, *plan.notes, *plan.reasons)
    fine = all(text.isprintable() and len(text) <= SENTENCE_LIMIT for text in words)
    require(fine, "a sentence of the plan is too long, or has characters that are not for a terminal")


def domain_xml(bundle: NodeBundle, guest: Guest) -> str:
    """Return the guest's domain XML as it was compiled."""
    return _text(bundle, f"vm{guest.index}/domain.xml")


def seed_files(bundle: NodeBundle, guest: Guest) -> dict[str, str]:
    """Return the guest's seed: the text of each file by name."""
    return {name: _text(bundle, f"vm{guest.index}/seed/{name}") for name in sorted(SEED_FILES)}


def guest_directory(plan: NodePlan, guest: Guest) -> str:
    """Return the spool directory of the guest's own files."""
    return f"{plan.spool}/vm{guest.index}"


def _check_guest(guest: Guest, slot: Slot, plan: NodePlan, context: NodeContext) -> None:
    machine = guest.machine
    _same("a guest's login", guest.login, context.login)
    _same("a guest's keys", guest.keys, context.keys)
    _same("a guest's node", guest.node, context.node)
    _same("a guest's names", guest.vms, context.vms)
    for name in ("index", "hostname", "nonce", "host_key"):
        _same(f"a guest's {name}", getattr(guest, name), getattr(slot, name))
    _same("a machine's uuid", machine.uuid, slot.uuid)
    _same("a machine's network card", machine.nic, slot.nic)
    _same("a machine's virt", machine.virt, context.virt)
    _same("a machine's partition", machine.partition, context.partition)
    require(_DOMAIN_NAME.fullmatch(machine.name) is not None, f"not a domain name: {machine.name!r}")
    require(_HOST_NAME.fullmatch(guest.hostname) is not None, f"not a host name: {guest.hostname!r}")
    check_machine(machine)
    _check_shares(machine, context)
    _same("a guest's shares", machine.filesystems, plan.guests[0].machine.filesystems)
    require(machine.vcpus <= len(context.allotted_cpus), "a guest has more vCPUs than the job was allotted CPUs")
    require(guest.root_disk_bytes > 0, "a guest's root disk has no size")
    require(not machine.memory.locked or plan.lane == "system", "an ordinary user's guest is to have locked memory")
    _check_paths(guest, plan)
    targets = [PurePosixPath(share.target) for share in machine.filesystems]
    targets += [PurePosixPath(disk.mount) for disk in guest.disks]
    apart = len(set(targets)) == len(targets) and not any(a in b.parents for a in targets for b in targets)
    require(apart, "a share is mounted inside another")
    if machine.filesystems and plan.lane == "session":
        raise Fault(
            "VT0906",
            "an ordinary user's libvirt offers no virtiofs, which the job's mounts need",
            help="remove `mounts`, or run as root: vtorque run --as USER",
        )


def _check_paths(guest: Guest, plan: NodePlan) -> None:
    machine, image, directory = guest.machine, plan.image, guest_directory(plan, guest)
    _same("a machine's kernel", machine.kernel, f"{directory}/vmlinuz")
    _same("a machine's initrd", machine.initrd, f"{directory}/initrd.img")
    _same("a machine's console", machine.console_log, f"{directory}/console.log")
    require(len(machine.disks) == 2 + len(guest.disks), "a machine has disks of which the plan says nothing")
    overlay, seed = overlay_and_seed(guest)
    _same(
        "a machine's overlay",
        (overlay.format, overlay.backing, overlay.backing_format, overlay.read_only),
        ("qcow2", image.disk, image.disk_format, False),
    )
    _same(
        "a machine's seed", (seed.format, seed.backing, seed.backing_format, seed.read_only), ("raw", None, None, True)
    )
    for disk, wanted in zip(machine.disks[2:], guest.disks, strict=True):
        _same("a further disk", disk, replace(disk, **_data_disk(wanted, directory)))
        require(0 < wanted.size_bytes <= LARGEST_BYTES, "a further disk has no size, or one that no disk has")
        fine = wanted.name.isprintable() and len(wanted.name) < 64
        require(fine, "a further disk has a name that no disk has")
    for disk in machine.disks:
        name = disk.file.removeprefix(f"{directory}/")
        require(_TARGET.fullmatch(disk.target) is not None, f"not a disk's name in its guest: {disk.target!r}")
        require(_FILE_NAME.fullmatch(name) is not None, f"a disk is not one of the guest's own files: {disk.file!r}")
    files = (*(disk.file for disk in machine.disks), machine.console_log, machine.kernel, machine.initrd)
    require(len(set(files)) == len(files), "two of a machine's files are the same")


def overlay_and_seed(guest: Guest) -> tuple[Disk, Disk]:
    """Return the two disks that every guest has."""
    overlay, seed = guest.machine.disks[:2]
    return overlay, seed


def _data_disk(wanted: DataDisk, directory: str) -> dict[str, Any]:
    """What a further disk is, but for its I/O threads and queues."""
    file = f"{directory}/{wanted.target}.raw"
    own = {"target": wanted.target, "file": file, "format": "raw", "read_only": False}
    return {**own, "backing": None, "backing_format": None}


def _check_shares(machine: Machine, context: NodeContext) -> None:
    """No share but what the site offers, for this owner, and written to only where the site lets jobs write."""
    for share in machine.filesystems:
        require(offer_of(share, context) is not None, f"a share is none that the site offers: {share.source!r}")
        nfs = share.kind == "nfs"
        require(share.tag == "" if nfs else bool(_TAG.fullmatch(share.tag)), f"not the tag of a share: {share.tag!r}")
        _same("the place of a share", share.path, "" if nfs else f"{context.shares}/{share.tag}")
    tags = [share.tag for share in machine.filesystems if share.tag]
    require(len(set(tags)) == len(tags), "two shares have the same tag")


def _check_files(bundle: NodeBundle) -> None:
    wanted = set()
    for guest in bundle.plan.guests:
        wanted |= {f"vm{guest.index}/domain.xml"} | {f"vm{guest.index}/seed/{name}" for name in SEED_FILES}
    paths = [artifact.path for artifact in bundle.files]
    _same("the bundle's files", sorted(paths), sorted(wanted))
    texts = [artifact.text for artifact in bundle.files]
    require(max(map(len, texts)) <= FILE_LIMIT_BYTES, "a file of the bundle is too long")
    require(not any(_UNCARRIED.search(text) for text in texts), "a file of the bundle has what UTF-8 does not carry")
    for guest in bundle.plan.guests:
        check_domain(domain_xml(bundle, guest), guest.machine)


def _text(bundle: NodeBundle, path: str) -> str:
    return next(artifact.text for artifact in bundle.files if artifact.path == path)


def _same(what: str, found: object, wanted: object) -> None:
    require(found == wanted, f"{what} is not what the node gave out")
