"""What the tests of lint share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.spec.helpers import ROOT

PYTHON_PATH = os.pathsep.join(str(ROOT / part) for part in ("", "compilers", "runtime"))
HEAD = "apiVersion: vtorque/v1\nname: x\nimage: debian-12\n"
GOOD = HEAD + "run: hostname\n"
BAD = HEAD + "vcpus: 0\nrun: hostname\n"
WARNED = HEAD + "run: |\n  #PBS -l nodes=2\n  hostname\n"


def lint(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `vtorque lint` as a process of its own."""
    return vtorque("lint", *arguments, cwd=cwd, **environment)


def vtorque(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vtorque_spec", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHON_PATH, **environment},
    )


def site_with(directory: Path, policy: str) -> Path:
    """Make a site whose policy is this text."""
    shutil.copytree(ROOT / "tests/invalid/sites/plain", directory)
    (directory / "policy.yaml").write_text(policy)
    return directory
