"""Plans built directly, past the models, and those of the examples: what the compilers are given."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.spec.helpers import EXAMPLES, checked, site
from vtorque_spec.placement.node_plan import plan_node
from vtorque_spec.placement.preview import preview_context
from vtorque_spec.plan import (
    BatchRequest,
    BridgeNic,
    Disk,
    Filesystem,
    Group,
    HostKey,
    Image,
    JobPlan,
    LinuxGuest,
    Login,
    Machine,
    Mount,
    NodePlan,
    Pinning,
    Pins,
    UserNic,
)

GIB = 1024**3
MAC = "52:54:00:12:34:56"
BRIDGE = BridgeNic("bridge", MAC, "vtorque0", "10.177.0.2", "10.177.0.1", 24)
USER = UserNic("user", MAC, 22022)
OVERLAY = Disk("vda", "/spool/vm0/overlay.qcow2", "qcow2", False, "/images/root.qcow2", "qcow2")
SEED = Disk("vdb", "/spool/vm0/seed.iso", "raw", True, None, None)
HOME = Filesystem("/srv/home", "home", "/home", False)
DATA = Filesystem("/srv/data", "data", "/data/sets", True)

MACHINE = Machine(
    name="vt-42-0",
    uuid="6f6a9f5e-8f0f-4c4f-9a3e-1d7a7c3f0a11",
    virt="qemu",
    vcpus=2,
    memory_bytes=GIB,
    pins=Pins((), ()),
    kernel="/images/vmlinuz",
    initrd="/images/initrd.img",
    cmdline="console=ttyS0 root=LABEL=root rw",
    disks=(OVERLAY, SEED),
    filesystems=(),
    nic=USER,
    console_log="/spool/vm0/console.log",
)

LOGIN = Login(
    user="alice",
    uid=12345,
    groups=(Group("hpc", 54321), Group("docker", 999)),
    home="/home/alice",
    public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPreview job",
)

GUEST = LinuxGuest(
    kind="linux",
    index=0,
    machine=MACHINE,
    root_disk_bytes=8 * GIB,
    hostname="vt-42-0",
    nonce="5f0c3a9be1d24788",
    host_key=HostKey(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n-----END OPENSSH PRIVATE KEY-----\n",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHost vt-42-0",
    ),
    login=LOGIN,
)

JOB = JobPlan(
    version=1,
    name="cavity",
    site="local",
    batch=BatchRequest(2, 14, 24 * GIB, 7200, "batch", "hpc1234", "cavity.out", True),
    image=Image("debian-12", None, "linux", "console=ttyS0"),
    vcpus=14,
    memory_bytes=23 * GIB,
    vms_per_node=1,
    pinning=Pinning("none", ()),
    root_disk_bytes=20 * GIB,
    mounts=(Mount("home", "/home", "/home", False),),
    network="default",
    boot_timeout_s=120,
    grace_s=60,
    allow_degraded=(),
    hypervisor="any",
    policy_digest="sha256:0",
)


def with_machine(guest: LinuxGuest = GUEST, **changes: Any) -> LinuxGuest:
    """Return `guest` with another machine."""
    return replace(guest, machine=replace(guest.machine, **changes))


def with_login(guest: LinuxGuest = GUEST, **changes: Any) -> LinuxGuest:
    """Return `guest` with another login."""
    return replace(guest, login=replace(guest.login, **changes))


def with_batch(job: JobPlan = JOB, **changes: Any) -> JobPlan:
    """Return `job` with another batch request."""
    return replace(job, batch=replace(job.batch, **changes))


GUESTS = {
    "user-nic": GUEST,
    "bridge": with_machine(nic=BRIDGE),
    "filesystems": with_machine(filesystems=(HOME, DATA), nic=BRIDGE),
    "pinned": with_machine(pins=Pins(((4, 5, 6, 9), (7,)), (1, 2))),
    "emulator-pinned": with_machine(pins=Pins((), (0,))),
    "kvm": with_machine(virt="kvm"),
}
"""One of each kind that the domain compiler tells apart."""


def guest_of_example(path: Path) -> LinuxGuest:
    """Return the guest that an example gives on a node of the built-in site, emulated."""
    found = checked(path.read_text(), where=path.parent)
    context = preview_context(found.job, "generic", site().node_classes["generic"])
    plan = plan_node(found.job, replace(context, virt="qemu"))
    assert isinstance(plan, NodePlan)
    return plan.guests[0]


GUESTS |= {f"example-{path.name.split('.')[0]}": guest_of_example(path) for path in EXAMPLES}
