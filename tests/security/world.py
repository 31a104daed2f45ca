"""A node with two real users, its own site, the real confined child and supervisor; libvirt and kernel are files."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.boots import OTHER_USER
from tests.runtime.faulty_node import Node, made_node
from tests.security.users import User
from vtorque_runtime import begin, planner, status, supervise, teardown
from vtorque_runtime.batch.contract import BatchJob, Share
from vtorque_runtime.images import store
from vtorque_runtime.journal import Journal
from vtorque_runtime.spool import Spool
from vtorque_runtime.status import Status
from vtorque_runtime.watch import Watch
from vtorque_spec.diagnostics import Report
from vtorque_spec.document import load
from vtorque_spec.driver import check_document, machine_part, open_site
from vtorque_spec.policy import Context

SITE = """\
apiVersion: vtorque-site/v1
name: test
batch: slurm
hypervisor: any
min_uid: 1000
node_classes:
  generic: {{cpus: 32, memory: 16GiB, vcpu: thread, host_reserve: {{cores: 1}}}}
networks:
  default: {{kind: isolated}}
mounts:
  home: {{source: $HOME, target: $HOME, mode: rw, allow_suid: true}}
  data: {{source: {data}, target: /data, mode: ro}}
"""

IMAGE = """\
name: tiny
description: the image of these tests
guest: linux
arch: x86_64
sha256: {sha256}
min_memory: 256MiB
min_disk: 1GiB
cmdline: console=ttyS0
"""

JOB = "apiVersion: vtorque/v1\nname: test\nimage: tiny\nvcpus: 1\nmemory: 512MiB\nmounts: [home, data]\nrun: hostname\n"

_LIMIT_S = 60


@dataclass
class UsersHook:
    """A prologue that the batch system calls for a job of `user`."""

    user: str
    number: str

    def carried(self) -> str | None:
        return None

    def names(self) -> tuple[str, str]:
        return self.number, "node"

    def key(self) -> str:
        return f"{self.number}.node"

    def start(self) -> str:
        return "1"

    def job(self, spec: str) -> BatchJob:
        shares = (Share("node", 8, 0, None, None),)
        return BatchJob(
            "slurm", "cluster", self.number, "1", self.user, None, False, "node", shares, 600, None, spec
        )  # fmt: skip


@dataclass
class World:
    """The node; jobs are called by their numbers."""

    node: Node
    site: Path
    user: User
    other: User

    def spool(self, number: str = "12") -> Spool:
        return self.node.registry.spool(f"{number}.node")

    def machine_part(self, text: str = JOB) -> str:
        """What a batch script carries of the job."""
        report = Report()
        site = open_site(self.site, report)
        document = load("job.vjob.yaml", text.encode(), report)
        assert site is not None, report.items
        assert document is not None, report.items
        checked = check_document(document, self.site, site, Context("x", (), None, "slurm", "test"), report)
        assert checked is not None, report.items
        return machine_part(checked)

    def begin(self, user: User, spec: str | None = None, number: str = "12") -> None:
        """The prologue of a job of the user."""
        hook = UsersHook(user.name, number)
        begin.begin(self.node.registry, "slurm", hook, spec or self.machine_part(), str(self.site))

    def run(self, user: User, spec: str | None = None, number: str = "12") -> Status:
        """Prologue and supervisor, until there is a verdict or the guests are ready; return what the owner reads."""
        self.begin(user, spec, number)
        supervise.supervise(self.node.registry, f"{number}.node", self.site)
        return self.status(number)

    def status(self, number: str = "12") -> Status:
        found = status.read(self.spool(number).status)
        assert found is not None
        return found

    @contextmanager
    def supervised(self, user: User, number: str = "12") -> Iterator[int]:
        """A job whose guests are ready, and the process that looks after it."""
        self.begin(user, None, number)
        child = os.fork()
        if child == 0:
            try:
                os.setsid()  # as the real one is started
                supervise._Supervisor._watch = _until_signalled  # type: ignore[method-assign,assignment] # child alone
                supervise.supervise(self.node.registry, f"{number}.node", self.site)
            finally:
                os._exit(0)
        try:
            until = time.monotonic() + _LIMIT_S
            while (now := self.status(number)).phase != status.READY:
                assert now.verdict is None, now
                assert time.monotonic() < until, now
                time.sleep(0.05)
            yield child
        finally:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)


def _until_signalled(
    self: supervise._Supervisor, _watches: object, stopped: Callable[[Sequence[Watch]], bool], _part: str
) -> None:
    while True:
        self.signals.wait(0.05)
        self.signals.check()
        stopped(())


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets each thing that root is about to make for a job."""
    steps: list[object] = []
    whole = Journal.step

    def step(self: Journal, undo: object, act: Callable[[], object]) -> object:
        steps.append(undo)
        return whole(self, undo, act)

    monkeypatch.setattr(Journal, "step", step)
    return steps


@contextmanager
def made_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Make it where users can pass, and give it back."""
    if os.geteuid() != 0:
        pytest.skip("becoming other users needs root")
    with tempfile.TemporaryDirectory(prefix="vtorque-security-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        with made_node(directory, monkeypatch) as node:
            monkeypatch.setattr(supervise, "Planner", planner.Planner)
            yield World(node, _write_site(directory), User.make(), User.make(OTHER_USER))
            for held in node.registry.registrations():
                teardown.end(node.registry, held.job_id, None, node.connect)


def _write_site(directory: Path) -> Path:
    site = directory / "etc"
    (site / "images").mkdir(parents=True)
    (site / "site.yaml").write_text(SITE.format(data=directory / "data"))
    (image,) = store.installed(directory / "images")
    (site / "images/tiny.yaml").write_text(IMAGE.format(sha256=image.sha256))
    (site / "cluster.key").touch(mode=0o600)
    (site / "cluster.key").write_text(os.urandom(32).hex() + "\n")
    return site
