"""`vtorque submit` and `vtorque verify` as separate processes; qsub and sbatch are stand-ins on the PATH."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.spec.helpers import MINIMAL, ROOT
from tests.test_cli import PATH

SITES = ROOT / "tests/invalid/sites"
COMMANDS = {"plain": "qsub", "openpbs": "qsub", "slurm": "sbatch"}


def vtorque(*arguments: str | Path, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vtorque_spec", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PATH, "PATH": str(path)},
    )


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.vjob.yaml"
    path.write_text(MINIMAL)
    return path


def stand_in(folder: Path, name: str, then: str) -> Path:
    """Make a command that keeps its arguments and its standard input, and ends as told."""
    folder.mkdir()
    path = folder / name
    path.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\necho "$@" >"$0.args"\ncat >"$0.script"\n{then}\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("site", COMMANDS)
def test_the_script_goes_to_the_batch_system(site: str, job: Path, tmp_path: Path) -> None:
    command = stand_in(tmp_path / "bin", COMMANDS[site], "echo 42.server")
    done = vtorque("submit", "--site", SITES / site, job, cwd=tmp_path, path=command.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42.server\n", "")
    compiled = vtorque("compile", "--site", SITES / site, job, cwd=tmp_path, path=command.parent)
    assert command.with_name(f"{command.name}.script").read_text() == compiled.stdout
    assert command.with_name(f"{command.name}.args").read_text() == ("--parsable\n" if site == "slurm" else "\n")


@pytest.mark.parametrize(("then", "code"), [("exit 32", 32), ("kill -TERM $$", 143)])
def test_what_the_batch_system_says_is_passed_on(then: str, code: int, job: Path, tmp_path: Path) -> None:
    command = stand_in(tmp_path / "bin", "qsub", f"echo 'qsub: no such queue' >&2\n{then}")
    done = vtorque("submit", "--site", SITES / "plain", job, cwd=tmp_path, path=command.parent)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "qsub: no such queue\n")


def test_a_command_that_reads_nothing(job: Path, tmp_path: Path) -> None:
    """A script larger than a pipe holds, and nobody to take it: no traceback, the command's own exit code."""
    command = stand_in(tmp_path / "bin", "sbatch", "")
    command.write_text("#!/bin/sh\nexec <&-\necho 'sbatch: error: no' >&2\nexit 1\n")
    job.write_text(MINIMAL.replace("run: hostname\n", "run: |\n" + "  : a line of a long script\n" * 2000))
    done = vtorque("submit", "--site", SITES / "slurm", job, cwd=tmp_path, path=command.parent)
    assert (done.returncode, done.stderr) == (1, "sbatch: error: no\n")


def test_a_bad_job_is_not_submitted(job: Path, tmp_path: Path) -> None:
    command = stand_in(tmp_path / "bin", "qsub", "")
    job.write_text(MINIMAL + "vcpu: 2\n")
    done = vtorque("submit", "--site", SITES / "plain", job, cwd=tmp_path, path=command.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error[VT0102]" in done.stderr
    assert sorted(path.name for path in command.parent.iterdir()) == ["qsub"]


@pytest.mark.parametrize(("site", "command"), [("plain", "qsub"), ("slurm", "sbatch")])
def test_a_missing_command_is_told(site: str, command: str, job: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    done = vtorque("submit", "--site", SITES / site, job, cwd=tmp_path, path=tmp_path / "bin")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error[VT0608]: `{command}` cannot be started: no such file or directory\n")
    assert "help: submit on a host of the cluster" in done.stderr
    stand_in(tmp_path / "other", command, "").chmod(0o644)
    done = vtorque("submit", "--site", SITES / site, job, cwd=tmp_path, path=tmp_path / "other")
    assert "permission denied" in done.stderr or "no such file" in done.stderr
    assert done.returncode == 1


# --- verify -----------------------------------------------------------------------------------------------------------


def verify(script: Path, job: Path, site: str = "plain") -> subprocess.CompletedProcess[str]:
    return vtorque("verify", "--site", SITES / site, script, job, cwd=job.parent, path=Path(os.defpath))


@pytest.mark.parametrize("site", COMMANDS)
def test_a_script_is_what_its_job_compiles_to(site: str, job: Path, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(vtorque("compile", "--site", SITES / site, job, cwd=tmp_path, path=tmp_path).stdout)
    done = verify(script, job, site)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


CHANGES = {
    "a directive": (b"walltime=01:00:00", b"walltime=02:00:00"),
    "what people read": (b"# | run: hostname", b"# | run: id"),
    "what runs": (b"exec vtorque-runtime", b"id; exec vtorque-runtime"),
    "a line end": (b"#!/bin/bash\n", b"#!/bin/bash\r\n"),
    "one line more": (b"\nVTORQUE-USER-PART\n", b"\nVTORQUE-USER-PART\nid\n"),
    "a byte that is no text": (b"# | run: hostname", b"# | run: hostnam\xff"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_script_is_told(what: str, job: Path, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    text = vtorque("compile", "--site", SITES / "plain", job, cwd=tmp_path, path=tmp_path).stdout.encode()
    changed = text.replace(*CHANGES[what])
    assert changed != text
    script.write_bytes(changed)
    number = next(n for n, (a, b) in enumerate(zip(text.split(b"\n"), changed.split(b"\n"), strict=False), 1) if a != b)
    done = verify(script, job)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{script}:{number}: {job} compiles to something else at the site `plain`:\n")


def test_a_script_that_is_cut_off_is_told(job: Path, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    text = vtorque("compile", "--site", SITES / "plain", job, cwd=tmp_path, path=tmp_path).stdout
    script.write_text(text.removesuffix("\nVTORQUE-USER-PART\n"))
    assert "the script has  nothing more\n  compiled it is  'VTORQUE-USER-PART'" in verify(script, job).stderr
    script.write_text(text.removesuffix("\n"))
    assert "the script has  nothing more\n  compiled it is  ''" in verify(script, job).stderr


def test_another_policy_and_another_job_are_told(job: Path, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(vtorque("compile", "--site", SITES / "plain", job, cwd=tmp_path, path=tmp_path).stdout)
    assert "at the site `queues`" in verify(script, job, "queues").stderr
    assert "no script that `vtorque compile` wrote" in verify(job, job).stderr
    job.write_text(MINIMAL + "timeouts: {grace: 31s}\n")
    head, has, is_, hint = verify(script, job).stderr.splitlines()
    assert (head.startswith(f"{script}:"), hint) == (
        True,
        f"  help: see what the script tells root: vtorque show {script}",
    )
    assert has.split()[-1] != is_.split()[-1], "of a long line the part that differs is shown"
    job.write_text(MINIMAL + "vcpu: 2\n")
    assert "VT0102" in verify(script, job).stderr
