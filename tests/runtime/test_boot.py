"""Waiting for a guest and running a job in it, against a console that is a file and an `ssh` that is a shell here."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from vtorque_runtime import boot, payload, spool, ssh
from vtorque_runtime.console import Console
from vtorque_runtime.job import Job
from vtorque_runtime.progress import Recorded
from vtorque_runtime.signals import SignalledError, Signals
from vtorque_runtime.ssh import Access
from vtorque_runtime.watch import Watch, Watches
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Filesystem, LinuxGuest, NodePlan, Script, UserPart

OTHER_BOOT = "8c3d1f6e-0000-4000-8000-000000000000"


@dataclass
class Domains:
    """A hypervisor whose domains are in the state `state`, but for those that `others` tells of."""

    state: str | None = "running"
    others: dict[str, str | None] = field(default_factory=dict)

    def domain_state(self, uuid: str) -> str | None:
        return self.others.get(uuid, self.state)


@dataclass
class Ui:
    """What the person was told."""

    phases: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def phase(self, name: str, guest: str = "") -> None:
        self.phases.append(f"{guest}: {name}" if guest else name)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def fault(self, fault: Fault) -> None:
        self.faults.append(fault.code)


class World:
    """Guests: their plan, their consoles, for each a directory in place of /run/vtorque."""

    def __init__(self, directory: Path, signals: Signals, monkeypatch: pytest.MonkeyPatch, vms: int = 1) -> None:
        with fakes.reserved(directory, vms=vms) as reserved:
            self.plan, self.job = fakes.bundle(reserved.context).plan, fakes.handover(reserved)
        self.guests, self.guest = self.plan.guests, self.plan.guests[0]
        self.directory, self.signals = directory, signals
        self.run_directory = directory / "run0"
        (self.run_directory / "job").mkdir(parents=True)
        monkeypatch.setattr(payload, "DIRECTORY", str(self.run_directory / "job"))
        monkeypatch.setattr(payload, "UPLOAD", payload.UPLOAD.replace("/run/vtorque", str(self.run_directory)))
        monkeypatch.setattr(boot, "TOKEN_FILE", "boot")
        monkeypatch.setattr(boot, "_RETRY_S", 0.0)
        monkeypatch.setattr(ssh, "argv", self._argv)
        self.master = f"touch {directory}/$SOCKET; exec sleep 1000"
        self.domains, self.ui = Domains(), Ui()
        self.stopped = lambda: False
        self.boots = [self._boot(guest) for guest in self.guests]
        self.access, self.watch = self.boots[0].access, Watches(tuple(boot.watch for boot in self.boots), signals)

    def _boot(self, guest: LinuxGuest) -> boot.Boot:
        (self.directory / f"run{guest.index}").mkdir(exist_ok=True)
        log = self.directory / f"console{guest.index}.log"
        log.touch()
        access = Access(self.plan.login, self.directory, f"s{guest.index}", "a", "127.0.0.1", 22)
        name = "the guest" if len(self.guests) == 1 else guest.hostname
        return boot.Boot(guest, access, Watch(name, guest.machine.uuid, self.domains, Console(log, guest.nonce)))

    def _argv(self, access: Access, command: str | None, *_options: str) -> list[str]:
        """Each guest's shell is a shell here, in the directory of that guest."""
        inside = f"cd {self.directory}/run{access.socket[1:]} && SOCKET={access.socket};"
        return ["bash", "-c", f"{inside} {self.master if command is None else command}"]

    def says(self, *lines: str, index: int = 0) -> None:
        with (self.directory / f"console{index}.log").open("a") as file:
            file.writelines(f"vtorque-phase: {line}\r\n" for line in lines)

    def is_ready(self, index: int = 0, **wrong: str) -> None:
        guest = self.guests[index]
        nonce = guest.nonce
        self.says("kernel", f"cloud-init {nonce}", f"mounts {nonce}", f"ready {nonce}", index=index)
        token = {"token": nonce, "instance_id": nonce, "product_uuid": guest.machine.uuid, "boot_id": OTHER_BOOT}
        lines = (f"{name}={value}\n" for name, value in (token | wrong).items())
        (self.directory / f"run{index}/boot").write_text("".join(lines))

    def wait(self, limit_s: int = 60) -> None:
        master = boot.wait(self.boots, limit_s, self.signals, Recorded(self.ui), self.stopped)
        assert master.poll() is None
        ssh.end(master)

    def run(self, user: UserPart, walltime_s: float = 600) -> int:
        archive = payload.archive(user, self.job, {})
        job = Job(self.job, self.access, self.watch, Recorded(self.ui), time.monotonic() + walltime_s)
        return job.run(user, archive)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    signals = Signals()
    with signals:
        yield World(tmp_path, signals, monkeypatch)  # type: ignore[misc] # a fixture that yields


