"""The command on a node: what it says, and that it is there quickly."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from vtorque_runtime import commands as command
from vtorque_runtime import ledger, spool
from vtorque_runtime.commands import common, iocm, jobs
from vtorque_spec.canonical import canonical_json
from vtorque_spec.carrier import encode_user_part
from vtorque_spec.plan import Cell, Claim, Script, UserPart

USER = encode_user_part(UserPart(1, Script("true", ()), None, None, ()))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> spool.Registry:
    found = spool.open_registry("session", tmp_path / "base")
    monkeypatch.setattr(common, "registry", lambda: found)
    return found


@pytest.mark.parametrize("job_id", ["42.srv", None])
def test_a_job_that_nobody_prepared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], job_id: str | None
) -> None:
    monkeypatch.delenv("PBS_JOBID", raising=False)
    if job_id:
        monkeypatch.setenv("PBS_JOBID", job_id)
    monkeypatch.setattr(sys, "stdin", io.StringIO(USER + "\n"))
    assert command.run(["job", "torque"]) == 78
    said = capsys.readouterr().err
    assert (job_id or "torque did not start") in said
    assert "no vtorque prologue runs here" in said
    assert "`-v`" in said


@pytest.mark.parametrize("body", ["", "VTU1.", USER[:-9], "\0"])
def test_a_damaged_body(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], body: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(body))
    assert command.run(["job", "torque"]) == 1
    assert "error[VT0912]" in capsys.readouterr().err


def test_status_and_reap(registry: spool.Registry, capsys: pytest.CaptureFixture[str]) -> None:
    living, _ = registry.register("local-1", os.getuid())
    cells = (Cell(0, ((0, 2), (1, 3)), 0, (), ()),)
    ledger.claim(registry, living, Claim((0, 2), (), ()), cells)
    dead, held = registry.register("local-2", os.getuid())
    dead.registration.write_text(canonical_json(replace(held, boot_id="the one before")))
    assert command.run(["status"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    words = [dict(zip(head.split(), line.split(), strict=False)) for line in rows]
    assert [(one["JOB"], one["PHASE"], one["CPUS"]) for one in words] == [
        ("local-1", "run", "0,2"),
        ("local-2", "dead", "-"),
    ]
    assert command.run(["status", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["job"], one["alive"], one["cpus"]) for one in told] == [
        ("local-1", True, [0, 2]),
        ("local-2", False, None),
    ]
    assert all(datetime.fromisoformat(one["since"]).tzinfo and one["user"] and one["pid"] for one in told)
    assert command.run(["reap"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["local-1:", "local-2:"]
    assert [one.job_id for one in registry.registrations()] == ["local-1"]


def test_reap_tells_what_it_could_not_undo(registry: spool.Registry, capsys: pytest.CaptureFixture[str]) -> None:
    dead, held = registry.register("local-2", os.getuid())
    dead.registration.write_text(canonical_json(replace(held, boot_id="the one before")))
    dead.journal.step({"kind": "domain", "uri": "qemu:///nowhere", "uuid": "u"}, lambda: None)
    assert command.run(["reap"]) == 1
    said = capsys.readouterr().err
    assert "error[VT0911]" in said
    assert "qemu:///nowhere" in said


@pytest.mark.parametrize("words", ["status", "iocm", "iocm show", "iocm set"])
def test_help_says_who_may_and_gives_an_example_that_parses(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command.run([*words.split(), "--help"])
    assert caught.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Run it as root" in said
    assert words != "iocm set" or "`min_cores` to `max_cores`" in said
    program, *example = said.rpartition("example: ")[2].split()
    assert (program, " ".join(example).startswith(words)) == ("vtorque-runtime", True)
    for module, act in ((jobs, "_status"), (iocm, "_show"), (iocm, "_set")):
        monkeypatch.setattr(module, act, lambda _chosen: 0)
    assert command.run(example) == 0


@pytest.mark.parametrize("argv", [[], ["prologue"], ["reap", "x"]])
def test_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.run(argv)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(("where", "code", "says"), [(">/dev/full", 1, "error[VT0914]"), (">&-", 0, "")])
def test_output_that_nobody_takes(where: str, code: int, says: str) -> None:
    """A full disk is told; a stream that the caller closed is no trouble."""
    ended, said = _in_a_shell(f"doctor --help {where}")
    assert (ended, said.startswith(says), "Traceback" in said, "Exception" in said) == (code, True, False, False), said


def test_a_reader_that_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "doctor", "--help"], stdout=writer, stderr=-1, env=ENVIRONMENT
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", "2>&- >&- <&-"])
@pytest.mark.parametrize("words", ["prologue slurm", "epilogue torque", "prologue openpbs execjob_begin"])
def test_a_hook_ends_with_0_though_it_can_tell_nobody_why_it_failed(words: str, where: str) -> None:
    assert _in_a_shell(f"{words} {where}") == (0, "")


PROGRAM = (
    "import sys, vtorque_runtime, vtorque_runtime.__main__\n"
    "vtorque_runtime.SYSTEM_BASE = '/dev/null'\nsys.exit(vtorque_runtime.__main__.main())"
)
"""The command on a node whose record takes nothing."""
ENVIRONMENT = {"PYTHONPATH": ":".join(sys.path)}


def _in_a_shell(words: str) -> tuple[int, str]:
    argv = ["bash", "-c", f'exec "$0" -c "$1" {words}', sys.executable, PROGRAM]
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stderr


def test_nothing_heavy_is_imported_to_start() -> None:
    code = (
        "import sys\nimport vtorque_runtime.__main__, vtorque_runtime.reap, vtorque_runtime.local\n"
        "print({'libvirt', 'cryptography', 'pycdlib', 'pydantic', 'ruamel', 'jinja2', 'click'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")
