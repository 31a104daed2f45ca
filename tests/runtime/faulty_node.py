"""A node on which everything of a job is real but its guests: libvirt is a directory of files, and so is the kernel.

What runs in a child can be killed at each of its effects: whatever it is about to make, change, remove or start.
"""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.runtime.fake_cgroups import V2, cgroups
from tests.runtime.fake_kernel import FakeKernel
from tests.runtime.fakes import FileHypervisor
from vtorque_runtime import (
    begin,
    boot,
    bring_up,
    disks,
    epilogue,
    forwarding,
    host,
    identity,
    irq,
    prologue,
    shares,
    ssh,
    supervise,
    teardown,
)
from vtorque_runtime.batch.contract import BatchJob, Share
from vtorque_runtime.host import HostFacts
from vtorque_runtime.images import store
from vtorque_runtime.journal import Journal
from vtorque_runtime.spool import Registry, open_registry
from vtorque_spec.plan import (
    MIB,
    Device,
    Filesystem,
    GuestSetup,
    LinuxGuest,
    NodeBundle,
    NodeContext,
    NodePlan,
    OfferedMount,
    OfferedNetwork,
)
from vtorque_spec.plan.answer import Needs, Question

KEY = "12.node"
IRQ, IRQ_CPUS = 42, "0-31"
EFFECTS = frozenset({
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
    "os.fork", "shutil.rmtree", "subprocess.Popen",
})  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_BROKEN = 70
_OWN = re.compile(r"/dev/null|/root/proc/\d+|/effects.json")
"""What the test writes itself."""


@dataclass
class StandInHook:
    """A prologue of a batch system of two methods; `answer` is what that says of the job."""

    begun: str = "1"
    answer: Callable[[str], BatchJob] | None = None

    def carried(self) -> str | None:
        return "VT1.spec"

    def names(self) -> tuple[str, str]:
        return "12", "node"

    def key(self) -> str:
        return KEY

    def start(self) -> str:
        return self.begun

    def job(self, spec: str) -> BatchJob:
        if self.answer is not None:
            return self.answer(spec)
        shares = (Share("node", 32, 0, None, None),)
        return BatchJob(
            "slurm", "cluster", "12", self.begun, "nobody", None, False, "node", shares, 600, None, spec
        )  # fmt: skip


class NodeHypervisor(FileHypervisor):
    """Turns the host's switch on for a NAT network, as libvirt does; its guests run, and none has an agent."""

    def create_network(self, xml: str) -> None:
        super().create_network(xml)
        if "<forward" in xml:
            forwarding.SWITCH.write_text("1\n")

    def ask_agent(self, uuid: str, request: str, limit_s: int) -> str | None:
        return None

    def domain_state(self, uuid: str) -> str | None:
        return "running" if uuid in self.domain_uuids() else None

    def close(self) -> None:
        pass


SETUP = GuestSetup(None, "none", (), None, "#!/bin/sh\n")


class StandInPlanner:
    """The confined child, which takes every job for the same."""

    warnings = ()

    def __init__(self, node: str, site: Path) -> None:
        data = OfferedMount("data", "virtiofs", str(site / "data"), "/data", True, (), True)
        nat = OfferedNetwork("default", "nat", True, None, None, None, None, (), (), ())
        self.site = fakes.site(mounts=(data,), networks=(nat,), setup=SETUP)

    def __enter__(self) -> "StandInPlanner":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def needs(self, question: Question) -> Needs:
        return Needs(2, "default", None, None, None)

    def plan(self, question: Question) -> NodePlan:
        return full_bundle(question.node).plan


def full_bundle(context: NodeContext) -> NodeBundle:
    """Two guests with a share and a shutdown hook, a core for their I/O, and their image in memory."""
    plan, (offer,) = fakes.bundle(context, io_cores=1).plan, context.mounts
    share = Filesystem("virtiofs", offer.source, f"{context.shares}/mount0", "mount0", "/data", False, ())
    guests = tuple(
        replace(
            guest,
            machine=replace(guest.machine, filesystems=(share,)),
            setup=SETUP,
        )
        for guest in plan.guests
        if isinstance(guest, LinuxGuest)
    )
    return fakes.compiled(fakes.read_from(replace(plan, guests=guests), "ram", 4 * MIB))


