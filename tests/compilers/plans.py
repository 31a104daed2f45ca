"""Plans built directly, past the models: what the compilers are given."""

from dataclasses import replace
from typing import Any, Literal

from hypothesis import strategies as st

from vtorque_spec.plan import (
    NO_SETUP,
    BatchRequest,
    CpuTopology,
    DataDisk,
    Disk,
    Filesystem,
    Group,
    GuestCell,
    GuestMemory,
    GuestSetup,
    HostKey,
    Image,
    Iocm,
    JobNetwork,
    JobPlan,
    JobVm,
    Keys,
    LinuxGuest,
    Login,
    Machine,
    Mount,
    NodeRequest,
    OsvGuest,
    Pinning,
    Pins,
    TapNic,
    UserNic,
)

MIB = 1024**2
GIB = 1024 * MIB
MAC = "52:54:00:12:34:56"
NETWORK = TapNic("network", MAC, "vtorque0", "vt-42", "10.177.0.2", 24, "10.177.0.1", None, (), (), ())
NAT = replace(NETWORK, gateway="10.177.0.1", dns=("10.0.0.53",), search=("example.org",), ntp=("10.0.0.123",))
BRIDGE = replace(NAT, kind="bridge", source="br0", gateway="10.177.0.254")
USER = UserNic("user", MAC, 22022, True)
VMS = (JobVm("n1", 0, "vt-42-0", "10.177.0.2"), JobVm("n2", 0, "vn2-0", "10.177.0.18"))
"""All VMs of the job of `GUEST`."""
OVERLAY = Disk("vda", "/spool/vm0/overlay.qcow2", "qcow2", False, "/images/root.qcow2", "qcow2", None, None)
SEED = Disk("vdb", "/spool/vm0/seed.iso", "raw", True, None, None, None, None)
HOME = Filesystem("virtiofs", "/srv/home", "/shares/home", "home", "/home", False, ())
DATA = Filesystem("virtiofs", "/srv/data", "/shares/data", "data", "/data/sets", True, ())
SOFTWARE = Filesystem("9p", "/srv/sw", "/shares/sw", "sw", "/opt-hpc", True, ())
ARCHIVE = Filesystem("nfs", "nas:/archive/alice", "", "", "/archive", False, ("vers=4.2", "hard"))
SCRATCH = DataDisk("scratch", "vdc", 50 * GIB, "/scratch")
SCRATCH_DISK = Disk("vdc", "/spool/vm0/vdc.raw", "raw", False, None, None, None, None)
SETUP = GuestSetup(
    "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm\nComponents: main\n",
    "security",
    ("g++", "libmetis5"),
    "#!/bin/sh\necho boot\n",
    "#!/bin/sh\necho bye\n",
)

REDHAT_SETUP = replace(
    SETUP,
    packages=("R", "perl-Time-HiRes"),
    dnf_repos="[baseos]\nname=BaseOS\nbaseurl=http://mirror/rocky/9/BaseOS\n",
    packager="dnf",
)

UNPINNED = Pins((), (), (), ())
MEMORY = GuestMemory(GIB, (), (), None, False)

MACHINE = Machine(
    name="vt-42-0",
    uuid="6f6a9f5e-8f0f-4c4f-9a3e-1d7a7c3f0a11",
    partition=None,
    virt="qemu",
    vcpus=2,
    topology=CpuTopology(1, 2, 1),
    memory=MEMORY,
    pins=UNPINNED,
    kernel="/images/vmlinuz",
    initrd="/images/initrd.img",
    cmdline="console=ttyS0 root=LABEL=root rw",
    disks=(OVERLAY, SEED),
    filesystems=(),
    nic=USER,
    nic_queues=1,
    console_log="/spool/vm0/console.log",
)

LOGIN = Login(
    user="alice",
    uid=12345,
    groups=(Group("hpc", 54321), Group("docker", 999)),
    home="/home/alice",
)

