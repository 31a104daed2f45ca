"""What `vtorque-runtime status` shows, to whom, and what root's record of a job says."""

import json
import logging
import os
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from tests.runtime.fakes import GIB, reserved
from vtorque_runtime import commands, hook, ledger, overview, reap, status
from vtorque_runtime.commands import common
from vtorque_runtime.keys import JobKeys
from vtorque_runtime.log import LOG, recorded
from vtorque_runtime.partition import Usage
from vtorque_runtime.spool import Registry, Spool, Start, open_registry
from vtorque_runtime.status import FAILED, READY, Publisher, VmStatus
from vtorque_runtime.verdict import of_error
from vtorque_spec.canonical import canonical_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Cell, CellMemory, Claim

USAGE = Usage(12_400_000_000, 900 * 1024**2, exact=True)
BOOT_FAULT = Fault("VT0904", "vn1-0 was not ready after 120 s", help="allow more time", detail="Kernel panic")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Root's registry of a node."""
    found = open_registry("system", tmp_path / "base")
    monkeypatch.setattr(common, "registry", lambda: found)
    return found


def job(registry: Registry, number: int, **published: object) -> Spool:
    """A batch job that this process looks after, as far as `published` says."""
    start = Start("slurm", str(number), "2026-11-23T05:00:00", "n1")
    spool, _ = registry.register(f"{number}.n1", os.getuid(), 1, start)
    told = Publisher(spool, str(number), "n1", None)
    told.supervised()
    told.publish(**published)
    return spool


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = commands.run(["status", *argv])
    return code, capsys.readouterr().out


def table(text: str) -> list[dict[str, str]]:
    """The rows by their headings: a column begins where its heading does."""
    head, *rows = text.splitlines()
    names = ("JOB", "USER", "PHASE", "VMS", "CPUS", "MEMORY", "CPU TIME", "PEAK", "SINCE (UTC)")
    starts = [head.index(f"{name}") for name in names]
    ends = [*starts[1:], None]
    return [
        {name: row[start:end].strip() for name, start, end in zip(names, starts, ends, strict=True)} for row in rows
    ]


