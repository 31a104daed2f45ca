"""Before root acts on what an unprivileged child made, it checks it: a NodePlan against what root knows itself.

That is the context that it gave, and its own site's words. Nothing here trusts the plan; a difference is a Fault VT0912
that names it. What root does not know, and takes from the child, is the job file's: the guests' numbers and sizes,
limits of time, packages, and which of the site's images, networks and mounts are wanted, and where in the guest.
"""

import re
from dataclasses import replace
from pathlib import PurePosixPath

from vtorque_runtime.recheck_cpus import HINT, check_cpus, check_devices, check_machine, check_memory, require
from vtorque_runtime.recheck_osv import check_osv_guest
from vtorque_runtime.shares import offer_of
from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    GUEST_OWNS,
    NO_SETUP,
    Disk,
    Filesystem,
    Guest,
    LinuxGuest,
    Machine,
    NodeBundle,
    NodeContext,
    NodePlan,
    NodeSite,
    SaidImage,
    Slot,
    base_file,
    spool_bytes,
)

LONGEST_S = 10**14
"""More than the job language can say."""

LARGEST_BYTES = 2**53
"""As the job language has it."""

SENTENCES_LIMIT = 1024
SENTENCE_LIMIT = 32 * 1024
"""Characters: of a large machine with scattered numbers a list of CPUs is that long."""

SHARED_FILES = frozenset({"hosts", "ssh_config"})
SEED_FILES = frozenset({"meta-data", "network-config", "user-data"})
OSV_SEED_FILE = "user-data"
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DATA_DISK = re.compile(r"vd[c-z]")
_TAG = re.compile(r"mount[0-9]{1,3}")
_PLACE = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]*){1,16}")
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9+._-]{0,125}[A-Za-z0-9+_])?")
"""Where a job may have something mounted, and what it may have installed, as the job's language has them."""


def recheck(plan: NodePlan, context: NodeContext, site: NodeSite) -> None:
    """Raise Fault VT0912 unless the plan is one that `context` could have led to, on a node of `site`."""
    for name in ("version", "job_id", "node", "lane", "login", "spool"):
        _same(f"the plan's {name}", getattr(plan, name), getattr(context, name))
    require(len(plan.guests) == len(context.slots) > 0, "the plan has not one guest for each slot")
    _check_site(plan, context, site)
    _check_times(plan)
    _check_words(plan)
    _check_base(plan)
    for guest, slot in zip(plan.guests, context.slots, strict=True):
        _check_guest(guest, slot, plan, context)
    check_cpus(plan, context)
    check_memory(plan, context)
    check_devices(plan.claim.devices, context)


def check_files(bundle: NodeBundle) -> None:
    """Raise Fault VT0912 unless the bundle has the files that are to be of its plan."""
    guests = bundle.plan.guests
    wanted = {f"vm{guest.index}/domain.xml" for guest in guests}
    wanted |= {path for guest in guests for path in _seed_paths(guest).values()}
    _same("the bundle's files", sorted(artifact.path for artifact in bundle.files), sorted(wanted))


def _check_site(plan: NodePlan, context: NodeContext, site: NodeSite) -> None:
    """What is the site's alone to say: a guest's root and its kernel do what stands there."""
    image = plan.image
    require(image in context.images, "the plan's image is not one of this node's")
    if image.own:
        _check_own(plan, site)
        return
    said = next((one for one in site.images if one.name == image.name and one.sha256 in (None, image.sha256)), None)
    if said is None:
        raise Fault("VT0912", f"the plan's image is none of the site's: {image.name}", help=HINT)
    for guest in plan.guests:
        if guest.kind == "osv":
            check_osv_guest(guest, plan, said, site)
        else:
            _check_linux(guest, said, site)
        _same("whether a guest's memory is locked", guest.machine.memory.locked, site.lock_memory)
    _same("the mode of the I/O cores", plan.io.mode, site.io_mode)
    fine = site.io_nics is None or set(plan.io.nics) <= set(site.io_nics)
    require(fine, "the I/O cores are to serve an adapter that the site does not name")


