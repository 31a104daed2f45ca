"""Moms of OpenPBS that run the hook's events as the real ones were seen to (OpenPBS 23.06.06).

Each event is a process of its own, in its own session, with a `pbs` module that offers what the real one was seen to
offer, and with the signal mask of a mom's main process. After the event, however it ended, its process group is killed.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from pwd import struct_passwd

from tests.runtime.batch.installed import install, program
from tests.support.pbs import Task, asked

EVENTS = ("EXECJOB_BEGIN", "EXECJOB_ABORT", "EXECJOB_END", "EXECHOST_STARTUP", "EXECHOST_PERIODIC")
"""Those of the `set hook` line in the documentation; EXECJOB_EPILOGUE is not among them."""

PBS = '''
import json, signal, sys, types
signal.pthread_sigmask(signal.SIG_BLOCK, (1, 2, 10, 12, 13, 15, 17))  # HUP INT USR1 USR2 PIPE TERM CHLD
TOLD = json.loads(sys.argv[2])
pbs = types.ModuleType("pbs")
NAMES = ("EXECJOB_BEGIN", "EXECJOB_PROLOGUE", "EXECJOB_EPILOGUE", "EXECJOB_END", "EXECJOB_ABORT",
         "EXECHOST_STARTUP", "EXECHOST_PERIODIC")
for number, name in enumerate(NAMES):
    setattr(pbs, name, 1 << number)
pbs.LOG_DEBUG, pbs.LOG_WARNING, pbs.LOG_ERROR = 0, 1, 2
pbs.logmsg = lambda level, text: open(TOLD["log"], "a").write(text + "\\n")

class Resources:
    """Unset resources are None, those that the site has not raise."""
    def __init__(self, values):
        self.__dict__.update({"vtspec": None, "walltime": None, "place": None, "mem": None, **values})
    def __getitem__(self, name):
        return getattr(self, name)

class Job:
    def __init__(self, values):
        self.__dict__.update(values)
        self.Resource_List = Resources(values["Resource_List"])
    def __getattr__(self, name):
        raise AttributeError(name)

class Event:
    type = getattr(pbs, TOLD["event"])
    job = Job(TOLD["job"]) if TOLD["job"] else None

pbs.event = Event
sys.modules["pbs"] = pbs
source = open(sys.argv[1]).read()
exec(compile(source, "hook", "exec"), {"__name__": "__main__"})
'''


QSTAT = """#!/bin/sh
[ "$1 $2 $3" = "-f -F json" ] || exit 2
[ -e {server}/"$4".over ] && {{ echo "qstat: $4 Job has finished, use -x or -H to obtain historical job information" >&2
  exit 35; }}
