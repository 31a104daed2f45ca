"""A pbs_server and moms that call prologues and epilogues as the real ones were seen to (Torque, snapshot 34ff845).

Arguments, environment, order, streams, sessions, signal masks, exit codes and what follows from them are the measured
ones. Each node is a directory; its hooks lie in `mom_priv`. `qstat`, `pbsnodes` and `pbsdsh` are programs in `bin`.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from pwd import struct_passwd
from typing import Literal
from xml.sax.saxutils import escape

from tests.runtime.batch.installed import install, program
from tests.support.pbs import Task, asked

NAMES = ("prologue", "prologue.parallel", "epilogue", "epilogue.parallel")
BLOCKED_IN_A_SISTERS_EPILOGUE = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

QSTAT = """#!/bin/sh
[ "$1" = -x ] && [ -e {server}/down ] && {{ echo "qstat: cannot connect to server head (errno=111)" >&2; exit 171; }}
cat {server}/"$2".xml 2>/dev/null || {{ echo "qstat: Unknown Job Id Error $2" >&2; exit 153; }}
"""
PBSDSH = """#!/bin/sh
# What the command prints goes to the job's own output; how it ended is said, and pbsdsh ends with 0.
[ "$1 $2" = "-v -h" ] || exit 1
node=$3; shift 3
grep -qx "$node" "$PBS_NODEFILE" || {{ echo "pbsdsh: $node not found" >&2; exit 1; }}
STANDIN_NODE=$node "$@" >>"$STANDIN_OUTPUT.OU" 2>>"$STANDIN_OUTPUT.ER" </dev/null &
echo "pbsdsh: spawned task 1" >&2
trap 'echo "pbsdsh: killing task 1 signal 15" >&2; kill -TERM $!; exit 1' TERM
wait $!
echo "pbsdsh: task 1 exit status $?" >&2
"""
PBSNODES = """#!/bin/sh
printf '%s\\n' "$@" >>{server}/offline
"""
RECORD = """<Data><Job><Job_Id>{id}</Job_Id><Job_Name>{name}</Job_Name><Job_Owner>{user}@login</Job_Owner>\
<job_state>{state}</job_state><queue>batch</queue><server>head</server>{nodes}<ctime>1795411890</ctime>\
<Resource_List>{resources}</Resource_List><start_count>{starts}</start_count>{exclusive}\
<Variable_List>{variables}</Variable_List></Job></Data>
"""

After = Literal["completed", "aborted", "requeued"]


@dataclass
class Job:
    """A job; `variables` are those of its -v. `exec_host` is what it is given at each start."""

    id: str
    user: str
    exec_host: str
    variables: dict[str, str] = field(default_factory=dict)
    name: str = "STDIN"
    resources: dict[str, str] = field(default_factory=lambda: {"nodes": "1:ppn=2", "walltime": "00:10:00"})
    jobtype: str | None = None
    exclusive: bool = False
    starts: int = 0
    state: str = "Q"
    task: Task | None = None
    deleted: bool = False
    status: int = 0

    @property
    def nodes(self) -> list[str]:
        """Its nodes, the mother superior first."""
        return list(dict.fromkeys(part.partition("/")[0] for part in self.exec_host.split("+")))


@dataclass(frozen=True)
class Call:
    """A hook that ran: on which node, which file, and its exit code (negative: a signal, None: the alarm)."""

    node: str
    file: str
    code: int | None


class Torque:
    """The server and all moms."""

    def __init__(self, directory: Path, nodes: tuple[str, ...], alarm_s: float = 20) -> None:
        self.directory = directory
        self.alarm_s = alarm_s
        self.calls: list[Call] = []
        self.down: set[str] = set()
        self.nodes = nodes
        self._last_id = int(time.time())  # no id of an earlier test run, which this host's tombstones know
        server = directory / "server"
        server.mkdir(parents=True)
        program(directory / "bin/pbsdsh", PBSDSH.format())
        program(directory / "bin/qstat", QSTAT.format(server=server))
        program(directory / "bin/pbsnodes", PBSNODES.format(server=server))
        for node in nodes:
            install("torque", self.root(node), *(f"mom_priv/{name}" for name in NAMES))

    def root(self, node: str) -> Path:
        """The node's file system."""
        return self.directory / node

    def output(self, job: Job) -> str:
        """What hooks of the mother superior wrote into the job's own output and error."""
        return "".join((self.directory / f"{job.id}.{kind}").read_text() for kind in ("OU", "ER"))

    def submit(self, script: str, owner: struct_passwd, *options: str) -> Job:
        """`qsub`: queue a job for the first nodes. Raises RefusedError."""
        wanted = asked(script, *options)
        many, _, slots = wanted.resources["nodes"].partition(":ppn=")
        hosts = self.nodes[: int(many)]
        self._last_id += 1
        job = Job(
            f"{self._last_id}.head", owner.pw_name, "+".join(f"{host}/0-{int(slots) - 1}" for host in hosts),
            wanted.variables, wanted.name, wanted.resources,
        )  # fmt: skip
        job.task = Task.of_job(
            self.directory, job.id, script, owner, [host for host in hosts for _ in range(int(slots))]
        )
        self.publish(job, "Q")
        return job

    def run(self, job: Job) -> After:
        """Start a submitted job, once, and run it to its end."""
        assert job.task
        return self.start(job, job.task.run)

    def delete(self, job: Job) -> None:
        """`qdel`: TERM, about 3 s later KILL; in a prologue neither ends anything, but the body is not run."""
        assert job.task
        job.deleted = True
        job.task.end(3)

    def lose(self, job: Job) -> None:
        """Start the job and kill the first node's mom after the prologue: requeued, with no epilogue anywhere."""
        job.starts += 1
        self.publish(job, "R")
        for node in (*job.nodes[1:], job.nodes[0]):
            self._prologue(job, node)
        self.publish(job, "Q")

    def start(self, job: Job, body: Callable[[], int | None] = lambda: None) -> After:
        """Start the job once, and run it to its end when all prologues let it."""
        job.starts += 1
        self.publish(job, "R")
        first, *sisters = job.nodes
        with ThreadPoolExecutor() as pool:
            codes = dict(zip(sisters, pool.map(lambda node: self._prologue(job, node), sisters), strict=True))
        failed = {node for node, code in codes.items() if code is None or code > 0}  # a signal counts as success
        if failed:  # no epilogue.parallel on any sister, also not on those whose prologue was fine
            self.down |= failed
            return self._over(job, "-3", "requeued")
        code = self._prologue(job, first)
        if code is None or code > 1:
            return self._over(job, "-3", "requeued")
        if code == 1:
            return self._over(job, "-2", "aborted")
        job.status = 0 if job.deleted else body() or 0  # at 0, and when a signal ended the prologue
        status = str(job.status)
        self.publish(job, "E")
        for node in sisters:
            if self._epilogue(job, node, status) != 0:
                self.down.add(node)
        return self._over(job, status, "completed")

    def delete_in_the_prologue(self, job: Job) -> None:
        """`qdel` while the mother superior's prologue runs: the epilogue comes beside it."""
        job.starts += 1
        self.publish(job, "R")
        first = job.nodes[0]
        with ThreadPoolExecutor() as pool:
            prologue = pool.submit(self._prologue, job, first)
            self.publish(job, "E")
            pool.submit(self._epilogue, job, first, "0").result()
            prologue.result()
        self.publish(job, "C")

    def forget(self, job: Job) -> None:
        """The server has thrown the job's record away."""
        (self.directory / f"server/{job.id}.xml").unlink()

    def _over(self, job: Job, status: str, after: After) -> After:
        self._epilogue(job, job.nodes[0], status)
        self.publish(job, "Q" if after == "requeued" else "C")
        return after

    def _prologue(self, job: Job, node: str) -> int | None:
        group = "users"
        arguments = [job.id, job.user, group, job.name, self._resources(job), "batch", "", f"/spool/{job.id}.SC"]
        return self._call(job, node, "prologue", arguments)

    def _epilogue(self, job: Job, node: str, status: str) -> int | None:
        session = "0" if node != job.nodes[0] else "4711"
        used = "cput=00:00:00,mem=0kb,vmem=0kb,walltime=00:00:01"
        arguments = [job.id, job.user, "users", job.name, session, self._resources(job), used, "batch", "", status]
        return self._call(job, node, "epilogue", [*arguments, f"/spool/{job.id}.SC"])

    def _call(self, job: Job, node: str, part: str, arguments: list[str]) -> int | None:
        first = node == job.nodes[0]
        directory = self.root(node) / "mom_priv"
        file = part if first else f"{part}.parallel"
        if job.jobtype and (directory / f"{part}.{job.jobtype}").exists():
            file = f"{part}.{job.jobtype}"
        blocked = BLOCKED_IN_A_SISTERS_EPILOGUE if file == "epilogue.parallel" and not first else ()
        with (self.directory / f"{job.id}.OU").open("ab") as out, (self.directory / f"{job.id}.ER").open("ab") as err:
            process = subprocess.Popen(
                [directory / file, *arguments],
                cwd=directory,
                env=self._environment(job, node),
                stdin=subprocess.DEVNULL,
                stdout=out if first else subprocess.DEVNULL,
                stderr=err if first else subprocess.DEVNULL,
                restore_signals=False,  # SIGPIPE stays ignored
                start_new_session=True,
                preexec_fn=(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, blocked) and None) if blocked else None,
            )
        try:
            code: int | None = process.wait(self.alarm_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
        self.calls.append(Call(node, file, code))
        return code

    def _environment(self, job: Job, node: str) -> dict[str, str]:
        """What the mom gives: of the job's own variables the listed names alone."""
        nodes = job.nodes
        given = {
            "PATH": "/bin:/usr/bin", "LANG": "C", "PBS_RESOURCE_NODES": job.resources.get("nodes", "1"),
            "PBS_NUM_NODES": str(len(nodes)), "PBS_NUM_PPN": "2", "PBS_NP": str(2 * len(nodes)),
            "PBS_NODENUM": str(nodes.index(node)), "PBS_MSHOST": nodes[0], "PBS_O_WORKDIR": "/home/alice",
        }  # fmt: skip
        passed = ("PBS_SCHED_HINT", "PBS_CPUCLOCK", "BEOWULF_JOB_MAP", "PBS_O_WORKDIR")
        theirs = {name: value for name, value in job.variables.items() if name in passed or name.startswith("MOAB_")}
        return {**given, **theirs, **({"PBS_NODEFILE": f"/aux/{job.id}"} if node == nodes[0] else {})}

    def publish(self, job: Job, state: str) -> None:
        """Let qstat show the job in this state."""
        job.state = state
        nodes = f"<exec_host>{escape(job.exec_host)}</exec_host>" if state in "REC" else ""
        text = RECORD.format(
            id=job.id, name=escape(job.name), user=job.user, state=state, nodes=nodes, starts=job.starts,
            resources="".join(f"<{name}>{escape(text)}</{name}>" for name, text in job.resources.items()),
            exclusive="<node_exclusive>True</node_exclusive>" if job.exclusive else "",
            variables=escape(",".join(f"{name}={value}" for name, value in job.variables.items())),
        )  # fmt: skip
        unfinished = self.directory / "server/new"
        unfinished.write_text(text)
        unfinished.rename(self.directory / f"server/{job.id}.xml")

    @staticmethod
    def _resources(job: Job) -> str:
        return ",".join(f"{name}={value}" for name, value in sorted(job.resources.items()))
