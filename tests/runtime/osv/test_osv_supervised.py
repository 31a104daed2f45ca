"""A supervisor whose guests run OSv, on a node made by hand: what it publishes, and that nothing is left."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.runtime import fakes
from tests.runtime.faulty_node import KEY, Node, NodeHypervisor, StandInPlanner, made_node
from vtorque_compilers.guests import compile_guests
from vtorque_runtime import status, supervise
from vtorque_runtime.attached import Attached
from vtorque_runtime.osv import guests as osv
from vtorque_runtime.osv.verdict import Ending
from vtorque_spec.plan import Guest, JobVm, LinuxGuest, NodePlan, OsvGuest, OsvImage, SaidImage, spool_bytes
from vtorque_spec.plan.answer import Needs, Question

pytestmark = pytest.mark.root

WATCH = supervise._Supervisor._watch
BOOT, END = "Booting from ROM..OSv v0.57\r\nCmdline: /t\r\n", "VFS: unmounting /\r\nPowering off.\r\n"


class OsvPlanner(StandInPlanner):
    """Every job has one OSv guest."""

    def __init__(self, node: str, site: Path) -> None:
        like = OsvImage("kernel", "mainline", None, cloud_init=False)
        self.site = fakes.site(images=(SaidImage("tiny", None, "", like),))

    def needs(self, question: Question) -> Needs:
        return Needs(1, "default", None, None, None)

    def plan(self, question: Question) -> NodePlan:
        found = fakes.plan(question.node)
        (linux,) = found.guests
        assert isinstance(linux, LinuxGuest)
        kernel = f"{found.spool}/vm0/kernel.elf"
        machine = replace(linux.machine, kernel=kernel, initrd=None, cmdline="/t", disks=linux.machine.disks[:1])
        guest = OsvGuest(
            "osv", 0, machine, linux.root_disk_bytes, "q35", "kernel", "/t", False, "job", linux.node, linux.hostname
        )
        return replace(found, guests=(guest,), claim=replace(found.claim, disk_bytes=spool_bytes(guest)))


class OsvHypervisor(NodeHypervisor):
    """Its guests print TEXT and, unless that is without an end, are gone at once; the power button ends the others."""

    text = BOOT + "program exited with status 3\r\n" + END

    def create_domain(self, xml: str) -> None:
        super().create_domain(xml)
        (log,) = re.findall(r'<log file="([^"]+)"|<source path="([^"]+console.log)"', xml)[:1]
        self.console = Path(log[0] or log[1])
        self.console.write_text(self.text, newline="")
        if self.text.endswith(END):
            self._end()

    def press_power_button(self, uuid: str) -> None:
        with self.console.open("a", newline="") as file:
            file.write(END)
        self._end()

    def _end(self) -> None:
        for uuid in self.domain_uuids():
            self.destroy_domain(uuid)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    def compiled(guests: tuple[Guest, ...], vms: tuple[JobVm, ...]) -> object:
        return compile_guests(guests, vms)

    with made_node(tmp_path, monkeypatch) as made:
        monkeypatch.setattr(supervise, "Planner", OsvPlanner)
        monkeypatch.setattr(supervise, "compiled", compiled)
        monkeypatch.setattr(osv, "connect", lambda _uri: OsvHypervisor(f"files:{tmp_path}"))
        monkeypatch.setattr(supervise._Supervisor, "_watch", WATCH)
        yield made


def supervised(node: Node) -> status.Status:
    """Supervise the job until its guest has ended; return what is published then."""

    def wait() -> None:
        while True:
            time.sleep(0.05)
            now = status.read(node.registry.spool(KEY).status)
            if now is None:
                continue
            if now.phase == status.FAILED or (now.phase == status.READY and now.vms[0].ending):
                os.kill(os.getpid(), signal.SIGTERM)

    def act() -> int:
        threading.Thread(target=wait, daemon=True).start()
        return node.supervise()

    node.begin()
    assert node.in_child(act)[0] == 0, node.registry.log(KEY).read_text()
    now = status.read(node.registry.spool(KEY).status)
    assert now is not None
    return now


def test_a_job_that_ends_before_anybody_looks(node: Node) -> None:
    now = supervised(node)
    assert (now.phase, now.verdict) == (status.READY, None)
    assert now.vms[0].ending == Ending(3, None)
    copy = node.registry.spool(KEY).console_copy(0)
    assert copy.read_bytes().decode() == OsvHypervisor.text
    assert copy.stat().st_uid == now_owner(node)
    node.end()
    assert node.left() == []


def now_owner(node: Node) -> int:
    return node.registry.spool(KEY).status.stat().st_uid


def test_the_owner_stops_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body's word reaches the power button; the time that was left is no matter then."""
    monkeypatch.setattr(OsvHypervisor, "text", BOOT)
    monkeypatch.setattr(Attached, "asked_to_stop", lambda _self: True)
    now = supervised(node)
    assert now.vms[0].ending == Ending(0, None)
    node.end()
    assert node.left() == []


@pytest.mark.parametrize("part", [None, "vt_12"])
def test_what_the_guests_took_is_known_before_their_end(part: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job's body ends as soon as it knows of it, and tells both."""
    told: list[object] = []
    published = SimpleNamespace(
        now=SimpleNamespace(usage="before"),
        update=lambda usage: told.append(usage),
        ended=lambda guest, ending: told.append((guest, ending)),
    )
    monkeypatch.setattr(supervise.partition, "usage", lambda name, seen: f"{name} after {seen}")
    supervise._Supervisor._ended(SimpleNamespace(status=published), part, "a", Ending(3, None))  # type: ignore[arg-type]
    assert told == [*(["vt_12 after before"] if part else []), ("a", Ending(3, None))]
