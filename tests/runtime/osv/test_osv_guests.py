"""OSv guests on one node: their phases, their time, and how each ends; a hypervisor and a clock made by hand."""

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.runtime import fakes
from tests.runtime.osv.test_osv_recheck import plan as osv_plan
from vtorque_runtime.osv import guests as module
from vtorque_runtime.osv.console import OsvConsole
from vtorque_runtime.osv.guests import Guests, Limits
from vtorque_runtime.osv.verdict import Ending
from vtorque_runtime.signals import Signals
from vtorque_runtime.watch import Watch
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodeBundle

KERNEL, PROGRAM = "SeaBIOS\r\nBooting from ROM..OSv v0.57\r\n", "Cmdline: /t\r\n"
END = "VFS: unmounting /\r\nPowering off.\r\n"


@dataclass
class World:
    """Two guests, `a` and `b`. `tick` lets time pass, a second at a time, and looks at each."""

    directory: Path
    states: dict[str, str | None] = field(default_factory=lambda: {"a": "running", "b": "running"})
    told: list[str] = field(default_factory=list)
    acts: list[str] = field(default_factory=list)
    ended: dict[str, Ending] = field(default_factory=dict)
    deaf: bool = False
    now: float = 0.0

    def make(self, limits: Limits, part: str | None = None) -> Guests:
        watched = [self._watched(name) for name in "ab"]
        self.guests = Guests(watched, self, self, limits, self.ended.__setitem__, part)
        return self.guests

    def _watched(self, name: str) -> tuple[str, Watch, OsvConsole]:
        copy = self.directory / f"{name}.copy"
        copy.unlink(missing_ok=True)  # of the guests before
        console = OsvConsole(self.directory / name, copy, (os.getuid(), os.getgid()))
        return name, Watch(name, name, self, console), console

    def prints(self, name: str, text: str) -> None:
        with (self.directory / name).open("a", newline="") as file:
            file.write(text)

    def ends(self, name: str, text: str = "") -> None:
        self.prints(name, text)
        self.states[name] = None

    def tick(self, seconds: int = 1) -> Fault | None:
        for _ in range(seconds):
            self.now += 1
            if lost := self.guests.look():
                return lost
        return None

    def domain_state(self, uuid: str) -> str | None:
        return self.states[uuid]

    def press_power_button(self, uuid: str) -> None:
        self.acts.append(f"press {uuid}")
        if not self.deaf:
            self.ends(uuid, END)

    def destroy_domain(self, uuid: str) -> None:
        self.acts.append(f"destroy {uuid}")
        self.states[uuid] = None

    def suspend(self, uuid: str) -> bool:
        raise AssertionError(uuid)

    resume = suspend

    def phase(self, name: str, guest: str = "") -> None:
        self.told.append(f"{guest}: {name}")

    def note(self, text: str) -> None:
        self.told.append(text)

    def fault(self, fault: Fault) -> None:
        raise AssertionError(fault)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setattr(module.time, "monotonic", lambda: made.now)
    made.make(Limits(boot_timeout_s=60, walltime_s=1000, left_s=1000, grace_s=30))
    return made


def both(world: World, text: str) -> None:
    for name in "ab":
        world.prints(name, text)


def test_phases(world: World) -> None:
    world.tick()
    assert (world.told, world.guests.begun) == (["a: firmware", "b: firmware"], False)
    both(world, KERNEL)
    world.tick()
    world.prints("a", PROGRAM)
    world.tick()
    assert world.told[2:] == ["a: kernel", "b: kernel", "a: running"]
    assert not world.guests.begun
    world.prints("b", PROGRAM)
    world.tick()
    assert world.guests.begun


def test_one_that_is_over_before_anybody_looked_has_begun(world: World) -> None:
    world.ends("a", KERNEL + PROGRAM + "program exited with status 3\r\n" + END)
    world.ends("b", KERNEL + "unrecognized option: x\r\n")
    world.tick(5)
    assert world.guests.begun
    assert [end.code for end in world.guests.endings if end] == [3, 127]


def test_each_ends_by_itself(world: World) -> None:
    both(world, KERNEL + PROGRAM)
    world.ends("a", END)
    world.tick()
    assert {name: end.code for name, end in world.ended.items()} == {"a": 0}
    assert [watch.name for watch in world.guests.guests] == ["b"]
    world.ends("b", "Aborted\r\n")
    world.tick(4)
    assert world.ended["b"].code == 134
    assert world.acts == []


def test_the_last_words_may_come_late(world: World) -> None:
    """libvirt's logging daemon writes the console, and may be behind when the domain is gone."""
    both(world, KERNEL + PROGRAM)
    world.ends("a")
    world.tick(2)
    assert world.ended == {}
    world.prints("a", "program exited with status 4\r\n")
    world.tick(2)
    assert world.ended == {}
    world.prints("a", END)
    world.tick()
    assert world.ended == {"a": Ending(4, None)}


def test_a_guest_without_a_word_ends_too(world: World) -> None:
    world.ends("a", KERNEL + PROGRAM)
    world.tick(5)
    assert (world.ended["a"].code, world.ended["a"].finding.code) == (75, "VT0955")  # type: ignore[union-attr] # it is there


