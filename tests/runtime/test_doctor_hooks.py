"""What `vtorque-runtime doctor` finds of the batch systems' hooks and of what runs `reap`."""

import configparser
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime.batch.installed import HOOKS, program
from tests.runtime.well_node import SITE, found, node, told
from vtorque_runtime.batch import command
from vtorque_runtime.doctor import hooks
from vtorque_runtime.doctor.node import Node

__all__ = ["node"]  # a fixture

UNITS = Path(__file__).parents[2] / "runtime/systemd"

TORQUE = replace(SITE, batch="torque")
OPENPBS = replace(SITE, batch="openpbs")


@pytest.fixture
def mom(node: Node) -> Path:
    """The directory of a mom with our hooks, as docs/install-torque.md has it."""
    home = node.root / "var/spool/torque/mom_priv"
    home.mkdir(parents=True)
    for name in ("prologue", "prologue.parallel", "epilogue", "epilogue.parallel"):
        shutil.copy(HOOKS / "torque", home / name)
        (home / name).chmod(0o500)
    (home / "config").write_text("$pbsserver srv\n")
    return home


def test_torque(node: Node, mom: Path) -> None:
    assert told(hooks.hooks, node, TORQUE) == []
    (mom / "epilogue.parallel").unlink()
    assert "epilogue.parallel cannot be used: no such file" in found(hooks.hooks, node, TORQUE)


@pytest.mark.parametrize("mode", [0o400, 0o100, 0o720, 0o702])
def test_torque_refuses_a_hook_of_that_mode(node: Node, mom: Path, mode: int) -> None:
    """It takes 0500, 0700 and 0755."""
    (mom / "prologue").chmod(mode)
    assert f"with mode {mode:04o}" in " ".join(told(hooks.hooks, node, TORQUE))


def test_torque_with_hooks_of_others(node: Node, mom: Path) -> None:
    (mom / "prologue").chmod(0o700)
    (mom / "prologue").write_text("#!/bin/sh\nexit 0\n")
    assert "is not ours" in found(hooks.hooks, node, TORQUE)
    shutil.copy(HOOKS / "torque", mom / "prologue")
    (mom / "prologue.user").touch()
    assert "jobtype" in found(hooks.hooks, node, TORQUE)


def test_torques_limit(node: Node, mom: Path) -> None:
    (mom / "config").write_text("$prologalarm 30\n")
    assert "$prologalarm is 30 s" in found(hooks.hooks, node, TORQUE)
    (mom / "config").write_text("# $prologalarm 10\n  $prologalarm 120\n")
    assert told(hooks.hooks, node, replace(TORQUE, hook_limit_s=120)) == []
    assert "`hook_limit: 300s`, and $prologalarm is 120 s" in found(
        hooks.hooks, node, replace(TORQUE, hook_limit_s=300)
    )


def test_no_mom(node: Node) -> None:
    assert "there is no mom here" in found(hooks.hooks, node, TORQUE)


