"""Who and what a job on this node is: id, user, keys, names, addresses. Everything here is fresh for each job."""

import grp
import os
import pwd
import re
import secrets
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from vtorque_runtime import epilogue, host, network
from vtorque_runtime.hypervisor import URIS, connect
from vtorque_runtime.images import store
from vtorque_runtime.spool import Lane, Registration, Registry, Spool, open_registry
from vtorque_spec.fault import Fault
from vtorque_spec.plan import VERSION, BridgeNic, Claim, Group, HostKey, Login, NodeContext, Slot, UserNic, lowest_cores

_HOST_NAME_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Draft:
    """A job that is known here and holds nothing yet; its context has no slots.

    `facts` is what was found here, in one line for a person. The private login key is in no context and no plan.
    """

    context: NodeContext
    facts: str
    registry: Registry
    store: Path
    login_private_key: str


@dataclass
class Reserved:
    """What the node holds for one job that may be prepared now; leaving the block gives it back and undoes the job."""

    context: NodeContext
    registry: Registry
    spool: Spool
    registration: Registration
    store: Path
    login_private_key: str
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


def draft(
    *, user: str, images: Path, min_uid: int, slot: Literal["core", "thread"], host_cores: int,
    lane: Lane | None = None, base: Path | None = None,
) -> Draft:  # fmt: skip
    """Find out all about a job of `user` on this node but what its VMs will be; nothing is held for it yet.

    `images` is the image store; a `slot` and the number of the host's own cores are the site's words for this node;
    `lane` follows from who calls when not said; `base` is the spool's parent, for tests. Raises Fault VT0901, VT0902,
    VT0905, VT0914.
    """
    lane = lane or ("system" if os.geteuid() == 0 else "session")
    private, public = key_pair("vtorque")
    login = find_login(user, min_uid, public)
    hypervisor = connect(URIS[lane])
    try:
        found = host.facts(hypervisor)
    finally:
        hypervisor.close()
    registry = open_registry(lane, base)
    job_id = f"local-{secrets.token_hex(4)}"
    context = NodeContext(
        version=VERSION,
        job_id=job_id,
        node=node_name(),
        lane=lane,
        virt=found.virt,
        cells=found.cells,
        devices=found.devices,
        allotted_cpus=found.cpus,
        allotted_slots=None,
        slot=slot,
        host_cpus=tuple(sorted(cpu for core in lowest_cores(found.cells, host_cores) for cpu in core)),
        allotted_memory_bytes=found.memory_bytes,
        taken=Claim((), (), ()),
        advised_cells=None,
        login=login,
        images=store.installed(images),
        slots=(),
        spool=str(registry.spool(job_id).path),
    )
    return Draft(context, found.sentence(), registry, images, private)


def reserve(draft: Draft, vms: int, advised_cells: tuple[int, ...] | None = None) -> Reserved:
    """Register the job with identities for so many VMs; use the result in a `with` statement.

    `advised_cells` are numad's. Raises Fault VT0914.
    """
    context = draft.context
    spool, held = draft.registry.register(context.job_id, context.login.uid, vms)
    ports = tuple(reserve_port() for _ in range(vms)) if context.lane == "session" else ()
    slots = tuple(_slot(context.node, index, _nic(held, index, ports)) for index in range(vms))
    context = replace(context, slots=slots, advised_cells=advised_cells)
    return Reserved(context, draft.registry, spool, held, draft.store, draft.login_private_key, ports)


def find_login(user: str, min_uid: int, public_key: str) -> Login:
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
    return Login(user, entry.pw_uid, groups, entry.pw_dir, public_key)


def key_pair(comment: str) -> tuple[str, str]:
    """Return a fresh ed25519 key pair as OpenSSH text: private, and public on one line. Raises Fault VT0905."""
    try:
        from cryptography.hazmat.primitives import serialization as form
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise Fault(
            "VT0905", "Python has no cryptography module here", help="pip install 'vtorque[runtime]'", detail=str(error)
        ) from None
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    return private.decode("ascii"), f"{public.decode('ascii')} {comment}"


def reserve_port() -> socket.socket:
    """Return a socket bound to a free port of 127.0.0.1 that does not listen.

    While it is open the kernel hands the port to nobody who asks for any free one; QEMU, which sets SO_REUSEADDR too,
    can still listen there.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def _nic(held: Registration, index: int, ports: Sequence[socket.socket]) -> BridgeNic | UserNic:
    if held.lane == "system":
        return network.nic(held.job_id, held.network, index)
    return UserNic("user", network.mac(held.network, index), ports[index].getsockname()[1])


def _slot(node: str, index: int, nic: BridgeNic | UserNic) -> Slot:
    hostname = f"v{node}-{index}"
    return Slot(index, str(uuid.uuid4()), hostname, secrets.token_hex(16), HostKey(*key_pair(hostname)), nic)


def node_name() -> str:
    """Return the host's name without its domain, in the letters that a host name may have."""
    name = re.sub(r"[^a-z0-9-]", "-", socket.gethostname().partition(".")[0].lower())
    return name[:_HOST_NAME_LIMIT].strip("-") or "node"


def _group_name(gid: int) -> str:
    """A group that the host has no name for gets one, because the guest needs one."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid{gid}"
