"""What the stand-ins of Torque and OpenPBS share where whole jobs run: qsub, the job's own processes, the site."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from tests.boots import environment, make_user
from tests.support.cluster_site import write_programs, write_site
from tests.test_run import PYTHONPATH

BODY_RUNTIME = """\
#!/usr/bin/python3 -I
import os, sys
sys.path.insert(0, {library!r})
from vtorque_runtime.batch import command
command.hostname = lambda: os.environ["STANDIN_NODE"]
from vtorque_runtime.__main__ import main
sys.exit(main())
"""
"""What a job's script finds as `vtorque-runtime`, on whichever node it is."""


class RefusedError(Exception):
    """What qsub says of a script that it does not take."""


@dataclass(frozen=True)
class Asked:
    """What a job asks for."""

    name: str
    resources: dict[str, str]
    variables: dict[str, str]


def asked(script: str, *options: str) -> Asked:
    """Read directives as qsub does, then its own command line: of several `-v` only the last counts, on both systems.

    Raises RefusedError for a walltime that is none.
    """
    head = takewhile(lambda line: not line.strip() or line.startswith("#"), script.splitlines())
    told = [line.removeprefix("#PBS ").partition(" ")[::2] for line in head if line.startswith("#PBS ")]
    name, resources, variables = "STDIN", {}, {}
    for option, value in [*told, *zip(options[::2], options[1::2], strict=True)]:
        before, _, after = value.partition("=")
        if option == "-N":
            name = value
        elif option == "-l":
            resources[before] = after
        elif option == "-v":
            variables = {before: after}
    if not resources.get("walltime", "1").replace(":", "").isdigit():
        raise RefusedError("Illegal attribute or resource value Resource_List.walltime")
    return Asked(name, resources, variables)


@dataclass
class Task:
    """A job's body: its owner's processes on its first node, in a session of their own."""

    script: Path
    owner: pwd.struct_passwd
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of_job(cls, directory: Path, job_id: str, text: str, owner: pwd.struct_passwd, nodes: list[str]) -> "Task":
        """Write what the mom of the first node has: script (the owner's own), output, node file."""
        script, nodefile = directory / f"{job_id}.SC", directory / f"{job_id}.nodes"
        script.write_text(text)
        script.chmod(0o700)
        nodefile.write_text("".join(f"{node}\n" for node in nodes))
        for path in (script, *(directory / f"{job_id}.{kind}" for kind in ("OU", "ER"))):
            path.touch()
            os.chown(path, owner.pw_uid, owner.pw_gid)
        return cls(script, owner, {
            "PBS_JOBID": job_id, "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_NODEFILE": str(nodefile), "HOME": owner.pw_dir,
            "USER": owner.pw_name, "LOGNAME": owner.pw_name, "PATH": f"{directory}/bin:/usr/bin:/bin",
            "PBS_O_WORKDIR": owner.pw_dir, "STANDIN_NODE": nodes[0], "STANDIN_OUTPUT": str(directory / job_id),
        })  # fmt: skip

    def run(self) -> int:
        """Run it to its end and return its exit status; 256 + N when signal N ended it."""
        with self.script.with_suffix(".OU").open("ab") as out, self.script.with_suffix(".ER").open("ab") as err:
            self.process = subprocess.Popen(
                [self.script], cwd=self.owner.pw_dir, env=self.environment, start_new_session=True,
                user=self.owner.pw_uid, group=self.owner.pw_gid,
                extra_groups=os.getgrouplist(self.owner.pw_name, self.owner.pw_gid),
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip
        code = self.process.wait()
        self._signal(signal.SIGKILL)  # what it left, here and on other nodes
        return code if code >= 0 else 256 - code

    def end(self, delay_s: float) -> None:
        """As qdel does: TERM, and KILL after the delay."""
        self._signal(signal.SIGTERM)
        until = time.monotonic() + delay_s
        while self.process and self.process.returncode is None and time.monotonic() < until:
            time.sleep(0.05)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


class Job(Protocol):
    """A job of either stand-in; its state is the letter that qstat shows."""

    id: str
    state: str


@dataclass
class World:
    """The site of each node, an ordinary user, and where jobs of a stand-in are."""

    directory: Path
    sites: dict[str, Path]
    user: pwd.struct_passwd

    def compile(self, text: str) -> str:
        """The batch script of a job, as the user's `vtorque compile` writes it."""
        path = self.directory / "job.vjob.yaml"
        head = "apiVersion: vtorque/v1\nname: test\nimage: debian-12\nvcpus: 1\nmemory: 768MiB\n"
        path.write_text(head + textwrap.dedent(text))
        site = next(iter(self.sites.values()))
        program = f"import vtorque_spec.cli as c\nc.main(['compile', {str(path)!r}, '--site', {str(site)!r}])"
        return subprocess.check_output(
            [sys.executable, "-c", program], text=True, cwd=self.directory, env=environment(PYTHONPATH=PYTHONPATH)
        )

    def said(self, job_id: str, kind: str = "ER") -> str:
        """What is in the job's own output (OU) or error (ER) so far."""
        return (self.directory / f"{job_id}.{kind}").read_text()

    def until(self, job: Job, what: str, holds: Callable[[], bool], limit_s: float = 90) -> None:
        """Wait for something that the job does; one that is over does no more."""
        deadline = time.monotonic() + limit_s
        while not holds():
            late = time.monotonic() > deadline or job.state in ("C", "F")
            assert not late or holds(), f"not within {limit_s} s: {what}\n{self.said(job.id)}"
            time.sleep(0.05)


@contextlib.contextmanager
def made_world(batch: str, nodes: tuple[str, ...], networks: str) -> Iterator[World]:
    """A directory for a stand-in, which every user can read: the jobs' `vtorque-runtime`, a site for each node."""
    with tempfile.TemporaryDirectory(prefix=f"vtorque-{batch}-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        programs = write_programs(directory)
        (programs / "vtorque-runtime").write_text(BODY_RUNTIME.format(library=str(directory / "lib")))
        first = write_site(directory, batch, networks)
        sites = {nodes[0]: first}
        for node in nodes[1:]:
            sites[node] = directory / f"etc-{node}"
            shutil.copytree(first, sites[node])
        yield World(directory, sites, make_user())


def reaped(root: Path) -> str:
    """Run `vtorque-runtime reap` on the node below `root` and return what it says."""
    return subprocess.check_output([root / "opt/vtorque/bin/vtorque-runtime", "reap"], text=True)