def test_the_copy_is_whole_when_the_end_is_told(world: World) -> None:
    world.ends("a", KERNEL + PROGRAM + "x" * 10**6 + "\r\n" + END)
    world.tick(2)
    assert world.ended["a"] == Ending(0, None)
    assert (world.directory / "a.copy").read_bytes() == (world.directory / "a").read_bytes()


def test_a_copy_that_is_cut_changes_no_verdict(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OsvConsole, "copy_limit_bytes", 100)
    world.ends("a", KERNEL + PROGRAM + "x" * 1000 + "\r\nprogram exited with status 6\r\n" + END)
    world.tick(2)
    assert world.ended["a"] == Ending(6, None)
    lost = (world.directory / "a").stat().st_size - 100
    assert world.told[-1] == f"the last {lost} bytes that a printed are not kept"


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "phase", "limit_s"), [("", "firmware", 20), (KERNEL, "kernel", 30)])
def test_a_boot_that_gets_nowhere(world: World, text: str, phase: str, limit_s: int) -> None:
    both(world, text)
    world.tick(limit_s)
    with pytest.raises(Fault, match=f"VT0904: a did not start its program.*`{phase}`"):
        world.tick(2)


def test_a_program_may_take_its_time(world: World) -> None:
    both(world, KERNEL + PROGRAM)
    assert world.tick(900) is None
    assert world.acts == []


def test_the_walltime_ends(world: World) -> None:
    """The time of grace before its end the power button, and the code is that of a walltime, not of an orderly end."""
    both(world, KERNEL + PROGRAM)
    world.tick(969)
    assert world.acts == []
    world.tick(3)
    assert world.acts == ["press a", "press b"]
    assert [(end.code, end.finding and end.finding.code) for end in world.ended.values()] == [(124, "VT0909")] * 2
    assert "the walltime ends in 30 s: the guests are told to stop" in world.told


def test_one_that_does_not_listen_is_destroyed(world: World) -> None:
    world.deaf = True
    both(world, KERNEL + PROGRAM)
    world.tick(999)
    assert world.acts == ["press a", "press b"]
    world.tick(5)
    assert world.acts == ["press a", "press b", "destroy a", "destroy b"]
    assert [end.code for end in world.ended.values()] == [124, 124]


def test_the_end_of_one_that_was_done_before(world: World) -> None:
    both(world, KERNEL + PROGRAM)
    world.ends("a", END)
    world.tick(1003)
    assert [world.ended[name].code for name in "ab"] == [0, 124]
    assert world.acts == ["press b"]


def test_the_owner_asks(world: World) -> None:
    """Once pressed is enough; a guest that goes on is destroyed after the time of grace, and that is no walltime."""
    world.deaf = True
    both(world, KERNEL + PROGRAM)
    world.tick()
    world.guests.told_to_stop = lambda: True
    world.tick(29)
    assert world.acts == ["press a", "press b"]
    world.tick(6)
    assert world.acts == ["press a", "press b", "destroy a", "destroy b"]
    assert {end.code for end in world.ended.values()} == {75}


def test_no_time_goes_by_while_nobody_looks(world: World) -> None:
    """The job was suspended: its walltime stands still, but for what a look takes at most."""
    both(world, KERNEL + PROGRAM)
    world.tick(900)
    world.now += 3600
    world.tick(60)
    assert world.acts == []


def test_the_staging_is_a_part_of_the_walltime(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of it is counted from before the node was made ready."""
    reserved = fakes.reserved(tmp_path)
    plan = osv_plan(reserved)

    def stage(*_arguments: object) -> None:
        world.now += 400

    monkeypatch.setattr(module, "connect", lambda _uri: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(module.prologue, "apply", stage)
    with Signals() as signals, ExitStack() as stack:
        found = module.start(NodeBundle(plan, ()), reserved, signals, world, stack, left_s=1000)
    assert found._limits.left_s == 600


def test_a_guest_that_the_kernel_killed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job came to its memory, which the guest had no time to say; what another has said stands."""
    cap = Fault("VT0938", "the guests came to the memory", help="more", detail="lost")
    monkeypatch.setattr(module.partition, "explained", lambda lost, part: cap if part == "vt_41" else lost)
    world.make(Limits(boot_timeout_s=60, walltime_s=1000, left_s=1000, grace_s=30), "vt_41")
    world.ends("a", KERNEL + PROGRAM)
    world.ends("b", KERNEL + PROGRAM + "program exited with status 3\r\n" + END)
    world.tick(5)
    told = world.ended["a"].finding
    assert told is not None
    assert (world.ended["a"].code, told.code, told.help, told.detail) == (75, "VT0938", "more", "lost")
    assert world.ended["b"] == Ending(3, None)


def test_a_disk_that_is_full(world: World) -> None:
    both(world, KERNEL + PROGRAM)
    world.states["b"] = "paused"
    lost = world.tick()
    assert lost is not None
    assert lost.code == "VT0913"
    assert "disk" in lost.message


def test_guests_whose_server_ended_cannot_go_on(world: World) -> None:
    """As long as one runs: at a job's end nobody misses it."""
    both(world, KERNEL + PROGRAM)
    assert world.tick() is None
    lost = Fault("VT0957", "it has ended")
    world.guests.server_lost = lambda: lost
    assert world.tick() is lost
    for name in "ab":
        world.ends(name, END)
    assert world.tick(10) is None