def part(run: str, prologue: str | None = None, epilogue: str | None = None) -> UserPart:
    hooks = [None if text is None else Script(text, ()) for text in (prologue, epilogue)]
    return UserPart(1, Script(run, ()), hooks[0], hooks[1], ())


# --- the boot token -------------------------------------------------------------------------------------------------


def test_a_guest_that_proves_itself(world: World) -> None:
    world.is_ready()
    world.wait()
    assert world.ui.phases == ["vnode-0: firmware", "vnode-0: ready"]


@pytest.mark.parametrize("name", ["token", "instance_id", "product_uuid"])
def test_another_guest_is_told(world: World, name: str) -> None:
    world.is_ready(**{name: "another"})
    with pytest.raises(Fault, match=f"VT0908.*{name}"):
        world.wait()


def test_a_guest_that_is_the_host_is_told(world: World) -> None:
    world.is_ready(boot_id=spool.boot_id())
    with pytest.raises(Fault, match=r"VT0908.*boot_id"):
        world.wait()


@pytest.mark.parametrize("text", ["", "token", "token=\x00\n", "=\n"])
def test_a_token_that_is_none(world: World, text: str) -> None:
    with pytest.raises(Fault, match="VT0908"):
        boot.check_token(text, world.guest)


def test_another_host_key_is_told_at_once(world: World) -> None:
    world.is_ready()
    world.master = "echo 'Host key verification failed.' >&2; exit 255"
    with pytest.raises(Fault, match=r"VT0908.*host key"):
        world.wait()


def test_an_ssh_that_does_not_answer_yet_is_tried_again(world: World, tmp_path: Path) -> None:
    world.is_ready()
    world.master = (
        f"[ -e {tmp_path}/tried ] || {{ touch {tmp_path}/tried; echo refused >&2; exit 255; }}; {world.master}"
    )
    world.wait()


@pytest.mark.parametrize("phase", ["firmware", "kernel", "cloud-init", "mounts", "ready"])
def test_a_guest_that_stops_on_its_way_names_the_phase(world: World, phase: str) -> None:
    lines = {"firmware": [], "kernel": ["kernel"]}.get(phase, [f"{phase} {world.guest.nonce}"])
    world.says(*lines)
    world.master = "echo no route >&2; exit 255"
    with pytest.raises(Fault, match=f"VT0904.*`{phase}`") as caught:
        world.wait(limit_s=1)
    said = "no route" if phase == "ready" else lines[0] if lines else "(the console is empty)"
    assert said in (caught.value.detail or "")


@pytest.mark.parametrize(("state", "how"), [(None, "switched itself off"), ("paused", "disk"), ("crashed", "crashed")])
def test_a_guest_that_ends_is_noticed_at_once(world: World, state: str | None, how: str) -> None:
    world.domains.state = state
    with pytest.raises(Fault, match=f"VT0904.*{how}"):
        world.wait()


def test_a_mount_that_failed_is_named(world: World) -> None:
    world.says(f"mounts-failed /data {world.guest.nonce}")
    with pytest.raises(Fault, match="VT0904: the guest could not mount /data"):
        world.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait(world: World, number: int) -> None:
    os.kill(os.getpid(), number)
    with pytest.raises(SignalledError) as caught:
        world.wait()
    assert caught.value.number == number


def test_a_signal_for_a_job_does_not_end_the_wait(world: World) -> None:
    os.kill(os.getpid(), signal.SIGUSR1)
    world.is_ready()
    world.wait()


# --- the job --------------------------------------------------------------------------------------------------------


