"""The whole way on one machine, up to a hypervisor of files: whatever happens, the node is given back."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.runtime import fakes
from tests.runtime.fakes import FileHypervisor
from tests.runtime.test_boot import Ui, part
from vtorque_runtime import boot, bring_up, disks, epilogue, handover, local, prologue
from vtorque_runtime.identity import Reserved
from vtorque_runtime.journal import Journal
from vtorque_spec.fault import Fault


class Living(FileHypervisor):
    """A hypervisor whose domains run as long as they are there."""

    def domain_state(self, uuid: str) -> str | None:
        return "running" if uuid in self.domain_uuids() else None

    def close(self) -> None:
        pass


@pytest.fixture
def reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reserved:
    monkeypatch.setattr(bring_up, "connect", lambda _uri: Living(f"files:{tmp_path}"))
    monkeypatch.setattr(epilogue.apply, "__defaults__", (Living,))
    found = fakes.reserved(tmp_path, vms=2)
    root = fakes.kernel_root(tmp_path, fakes.bundle(found.context))
    monkeypatch.setattr(prologue.apply, "__defaults__", (root,))
    return found


def run(reserved: Reserved, ui: Ui | None = None) -> int:
    with reserved:
        return local.run(fakes.bundle(reserved.context), part("true"), reserved, ui or Ui())


def nothing_is_left(reserved: Reserved, directory: Path) -> bool:
    hypervisor = Living(f"files:{directory}")
    return not (hypervisor.domain_uuids() | hypervisor.network_uuids()) and not reserved.spool.path.exists()


@pytest.mark.parametrize("error", [Fault("VT0904", "not ready"), ZeroDivisionError(), KeyboardInterrupt()])
def test_a_failure_is_told_after_all_is_undone(
    reserved: Reserved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        assert not nothing_is_left(reserved, tmp_path)
        raise error

    monkeypatch.setattr(boot, "wait", fail)
    with pytest.raises(type(error)):
        run(reserved)
    assert nothing_is_left(reserved, tmp_path)


def test_a_signal_in_the_boot(reserved: Reserved, tmp_path: Path) -> None:
    class Killing(Ui):
        def phase(self, name: str, guest: str = "") -> None:
            super().phase(name, guest)
            if (guest, name) == ("vnode-0", "firmware"):
                os.kill(os.getpid(), signal.SIGTERM)

    ui = Killing()
    assert run(reserved, ui) == 128 + signal.SIGTERM
    assert ui.phases == ["staging", "vnode-0: firmware", "vnode-1: firmware", "undo"]
    assert nothing_is_left(reserved, tmp_path)


def test_the_owner_has_a_copy_of_each_console(reserved: Reserved, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(boots: list[boot.Boot], *_: object) -> None:
        for one in boots:
            Path(one.guest.machine.console_log).write_text(f"of {one.guest.index}\n")
            one.watch.look()
        copies = {path.name: path.read_text() for path in reserved.spool.path.glob("console*")}
        assert copies == {"console.log": "of 0\n", "console1.log": "of 1\n"}
        raise Fault("VT0904", "seen")

    monkeypatch.setattr(boot, "wait", wait)
    with pytest.raises(Fault, match="VT0904: seen"):
        run(reserved)


def test_a_terminal_that_goes_away_does_not_stop_the_undoing(reserved: Reserved, tmp_path: Path) -> None:
    class Gone(Ui):
        def phase(self, name: str, guest: str = "") -> None:
            if (guest, name) == ("vnode-0", "firmware"):
                os.kill(os.getpid(), signal.SIGHUP)
            raise OSError("no terminal")

    assert run(reserved, Gone()) == 128 + signal.SIGHUP
    assert nothing_is_left(reserved, tmp_path)


def test_a_full_disk_is_a_fault(reserved: Reserved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disks, "make_overlay", full)
    with pytest.raises(Fault, match=r"VT0914.*No space left"):
        run(reserved)
    assert nothing_is_left(reserved, tmp_path)


def test_what_is_left_is_told_beside_the_failure(reserved: Reserved, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        reserved.spool.journal.step({"kind": "unheard-of"}, lambda: None)
        raise Fault("VT0904", "not ready")

    ui = Ui()
    monkeypatch.setattr(boot, "wait", fail)
    with pytest.raises(Fault, match="VT0904"):
        local.run(fakes.bundle(reserved.context), part("true"), reserved, ui)
    assert ui.faults == ["VT0911"]
    record = reserved.registry.log(reserved.context.job_id).read_text()
    assert "VT0911" in record
    assert isinstance(reserved.spool.journal, Journal)


@pytest.mark.parametrize(("batch_id", "gone_s"), [(None, 0), ("4711", 1000)])
def test_a_batch_jobs_walltime_began_with_its_script(
    reserved: Reserved, monkeypatch: pytest.MonkeyPatch, batch_id: str | None, gone_s: int
) -> None:
    """What was planned and read before the guests began is part of it."""
    ends: list[int] = []
    whole = handover.of_plan
    monkeypatch.setattr(local, "running_s", lambda: 1000.0)
    monkeypatch.setattr(local, "time", SimpleNamespace(monotonic=lambda: 5000.0))
    monkeypatch.setattr(local.handover, "of_plan", lambda *words: ends.append(words[3]) or whole(*words))
    monkeypatch.setattr(local, "bring_up", refuse)
    with reserved, pytest.raises(Fault, match="seen"):
        local.run(bundle := fakes.bundle(reserved.context), part("true"), reserved, Ui(), batch_id)
    assert ends == [5000 + bundle.plan.walltime_s - gone_s]


def refuse(*_: object) -> None:
    raise Fault("VT0904", "seen")


def test_a_process_is_as_old_as_the_shell_it_replaced() -> None:
    program = "import time\nfrom vtorque_runtime.files import running_s\nprint(running_s())"
    line = ["sh", "-c", 'sleep 1.1; exec "$0" -c "$1"', sys.executable, program]
    assert float(subprocess.check_output(line, text=True)) > 1
