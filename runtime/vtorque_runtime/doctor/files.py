"""Root's own files on the node: keys, images, the spool and what is left in it, and directories that guests share."""

import os
import time

from vtorque_runtime import disks, reap, shares
from vtorque_runtime.doctor.node import Node, Told, error, warning
from vtorque_runtime.images import opened, store
from vtorque_runtime.keys import read_cluster_keys
from vtorque_runtime.osv import exports
from vtorque_runtime.spool import open_registry
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodeSite

LEAST_FREE_BYTES = 10 * 1024**3
NETWORK_KINDS = ("nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "fuse.glusterfs", "9p")


def cluster_key(node: Node) -> Told:
    """It is there, root's alone, and has the form of keys."""
    count = len(read_cluster_keys(node.site / "cluster.key"))
    yield "one key" if count == 1 else f"{count} keys, the first derives"


def images(node: Node, site: NodeSite) -> Told:
    """The store has each image that is not withdrawn; `node.images`: and its bytes are still what they were."""
    there = store.installed(node.store)
    for said in site.images:
        digests = [image.sha256 for image in there if image.name == said.name]
        image = next((one for one in there if one.name == said.name and said.sha256 in (None, one.sha256)), None)
        if image is None and not digests:
            fix = f"copy {node.store}/{said.name}@* from another node, or: vtorque image build {said.name}"
            yield error("VT0502", f"the image `{said.name}` is not in {node.store}", fix)
        elif image is None:
            message = f"the image `{said.name}` has the digest {', '.join(digests)}, the catalogue says {said.sha256}"
            yield error("VT0502", message, "copy the right one there, or correct the catalogue in images/*.yaml")
        elif node.images:
            try:
                opened.read_again(image)
            except Fault as fault:
                yield error(fault.code, fault.message, fault.help or "", fault.detail)
    names = ", ".join(dict.fromkeys(said.name for said in site.images)) or "the catalogue is empty"
    yield names if node.images else f"{names} (not read: --images)"


def mounts(_node: Node, site: NodeSite) -> Told:
    """What is shared through this node is there, and safe to share."""
    for offer in site.mounts:
        try:
            shares.check(offer)
        except Fault as fault:
            yield error(fault.code, f"{offer.name}: {fault.message}", fault.help or "see what is at that path")
    if any(image.osv for image in site.images) and any(one.writable and one.kind == "virtiofs" for one in site.mounts):
        try:
            exports.check()
        except Fault as fault:
            yield warning(fault.code, f"OSv guests cannot write to mounts: {fault.message}", fault.help or "see above")
    yield ", ".join(offer.name for offer in site.mounts) or "the site offers none"


def spool(node: Node) -> Told:
    """The spool is root's own, on a disk of the node's own with room."""
    base = open_registry("system", node.base).base
    kind = disks.kind_of(base, node.root)
    if kind in NETWORK_KINDS:
        message = f"{base} is on a network file system ({kind}): keys and guests' disks belong on a disk of the node"
        yield warning("VT0948", message, f"mount a local disk at {base}")
    found = os.statvfs(base)
    free = found.f_bavail * found.f_frsize
    if free < LEAST_FREE_BYTES:
        message = f"{base} has {free >> 20} MiB left, and guests' disks grow there"
        yield warning("VT0948", message, f"make room: du -x --max-depth=2 {base}, then vtorque-runtime reap")
    yield f"{base}, {kind}, {free >> 30} GiB left"


def diskless(node: Node, site: NodeSite) -> Told:
    """Guests' disks are where the site says that they are, by which jobs ask for memory."""
    base = open_registry("system", node.base).base
    kind = disks.kind_of(base, node.root)
    in_memory, name = kind in disks.MEMORY_KINDS, site.node_class
    if in_memory and not site.node.diskless:
        message = f"{base} is in memory ({kind}): jobs of `{name}` ask for less memory than their disks take"
        fix = f"mount a disk at {base}, or write `diskless: true` into the class `{name}` in site.yaml"
        yield warning("VT0947", message, fix)
    elif site.node.diskless and not in_memory:
        message = f"{base} is on a disk ({kind}): jobs of `{name}` ask for memory that their disks do not take"
        yield warning("VT0947", message, f"mount a tmpfs at {base}, or take `diskless` out of the class `{name}`")
    yield f"guests' disks are {'in memory' if in_memory else 'on a disk'}"


def jobs(node: Node) -> Told:
    """No job is here that is over: `reap` would take it."""
    registry = open_registry("system", node.base)
    for damaged in registry.damaged():
        yield error(damaged.code, damaged.message, damaged.help or "", damaged.detail)
    held = registry.registrations()
    for one in held:
        state, age_s = reap.standing(one), int(time.time()) - one.started_s
        if state == "gone":
            message = f"the job {one.job_id} is over, and still here after {age_s} s"
            yield warning("VT0948", message, "vtorque-runtime reap, twice, a minute apart")
        elif state == "unknown":
            message = f"{one.system} does not say whether the job {one.job_id} lives"
            yield warning("VT0930", message, f"see whether {one.system}'s own commands answer root on this node")
    yield f"{len(held)} here" if held else "none here"