def test_streams_and_exit_code(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    assert world.run(part("printf 'a\\377' ; echo b >&2; exit 7".replace("\\377", "c"))) == 7
    assert capfd.readouterr() == ("ac", "b\n")
    assert (world.ui.phases, world.ui.faults) == (["run"], [])


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_every_exit_code_is_kept(world: World, code: int) -> None:
    assert world.run(part(f"exit {code}")) == code


def test_hooks_run_around_the_job(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    assert world.run(part("echo run; exit 3", "echo prologue", "echo epilogue")) == 3
    assert capfd.readouterr().out == "prologue\nrun\nepilogue\n"


def test_a_job_does_not_run_after_a_failed_prologue(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Fault, match=r"VT0910.*exit code 5"):
        world.run(part("echo run", "exit 5", "echo epilogue"))
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("job_code", "code"), [(0, 1), (3, 3)])
def test_a_failed_epilogue_is_told(world: World, job_code: int, code: int) -> None:
    assert world.run(part(f"exit {job_code}", None, "exit 9")) == code
    assert world.ui.faults == ["VT0910"]


def test_a_connection_that_breaks_is_no_exit_code(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "start", lambda *_: subprocess.Popen(["sh", "-c", "exit 255"], stdout=-1, stderr=-1))
    with pytest.raises(Fault, match=r"VT0913.*connection"):
        world.run(part("true"))


def test_a_guest_that_dies_under_the_job_is_noticed(world: World) -> None:
    timer = threading.Timer(0.5, setattr, (world.domains, "state", None))
    timer.start()
    with pytest.raises(Fault, match="VT0913"):
        world.run(part("sleep 20"))  # nothing ends it here, where the guest is a fake
    timer.join()


def ready_then(world: World, act: str) -> threading.Thread:
    """Run `act` (Python) in the background once the job has made its file."""

    def wait() -> None:
        while not (world.run_directory / "ready").exists():
            time.sleep(0.05)
        subprocess.run([sys.executable, "-c", f"import os, signal, time; me = {os.getpid()}; {act}"], check=True)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


LOOP = "\nwhile :; do sleep 0.1; done\n"


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "USR1", "USR2"])
def test_a_signal_reaches_the_job(world: World, capfd: pytest.CaptureFixture[str], name: str) -> None:
    thread = ready_then(world, f"os.kill(me, signal.SIG{name})")
    text = f"trap 'echo caught {name}; exit 9' {name}\ntouch {world.run_directory}/ready{LOOP}"
    assert world.run(part(text, None, "echo epilogue")) == 9
    thread.join()
    assert capfd.readouterr().out == f"caught {name}\nepilogue\n"


def test_a_second_interrupt_ends_everything(world: World) -> None:
    twice = "os.kill(me, signal.SIGINT); time.sleep(1); os.kill(me, signal.SIGINT)"
    thread = ready_then(world, twice)
    with pytest.raises(SignalledError) as caught:
        world.run(part(f"trap '' INT\ntouch {world.run_directory}/ready{LOOP}", None, "echo epilogue"))
    thread.join()
    assert caught.value.number == signal.SIGINT
    assert world.ui.phases == ["run"]
    kill_left(world)


def test_a_signal_during_the_prologue_stops_the_job(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    thread = ready_then(world, "os.kill(me, signal.SIGTERM)")
    prologue = f"trap 'exit 0' TERM\ntouch {world.run_directory}/ready{LOOP}"
    assert world.run(part("echo run", prologue)) == 128 + signal.SIGTERM
    thread.join()
    assert capfd.readouterr().out == ""


def test_the_job_is_told_to_stop_before_its_walltime(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    text = f"trap 'echo stopping; exit 0' TERM{LOOP}"
    assert world.run(part(text, None, "echo epilogue"), walltime_s=11) == 124
    assert capfd.readouterr().out == "stopping\nepilogue\n"
    assert world.ui.faults == ["VT0909"]


def test_the_job_is_killed_at_its_walltime(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.job = replace(world.job, grace_s=1)
    assert world.run(part(f"trap '' TERM{LOOP}", None, "echo epilogue"), walltime_s=3) == 124
    assert capfd.readouterr().out == "epilogue\n"
    assert world.ui.faults == ["VT0909"]


def test_a_reader_that_leaves_ends_everything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    kept = os.dup(1)
    os.dup2(writer, 1)
    try:
        with pytest.raises(SignalledError) as caught:
            world.run(part(f"echo x{LOOP}"))
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(writer)
    assert caught.value.number == signal.SIGPIPE
    kill_left(world)


def test_what_a_guest_wrote_to_the_host_is_flushed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ssh, "argv", lambda _access, command, *_: asked.append(command) or ["bash", "-c", command])
    world.job = replace(world.job, writable=())
    world.run(part("true"))
    assert "exec sync" not in asked
    world.job = replace(world.job, writable=("/a",))
    world.run(part("true"))
    assert asked[-1] == "exec sync"


def with_mounts(plan: NodePlan, *mounts: Filesystem) -> NodePlan:
    guest: LinuxGuest = plan.guests[0]
    return replace(plan, guests=(replace(guest, machine=replace(guest.machine, filesystems=mounts)),))


def kill_left(world: World) -> None:
    """What a guest would take with it."""
    pid = (world.run_directory / "job/run.pid").read_text().strip()
    os.killpg(int(pid), signal.SIGKILL)