def _check_own(plan: NodePlan, site: NodeSite) -> None:
    """Root boots no user's own image, and what the site does as a guest's root is not for one."""
    require(site.own_images and plan.lane == "session", "a user's own image is to be booted where that is not allowed")
    for guest in plan.guests:
        require(guest.kind == "linux" and guest.setup == NO_SETUP, "the site is to act in a user's own image")


def _check_linux(guest: LinuxGuest, said: SaidImage, site: NodeSite) -> None:
    require(said.osv is None, "a guest is to run Linux, and its image does not")
    _same("a machine's kernel command line", guest.machine.cmdline, said.cmdline)
    _same("what the site does in a guest", replace(guest.setup, packages=(), packager=site.setup.packager), site.setup)
    fine = all(_PACKAGE.fullmatch(name) for name in guest.setup.packages)
    require(fine, "a package has a name that no package has")


def _check_times(plan: NodePlan) -> None:
    times = (plan.walltime_s, plan.boot_timeout_s, plan.grace_s)
    require(
        min(plan.walltime_s, plan.boot_timeout_s, plan.grace_s + 1) > 0, "the plan has a time limit that is too short"
    )
    require(max(times) <= LONGEST_S, "the plan has a time limit that no job can have")


def _check_base(plan: NodePlan) -> None:
    """What the disks may come to is claimed, and so is the memory that the image takes."""
    _same("the disk space that the plan claims", plan.claim.disk_bytes, sum(map(spool_bytes, plan.guests)))
    in_memory = plan.backing == "ram"
    require((plan.base_memory_bytes > 0) == in_memory, "the image takes memory where it is not read from there")
    require(not in_memory or plan.lane == "system", "an ordinary user's image is to be in memory")


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
    """Return what is on the guest's seed: the text of each file by name."""
    return {name: _text(bundle, path) for name, path in sorted(_seed_paths(guest).items())}


def _seed_paths(guest: Guest) -> dict[str, str]:
    """Which files of the bundle are on the guest's seed, by their names there; none where it has no seed."""
    if guest.kind == "osv":
        return {OSV_SEED_FILE: f"vm{guest.index}/seed/{OSV_SEED_FILE}"} if guest.cloud_init else {}
    own = {name: f"vm{guest.index}/seed/{name}" for name in SEED_FILES}
    return own | {name: f"seed/{name}" for name in SHARED_FILES}


def guest_directory(plan: NodePlan, guest: Guest) -> str:
    """Return the spool directory of the guest's own files."""
    return f"{plan.spool}/vm{guest.index}"


def _check_guest(guest: Guest, slot: Slot, plan: NodePlan, context: NodeContext) -> None:
    machine = guest.machine
    linux = guest.kind == "linux"
    for name in ("node", *(("login", "keys") if linux else ())):
        _same(f"a guest's {name}", getattr(guest, name), getattr(context, name))
    for name in ("index", "hostname", *(("nonce", "host_key") if linux else ())):
        _same(f"a guest's {name}", getattr(guest, name), getattr(slot, name))
    _same("a machine's name", machine.name, f"vt-{context.job_id}-{slot.index}")
    _same("a machine's uuid", machine.uuid, slot.uuid)
    _same("a machine's network card", machine.nic, slot.nic)
    _same("a machine's virt", machine.virt, context.virt)
    _same("a machine's partition", machine.partition, context.partition)
    require(_HOST_NAME.fullmatch(guest.hostname) is not None, f"not a host name: {guest.hostname!r}")
    check_machine(machine)
    if machine.filesystems and plan.lane == "session" and not plan.image.own:
        raise Fault(
            "VT0906",
            "an ordinary user's libvirt offers no virtiofs, which the job's mounts need",
            help="remove `mounts`, or run as root: vtorque run --as USER",
        )
    _check_shares(machine, context)
    _same("a guest's shares", machine.filesystems, plan.guests[0].machine.filesystems)
    require(machine.vcpus <= len(context.allotted_cpus), "a guest has more vCPUs than the job was allotted CPUs")
    require(0 < guest.root_disk_bytes <= LARGEST_BYTES, "a guest's root disk has no size, or one that no disk has")
    require(not machine.memory.locked or plan.lane == "system", "an ordinary user's guest is to have locked memory")
    if guest.kind == "linux":
        _check_disks(guest, plan)
    _check_places(guest, context)