def test_a_table_of_all_jobs(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    vms = (VmStatus("vn1-0", "ready"), VmStatus("vn1-1", "ready"))
    ready = job(registry, 41, phase=READY, vms=vms, usage=USAGE, suspended=True)
    cells = (Cell(0, ((0, 2), (1, 3)), 8 * GIB, (), ()),)
    ledger.claim(registry, ready, Claim((0, 2), (CellMemory(0, 1, 2 * GIB),), ()), cells)
    job(registry, 42, phase=FAILED, verdict=of_error(BOOT_FAULT, "booting"))
    job(registry, 43, phase="booting", vms=(VmStatus("vn1-0", "kernel"), VmStatus("vn1-1", "firmware")), pid=2**22)
    registry.register("44.n1", 0, 0, Start("slurm", "44", "s", "n1"))
    code, text = said(capsys)
    assert code == 0
    assert [(row["JOB"], row["PHASE"]) for row in table(text)] == [
        ("41.n1", "ready, suspended"),
        ("42.n1", "failed, VT0904"),
        ("43.n1", "booting: firmware, kernel"),
        ("44.n1", "registered"),
    ]
    first, *_, last = table(text)
    assert (first["VMS"], first["CPUS"], first["MEMORY"]) == ("2", "0,2", "2048 MiB")
    assert (first["CPU TIME"], first["PEAK"]) == ("12 s", "900 MiB")
    assert last["USER"] == "-", "root registers a job before it is known whose it is"
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d", last["SINCE (UTC)"])
    assert "\x1b" not in text, "no colour but on a terminal"


def test_a_large_job_makes_no_wide_table(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    spool = job(registry, 41, phase=READY, usage=replace(USAGE, peak_memory_bytes=127 * GIB))
    cells = (Cell(0, tuple((cpu, cpu + 32) for cpu in range(16)), 256 * GIB, (), ()),)
    ledger.claim(registry, spool, Claim((*range(16), *range(32, 48)), (CellMemory(0, 1, 128 * GIB),), ()), cells)
    (row,) = table(said(capsys)[1])
    assert (row["CPUS"], row["MEMORY"], row["PEAK"]) == ("0-15,32-47", "128 GiB", "127 GiB")


def test_a_supervisor_that_is_gone(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    spool = job(registry, 41, phase=READY)
    held = registry.registration("41.n1")
    assert held is not None
    spool.registration.write_text(canonical_json(replace(held, start_ticks=1)))
    assert table(said(capsys)[1])[0]["PHASE"] == "ready, no supervisor"
    assert json.loads(said(capsys, "--format", "json")[1])[0]["alive"] is False


def test_json_is_one_canonical_array(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    job(registry, 41, phase=READY, vms=(VmStatus("vn1-0", "ready"),), usage=USAGE)
    code, text = said(capsys, "--format", "json")
    (found,) = json.loads(text)
    assert (code, text) == (0, canonical_json([found]) + "\n")
    assert (found["job"], found["id"], found["system"], found["node"]) == ("41.n1", "41", "slurm", "n1")
    assert (found["phase"], found["alive"], found["uid"]) == ("ready", True, os.getuid())
    assert found["vms"] == [{"ending": None, "hostname": "vn1-0", "phase": "ready"}]
    assert found["usage"]["peak_memory_bytes"] == USAGE.peak_memory_bytes
    assert datetime.fromisoformat(found["since"]).utcoffset() is not None


def test_no_jobs(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys) == (0, "no jobs\n")
    assert said(capsys, "--format", "json") == (0, "[]\n")


@pytest.mark.parametrize("name", ["42.n1", "42"])
def test_one_job(registry: Registry, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """By its name here or its id: the verdict with the console's tail, and the last of the record."""
    job(registry, 41, phase=READY)
    job(registry, 42, phase=FAILED, verdict=of_error(BOOT_FAULT, "booting"), notes=("vcpus: 2\x1b[2J",))
    with recorded(registry.log("42.n1")):
        LOG.info("supervises job 42")
        LOG.error("failed", exc_info=BOOT_FAULT)
    with registry.log("42.n1").open("a") as file:
        file.write('{"at": "cut o')
    code, text = said(capsys, name)
    assert code == 0
    for word in (
        "slurm job 42",
        "phase    failed, VT0904",
        "failed in phase booting, a transient fault",
        "Kernel panic",
    ):
        assert word in text
    assert "info supervises job 42" in text
    assert "error failed: " in text
    assert "\x1b" not in text, "what a child told does not reach the terminal"
    assert "41.n1" not in text
    (found,) = json.loads(said(capsys, name, "--format", "json")[1])
    assert found["verdict"]["findings"][0]["code"] == "VT0904"
    assert [line["level"] for line in found["record"]] == ["info", "error"]


def test_a_job_that_is_not_here(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    job(registry, 41)
    assert commands.run(["status", "4"]) == 1
    assert "error[VT0945]" in capsys.readouterr().err


def test_what_is_damaged_is_told_and_the_rest_is_shown(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    job(registry, 41, phase=READY)
    job(registry, 42).registration.write_text("{")
    job(registry, 43, phase=READY).state.write_text("{")
    assert commands.run(["status"]) == 1
    found = capsys.readouterr()
    assert [row["JOB"] for row in table(found.out)] == ["41.n1", "43.n1"]
    assert "error[VT0944]" in found.err


# --- an ordinary user -----------------------------------------------------------------------------------------------


@pytest.fixture
def user(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry of an ordinary user's `vtorque run`, beside root's with a batch job of theirs and another's."""
    monkeypatch.setattr(overview, "base_directory", lambda lane: registry.base)
    own, other = job(registry, 41, phase=READY), job(registry, 42, phase=READY)
    assert os.lstat(own.status).st_uid == os.geteuid()
    real = Path.lstat
    foreign = os.stat_result((0o100444, 0, 0, 1, os.geteuid() + 1, 0, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "lstat", lambda path: foreign if path == other.status else real(path))
    session = open_registry("session", tmp_path / "session")
    session.register("local-1", os.getuid())
    monkeypatch.setattr(common, "registry", lambda: session)
    return session


def test_a_user_sees_their_own_jobs_alone(user: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["JOB"] for row in table(said(capsys)[1])] == ["local-1"], "of the node's jobs nobody can make a list"
    assert "slurm" not in said(capsys, "local-1")[1]
    code, text = said(capsys, "41.n1")
    assert (code, "phase    ready" in text) == (0, True)
    assert commands.run(["status", "42.n1"]) == 1
    assert commands.run(["status", "../jobs/41.n1"]) == 1


def test_a_user_inside_of_a_batch_job(
    user: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, seen in ((41, True), (42, False)):
        monkeypatch.setenv("SLURM_JOB_ID", str(number))
        monkeypatch.setenv("SLURMD_NODENAME", "n1")
        found = {one["job"]: one["system"] for one in json.loads(said(capsys, "--format", "json")[1])}
        assert found == {"local-1": "local"} | ({"41.n1": "slurm"} if seen else {})
    monkeypatch.setenv("SLURM_JOB_ID", "../41")
    assert [one["job"] for one in json.loads(said(capsys, "--format", "json")[1])] == ["local-1"]


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert common.coloured()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not common.coloured()


# --- the record -----------------------------------------------------------------------------------------------------


def test_a_line_of_the_record(tmp_path: Path) -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError("x" * 20_000)

    path = tmp_path / "41.n1.jsonl"
    with recorded(path):
        LOG.info("a note\nof two lines")
        try:
            deep(50)
        except ValueError as error:
            LOG.error("failed", exc_info=error)
    LOG.warning("after the block")
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["level"], first["job"], first["message"]) == ("info", "41.n1", "a note\nof two lines")
    assert first["pid"] == os.getpid()
    assert datetime.fromisoformat(first["at"]).utcoffset() is not None
    assert second["error"].startswith("ValueError(")
    assert len(second["traceback"]) <= 8000
    assert len(second["error"]) <= 4000
    assert second["traceback"].rstrip().endswith("x"), "the end is what tells"
    assert path.stat().st_mode & 0o777 == 0o600


def test_phases_are_in_the_record(registry: Registry) -> None:
    spool = job(registry, 41, vms=(VmStatus("vn1-0", "staging"),))
    told = Publisher(spool, "41", "n1", None)
    with recorded(registry.log("41.n1")):
        told.phase("booting")
        told.phase("kernel", "vn1-0")
        told.note("one CPU less")
    lines = [json.loads(line)["message"] for line in registry.log("41.n1").read_text().splitlines()]
    assert lines == ["phase booting", "vn1-0: phase kernel", "one CPU less"]


def test_nothing_secret_is_in_the_record(tmp_path: Path) -> None:
    """Whatever is logged of a job's context, or fails with it in hand."""
    found = reserved(tmp_path)
    keys = JobKeys((b"\x5a" * 32,), "srv", "41", "s", 1000, "d")
    (slot,) = found.context.slots
    path = tmp_path / "41.jsonl"
    with recorded(path):
        LOG.info("planned %s with %s", found.context, keys)
        try:
            raise Fault("VT0914", f"cannot use {found.context}", detail=f"vtorque-phase: ready {slot.nonce}")
        except Fault as fault:
            LOG.error("failed: %s", fault, exc_info=fault)
    text = path.read_text()
    assert slot.uuid in text, "what is no secret is there"
    private = slot.host_key.private.splitlines()[1], found.context.keys.login_key.splitlines()[1]
    for secret in (slot.nonce, "PRIVATE KEY", *private, "5a5a5a", r"\x5a", "Z" * 32):
        assert secret not in text


def test_the_log_is_nobody_elses(registry: Registry) -> None:
    with recorded(registry.log("41.n1")):
        assert not logging.getLogger("vtorque").propagate
    assert (registry.base / "log").stat().st_mode & 0o777 == 0o700
    assert status.read(registry.base / "none") is None


def test_the_record_of_hooks_has_an_end(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks that fail for every job of a node do not fill its disk."""
    log = registry.log("hooks")
    for text in ("old", "new"):
        log.write_text(text)
        reap.reap(registry)
        assert log.exists()
        monkeypatch.setattr(reap, "_HOOKS_LOG_BYTES", 2)
        reap.reap(registry)
        assert not log.exists()
        assert log.with_name("hooks.old.jsonl").read_text() == text
        monkeypatch.undo()


def test_a_hook_that_fails_is_in_the_record_of_hooks(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch system is told that all is well; what is not, root reads."""
    monkeypatch.setattr(hook, "_registry", lambda: registry)
    assert hook.main("prologue", ["torque", "../../x"]) == 0
    monkeypatch.setenv("BEOWULF_JOB_MAP", "VT1.e30=")
    assert hook.main("prologue", ["torque", "../../x"]) == 0
    (line,) = map(json.loads, registry.log("hooks").read_text().splitlines())
    assert (line["job"], line["level"]) == ("hooks", "error")
    assert line["message"] == "prologue torque ../../x failed"
    assert "VT0912" in line["error"]
    assert "Traceback" in line["traceback"]
