"""Who and what a job on this node is: id, user, keys, names, addresses. Everything here is fresh for each job."""

import grp
import hashlib
import os
import pwd
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from vtorque_runtime import disks, epilogue, host, network
from vtorque_runtime.batch.contract import BatchJob, Share
from vtorque_runtime.hypervisor import URIS, connect
from vtorque_runtime.images import store
from vtorque_runtime.keys import FOREVER_S, JobKeys
from vtorque_runtime.spool import Lane, Registration, Registry, Spool, open_registry
from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    VERSION,
    Claim,
    Group,
    JobVm,
    Keys,
    Login,
    NodeContext,
    NodeSite,
    OfferedNetwork,
    Slot,
    TapNic,
    UserNic,
    lowest_cores,
    owned,
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A job that is known here and holds nothing yet; its context has no slots. `site` are the site's words.

    `facts` is what was found here, in one line for a person; `keys` is what its VMs' identities will derive from. A
    batch system's job is registered already, as `held`, and has the `shares` of its nodes in rank order.
    """

    context: NodeContext
    site: NodeSite
    facts: str
    registry: Registry
    store: Path
    keys: JobKeys
    held: Registration | None = None
    shares: tuple[Share, ...] = ()
    rank: int = 0
    exclusive: bool = False


@dataclass
class Reserved:
    """What the node holds for one job that may be prepared now; leaving the block gives it back and undoes the job."""

    context: NodeContext
    site: NodeSite
    registry: Registry
    spool: Spool
    registration: Registration
    store: Path
    ports: tuple[socket.socket, ...]

    def release_ports(self) -> None:
        """Let go of the ports, once QEMU listens there."""
        for port in self.ports:
            port.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release_ports()
        epilogue.apply(self.registry, self.spool)


def draft(user: str, images: Path, site: NodeSite, lane: Lane | None = None, base: Path | None = None) -> Draft:
    """Find out all about a job of `user` on this node but what its VMs will be; nothing is held for it yet.

    `images` is the image store; `lane` follows from who calls when not said; `base` is the spool's parent, for tests.
    Raises Fault VT0901, VT0902, VT0905, VT0914.
    """
    lane = lane or ("system" if os.geteuid() == 0 else "session")
    login = find_login(user, site.min_uid)
    found = _facts(lane, site.hypervisor == "emulation")
    registry = open_registry(lane, base)
    job_id = f"local-{secrets.token_hex(4)}"
    context = _context(registry, job_id, node_name(), login, found, site, images)
    return Draft(context, site, found.sentence(), registry, images, JobKeys.random(job_id, login.uid))


def batch_draft(
    job: BatchJob, held: Registration, registry: Registry, site: NodeSite, cluster_keys: tuple[bytes, ...], images: Path
) -> Draft:
    """Find out all about a registered job of a batch system but what its VMs will be.

    Each of its nodes finds the same keys. Raises Fault VT0901, VT0902, VT0905, VT0914.
    """
    login, share = find_login(job.user, site.min_uid), job.share
    found = _facts(registry.lane, site.hypervisor == "emulation")
    context = _context(registry, held.job_id, job.node, login, found, site, images)
    memory = context.allotted_memory_bytes if share.memory_bytes is None else share.memory_bytes
    context = replace(
        context,
        allotted_cpus=context.allotted_cpus if share.cpus is None else share.cpus,
        allotted_slots=share.slots if share.cpus is None else None,
        allotted_memory_bytes=min(memory, context.allotted_memory_bytes),
    )
    digest = hashlib.sha256(job.spec.encode("utf-8", "replace")).hexdigest()
    keys = JobKeys(cluster_keys, job.server, job.job_id, job.start, login.uid, digest)
    sentence = found.sentence()
    return Draft(context, site, sentence, registry, images, keys, held, job.shares, job.rank, job.exclusive)


def _facts(lane: Lane, emulated: bool) -> host.HostFacts:
    hypervisor = connect(URIS[lane])
    try:
        return host.facts(hypervisor, emulated=emulated)
    finally:
        hypervisor.close()


def _context(
    registry: Registry, job_id: str, node: str, login: Login, found: host.HostFacts, site: NodeSite, images: Path
) -> NodeContext:
    return NodeContext(
        version=VERSION,
        job_id=job_id,
        node=node,
        lane=registry.lane,
        virt=found.virt,
        cells=found.cells,
        devices=found.devices,
        allotted_cpus=found.cpus,
        allotted_slots=None,
        slot=site.slot,
        host_cpus=tuple(sorted(cpu for core in lowest_cores(found.cells, site.host_cores) for cpu in core)),
        allotted_memory_bytes=found.memory_bytes,
        taken=Claim((), (), ()),
        advised_cells=None,
        login=login,
        keys=Keys("", (), ()),
        images=store.installed(images),
        vms=(),
        slots=(),
        mounts=tuple(
            replace(mount, source=owned(mount.source, login), target=owned(mount.target, login))
            for mount in site.mounts
        ),
        spool=str(registry.spool(job_id).path),
        diskless=disks.kind_of(registry.jobs) in disks.MEMORY_KINDS,
    )


def reserve(draft: Draft, vms: int, offer: OfferedNetwork, advised_cells: tuple[int, ...] | None = None) -> Reserved:
    """Register the job with identities for so many VMs on the network; use the result in a `with` statement.

    `advised_cells` are numad's. Raises Fault VT0905, VT0906, VT0914, VT0940, VT0941.
    """
    context = draft.context
    if draft.held is None:
        spool, held = draft.registry.register(context.job_id, context.login.uid, vms)
        shares: tuple[Share, ...] = (Share(context.node, vms, network.first_slot(held.network), None, None),)
    else:
        held, shares = draft.registry.adopt(draft.held, vms, context.login.uid), draft.shares
        spool = draft.registry.spool(held.job_id)
    names = network.job_vms(offer, shares, draft.rank, vms, held.network, exclusive=draft.exclusive)
    own = names[draft.rank * vms : (draft.rank + 1) * vms]
    cards, ports = cards_for(offer, own, held)
    slots = tuple(_slot(draft.keys, vm, nic) for vm, nic in zip(own, cards, strict=True))
    keys = draft.keys.texts()
    context = replace(context, keys=keys, vms=names, slots=slots, advised_cells=advised_cells)
    return Reserved(context, draft.site, draft.registry, spool, held, draft.store, ports)


def find_login(user: str, min_uid: int) -> Login:
    """Look `user` up on this host, with all groups, the primary one first.

    Raises Fault VT0901 for a name that is not known, for root, and below `min_uid`.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise Fault("VT0901", f"no user {user!r} on this host") from None
    if entry.pw_uid == 0 or entry.pw_uid < min_uid:
        raise Fault(
            "VT0901",
            f"no job runs as {user} (uid {entry.pw_uid}; the lowest allowed is {max(min_uid, 1)})",
            help="name an ordinary user: vtorque run --as USER",
        )
    others = sorted(set(os.getgrouplist(user, entry.pw_gid)) - {entry.pw_gid})
    groups = tuple(Group(_group_name(gid), gid) for gid in (entry.pw_gid, *others))
    return Login(user, entry.pw_uid, groups, entry.pw_dir)


