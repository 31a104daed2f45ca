"""Guests that are started on qemu:///system and never run: their files need only exist."""

import contextlib
import subprocess
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.compilers.plans import HOME, MEMORY, MIB, NETWORK, OVERLAY, SEED, UNPINNED, with_machine
from vtorque_compilers.domain import compile_domain
from vtorque_runtime.hypervisor import URIS, connect
from vtorque_spec.plan import Filesystem, LinuxGuest, Pins

SIZE = 64 * MIB
LOGS = Path("/var/log/libvirt/qemu")
DISKS = "ab"
XML = "<network><name>{name}</name><uuid>{name}</uuid><bridge name='vt-paused' stp='off'/></network>"


@dataclass(frozen=True)
class Paused:
    """A started guest: what libvirt says of it, and its QEMU's directory in /proc."""

    domain: Any
    process: Path

    def cpus(self) -> dict[str, set[str]]:
        """Where its threads may run: each vCPU and I/O thread by its name, all others as `emulator`."""
        found = defaultdict(set)
        for status in self.statuses():
            name = status["Name"].removesuffix("/TCG").removeprefix("IO ")
            own = name.startswith(("CPU ", "iothread"))
            found[name if own else "emulator"].add(status["Cpus_allowed_list"])
        return dict(found)

    def options(self) -> list[str]:
        """QEMU's command line."""
        return (self.process / "cmdline").read_text().split("\0")

    def statuses(self) -> list[dict[str, str]]:
        """Return the status of each of its threads, as in proc(5)."""
        found = []
        for thread in (self.process / "task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a worker that has gone meanwhile
                lines = (thread / "status").read_text().splitlines()
                found.append({key: value.strip() for key, _, value in (line.partition(":") for line in lines)})
        return found

    def mapped(self, word: str) -> list[dict[str, str]]:
        """Return the entries of numa_maps(5) with `word`; `policy` and what it says as KEY=VALUE."""
        lines = [line.split() for line in (self.process / "numa_maps").read_text().splitlines() if word in line]
        return [
            {"policy": policy} | dict(fact.split("=", 1) for fact in facts if "=" in fact)
            for _, policy, *facts in lines
        ]


class Bench:
    """qemu:///system, a network for the guests' cards, and files for them to start with in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        _make_files(directory)
        self._network = str(uuid.uuid4())
        self._system = connect(URIS["system"])
        self._system.create_network(XML.format(name=self._network))

    def close(self) -> None:
        """End the network."""
        self._system.destroy_network(self._network)
        self._system.close()

    def guest(self, **changes: Any) -> LinuxGuest:
        """Return a guest of 2 vCPUs and 64 MiB, with a name of its own, files that exist, a disk for each iothread."""
        at, name = self._directory, str(uuid.uuid4())
        pins: Pins = changes.get("pins", UNPINNED)
        disk = replace(OVERLAY, backing=f"{at}/base.qcow2", queues=2)
        disks = [
            replace(disk, target=f"vd{letter}", file=f"{at}/{letter}.qcow2", iothread=n if pins.iothreads else None)
            for n, letter in zip(range(1, max(1, len(pins.iothreads)) + 1), DISKS, strict=False)
        ]
        usual: dict[str, Any] = {
            "memory": replace(MEMORY, size_bytes=SIZE),
            "disks": (*disks, replace(SEED, target="vdz", file=f"{at}/seed.iso")),
            "nic": replace(NETWORK, source=self._network, filter=None),
            "nic_queues": 2,
        }
        files = {"kernel": f"{at}/vmlinuz", "initrd": f"{at}/initrd.img", "console_log": f"{at}/{name}.log"}
        return with_machine(**{"name": name, "uuid": name} | files | usual | changes)

    @property
    def home(self) -> Filesystem:
        """A directory that a guest can have."""
        return replace(HOME, path=f"{self._directory}/home")

    @contextlib.contextmanager
    def paused(self, guest: LinuxGuest) -> Iterator[Paused]:
        """Start the guest, but not its CPUs; it ends with the block. Raises libvirtError where libvirt refuses it."""
        import libvirt

        flags = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY
        connection = libvirt.open(URIS["system"])
        try:
            domain = connection.createXML(compile_domain(guest).text, flags | libvirt.VIR_DOMAIN_START_VALIDATE)
            pid = Path("/run/libvirt/qemu", f"{domain.name()}.pid").read_text()
            try:
                yield Paused(domain, Path("/proc", pid))
            finally:
                domain.destroy()
        finally:
            connection.close()
            for log in LOGS.glob(f"{guest.machine.name}*.log"):
                log.unlink()


def _make_files(directory: Path) -> None:
    directory.chmod(0o711)  # for QEMU's own user
    kernel = bytearray(64 * 1024)
    kernel[0x202:0x208] = b"HdrS\x02\x02"  # all that QEMU asks of a kernel: the boot protocol's version 2.02
    (directory / "vmlinuz").write_bytes(kernel)
    (directory / "initrd.img").write_bytes(bytes(4096))
    (directory / "seed.iso").write_bytes(bytes(64 * 1024))
    (directory / "home").mkdir()
    base = directory / "base.qcow2"
    create = ("qemu-img", "create", "-q", "-f", "qcow2")
    subprocess.run([*create, base, "16M"], check=True)
    for letter in DISKS:
        subprocess.run([*create, "-b", base, "-F", "qcow2", directory / f"{letter}.qcow2"], check=True)
