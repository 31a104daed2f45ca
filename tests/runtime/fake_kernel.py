"""A directory that looks like / of a node: /proc with processes and interrupts, /sys with adapters."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tests.compilers.plans import BRIDGE, GUEST, OVERLAY, SEED, with_machine
from vtorque_spec.plan import Claim, Guest, ImageFiles, IoCores, LinuxGuest, NodePlan, Pins

KERNEL_THREADS = 2
"""Of which process all threads of the kernel's own are children."""


class FakeKernel:
    """What a test's node shows below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def process(
        self, pid: int, argv: Sequence[str], threads: Mapping[str, str], *, start: int = 100, parent: int = 1
    ) -> None:
        """Add a process; `threads` are names and allowed CPUs, the first is the main thread, as are their numbers."""
        path = self.root / "proc" / str(pid)
        path.mkdir(parents=True, exist_ok=True)
        name = next(iter(threads))
        (path / "cmdline").write_text("".join(f"{word}\0" for word in argv))
        (path / "cgroup").write_text(f"0::/guest-of-{pid}\n")
        fields = ["S", str(parent), *["0"] * 17, str(start), *["0"] * 20]
        (path / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
        for tid, (name, cpus) in enumerate(threads.items(), pid):
            self.thread(pid, tid, name, cpus)

    def thread(self, pid: int, tid: int, name: str, cpus: str) -> None:
        """Add a thread, or move one."""
        path = self.root / "proc" / str(pid) / "task" / str(tid)
        path.mkdir(parents=True, exist_ok=True)
        lines = [f"Name:\t{name}", "Umask:\t0022", "State:\tS (sleeping)", f"Tgid:\t{pid}", "Cpus_allowed:\tff"]
        (path / "status").write_bytes(
            "\n".join([*lines, f"Cpus_allowed_list:\t{cpus}", "Mems_allowed_list:\t0", ""]).encode()
        )

    def qemu(self, guest: Guest, pid: int = 4000, **threads: str) -> None:
        """Add the process of a guest as libvirt starts it by its pins; `threads` are more of its threads."""
        pins = guest.machine.pins
        own = text(pins.emulator or pins.cpuset)
        names = {"qemu-system-x86": own, "qemu-event": own, "IO mon_iothread": own}
        names |= {f"CPU {n}/KVM": text(pins.vcpus[n] if pins.vcpus else pins.cpuset)
                  for n in range(guest.machine.vcpus)}  # fmt: skip
        names |= {f"IO iothread{n}": text(cpus) for n, cpus in enumerate(pins.iothreads, 1)}
        self.process(pid, ["/usr/bin/qemu-system-x86_64", "-uuid", guest.machine.uuid, "-S"], names | threads)

    def interrupt(self, number: int, cpus: str) -> Path:
        """Add an interrupt and return the file that says where it runs."""
        path = self.root / "proc/irq" / str(number) / "smp_affinity_list"
        path.parent.mkdir(parents=True)
        path.write_text(f"{cpus}\n")
        return path

    def adapter(self, name: str, irqs: Sequence[int], kind: str = "net", *, virtio: bool = False) -> None:
        """Add an adapter on PCI, below a port that has interrupts of its own; a virtio one is a device below PCI's."""
        port = self.root / "sys/devices/pci0000:00/0000:00:1c.0"
        function = port / f"0000:01:{len(list(port.glob('0000:*'))):02x}.0"
        for path, numbers in ((port, [1]), (function, irqs)):
            (path / "msi_irqs").mkdir(parents=True, exist_ok=True)
            for number in numbers:
                (path / "msi_irqs" / str(number)).write_text("msix\n")
        device = function / "virtio2" if virtio else function
        device.mkdir(exist_ok=True)
        (self.root / "sys/bus/virtio").mkdir(parents=True, exist_ok=True)
        (self.root / "sys/bus/pci").mkdir(parents=True, exist_ok=True)
        (device / "subsystem").symlink_to(self.root / "sys/bus" / ("virtio" if virtio else "pci"))
        shown = self.root / "sys/class" / kind / name
        shown.mkdir(parents=True)
        (shown / "device").symlink_to(device)


def text(cpus: Sequence[int]) -> str:
    """As the kernel may write them."""
    return ",".join(map(str, cpus))


def guest(index: int = 0, **pins: object) -> LinuxGuest:
    """A guest of four vCPUs on CPUs 4 to 7 (the next one: 8 to 11), served by CPUs 2 and 3."""
    first = 4 + 4 * index
    vcpus = tuple((first + n,) for n in range(4))
    own = Pins(vcpus, (2, 3), ((2, 3), (2, 3)), tuple(range(first, first + 4)))
    disks = (replace(OVERLAY, iothread=1, queues=4), replace(OVERLAY, target="vdc", iothread=2, queues=4), SEED)
    uuid = f"6f6a9f5e-8f0f-4c4f-9a3e-1d7a7c3f0a{index:02x}"
    own = replace(own, **pins)  # type: ignore[arg-type] # each is a tuple of the right kind
    machine = with_machine(name=f"vt-42-{index}", uuid=uuid, vcpus=4, pins=own, disks=disks, nic=BRIDGE)
    return replace(machine, index=index)


IO = IoCores("libvirt", ((2, 3), (12, 13), (14, 15)), 1, ("eth0",))
"""Three cores of two threads, one at work."""


def plan(*guests: LinuxGuest, io: IoCores = IO, **changes: object) -> NodePlan:
    """A plan of these guests, by default of one."""
    guests = guests or (guest(),)
    cpus = {cpu for one in guests for cpu in (*one.machine.pins.cpuset, *(c for core in io.cores for c in core))}
    image = ImageFiles("tiny", "sha256:0", "/images/root.qcow2", "qcow2", "/images/vmlinuz", "/images/initrd.img")
    whole = NodePlan(
        version=1,
        job_id="local-00000001",
        job_name="test",
        node="node",
        lane="system",
        job_plan_digest="sha256:0",
        spool="/spool",
        login=GUEST.login,
        image=image,
        backing="shared",
        base_memory_bytes=0,
        guests=guests,
        host_cpus=(0, 1),
        io=io,
        claim=Claim(tuple(sorted(cpus)), (), io.nics),
        walltime_s=600,
        boot_timeout_s=120,
        grace_s=10,
        notes=(),
        reasons=(),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]
