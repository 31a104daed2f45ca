"""The linters are tests too."""

import os
import subprocess
import sys

import pytest

from tests.spec.helpers import ROOT

PYTHON = [sys.executable, "-m"]


@pytest.mark.parametrize(
    "command",
    [
        [*PYTHON, "ruff", "check", "--quiet", ".", "scripts/job-reference", "scripts/policy-reference"],
        [*PYTHON, "ruff", "format", "--check", "--quiet", "."],
        [*PYTHON, "mypy"],
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        ["shellcheck", "scripts/setup", "scripts/demo", "scripts/test", ".ci/run"],
    ],
    ids=["ruff", "format", "mypy", "layers", "shellcheck"],
)
def test_clean(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_is_long() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for folder in ("vtorque_spec", "compilers", "runtime")
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 350
    }
    assert not long


def test_the_page_of_the_job_file_is_fresh() -> None:
    path = os.pathsep.join(str(ROOT / part) for part in ("", "compilers", "runtime"))
    command = [sys.executable, ROOT / "scripts/job-reference"]
    made = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    assert made.stdout == (ROOT / "docs/job-file.md").read_text(), "run: scripts/job-reference > docs/job-file.md"