KEYS = Keys(
    login_key="-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaB==\n-----END OPENSSH PRIVATE KEY-----\n",
    public_keys=("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPreview", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPnext"),
    authorities=("@cert-authority * ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAuthority",),
)

GUEST = LinuxGuest(
    kind="linux",
    index=0,
    machine=MACHINE,
    root_disk_bytes=8 * GIB,
    disks=(),
    setup=NO_SETUP,
    node="n1",
    hostname="vt-42-0",
    nonce="5f0c3a9be1d24788",
    host_key=HostKey(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n-----END OPENSSH PRIVATE KEY-----\n",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHost",
        "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQ",
    ),
    login=LOGIN,
    keys=KEYS,
)

JOB = JobPlan(
    version=1,
    name="cavity",
    site="local",
    batch=BatchRequest(2, None, 7200, "batch", "hpc1234", "cavity.out", True, (), None, (), None),
    image=Image("debian-12", None, "linux", "console=ttyS0", None),
    osv=None,
    vcpus=14,
    memory_bytes=23 * GIB,
    vms_per_node=1,
    pinning=Pinning("none", ()),
    iocm=Iocm("libvirt", 0, 0),
    hugepages="none",
    shared_memory_bytes=0,
    root_disk_bytes=20 * GIB,
    root_disk_backing="shared",
    base_memory_bytes=0,
    devices=(),
    disks=(),
    mounts=(Mount("home", "virtiofs", "/home", "/home", False, ()),),
    setup=NO_SETUP,
    network=JobNetwork("default", "isolated"),
    boot_timeout_s=120,
    grace_s=60,
    allow_degraded=(),
    hypervisor="any",
    policy_digest="sha256:0",
)

REQUEST = NodeRequest(14, 24 * GIB, None)


def with_machine(guest: LinuxGuest = GUEST, **changes: Any) -> LinuxGuest:
    """Return `guest` with another machine."""
    return replace(guest, machine=replace(guest.machine, **changes))


def with_login(guest: LinuxGuest = GUEST, **changes: Any) -> LinuxGuest:
    """Return `guest` with another login."""
    return replace(guest, login=replace(guest.login, **changes))


def with_keys(guest: LinuxGuest = GUEST, **changes: Any) -> LinuxGuest:
    """Return `guest` with other keys."""
    return replace(guest, keys=replace(guest.keys, **changes))


def with_batch(job: JobPlan = JOB, **changes: Any) -> JobPlan:
    """Return `job` with another batch request."""
    return replace(job, batch=replace(job.batch, **changes))


def with_memory(guest: LinuxGuest = GUEST, **changes: Any) -> LinuxGuest:
    """Return `guest` with another memory."""
    return with_machine(guest, memory=replace(guest.machine.memory, **changes))


TWO_CELLS = (GuestCell(0, (0, 1), GIB // 2, (10, 21)), GuestCell(3, (2, 3), GIB // 2, (31, 10)))
FOUR = with_machine(vcpus=4, topology=CpuTopology(2, 1, 2), nic=NETWORK)
IO_DISKS = (
    replace(OVERLAY, iothread=1, queues=4),
    replace(OVERLAY, target="vdc", file="/spool/vm0/scratch.qcow2", iothread=2, queues=2),
    SEED,
)

GUESTS = {
    "user-nic": GUEST,
    "user-nic-with-a-way-out": with_machine(nic=replace(USER, restricted=False)),
    "network": with_machine(nic=NETWORK),
    "nat": with_machine(nic=NAT),
    "bridge": with_machine(nic=BRIDGE),
    "unfiltered": with_machine(nic=replace(BRIDGE, filter=None)),
    "partition": with_machine(partition="vt_42_2esrv"),
    "filesystems": with_machine(filesystems=(HOME, DATA), nic=NETWORK),
    "every-way-to-mount": with_machine(filesystems=(HOME, DATA, SOFTWARE, ARCHIVE), nic=BRIDGE),
    "nothing-shared": with_machine(filesystems=(SOFTWARE, ARCHIVE)),
    "disk": with_machine(replace(GUEST, disks=(SCRATCH,)), disks=(OVERLAY, SEED, SCRATCH_DISK)),
    "setup": replace(GUEST, setup=SETUP),
    "redhat": replace(GUEST, setup=REDHAT_SETUP),
    "pinned": with_machine(pins=Pins(((4, 5, 6, 9), (7,)), (1, 2), (), ())),
    "floating": with_machine(pins=Pins((), (), (), (2, 3, 6, 7))),
    "iocm": with_machine(
        FOUR,
        pins=Pins(((4,), (5,), (6,), (7,)), (0, 1), ((0, 1), (0, 1)), ()),
        disks=IO_DISKS,
        nic_queues=4,
    ),
    "iocm-floating": with_machine(FOUR, pins=Pins((), (0, 1), ((0, 1),), (2, 3, 6, 7)), disks=(IO_DISKS[0], SEED)),
    "one-cell": with_memory(nodeset=(1,)),
    "two-cells": with_memory(FOUR, nodeset=(0, 3), cells=TWO_CELLS),
    "cells-of-unknown-distance": with_memory(
        FOUR, nodeset=(0, 3), cells=tuple(replace(cell, distances=()) for cell in TWO_CELLS)
    ),
    "cell-without-vcpus": with_memory(
        nodeset=(0, 1), cells=(replace(TWO_CELLS[0], distances=(10, 20)), GuestCell(1, (), GIB // 2, (20, 10)))
    ),
    "pages-2m": with_memory(page_bytes=2 * MIB),
    "pages-1g": with_memory(page_bytes=GIB),
    "pages-of-cells": with_memory(FOUR, nodeset=(0, 3), cells=TWO_CELLS, page_bytes=2 * MIB),
    "pages-and-filesystems": with_memory(with_machine(filesystems=(HOME,)), page_bytes=2 * MIB),
    "locked": with_memory(locked=True),
    "locked-pages": with_memory(FOUR, nodeset=(0, 3), cells=TWO_CELLS, page_bytes=2 * MIB, locked=True),
    "kvm": with_machine(virt="kvm"),
    "vcpus-256": with_machine(virt="kvm", vcpus=256, topology=CpuTopology(2, 64, 2)),
}
"""One of each kind that the domain compiler tells apart."""

LINE = '--verbose --power-off-on-abort --ip=eth0,10.177.0.2,255.255.255.0 --env=A=a\\ b /t -v "x y"'
OSV = OsvGuest(
    kind="osv",
    index=0,
    machine=replace(
        MACHINE, kernel="/spool/vm0/kernel.elf", initrd=None, cmdline=LINE, disks=(OVERLAY, SEED), nic=NETWORK
    ),
    root_disk_bytes=GIB,
    board="q35",
    boot="kernel",
    command_line=LINE,
    cloud_init=True,
    console="job",
    node="n1",
    hostname="vt-42-0",
)


def osv(board: Literal["q35", "pc"], boot: Literal["kernel", "disk"], **changes: Any) -> OsvGuest:
    """Return an OSv guest that starts in that way, with another machine."""
    if boot == "disk":
        changes = {"kernel": None, "cmdline": "", **changes}
    return replace(OSV, board=board, boot=boot, machine=replace(OSV.machine, **changes))


OSV_GUESTS = {
    "osv-kernel": OSV,
    "osv-disk": osv("q35", "disk", disks=(OVERLAY,)),
    "osv-user-nic": osv("q35", "kernel", nic=USER),
    "osv-shares": osv("q35", "kernel", filesystems=(replace(HOME, read_only=True), DATA)),
    "osv-iothread": osv(
        "q35", "disk", disks=(replace(OVERLAY, iothread=1, queues=1), SEED), pins=Pins((), (), ((0,),), ())
    ),
    "osv-kvm": osv("q35", "disk", virt="kvm", vcpus=64, topology=CpuTopology(1, 64, 1)),
    "osv-2018": osv("pc", "disk", nic=BRIDGE),
    "osv-2018-user-nic": osv("pc", "disk", nic=USER),
}
"""OSv guests, by board and by the way that they boot."""


def cpu_sets(least: int = 1) -> st.SearchStrategy[tuple[int, ...]]:
    """Sets of a big host's CPUs or cells, ascending."""
    return st.sets(st.integers(0, 511), min_size=least, max_size=8).map(lambda cpus: tuple(sorted(cpus)))


@st.composite
def any_memory(draw: st.DrawFn, vcpus: int) -> GuestMemory:
    """Memory in no, one or several cells of the host."""
    size, page = draw(st.sampled_from([(2 * MIB, 2 * MIB), (GIB, GIB), (MIB, None)]))
    host = draw(st.lists(st.integers(0, 63), unique=True, max_size=6).map(sorted))
    home = [draw(st.integers(0, len(host) - 1)) for _ in range(vcpus)] if len(host) > 1 else []
    known = draw(st.booleans())
    cells = tuple(
        GuestCell(
            host_cell,
            tuple(vcpu for vcpu in range(vcpus) if home[vcpu] == n),
            size * draw(st.integers(1, 64)),
            tuple(10 if n == other else draw(st.integers(10, 255)) for other in range(len(host))) if known else (),
        )
        for n, host_cell in enumerate(host if len(host) > 1 else [])
    )
    total = sum(cell.memory_bytes for cell in cells) or size * draw(st.integers(1, 64))
    return GuestMemory(total, tuple(host), cells, page, draw(st.booleans()))


@st.composite
def any_guest(draw: st.DrawFn) -> LinuxGuest:
    """A guest that is placed in any way."""
    sockets, cores, threads = (draw(st.integers(1, most)) for most in (3, 4, 2))
    vcpus = sockets * cores * threads
    pins = Pins(
        vcpus=tuple(draw(cpu_sets()) for _ in range(vcpus)) if draw(st.booleans()) else (),
        emulator=draw(cpu_sets(0)),
        iothreads=tuple(draw(st.lists(cpu_sets(), max_size=4))),
        cpuset=draw(cpu_sets(0)),
    )
    iothread = draw(st.integers(1, len(pins.iothreads))) if pins.iothreads else None
    return with_machine(
        vcpus=vcpus,
        topology=CpuTopology(sockets, cores, threads),
        memory=draw(any_memory(vcpus)),
        pins=pins,
        disks=(replace(OVERLAY, iothread=iothread, queues=draw(st.none() | st.integers(1, 8))), SEED),
        filesystems=draw(st.sampled_from([(), (HOME,)])),
        nic=draw(st.sampled_from([NETWORK, BRIDGE, USER])),
        nic_queues=draw(st.integers(1, 8)),
    )
