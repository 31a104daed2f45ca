"""The job in OSv guests as its owner follows it: standard output, signals, the exit code."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from vtorque_runtime.osv.job import OsvJob, Shown, shown
from vtorque_runtime.osv.output import Output
from vtorque_runtime.osv.verdict import Ending
from vtorque_runtime.signals import SignalledError, Signals
from vtorque_runtime.spool import Spool
from vtorque_spec.fault import Fault
from vtorque_spec.plan import JobVm
from vtorque_spec.plan.answer import ToldFinding

BOOT, END = b"SeaBIOS\r\nCmdline: /t\r\n", b"VFS: unmounting /\r\nPowering off.\r\n"
CRASH = Ending(134, ToldFinding("VT0953", "error", "it crashed", "look", "Aborted"))
DONE = Ending(0, None)


class Ui:
    def __init__(self) -> None:
        self.said: list[str] = []

    def phase(self, name: str, guest: str = "") -> None:
        self.said.append(name)

    def note(self, text: str) -> None:
        self.said.append(text)

    def fault(self, fault: Fault) -> None:
        self.said.append(f"{fault.code}: {fault.message}; {fault.help}; {fault.detail}")


class World:
    """The consoles' copies of guests, and what is to happen at each look."""

    def __init__(self, directory: Path, signals: Signals, names: Sequence[str] = ("a",)) -> None:
        self.spool, self.signals, self.names, self.ui = Spool(directory), signals, names, Ui()
        self.steps: list[Callable[[], None]] = []
        self.endings: list[Ending | None] = [None] * len(names)
        self.elsewhere: int | None = 0
        self.stops = 0
        self.console = "job"

    def prints(self, text: bytes, index: int = 0) -> None:
        with self.spool.console_copy(index).open("ab") as file:
            file.write(text)

    def ends(self, ending: Ending = DONE, index: int = 0) -> None:
        self.endings[index] = ending

    def run(self, first: str = "a") -> int:
        def look() -> Sequence[Ending | None]:
            if self.steps:
                self.steps.pop(0)()
            return list(self.endings)

        def stop() -> None:
            self.stops += 1

        others = [name for name in self.names if name != first]
        job = SimpleNamespace(vms=[JobVm("n", 0, name, None) for name in (first, *others)], console=self.console)
        consoles = shown(self.spool, self.names, job)  # type: ignore[arg-type] # all that it needs of a Handover
        return OsvJob(consoles, look, stop, lambda: self.elsewhere, self.signals, self.ui).run()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Signals() as signals:
        yield World(tmp_path, signals)