def _check_disks(guest: LinuxGuest, plan: NodePlan) -> None:
    """Each file is the guest's own or the image's, and root knows its name."""
    machine, image, directory = guest.machine, plan.image, guest_directory(plan, guest)
    _same("a machine's kernel", machine.kernel, f"{directory}/vmlinuz")
    _same("a machine's initrd", machine.initrd, f"{directory}/initrd.img")
    _same("a machine's console", machine.console_log, f"{directory}/console.log")
    base = base_file(image, plan.backing, plan.spool)
    root = Disk("vda", f"{directory}/root.qcow2", "qcow2", False, base, image.disk_format, None, None)
    seed = Disk("vdb", f"{directory}/seed.iso", "raw", True, None, None, None, None)
    data = [
        Disk(disk.target, f"{directory}/{disk.target}.raw", "raw", False, None, None, None, None)
        for disk in guest.disks
    ]
    found = [replace(disk, iothread=None, queues=None) for disk in machine.disks]
    _same("what disks a machine has", found, [root, seed, *data])
    targets = [disk.target for disk in guest.disks]
    require(len(set(targets)) == len(targets), "two disks of a guest have the same name there")
    for wanted in guest.disks:
        require(_DATA_DISK.fullmatch(wanted.target) is not None, f"not a disk's name in its guest: {wanted.target!r}")
        require(0 < wanted.size_bytes <= LARGEST_BYTES, "a further disk has no size, or one that no disk has")
        fine = wanted.name.isprintable() and len(wanted.name) < 64
        require(fine, "a further disk has a name that no disk has")


def _check_places(guest: Guest, context: NodeContext) -> None:
    """Nothing is mounted over what is the guest's own, nor inside what users write to."""
    shares = guest.machine.filesystems
    disks = guest.disks if guest.kind == "linux" else ()
    mounted = [*(share.target for share in shares), *(disk.mount for disk in disks)]
    sites = {share.target for share in shares if _at_its_own_place(share, context)}
    for place in mounted:
        own = any(f"{place}/".startswith(f"{own}/") for own in GUEST_OWNS)
        require(place in sites or (bool(_PLACE.fullmatch(place)) and not own), f"nothing may be mounted at {place!r}")
    targets = [PurePosixPath(place) for place in mounted]
    apart = len(set(targets)) == len(targets) and not any(a in b.parents for a in targets for b in targets)
    require(apart, "a share is mounted inside another")


def _at_its_own_place(share: Filesystem, context: NodeContext) -> bool:
    """Whether it is where the site has it, which for a home may be anywhere."""
    return any((offer.source, offer.target) == (share.source, share.target) for offer in context.mounts)


def _check_shares(machine: Machine, context: NodeContext) -> None:
    """No share but what the site offers, for this owner, and written to only where the site lets jobs write."""
    for share in machine.filesystems:
        require(offer_of(share, context) is not None, f"a share is none that the site offers: {share.source!r}")
        nfs = share.kind == "nfs"
        require(share.tag == "" if nfs else bool(_TAG.fullmatch(share.tag)), f"not the tag of a share: {share.tag!r}")
        place = share.source if context.lane == "session" else f"{context.shares}/{share.tag}"
        _same("the place of a share", share.path, "" if nfs else place)
    tags = [share.tag for share in machine.filesystems if share.tag]
    require(len(set(tags)) == len(tags), "two shares have the same tag")


def _text(bundle: NodeBundle, path: str) -> str:
    return next(artifact.text for artifact in bundle.files if artifact.path == path)


def _same(what: str, found: object, wanted: object) -> None:
    require(found == wanted, f"{what} is not what the node gave out")