@dataclass
class Node:
    """The node of a test, below `directory`; what is started there stays in this process or its children."""

    directory: Path
    supervisors: list[str] = field(default_factory=list)

    @property
    def registry(self) -> Registry:
        return open_registry("system", self.directory / "base")

    def connect(self, _uri: str = "") -> NodeHypervisor:
        return NodeHypervisor(f"files:{self.directory}")

    def begin(self, start: str = "1", answer: Callable[[str], BatchJob] | None = None) -> None:
        begin.begin(self.registry, "slurm", StandInHook(start, answer), "VT1.spec", str(self.directory))

    def supervise(self) -> int:
        return supervise.supervise(self.registry, KEY, self.directory)

    def end(self, start: str | None = "1") -> None:
        teardown.end(self.registry, KEY, start, self.connect)

    def start(self) -> str | None:
        """The start of the job that is registered."""
        held = self.registry.registration(KEY)
        return None if held is None else held.start

    def left(self) -> list[str]:
        """Everything of a job that is there."""
        libvirt = self.connect()
        found = [f"domain {uuid}" for uuid in libvirt.domain_uuids()]
        found += [f"network {uuid}" for uuid in libvirt.network_uuids()]
        found += [f"filter {uuid}" for uuid in libvirt.filter_uuids()]
        found += [str(path) for path in self.registry.jobs.iterdir() if not path.name.endswith(".lock")]
        found += [str(path) for path in self.directory.glob("base/shares/*")]
        found += self.mounts()
        found += [str(path) for path in self.directory.glob("root/sys/**/*.partition")]
        found += [str(path) for path in self.directory.glob("base/ended/.*")]
        if forwarding.SWITCH.read_text() != "0\n":
            found.append("packets are passed on")
        if (affinity := irq._affinity(IRQ, self.directory).read_text().strip()) != IRQ_CPUS:
            found.append(f"interrupt {IRQ} on CPUs {affinity}")
        return found

    def mounts(self) -> list[str]:
        """What is mounted below the registry's directory."""
        places = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [place for place in places if place.startswith(f"{self.directory}/base/")]

    def in_child(self, act: Callable[[], int | None], deadly: int = 0, full_from: int = 0) -> tuple[int, list[str]]:
        """Fork and `act`, to die before effect number `deadly`, from 1; return the exit code and the effects.

        From effect number `full_from` on the disk is full: nothing can be made or written.
        """
        told = self.directory / "effects.json"
        told.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            code = _BROKEN
            try:
                effects = _count_effects(deadly, full_from)
                code = act() or 0
                told.write_text(json.dumps(effects))
            except BaseException as error:  # told by the exit code; the child must not return into pytest
                sys.stderr.write(f"{error!r}\n")
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code != _BROKEN, "the child raised: see its standard error"
        return code, json.loads(told.read_text()) if told.exists() else []


def _count_effects(deadly: int, full_from: int) -> list[str]:
    effects: list[str] = []

    def effect(name: str) -> None:
        effects.append(name)
        if len(effects) == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def room(path: str, flags: int) -> None:
        """What the kernel shows as files needs none, and what is only locked."""
        kernels = "/root/" in path or path.endswith("ip_forward")
        wants = not os.path.lexists(path) or flags & (os.O_WRONLY | os.O_RDWR)
        if 0 < full_from <= len(effects) and wants and path.startswith("/") and not kernels:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES and not _OWN.search(str(path)):
                effect(f"open {path}")
                room(str(path), flags)
        elif event in EFFECTS and not _OWN.search(str(arguments[:1])):
            effect(f"{event} {' '.join(map(str, arguments[:2]))}")
            if event == "os.mkdir":
                room(str(arguments[0]), 0)

    whole, mount, unmount = Journal.step, shares.mount, shares._unmounted

    def step(self: Journal, undo: object, act: Callable[[], object]) -> object:
        def acting() -> object:
            effect(f"recorded {type(undo).__name__}")
            result = act()
            effect(f"did {type(undo).__name__}")
            return result

        return whole(self, undo, acting)

    Journal.step = step  # type: ignore[method-assign,assignment] # in the child alone
    shares.mount = lambda *a: (effect("mount"), mount(*a))[1]  # type: ignore[func-returns-value]
    shares._unmounted = lambda path: (effect("umount"), unmount(path))[1]  # type: ignore[func-returns-value]
    sys.addaudithook(audit)
    return effects


@contextmanager
def made_node(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node that is the one that the runtime finds meanwhile; nothing stays mounted, or pytest removed what is."""
    node = Node(directory)
    _furnish(node, directory, monkeypatch)
    try:
        yield node
    finally:
        for mount in reversed(node.mounts()):
            subprocess.run(["umount", "--lazy", mount], check=True)


def _furnish(node: Node, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "data").mkdir()
    (directory / "data" / "the-users-own").touch()
    (directory / "cluster.key").touch(mode=0o600)
    (directory / "cluster.key").write_text("ab" * 32)
    root = directory / "root"
    kernel = FakeKernel(root)
    kernel.adapter("eth0", [IRQ])
    kernel.interrupt(IRQ, IRQ_CPUS)
    cgroups(root, v2=V2)
    (directory / "ip_forward").write_text("0\n")
    fakes.image_store(directory / "images")
    _found_by_the_runtime(node, root, monkeypatch)


def _found_by_the_runtime(node: Node, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells, cpus = fakes.node_cells(), tuple(range(32))
    facts = HostFacts(cells, (Device("eth0", "nic", 0),), cpus, 16 * fakes.GIB, "qemu", "a test")
    whole = prologue.apply

    def apply(bundle: NodeBundle, *arguments: object) -> None:
        for guest in bundle.plan.guests:
            FakeKernel(root).qemu(guest, 4000 + 100 * guest.index)
        whole(bundle, *arguments, root)  # type: ignore[arg-type,call-arg] # what it was given

    changes: Mapping[object, Mapping[str, object]] = {
        forwarding: {"SWITCH": node.directory / "ip_forward"},
        irq: {"_affinity": lambda number, _root: root / f"proc/irq/{number}/smp_affinity_list"},
        host: {"read_cells": fakes.node_cells},
        disks: {"free_bytes": lambda _path: 2**40, "kind_of": lambda *_: "ext4"},  # however small a test makes it
        identity: {"_facts": lambda *_: facts},
        store: {"SYSTEM_STORE": node.directory / "images"},
        prologue: {"apply": apply},
        bring_up: {"connect": node.connect},
        boot: {"wait": lambda *_: None},
        ssh: {"end": lambda _master: None},
        supervise: {
            "Planner": StandInPlanner,
            "release": lambda spool: epilogue.release(spool, node.connect),
        },
        supervise._Supervisor: {"_watch": lambda *_: None},
        begin: {"_start_supervisor": lambda key, _site: node.supervisors.append(key)},
    }
    for owner, members in changes.items():
        for name, value in members.items():
            monkeypatch.setattr(owner, name, value)
