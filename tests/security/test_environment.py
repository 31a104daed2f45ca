"""What of an environment that a user has a hand in reaches a program of root's: nothing but what is named here."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.batch.installed import install, install_runtime, program, recorder
from tests.runtime.batch.openpbs_standin import Job, OpenPbs
from tests.security.users import User
from tests.security.world import World
from vtorque_runtime import begin, body
from vtorque_runtime.confine import call_as

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = {"PWD", "OLDPWD", "SHLVL", "_"}
"""What the recording shell itself adds."""


def hostile(directory: Path) -> dict[str, str]:
    """An environment as bad as can be: each variable leads a program of root's to a file of the user's."""
    for name in ("vtorque_runtime/__init__.py", "sitecustomize.py", "usercustomize.py", "startup.py", "bash-env"):
        (directory / "evil" / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / "evil" / name).write_text(f"open({str(directory / 'broke-in')!r}, 'w')\n")
    evil = str(directory / "evil")
    python = dict.fromkeys(("PYTHONPATH", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX"), evil)
    shell = {"ENV": f"{evil}/bash-env", "BASH_ENV": f"{evil}/bash-env", "IFS": "/", "CDPATH": evil, "TMPDIR": evil}
    batch = {"PBS_O_WORKDIR": evil, "PBS_O_HOME": evil, "MOAB_USER": "root", "MOAB_JOBID": "../x", "SPANK_X": evil}
    slurm = {
        "SLURM_JOB_USER": "root",
        "SLURM_JOB_WORK_DIR": evil,
        "SLURM_TIME_FORMAT": "relative",
        "SLURM_JOB_UID": "0",
    }
    more = {"PYTHONSTARTUP": f"{evil}/startup.py", "PYTHONINSPECT": "1", "LD_LIBRARY_PATH": evil, "HOME": evil}
    return {**python, **shell, **batch, **slurm, **more, "SHELLOPTS": "xtrace", "VTORQUE_SITE": evil}


def told(root: Path) -> dict[str, str]:
    """The environment that the recorder was given."""
    lines = (root / "vtorque-runtime.calls").read_text().splitlines()[1:]
    return {name: text for name, _, text in (line.partition("=") for line in lines) if name not in SHELL}


def test_torques_hook_hands_on_the_carrier_alone(tmp_path: Path) -> None:
    install("torque", tmp_path, "prologue")
    install_runtime(tmp_path, recorder(tmp_path))
    (tmp_path / "var/lib/vtorque/jobs").mkdir(parents=True)
    given = {**hostile(tmp_path), "PATH": "/bin:/usr/bin", "BEOWULF_JOB_MAP": "VT1.x", "PBS_NODENUM": "1"}
    arguments = ["141.head", "alice", "users", "--site=/evil", "walltime=1", "batch", ""]
    subprocess.run([tmp_path / "prologue", *arguments], env=given, check=True, stdin=subprocess.DEVNULL)
    found = told(tmp_path)
    assert found.pop("PATH") == f"{tmp_path}/opt/vtorque/bin:{PATH}"
    assert found == {"BEOWULF_JOB_MAP": "VT1.x", "PBS_NODENUM": "1"}


def test_slurms_hook_hands_on_what_slurmd_says_of_the_job(tmp_path: Path) -> None:
    install("slurm", tmp_path, "prolog")
    install_runtime(tmp_path, recorder(tmp_path))
    own = {
        "SLURM_CONF": "/etc/slurm/slurm.conf", "SLURM_JOB_ID": "12", "SLURMD_NODENAME": "n1", "SLURM_NODELIST": "n1",
        "SLURM_CLUSTER_NAME": "cluster",
    }  # fmt: skip
    given = {**hostile(tmp_path), **own, "SLURM_SCRIPT_CONTEXT": "prolog_slurmd"}
    subprocess.run([tmp_path / "prolog"], env=given, check=True, stdin=subprocess.DEVNULL)
    found = told(tmp_path)
    assert found.pop("PATH") == f"{tmp_path}/opt/vtorque/bin:{PATH}"
    assert found == own
    subprocess.run([tmp_path / "prolog"], env={"SLURM_SCRIPT_CONTEXT": "x"}, check=True)  # nothing of slurmd's


def test_openpbss_hook_hands_on_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in hostile(tmp_path).items():
        if not name.startswith("PYTHON"):  # PBS's own Python would not start
            monkeypatch.setenv(name, text)
    moms = OpenPbs(tmp_path / "pbs", ("n1",))
    install_runtime(moms.root("n1"), recorder(moms.root("n1")))
    moms.start(Job(id="151.head", user="alice", chunks=(("n1", 2, 1048576),), resources={"vtspec": "VT1.x"}))
    said = (moms.root("n1") / "vtorque-runtime.calls").read_text().rpartition("}")[2]  # what is behind the attributes
    names = {line.partition("=")[0] for line in said.splitlines()}
    assert names - SHELL == {"PATH"}


def test_a_hooks_python_takes_no_module_of_the_users(tmp_path: Path) -> None:
    """The real runtime, started by the real shim."""
    install("torque", tmp_path, "prologue")
    base = f"import vtorque_runtime\nvtorque_runtime.SYSTEM_BASE = {str(tmp_path / 'base')!r}\n"
    runtime = f"#!{sys.executable}\nimport sys\n{base}from vtorque_runtime.__main__ import main\nsys.exit(main())\n"
    install_runtime(tmp_path, runtime)
    given = {**hostile(tmp_path), "PATH": "/bin:/usr/bin", "BEOWULF_JOB_MAP": "VT1.x"}
    done = subprocess.run([tmp_path / "prologue", *["../x"] * 7], env=given, check=True, cwd=tmp_path / "evil")
    assert done.returncode == 0
    assert not (tmp_path / "broke-in").exists()
    assert "VT0912" in (tmp_path / "base/log/hooks.jsonl").read_text(), "the runtime did not come to run"


def test_a_supervisor_starts_with_nothing_of_the_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {**hostile(tmp_path), "PATH": str(tmp_path / "evil"), "SLURM_CONF": "/conf"}.items():
        monkeypatch.setenv(name, text)
    recorded = tmp_path / "recorded"
    script = f"#!/bin/sh\n{{ echo \"$*\"; pwd; ls /proc/$$/fd | tr '\\n' ' '; echo; /usr/bin/env; }} >{recorded}\n"
    program(tmp_path / "python", script)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(Path, "is_dir", lambda _path: False)  # as where no systemd runs
    started: list[Any] = []
    whole = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **more: started.append(whole(*words, **more)))
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    begin._start_supervisor("12.n1", Path("/etc/vtorque"))
    os.close(reader)
    os.close(writer)
    assert started[0].wait(20) == 0
    command, directory, descriptors, *lines = recorded.read_text().splitlines()
    assert command == "-I -m vtorque_runtime supervise 12.n1 --site /etc/vtorque"
    assert directory == "/"
    assert str(writer) not in descriptors.split()
    found = {name: text for name, _, text in (line.partition("=") for line in lines) if name not in SHELL}
    assert found == {"PATH": begin.PATH, "SLURM_CONF": "/conf"}


@pytest.mark.root
def test_a_body_that_claims_another_users_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sbatch --export=SLURM_JOB_ID=13`: the body runs as its owner, who cannot read what the job 13 was told."""
    base = world.node.registry.base
    monkeypatch.setattr(body, "base_directory", lambda _lane: base)
    environment = {"SLURM_JOB_ID": "13", "SLURMD_NODENAME": "node"}

    def answer(user: User) -> str:
        def tried() -> bytes:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                return body._spool("slurm", environment).path.name.encode()
            except body.FailedError as failed:
                return str(failed.code).encode()

        return call_as(user.uid, user.gid, [], tried).decode()

    with world.supervised(world.other, "13"):
        assert answer(world.user) == "78"
        assert answer(world.other) == "13.node"


@pytest.mark.parametrize("name", ["../13.node", "13/../../x", "13\n", "-1", "", "1" * 50, "\x1b[2J", "13.node"])
def test_a_body_takes_no_path_for_a_job(name: str) -> None:
    from vtorque_runtime.batch import adapter
    from vtorque_spec.fault import Fault

    for system, environment in (
        ("slurm", {"SLURM_JOB_ID": name, "SLURMD_NODENAME": "node"}),
        ("slurm", {"SLURM_JOB_ID": "13", "SLURMD_NODENAME": f"../{name}"}),
        ("torque", {"PBS_JOBID": f"../{name}"}),
        ("openpbs", {"PBS_JOBID": f"13.{name}/.."}),
    ):
        with pytest.raises(Fault, match="VT0912") as refused:
            adapter(system).own_job(environment)
        assert refused.value.message.isprintable()