cat {server}/"$4" 2>/dev/null || {{ echo "qstat: Unknown Job Id $4" >&2; exit 153; }}
"""
TMRSH = """#!/bin/sh
# Ends as the command does, whose output is the job's own; it knows the names in PBS_NODEFILE alone.
node=$1; shift
grep -qx "$node" "$PBS_NODEFILE" || {{ echo "pbs_tmrsh: host \"$node\" is not a node in job" >&2; exit 255; }}
STANDIN_NODE=$node exec "$@" >>"$STANDIN_OUTPUT.OU" 2>>"$STANDIN_OUTPUT.ER" </dev/null
"""


@dataclass
class Job:
    """A job by its attributes; a chunk is (host, CPUs, memory in kB), a host with its domain or without."""

    id: str
    user: str
    chunks: Sequence[tuple[str, int, int]]
    resources: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    runs: int = 0
    task: Task | None = None
    state: str = "Q"
    status: int = 0

    @property
    def nodes(self) -> list[str]:
        """Its nodes, the mother superior first, without their domain."""
        return list(dict.fromkeys(host.partition(".")[0] for host, _, _ in self.chunks))

    def attributes(self) -> dict[str, object]:
        """What a mom knows; there is no exec_host, no time, and no script."""
        return {
            "id": self.id, "euser": self.user, "egroup": "users", "Job_Owner": f"{self.user}@login",
            "Job_Name": "STDIN", "queue": "batch", "server": "head", "run_count": self.runs, "run_version": self.runs,
            "exec_vnode": "+".join(
                f"({host.partition('.')[0]}:ncpus={cpus}:mem={kib}kb)" for host, cpus, kib in self.chunks
            ),
            "exec_host2": "+".join(f"{host}:15002/0*{cpus}" for host, cpus, _ in self.chunks),
            "Resource_List": self.resources, "Variable_List": {"PBS_O_HOME": "/home/alice", **self.variables},
        }  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """An event that ran, and whether the mom took it as accepted."""

    node: str
    event: str
    accepted: bool


class OpenPbs:
    """The moms."""

    def __init__(self, directory: Path, nodes: tuple[str, ...], alarm_s: float = 20) -> None:
        self.directory = directory
        self.alarm_s = alarm_s
        self.ran: list[Ran] = []
        self.nodes = nodes
        self._last_id = int(time.time())  # no id of an earlier test run, which this host's tombstones know
        server = directory / "server"
        server.mkdir(parents=True)
        program(directory / "bin/qstat", QSTAT.format(server=server))
        program(directory / "bin/pbs_tmrsh", TMRSH.format())
        for node in nodes:
            install("openpbs_hook.py", self.root(node), "mom_priv/hooks/vtorque.PY")

    def root(self, node: str) -> Path:
        """The node's file system."""
        return self.directory / node

    def log(self, node: str) -> str:
        """The mom's log."""
        path = self.root(node) / "mom_logs"
        return path.read_text() if path.exists() else ""

    def submit(self, script: str, owner: struct_passwd, *options: str) -> Job:
        """`qsub`: queue a job for the first nodes. Raises RefusedError."""
        wanted = asked(script, *options)
        many, cpus, kib = map(int, re.findall(r"\d+", wanted.resources.pop("select"))[:3])  # N:ncpus=N:mem=Nkb
        hosts = self.nodes[:many]
        self._last_id += 1
        job = Job(
            f"{self._last_id}.head", owner.pw_name, [(f"{host}.cluster.org", cpus, kib) for host in hosts],
            wanted.resources, wanted.variables,
        )  # fmt: skip
        job.task = Task.of_job(self.directory, job.id, script, owner, list(hosts))
        self.publish(job, "Q")
        return job

    def run(self, job: Job, refused_on: str | None = None) -> bool:
        """Start a submitted job, once, and run it to its end."""
        assert job.task
        return self.start(job, job.task.run, refused_on)

    def delete(self, job: Job) -> None:
        """`qdel` of a running job: TERM, and KILL after kill_delay; in a begin it ends nothing."""
        assert job.task
        job.task.end(10)

    def publish(self, job: Job, state: str) -> None:
        """Let qstat show the job in this state; F: no more but in its history."""
        job.state = state
        record = {"job_state": state, "run_version": job.runs, "Variable_List": job.variables}
        if state == "R":
            record["exec_host"] = "+".join(f"{node}/0" for node in job.nodes)
        unfinished = self.directory / "server/new"
        unfinished.write_text(json.dumps({"timestamp": 1, "pbs_server": "head", "Jobs": {job.id: record}}))
        unfinished.rename(self.directory / f"server/{job.id}")
        if state == "F":
            (self.directory / f"server/{job.id}.over").touch()

    def start(self, job: Job, body: Callable[[], int | None] = lambda: None, refused_on: str | None = None) -> bool:
        """Run the job once; `refused_on`: the node where another hook of the site rejects execjob_begin after ours."""
        started = self._start(job, body, refused_on)
        self.publish(job, "F" if started else "Q")
        return started

    def _start(self, job: Job, body: Callable[[], int | None], refused_on: str | None) -> bool:
        job.runs += 1
        self.publish(job, "R")
        first, *sisters = job.nodes
        if not self.event(first, "EXECJOB_BEGIN", job) or refused_on == first:
            return False  # and nothing else runs, anywhere
        with ThreadPoolExecutor() as pool:
            fine = list(pool.map(lambda node: self.event(node, "EXECJOB_BEGIN", job), sisters))
        refused = [node for node, accepted in zip(sisters, fine, strict=True) if not accepted or node == refused_on]
        if refused:
            for node in (*(node for node in sisters if node not in refused), first):
                self.event(node, "EXECJOB_ABORT", job)
            self.event(first, "EXECJOB_EPILOGUE", job)
            return False
        job.status = body() or 0
        for event, order in (("EXECJOB_EPILOGUE", [*sisters, first]), ("EXECJOB_END", [first, *sisters])):
            for node in order:
                self.event(node, event, job)
        return True

    def event(self, node: str, event: str, job: Job | None = None) -> bool:
        """Run the hook for one event, if it asked for it; tell whether it was accepted."""
        if event not in EVENTS:
            return True
        root = self.root(node)
        told = {"event": event, "job": job and job.attributes(), "log": str(root / "mom_logs")}
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", PBS, root / "mom_priv/hooks/vtorque.PY", json.dumps(told)],
            cwd=root / "mom_priv/hooks",
            env={"PATH": "/bin:/usr/bin", "LC_CTYPE": "C.UTF-8", "PBS_CONF_FILE": "/etc/pbs.conf"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        descriptor = os.pidfd_open(process.pid)
        ended = bool(select.select([descriptor], [], [], self.alarm_s)[0])
        os.close(descriptor)
        os.killpg(process.pid, signal.SIGKILL)  # before it is waited for, so that the group is still its own
        accepted = process.wait() == 0 and ended
        self.ran.append(Ran(node, event, accepted))
        return accepted
