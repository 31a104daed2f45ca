"""What all adapters share: names, programs started by root, what a hook loads, and verdicts on each batch system."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tests.runtime.batch.installed import HOOKS, install, install_runtime, program, recorder
from tests.runtime.batch.openpbs_standin import Job as PbsJob
from tests.runtime.batch.openpbs_standin import OpenPbs
from tests.runtime.batch.torque_standin import Job, Torque
from vtorque_runtime import verdict
from vtorque_runtime.batch import adapter, command, job_key, local
from vtorque_runtime.batch.contract import Adapter, System
from vtorque_runtime.spool import Start, open_registry
from vtorque_spec.fault import Fault


@pytest.mark.parametrize("system", get_args(System))
def test_every_adapter_has_the_whole_interface(system: str) -> None:
    names = [name for name in vars(Adapter) if not name.startswith("_")]
    assert names
    assert all(callable(getattr(adapter(system), name)) for name in names)


@pytest.mark.parametrize("system", ["", "pbs", "command", "../slurm"])
def test_no_adapter(system: str) -> None:
    with pytest.raises(Fault, match="VT0930"):
        adapter(system)


def test_a_key_is_short_and_tells_jobs_and_nodes_apart() -> None:
    long = "1" * 60
    keys = [
        job_key(job, node) for job in ("141.head", "141[3].head", "12", f"{long}.head") for node in ("n1", "n2.org")
    ]
    assert keys[:5] == ["141.n1", "141.n2", "141[3].n1", "141[3].n2", "12.n1"]
    assert len(set(keys)) == 8
    assert max(map(len, keys)) <= 48


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "-x", "a\n", "é", "a" * 256, "a\0"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(Fault, match="VT0912"):
        job_key(name, "n1")
    with pytest.raises(Fault, match="VT0912"):
        job_key("141", name)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_a_program_is_told_nothing_of_the_hook(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    monkeypatch.setenv("PBS_O_WORKDIR", "/evil")
    program(programs / "show", "#!/bin/sh\nenv; cat; echo $0 >&2; exit 3\n")
    ended = command.run("show", environment={"SLURM_CONF": "/x"})
    told = dict(line.split("=", 1) for line in ended.out.decode().splitlines())
    assert {name: text for name, text in told.items() if name not in ("PWD", "_", "SHLVL")} == {
        "PATH": command.PATH, "LC_ALL": "C", "TZ": "UTC", "SLURM_CONF": "/x",
    }  # fmt: skip
    assert (ended.code, ended.err, ended.cut) == (3, f"{programs}/show", False)


def test_a_program_takes_signals_that_the_hook_does_not(programs: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    ignored = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        said = command.run("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status").out.split()  # dash clears its own mask
    finally:
        signal.signal(signal.SIGPIPE, ignored)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert [int(mask, 16) & 0x7FFFFFFF for mask in said[1::2]] == [0, 0]  # above these are those of the C library


def test_a_program_that_hangs_is_ended(programs: Path) -> None:
    program(programs / "hang", f"#!/bin/sh\necho $$ >{programs}/pid\nexec sleep 100\n")
    with pytest.raises(Fault, match=r"VT0930: hang did not answer within 0\.5 s"):
        command.run("hang", limit_s=0.5)
    assert not Path(f"/proc/{(programs / 'pid').read_text().strip()}").exists()


def test_a_child_that_keeps_the_output_open_does_not_hold_up(programs: Path) -> None:
    program(programs / "daemon", "#!/bin/sh\nsleep 2 &\necho said\n")
    with pytest.raises(Fault, match="did not answer"):
        command.run("daemon", limit_s=0.3)


def test_a_program_that_says_too_much_is_ended(programs: Path) -> None:
    program(programs / "much", "#!/bin/sh\nexec yes\n")
    ended = command.run("much", most_bytes=1000, may_be_cut=True)
    assert (len(ended.out), ended.cut) == (1000, True)
    with pytest.raises(Fault, match="VT0930: much said more than 1000 bytes"):
        command.run("much", most_bytes=1000)


def test_no_program(programs: Path) -> None:
    with pytest.raises(Fault, match="VT0930: nothing is in none of"):
        command.run("nothing")
    program(programs / "broken", "#!/no/such/interpreter\n")
    with pytest.raises(Fault, match=r"VT0930: .*broken cannot be run"):
        command.run("broken")
    assert len(os.listdir("/proc/self/fd")) < 100


def test_descriptors_are_closed(programs: Path) -> None:
    program(programs / "fine", "#!/bin/sh\n")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        command.run("fine")
    assert len(os.listdir("/proc/self/fd")) == before


HEAVY = ("re", "typing", "dataclasses", "subprocess", "json", "hashlib", "xml", "datetime", "vtorque_spec.plan")
"""Each takes longer to load than all else that a hook does."""


@pytest.mark.parametrize("system", ["torque", "openpbs", "slurm"])
def test_an_ordinary_jobs_hook_loads_little(system: str) -> None:
    code = f"""
