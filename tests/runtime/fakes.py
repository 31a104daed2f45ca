"""A store, a context, a plan and a bundle made by hand, and a hypervisor that is a directory of files."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

from vtorque_compilers.domain import compile_domain
from vtorque_runtime import identity
from vtorque_runtime.identity import Reserved
from vtorque_runtime.images import store
from vtorque_runtime.spool import Lane, open_registry
from vtorque_spec.fault import Fault
from vtorque_spec.plan import (
    VERSION,
    Artifact,
    Cell,
    Disk,
    Group,
    ImageFiles,
    LinuxGuest,
    Login,
    Machine,
    NodeBundle,
    NodeContext,
    NodePlan,
    Pins,
)

GIB = 1024**3


def login(public_key: str = "ssh-ed25519 AAAA vtorque", uid: int | None = None) -> Login:
    """The user that runs the tests, or another."""
    uid, gid = (os.getuid(), os.getgid()) if uid is None else (uid, uid)
    return Login("tester", uid, (Group("testers", gid),), str(Path.home()), public_key)


def image_store(directory: Path) -> tuple[ImageFiles, ...]:
    """A store with one image whose disk is empty."""
    with store.staging(directory) as staging:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", staging / "root.qcow2", "64M"], check=True)
        for name in ("vmlinuz", "initrd.img", "packages.txt"):
            (staging / name).write_text(name)
        store.publish(staging, store.describe(staging, "tiny", created=1, recipe="", archive=""))
    return store.installed(directory)


def reserved(directory: Path, lane: Lane = "system", uid: int | None = None) -> Reserved:
    """What `identity.reserve` gives out, for the calling user and without a hypervisor."""
    registry, job_id = open_registry(lane, directory / "base"), "local-00000001"
    images = image_store(directory / "images")
    spool, held = registry.register(job_id, os.getuid())
    private, public = identity.key_pair("test")
    port = identity.reserve_port() if lane == "session" else None
    slot = identity._slot("node", identity._nic(held, port))
    context = NodeContext(
        version=VERSION,
        job_id=job_id,
        node="node",
        lane=lane,
        virt="qemu",
        cells=(Cell(0, (0, 1), 8 * GIB),),
        allotted_cpus=(0, 1),
        allotted_memory_bytes=8 * GIB,
        login=login(public, uid),
        images=images,
        slots=(slot,),
        spool=str(spool.path),
    )
    return Reserved(context, "", registry, spool, held, directory / "images", private, port)


def bundle(context: NodeContext) -> NodeBundle:
    """A bundle that passes root's check."""
    slot, image, spool = context.slots[0], context.images[0], context.spool
    machine = Machine(
        name=f"vt-{context.job_id}-0",
        uuid=slot.uuid,
        virt=context.virt,
        vcpus=2,
        memory_bytes=GIB,
        pins=Pins(((0,), (1,)), (0, 1)),
        kernel=f"{spool}/vm0/vmlinuz",
        initrd=f"{spool}/vm0/initrd.img",
        cmdline="console=ttyS0",
        disks=(
            Disk("vda", f"{spool}/vm0/root.qcow2", "qcow2", False, image.disk, image.disk_format),
            Disk("vdb", f"{spool}/vm0/seed.iso", "raw", True, None, None),
        ),
        filesystems=(),
        nic=slot.nic,
        console_log=f"{spool}/vm0/console.log",
    )
    guest = LinuxGuest("linux", 0, machine, GIB, slot.hostname, slot.nonce, slot.host_key, context.login)
    plan = NodePlan(
        version=VERSION,
        job_id=context.job_id,
        job_name="test",
        node=context.node,
        lane=context.lane,
        job_plan_digest="sha256:0",
        spool=spool,
        login=context.login,
        image=image,
        guests=(guest,),
        walltime_s=600,
        boot_timeout_s=120,
        grace_s=10,
        notes=(),
    )
    seed = tuple(Artifact(f"vm0/seed/{name}", f"# {name}\n") for name in ("meta-data", "network-config", "user-data"))
    return NodeBundle(plan, (compile_domain(guest), *seed))


def with_guest(found: NodeBundle, **changes: object) -> NodeBundle:
    """The bundle with another guest, its domain XML compiled anew."""
    guest = replace(found.plan.guests[0], **changes)  # type: ignore[arg-type]
    seed = tuple(artifact for artifact in found.files if "seed" in artifact.path)
    return NodeBundle(replace(found.plan, guests=(guest,)), (compile_domain(guest), *seed))


def with_machine(found: NodeBundle, **changes: object) -> NodeBundle:
    """The bundle with another machine, its domain XML compiled anew."""
    machine = replace(found.plan.guests[0].machine, **changes)  # type: ignore[arg-type]
    return with_guest(found, machine=machine)


class FileHypervisor:
    """Domains and networks are files, so that they outlive a process that is killed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._directory = Path(uri.removeprefix("files:"))

    def create_network(self, xml: str) -> None:
        self._create("network", xml)

    def create_domain(self, xml: str) -> None:
        self._create("domain", xml)

    def destroy_domain(self, uuid: str) -> None:
        (self._directory / f"domain-{uuid}").unlink(missing_ok=True)

    def destroy_network(self, uuid: str) -> None:
        (self._directory / f"network-{uuid}").unlink(missing_ok=True)

    def domain_uuids(self) -> set[str]:
        return self._uuids("domain")

    def network_uuids(self) -> set[str]:
        return self._uuids("network")

    def _create(self, kind: str, xml: str) -> None:
        match = re.search("<uuid>(.*)</uuid>", xml)
        assert match is not None
        (self._directory / f"{kind}-{match[1]}").write_text(xml)

    def _uuids(self, kind: str) -> set[str]:
        return {path.name.removeprefix(f"{kind}-") for path in self._directory.glob(f"{kind}-*")}


def no_hypervisor(uri: str) -> FileHypervisor:
    """A daemon that does not answer."""
    raise Fault("VT0902", f"libvirt does not answer at {uri}")