def test_output_comes_as_it_is_printed(world: World, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    found = []
    world.steps = [
        lambda: world.prints(BOOT + b"one\r\n"),
        lambda: found.append(capfdbinary.readouterr().out),
        lambda: world.prints(b"two"),
        lambda: found.append(capfdbinary.readouterr().out),
        lambda: world.prints(b"\r\n" + END),
        world.ends,
    ]
    assert world.run() == 0
    assert [*found, capfdbinary.readouterr().out] == [b"one\n", b"two", b"\n"]
    assert world.ui.said == ["run"]


def test_much_output(world: World, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """More than is read at once, and than the copy of a Linux guest's console keeps."""
    lines = b"".join(b"%d\r\n" % number for number in range(700_000))
    world.prints(BOOT + lines + END)
    world.ends()
    assert world.run() == 0
    assert capfdbinary.readouterr().out == lines.replace(b"\r\n", b"\n")


def test_a_job_that_failed_is_explained(world: World, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    world.prints(BOOT + b"Aborted\r\n")
    world.ends(CRASH)
    assert world.run() == 134
    assert world.ui.said == ["run", "VT0953: it crashed; look; Aborted"]
    assert capfdbinary.readouterr().out == b"Aborted\n"


def test_several_guests(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The first one's output is the job's; the others' lines say whose they are. One that fails fails the job."""
    with Signals() as signals:
        world = World(tmp_path, signals, ("a", "b", "c"))
        for index, text in enumerate((b"x\r\ny", b"1\r\n\r\n2", b"")):
            world.prints(BOOT + text + END, index)
            world.ends(Ending(index, None), index)
        assert world.run() == 1
        assert capfdbinary.readouterr().out == b"x\nyb: 1\nb: \nb: 2"


def test_where_the_first_vm_is_on_another_node(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with Signals() as signals:
        world = World(tmp_path, signals, ("b", "c"))
        for index in range(2):
            world.prints(BOOT + b"x\r\n" + END, index)
            world.ends(DONE, index)
        assert world.run(first="a") == 0
        assert capfdbinary.readouterr().out == b"b: x\nc: x\n"


def test_a_whole_console(world: World, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    world.console = "all"
    world.prints(BOOT + b"one\r\n" + END)
    world.ends()
    assert world.run() == 0
    assert capfdbinary.readouterr().out == (BOOT + b"one\r\n" + END).replace(b"\r", b"")


def test_other_nodes_are_waited_for(world: World) -> None:
    world.prints(BOOT + END)
    world.ends()
    world.elsewhere = None

    def over() -> None:
        world.elsewhere = 5

    world.steps = [lambda: None, over]
    assert world.run() == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_ends(world: World, number: signal.Signals) -> None:
    """It presses the power button; the job's code says which it was, whatever the guest did then."""
    world.steps = [lambda: os.kill(os.getpid(), number), lambda: None, lambda: world.ends(CRASH)]
    assert world.run() == 128 + number
    assert (world.stops, world.ui.said) == (1, ["run"])


def test_a_signal_at_the_end_of_the_walltime(world: World) -> None:
    """The batch system's own, when a guest took all its time of grace: what is told is the walltime."""
    late = Ending(124, ToldFinding("VT0909", "error", "too late", None, None))
    world.steps = [lambda: os.kill(os.getpid(), signal.SIGTERM), lambda: None, lambda: world.ends(late)]
    assert world.run() == 124
    assert world.ui.said == ["run", "VT0909: too late; None; None"]


def test_a_second_ctrl_c(world: World) -> None:
    world.steps = [lambda: os.kill(os.getpid(), signal.SIGINT)] * 2
    with pytest.raises(SignalledError):
        world.run()


def test_a_signal_that_a_unikernel_cannot_get(world: World) -> None:
    world.steps = [lambda: os.kill(os.getpid(), signal.SIGUSR1), lambda: None, world.ends]
    assert world.run() == 0
    assert (world.stops, world.ui.said[1:]) == (0, ["SIGUSR1 is not passed on: an OSv guest takes no signals"])


def test_a_reader_that_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr("vtorque_runtime.osv.job._STDOUT", writer)
    world.prints(BOOT + b"one\r\n")
    with pytest.raises(SignalledError) as caught:
        world.run()
    os.close(writer)
    assert caught.value.number == signal.SIGPIPE


def test_a_slow_reader_holds_up_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals are taken and guests looked at while nobody reads; then all arrives."""
    reader, writer = os.pipe()
    monkeypatch.setattr("vtorque_runtime.osv.job._STDOUT", writer)
    text = b"x" * 99 + b"\n"
    world.prints(BOOT + text * 10_000 + END)
    got: list[bytes] = []

    def read() -> None:
        while part := os.read(reader, 65536):
            got.append(part)

    late = threading.Thread(target=read)
    world.steps = [lambda: None, lambda: os.kill(os.getpid(), signal.SIGUSR1), lambda: None, world.ends, late.start]
    assert world.run() == 0
    os.close(writer)
    late.join()
    os.close(reader)
    assert b"".join(got) == text * 10_000
    assert len(world.ui.said) == 2


def test_a_guest_that_has_printed_nothing_yet(tmp_path: Path) -> None:
    assert Shown(tmp_path / "console.log", "", Output()).show(whole=False)