import os, sys
from vtorque_runtime.batch import adapter
hook = adapter({system!r}).hook(["141.head", *"abcdefg"], {{"SLURM_JOB_ID": "1", "SLURMD_NODENAME": "n"}}, b'{{}}')
loaded = [name for name in {HEAVY!r} if name in sys.modules]
print(loaded)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("['re', 'json']" if system == "openpbs" else "[]")


@pytest.mark.parametrize("part", ["prologue", "epilogue"])
def test_nor_does_it_on_a_node_with_a_job_of_ours(part: str, tmp_path: Path) -> None:
    (tmp_path / "jobs/142.n1").mkdir(parents=True)
    code = f"""
import sys, vtorque_runtime
from vtorque_runtime import hook
vtorque_runtime.SYSTEM_BASE = {str(tmp_path)!r}
code = hook.main({part!r}, ["torque", "141.head", *"abcdefg"])
print(code, [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("0 []", "")
    assert not (tmp_path / "log").exists()


def test_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = open_registry("system", tmp_path / "spool")
    monkeypatch.setattr("vtorque_runtime.spool.open_registry", lambda lane: registry)
    registry.register("local-00000001", os.getuid())
    registry.register("141.n1", os.getuid(), 1, Start("torque", "141.head", "1.1", "n1"))
    assert [local.state(job, "", "n1") for job in ("local-00000001", "local-00000002", "141.head")] == [
        "live", "gone", "gone",
    ]  # fmt: skip
    monkeypatch.setattr("vtorque_runtime.spool.alive", lambda held: False)
    assert local.state("local-00000001", "", "n1") == "gone"
    assert local.own_job({"PBS_JOBID": "1.x", "SLURM_JOB_ID": "1"}) is None
    assert local.elsewhere([], ["x"]) == []
    for act in (lambda: local.hook([], {}, b""), lambda: local.offline("n1", "x")):
        with pytest.raises(Fault, match="VT0930"):
            act()


BODY_EXIT_CODES: dict[verdict.Kind, int] = {"user": 78, "site": 78, "node": 75, "transient": 75}


def _torque(directory: Path, code: int) -> bool:
    server = Torque(directory, ("n1", "n2"))
    for node in ("n1", "n2"):
        install_runtime(server.root(node), recorder(directory, code))
    job = Job("141.head", "alice", "n1/0+n2/0", {"BEOWULF_JOB_MAP": "VT1.x"})
    return server.start(job) == "completed" and not server.down


def _openpbs(directory: Path, code: int) -> bool:
    moms = OpenPbs(directory, ("n1", "n2"))
    for node in ("n1", "n2"):
        install_runtime(moms.root(node), recorder(directory, code))
    return moms.start(PbsJob("151.head", "alice", (("n1", 1, 1), ("n2", 1, 1)), {"vtspec": "VT1.x"}))


def _slurm(directory: Path, code: int) -> bool:
    install("slurm", directory, "hook")
    install_runtime(directory, recorder(directory, code))
    (directory / "var/lib/vtorque/jobs/1.n1").mkdir(parents=True)
    return all(
        subprocess.run([directory / "hook"], env={"SLURM_SCRIPT_CONTEXT": f"{part}_slurmd"}, check=False).returncode
        == 0
        for part in ("prolog", "epilog")
    )


@pytest.mark.parametrize("kind", BODY_EXIT_CODES)
@pytest.mark.parametrize("system", [_torque, _openpbs, _slurm], ids=["torque", "openpbs", "slurm"])
def test_a_verdict_reaches_the_body_and_not_the_batch_system(
    system: Callable[[Path, int], bool], kind: verdict.Kind, tmp_path: Path
) -> None:
    """Even a hook that ended with the body's code would cost no start of the job, and no node."""
    assert verdict.BODY_EXIT_CODES[kind] == BODY_EXIT_CODES[kind]
    assert (kind in verdict.OFFLINE) == (kind == "node")
    assert system(tmp_path / "there", BODY_EXIT_CODES[kind])
    assert (tmp_path / "there/vtorque-runtime.calls").exists()


def test_the_shims_are_clean() -> None:
    done = subprocess.run(
        ["shellcheck", HOOKS / "torque", HOOKS / "slurm"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
