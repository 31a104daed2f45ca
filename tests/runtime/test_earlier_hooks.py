"""A hook that the node had before ours is run as root: never one that others than root could have written."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime.batch.installed import earlier_hook, install, install_runtime, recorder
from tests.runtime.well_node import SITE, found, node
from vtorque_runtime.__main__ import main
from vtorque_runtime.commands import common
from vtorque_runtime.doctor import hooks
from vtorque_runtime.doctor.node import Node
from vtorque_runtime.spool import open_registry

__all__ = ["node"]  # a fixture

SHIMS = {
    "torque": ("prologue", {}, ["1.srv", "user", "group", "name", "walltime=1", "batch", ""]),
    "slurm": ("prologue", {"SLURM_SCRIPT_CONTEXT": "prolog_slurmd", "SLURM_JOB_ID": "1", "SLURMD_NODENAME": "n1"}, []),
}


def writable(path: Path) -> None:
    path.chmod(0o775)


def others_can_write(path: Path) -> None:
    path.chmod(0o757)


def linked(path: Path) -> None:
    """Where it leads to is not looked at."""
    elsewhere = path.rename(path.with_name("elsewhere"))
    path.symlink_to(elsewhere)


def anothers(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    os.chown(path, 65534, -1)


UNSAFE = [
    (spoil, above) for spoil in (writable, others_can_write, linked, anothers) for above in ("hook", "hooks", "vtorque")
]


def spoiled(root: Path, spoil: Callable[[Path], None], above: str) -> Path:
    """A hook of the site's that fails, where it, or a directory above it, is not root's alone."""
    path = earlier_hook(root, "prologue", recorder(root, 9))
    spoil({"hook": path, "hooks": path.parent, "vtorque": path.parent.parent}[above])
    return path


def run(root: Path, system: str) -> tuple[int, str]:
    """Run a prologue; return its exit code, and what it called of ours."""
    name, environment, arguments = SHIMS[system]
    install(system, root, name)
    install_runtime(root, recorder(root))
    code = subprocess.run([root / name, *arguments], env=environment, check=False).returncode
    calls = root / "vtorque-runtime.calls"
    return code, calls.read_text() if calls.exists() else ""


@pytest.mark.parametrize("system", SHIMS)
def test_a_safe_one_is_run(tmp_path: Path, system: str) -> None:
    earlier_hook(tmp_path, "prologue", recorder(tmp_path, 9))
    code, calls = run(tmp_path, system)
    assert (code, "refused" in calls) == (9, False)
    assert (tmp_path / "prologue.calls").exists()


@pytest.mark.parametrize(("spoil", "above"), UNSAFE)
@pytest.mark.parametrize("system", SHIMS)
def test_an_unsafe_one_is_not_run(tmp_path: Path, system: str, spoil: Callable[[Path], None], above: str) -> None:
    """The job starts without it, and our part is told."""
    path = spoiled(tmp_path, spoil, above)
    code, calls = run(tmp_path, system)
    assert (code, calls.splitlines()[0]) == (0, f"refused {path}")
    assert not (tmp_path / "prologue.calls").exists()


@pytest.mark.parametrize("system", SHIMS)
def test_without_a_program_that_can_tell_it_is_not_run(tmp_path: Path, system: str) -> None:
    earlier_hook(tmp_path, "prologue", recorder(tmp_path, 9))
    install_runtime(tmp_path, recorder(tmp_path))
    (tmp_path / "opt/vtorque/bin/find").symlink_to("/bin/false")
    assert run(tmp_path, system)[0] == 0
    assert not (tmp_path / "prologue.calls").exists()


@pytest.mark.parametrize(("spoil", "above"), UNSAFE)
def test_the_record_and_the_doctor_say_why(
    node: Node, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], above: str
) -> None:
    path = spoiled(node.root, spoil, above)
    monkeypatch.setattr(hooks, "_slurm", lambda _node, _site: iter(()))
    said = found(hooks.hooks, node, replace(SITE, batch="slurm"))
    assert said.startswith(f"error VT0946 {path} is not run: ")
    registry = open_registry("system", node.base)
    monkeypatch.setattr(common, "registry", lambda: registry)
    assert main(["refused", str(path)]) == 0
    (line,) = registry.log("hooks").read_text().splitlines()
    assert json.loads(line)["message"] in said.replace("error VT0946 ", "VT0946: ")
