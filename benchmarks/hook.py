#!/usr/bin/env python3
"""What a hook costs a job that carries nothing of ours, against `sh -c :`: ratios from one run, in one table.

    python benchmarks/hook.py [--runs 41] [--no-slurm]

Each hook is a fresh process with the environment that its batch system gives it. The shims are those of
runtime/hooks, installed as an admin does it but below a directory of their own: `runtime` in a name means that the
node has a job of ours as well, so that the shim has to start vtorque-runtime. Slurm is asked twice: a program that
stands in for scontrol shows what is ours, and a throw-away Slurm (root, Debian's packages) what a job waits for.
Budget: less than 50 ms of wall time.
"""

import argparse
import os
import pwd
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from measure import BIN, Peer, table_over

from tests.runtime.batch.installed import install, program, real_runtime
from tests.support.slurm import missing_programs, running_slurm
from tests.support.slurm_conf import Cluster
from vtorque_runtime import SYSTEM_BASE

BUDGET_MS = 50
RECORD = Path(SYSTEM_BASE) / "log/hooks.jsonl"
RUNTIME = str(BIN / "vtorque-runtime")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
TORQUE = {"prologue": ["141.head", "alice", "users", "STDIN", "nodes=1", "batch", "a"], "epilogue": ["141.head"] * 10}
SCRIPT = "#!/bin/sh\nsleep 600\n"
ANSWER = f"#!/bin/sh\ncat <<'end'\n{SCRIPT}end\n"
PBS_JOB = '{"id":"151.head","euser":"alice","run_version":"1","exec_vnode":"(n1:ncpus=1)","exec_host2":"n1:15002/0"}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=41, help="counted runs of each hook")
    parser.add_argument("--no-slurm", action="store_true", help="leave out the real Slurm")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vtorque-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        hooks = [*torque(directory), *openpbs(directory), *slurm_standin(directory)]
        if not options.no_slurm:
            hooks += slurm(directory, stack)
        for hook in hooks:
            check(hook)
        floor = Peer("python -I -c pass", [sys.executable, "-I", "-c", "pass"])  # what no program in Python goes below
        table_over(
            "an ordinary job's hook", Peer("sh -c :", ["sh", "-c", ":"]), [floor, *hooks], options.runs, BUDGET_MS
        )


def check(hook: Peer) -> None:
    """A hook ends with 0 whatever happens: see that it did nothing, and did not fail."""
    before = RECORD.stat().st_size if RECORD.exists() else 0
    with hook.stdin.open("rb") as stdin:
        done = subprocess.run(
            hook.command, env=hook.environment, stdin=stdin, capture_output=True, text=True, check=False
        )
    if done.returncode or done.stderr or (RECORD.stat().st_size if RECORD.exists() else 0) != before:
        raise SystemExit(f"{hook.name} failed, see {RECORD}: {done.stderr}")


def node(directory: Path, system: str, *, busy: bool) -> Path:
    """Install the shim and the runtime of this environment; a busy node has a job of ours. Return the shim."""
    root = directory / f"{system}-{'busy' if busy else 'free'}"
    install(system, root, "hook")
    (root / "opt/vtorque/bin").mkdir(parents=True)
    (root / "opt/vtorque/bin/vtorque-runtime").symlink_to(RUNTIME)
    (root / f"var/lib/vtorque/jobs/{'9.n1' if busy else ''}").mkdir(parents=True)
    return root / "hook"


def torque(directory: Path) -> list[Peer]:
    """The shim with the arguments of a prologue and of an epilogue."""
    found = []
    for busy in (False, True):
        hook = str(node(directory, "torque", busy=busy))
        for part, arguments in TORQUE.items():
            name = f"torque {part}{', runtime' if busy else ''}"
            found.append(Peer(name, [hook, *arguments], environment={"PATH": PATH, "PBS_NODENUM": "0"}))
    return found


def openpbs(directory: Path) -> list[Peer]:
    """What its hook starts on a node with a job of ours; on another it starts nothing, within the mom's own Python."""
    told = directory / "job.json"
    told.write_text(PBS_JOB)
    return [
        Peer(f"openpbs {part}, runtime", [RUNTIME, part, "openpbs"], environment={"PATH": PATH}, stdin=told)
        for part in TORQUE
    ]


def slurm_standin(directory: Path) -> list[Peer]:
    """The runtime with a scontrol that is a shell's one `cat`."""
    program(directory / "bin/scontrol", ANSWER)
    program(directory / "runtime", real_runtime(directory, "n1", directory / "bin"))
    environment = {"SLURM_JOB_ID": "1", "SLURMD_NODENAME": "n1", "SLURM_CONF": "/etc/slurm/slurm.conf"}
    return [
        Peer(f"slurm {part}, runtime, stand-in", [str(directory / "runtime"), part, "slurm"], environment=environment)
        for part in TORQUE
    ]


def slurm(directory: Path, stack: ExitStack) -> list[Peer]:
    """The shim beside a running job of a real Slurm; and its scontrol alone, which nobody can do without."""
    missing = ["root"] if os.geteuid() else missing_programs()
    if missing:
        print(f"left out: a real Slurm, for want of {', '.join(missing)}", file=sys.stderr)
        return []
    slurm = stack.enter_context(running_slurm(Cluster(nodes=1)))
    job = slurm.submit(SCRIPT, pwd.getpwnam("nobody"), "--output=/dev/null")
    slurm.wait(job, "RUNNING")
    conf = slurm.environment["SLURM_CONF"]
    own = {"SLURM_JOB_ID": job, "SLURMD_NODENAME": "node1", "SLURM_NODELIST": "node1", "SLURM_CONF": conf}
    ask = ["scontrol", "write", "batch_script", job, "-"]
    found = [Peer("scontrol write batch_script", ask, environment={"PATH": PATH, "SLURM_CONF": conf})]
    for busy in (False, True):
        hook = str(node(directory, "slurm", busy=busy))
        for part in ("prolog", "epilog"):
            context = {"SLURM_SCRIPT_CONTEXT": f"{part}_slurmd"}
            found.append(Peer(f"slurm {part}{', runtime' if busy else ''}", [hook], environment=own | context))
    return found


if __name__ == "__main__":
    main()