def reserve_port() -> socket.socket:
    """Return a socket bound to a free port of 127.0.0.1 that does not listen.

    While it is open the kernel hands the port to nobody who asks for any free one; QEMU, which sets SO_REUSEADDR too,
    can still listen there.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def cards_for(
    offer: OfferedNetwork, vms: Sequence[JobVm], held: Registration
) -> tuple[tuple[TapNic | UserNic, ...], tuple[socket.socket, ...]]:
    """Return the cards of this node's VMs, and the ports that lead to those on QEMU's own network.

    An ordinary user's guests are always on QEMU's own. Raises Fault VT0905, VT0906, VT0940.
    """
    if held.lane == "session" and offer.kind in ("nat", "bridge"):
        hint = "name a network of the kind `user` or `isolated`, or run it as root for this user: sudo vtorque run JOB"
        raise Fault("VT0906", f"an ordinary user's libvirt has no {offer.kind} network like `{offer.name}`", help=hint)
    if held.lane == "system" and offer.kind != "user":
        return tuple(network.card(offer, vm, held.job_id, held.network) for vm in vms), ()
    ports = tuple(reserve_port() for _ in vms)
    cards = (
        UserNic("user", network.user_mac(held.network, vm.index), port.getsockname()[1], offer.kind == "isolated")
        for vm, port in zip(vms, ports, strict=True)
    )
    return tuple(cards), ports


def _slot(keys: JobKeys, vm: JobVm, nic: TapNic | UserNic) -> Slot:
    host_key = keys.host_key(vm.node, vm.index, vm.names, FOREVER_S)  # no other job trusts what signs it
    return Slot(vm.index, keys.uuid(vm.node, vm.index), vm.hostname, keys.nonce(vm.node, vm.index), host_key, nic)


def node_name() -> str:
    """Return the host's name without its domain, in the letters that a host name may have."""
    return network.node_name(socket.gethostname())


def _group_name(gid: int) -> str:
    """A group that the host has no name for gets one, because the guest needs one."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid{gid}"
