"""A job of OpenPBS that begins on this node as the mom's hook has it, and what its processes take. For root."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import BIN, Figures, Peer, measure

from vtorque_runtime.batch import job_key
from vtorque_runtime.spool import Spool, open_registry
from vtorque_runtime.status import FAILED, Status, read
from vtorque_spec.carrier import machine_part_in_script

SEEMING_NODE = str(Path(__file__).with_name("seeming_node.py"))
USER = "nobody"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_LIMIT_S = 120
_STEP_S = 0.01


@dataclass(frozen=True)
class Begun:
    """A job whose domains are all started. `wall_s` is from the hook's start to that moment, `cpu_s` of hook and
    supervisor with all that they started; `most_mib` is the most of the supervisor and its children together (PSS).
    """

    hook: Figures
    wall_s: float
    cpu_s: float
    most_mib: float
    supervisor: int
    phases: tuple[tuple[str, float], ...]


@dataclass
class Job:
    """A job of `vms` VMs from a batch script that was compiled at the site in `site`, on a node with `cores` cores."""

    number: int
    script: str
    site: Path
    vms: int

    def __post_init__(self) -> None:
        self.id = f"{self.number}.bench"
        self.registry = open_registry("system")
        self.key = job_key(self.id, os.uname().nodename)
        self.told = self.site.parent / "told.json"
        host = os.uname().nodename
        given = {
            "id": self.id, "euser": USER, "run_version": str(time.time_ns()), "walltime": "01:00:00",
            "exec_vnode": f"({host}:ncpus={self.vms})", "exec_host2": f"{host}:15002/0*{self.vms}",
            "vtspec": machine_part_in_script(self.script),
        }  # fmt: skip
        self.told.write_text(json.dumps(given))

    @property
    def spool(self) -> Spool:
        """Where it lives on this node."""
        return self.registry.spool(self.key)

    def hook(self, part: str) -> Figures:
        """Run the prologue or the epilogue as the mom's hook does."""
        command = [sys.executable, SEEMING_NODE, str(self.vms), part, "--site", str(self.site), "openpbs"]
        return measure(Peer(part, command, environment=ENVIRONMENT, stdin=self.told))

    def begin(self) -> Begun:
        """Return when all its domains are started; a job that fails ends the benchmark."""
        self.forget()
        began, seen, most_kib = time.monotonic(), dict[str, float](), 0
        hook = self.hook("prologue")
        while True:
            now = self._status()
            seen.setdefault(now.phase, time.monotonic() - began)
            most_kib = max(most_kib, sum(map(pss_kib, (now.pid, *children(now.pid)))) if now.pid else 0)
            if self._domains() == self.vms:
                break
            if now.phase == FAILED or time.monotonic() - began > _LIMIT_S:
                raise SystemExit(f"the job did not begin: {now.verdict}")
            time.sleep(_STEP_S)
        wall_s, cpu_s = time.monotonic() - began, hook.cpu_s + cpu_seconds(now.pid)
        return Begun(hook, wall_s, cpu_s, most_kib / 1024, now.pid, tuple(seen.items()))

    def body_mib(self) -> float:
        """Start the job's body, as the batch script does; return what it takes while it waits (PSS)."""
        found = re.search(r"^VTU1\.[^']*?(?=^VTORQUE)", self.script, re.MULTILINE)
        assert found, "a compiled script has a user part"
        command, environment = [str(BIN / "vtorque-runtime"), "job", "openpbs"], ENVIRONMENT | {"PBS_JOBID": self.id}
        body = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
        assert body.stdin
        assert body.stderr
        with body:
            body.stdin.write(found[0])
            body.stdin.close()
            body.stderr.readline()  # it tells the phases now
            mib = pss_kib(body.pid) / 1024
            body.terminate()
        return mib

    def forget(self) -> None:
        """Remove what a job leaves for the admin to read; its line in the accounting stays."""
        for directory, name in (("log", f"{self.key}.jsonl"), ("ended", self.key)):
            (self.registry.base / directory / name).unlink(missing_ok=True)

    def _status(self) -> Status:
        now = read(self.spool.state)
        assert now is not None, "the hook has registered the job"
        return now

    def _domains(self) -> int:
        return (self.registry.base / f"log/{self.key}.jsonl").read_text().count("started domain")


def cpu_seconds(pid: int) -> float:
    """Return what the process and the children that it has waited for have spent (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> Sequence[int]:
    """Return the living children of the process."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def pss_kib(pid: int) -> int:
    """Return the memory of a process; of what several share, a share alone (proc(5), smaps_rollup)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