@pytest.fixture
def pbs(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install the hook as the server sends it to a mom, and a qmgr that shows it with these attributes."""
    home = node.root / "var/spool/pbs/mom_priv/hooks"
    home.mkdir(parents=True)
    shutil.copy(HOOKS / "openpbs_hook.py", home / "vtorque.PY")
    monkeypatch.setattr(command, "PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def show(code: int = 0, **changes: str) -> None:
        events = "execjob_begin,execjob_abort,execjob_end,exechost_startup,exechost_periodic"
        said = {"type": "site", "enabled": "true", "event": events, "order": "200", "alarm": "60", **changes}
        lines = "".join(f"    {key} = {value}\n" for key, value in said.items())
        program(
            tmp_path / "bin/qmgr", f'#!/bin/sh\n[ "$*" = "-c list hook vtorque" ] || exit 9\n'
            f"cat <<'X'\nHook vtorque\n{lines}X\nexit {code}\n"
        )  # fmt: skip

    show()
    return show


def test_openpbs(node: Node, pbs: Callable[..., None]) -> None:
    assert told(hooks.hooks, node, OPENPBS) == []
    pbs(alarm="30")
    assert "the alarm of vtorque is 30 s" in found(hooks.hooks, node, OPENPBS)
    pbs(enabled="false")
    assert "is disabled" in found(hooks.hooks, node, OPENPBS)
    pbs(event="execjob_begin,execjob_end,exechost_startup,exechost_periodic")
    assert "is not called for execjob_abort" in found(hooks.hooks, node, OPENPBS)
    pbs(code=1)
    assert told(hooks.hooks, node, OPENPBS) == [], "who may not ask the server still sees the hook"


def test_openpbs_without_our_hook(node: Node, pbs: Callable[..., None]) -> None:
    old = node.root / "var/spool/pbs/mom_priv/hooks/vtorque.PY"
    (node.root / "etc").mkdir()
    (node.root / "etc/pbs.conf").write_text("PBS_EXEC=/opt/pbs\nPBS_HOME=/srv/pbs\n")
    assert "has not come to this node" in found(hooks.hooks, node, OPENPBS)
    new = node.root / "srv/pbs/mom_priv/hooks"
    new.mkdir(parents=True)
    old.rename(new / old.name)
    assert told(hooks.hooks, node, OPENPBS) == []


@pytest.fixture
def scontrol(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install the hook as docs/install-slurm.md has it, and a scontrol that shows this configuration."""
    (node.root / "opt/vtorque").mkdir(parents=True)
    shutil.copy(HOOKS / "slurm", node.root / "opt/vtorque/slurm-hook")
    monkeypatch.setattr(command, "PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def show(code: int = 0, **changes: str) -> None:
        hook = "/opt/vtorque/slurm-hook"
        said = {"Prolog": hook, "Epilog": hook, "PrologFlags": "Alloc,DeferBatch", "PrologEpilogTimeout": "65534"}
        text = "".join(f"{key:<23} = {value}\n" for key, value in {**said, **changes}.items())
        program(
            tmp_path / "bin/scontrol", '#!/bin/sh\n[ "$* $SLURM_CONF" = "show config /x/slurm.conf" ] || exit 9\n'
            f"cat <<'X'\nConfiguration data as of 2026-11-23T05:00:00\n{text}X\nexit {code}\n"
        )  # fmt: skip

    show()
    return show


def test_slurm(node: Node, scontrol: Callable[..., None]) -> None:
    node = replace(node, environment={"SLURM_CONF": "/x/slurm.conf"})
    assert told(hooks.hooks, node, SITE) == []
    for changes, words in (
        ({"Prolog": "(null)"}, "Slurm's Prolog is not ours: none"),
        ({"Epilog": "/opt/vtorque/other"}, "Slurm's Epilog is not ours"),
        ({"PrologFlags": "Alloc"}, "lack DeferBatch"),
        ({"PrologFlags": "(null)"}, "lack Alloc and DeferBatch"),
        ({"PrologEpilogTimeout": "30"}, "PrologEpilogTimeout is 30 s"),
    ):
        scontrol(**changes)
        assert words in found(hooks.hooks, node, SITE)
    scontrol(Prolog="/opt/vtorque/slurm-*", PrologEpilogTimeout="120 sec")
    assert told(hooks.hooks, node, SITE) == []
    assert "hook_limit: 300s" in found(hooks.hooks, node, replace(SITE, hook_limit_s=300))
    (node.root / "opt/vtorque/slurm-hook").chmod(0o777)
    assert len(told(hooks.hooks, node, SITE)) == 2
    scontrol(code=1)
    assert found(hooks.hooks, node, SITE).startswith("error VT0930")


def test_reap_is_started_by_something(node: Node) -> None:
    assert found(hooks.reap, node, SITE).startswith("warning VT0948 nothing starts")
    assert told(hooks.reap, node, OPENPBS) == []
    cron = node.root / "etc/cron.d/vtorque"
    cron.parent.mkdir(parents=True)
    cron.write_text("* * * * * root /opt/vtorque/bin/vtorque-runtime reap\n")
    assert told(hooks.reap, node, SITE) == []
    cron.unlink()
    timer = node.root / "etc/systemd/system/timers.target.wants/vtorque-reap.timer"
    timer.parent.mkdir(parents=True)
    timer.symlink_to("/lib/systemd/system/vtorque-reap.timer")
    assert told(hooks.reap, node, SITE) == []


def test_the_timer_that_is_shipped() -> None:
    service, timer = configparser.ConfigParser(), configparser.ConfigParser()
    service.optionxform = timer.optionxform = str  # type: ignore[assignment,method-assign] # as its documentation has it
    service.read(UNITS / "vtorque-reap.service")
    timer.read(UNITS / "vtorque-reap.timer")
    assert service["Service"]["ExecStart"].endswith("/vtorque-runtime reap")
    assert service["Service"]["Type"] == "oneshot"
    assert (timer["Timer"]["OnUnitInactiveSec"], timer["Install"]["WantedBy"]) == ("60s", "timers.target")
    assert "OnBootSec" in timer["Timer"]
    if verify := shutil.which("systemd-analyze"):
        done = subprocess.run([verify, "verify", UNITS / "vtorque-reap.timer"], capture_output=True, text=True)
        assert "Unknown" not in done.stderr
