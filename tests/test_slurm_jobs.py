"""Whole jobs on a real Slurm of two nodes: a user submits, root's hooks prepare, guests boot, nothing is left."""

import contextlib
import json
import pwd
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.boots import BOOT_LIMIT_S, environment, left_behind, make_user, virsh
from tests.support.cluster_site import write_hook, write_programs, write_site
from tests.support.libvirtd import Libvirtd
from tests.support.slurm import Slurm
from tests.support.slurm_conf import Cluster
from tests.test_run import PYTHONPATH, Count
from tests.test_run_several import PROGRAM

pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.slurm, pytest.mark.root]
StartSlurm = Callable[[Cluster], Slurm]
BRIDGE = "vttest1"
NETWORKS = f"""\
networks:
  default: {{kind: isolated}}
  cluster:
    kind: bridge
    bridge: {BRIDGE}
    subnet: 10.98.0.0/16
    addresses: {{first: 10.98.1.0, slots: 8, nodes: "node[1-2]"}}
"""
KILL_WAIT_S = 30
"""Slurm's default, from a cancel until it kills."""
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


@dataclass
class World:
    """A cluster whose hooks are ours, an ordinary user of it, and the site."""

    slurm: Slurm
    user: pwd.struct_passwd
    site: Path
    """Beside it is what `write_hook` has made."""

    def compile(self, text: str, image: str = "debian-12") -> str:
        """The batch script of a job, as the user's `vtorque compile` writes it."""
        path = self.slurm.home(self.user) / "job.vjob.yaml"
        path.write_text(f"apiVersion: vtorque/v1\nname: test\nimage: {image}\n" + textwrap.dedent(text))
        program = f"import vtorque_spec.cli as c\nc.main(['compile', {str(path)!r}, '--site', {str(self.site)!r}])"
        return subprocess.check_output(
            [sys.executable, "-c", program], text=True, cwd=path.parent, env=environment(PYTHONPATH=PYTHONPATH)
        )

    def submit(self, text: str, image: str = "debian-12") -> str:
        for name in ("out", "err"):  # what an earlier job said is not this one's
            (self.slurm.home(self.user) / name).unlink(missing_ok=True)
        return self.slurm.submit(self.compile(text, image), self.user, "--output=out", "--error=err")

    def said(self, name: str) -> str:
        path = self.slurm.home(self.user) / name
        return path.read_text() if path.exists() else ""

    def finished(self, job: str, limit_s: float = 400) -> str:
        state = self.slurm.wait(job, *ENDED, limit_s=limit_s)
        self.slurm.until("the nodes are free", lambda: self.nodes() == {"IDLE"}, 60)
        return state

    def until(self, job: str, what: str, holds: Callable[[], bool], limit_s: float) -> None:
        """Wait for something that the job does; one that has ended does no more."""

        def seen() -> bool:
            assert self.slurm.state(job) not in ENDED, self.said("err")
            return holds()

        self.slurm.until(what, seen, limit_s)

    def nodes(self) -> set[str]:
        return {self.slurm.node_state(name) for name in self.slurm.cluster.names}


@pytest.fixture(scope="module")
def world(libvirtd: Libvirtd, start_slurm: StartSlurm) -> Iterator[World]:
    user = make_user()
    with tempfile.TemporaryDirectory(prefix="vtorque-cluster-") as name, bridge():
        directory = Path(name)
        directory.chmod(0o755)
        site = write_site(directory, more=NETWORKS)
        programs = write_programs(directory)
        hook = write_hook(directory, site)
        cluster = Cluster(nodes=2, cpus=2, memory_mib=4000, prolog=hook, epilog=hook, kill_wait_s=KILL_WAIT_S)
        slurm = start_slurm(cluster)
        slurm.environment["PATH"] = f"{programs}:{slurm.environment['PATH']}"
        yield World(slurm, user, site)


@contextlib.contextmanager
def bridge() -> Iterator[None]:
    """A bridge that both nodes of the cluster are on, as a site's own would be."""
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)  # of a test run that was killed
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", "10.98.0.1/16", "dev", BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


def test_hello_suspended_and_cancelled_and_an_ordinary_job_beside_it(world: World, count_boots: Count) -> None:
    """Output and exit code come from a guest; suspended with its job, it goes on with that; cancelled while it runs,
    the job in the guest is told, though Slurm's signal comes to all that leads there; nothing is left.
    """
    count_boots()
    job = world.submit(
        f"""\
        vcpus: 2
        memory: 768MiB
        mounts: [home]
        timeouts: {{boot: {BOOT_LIMIT_S}s}}
        env: {{GREETING: "it's me"}}
        run: |
          hostname
          echo "id=$PBS_JOBID np=$PBS_NP nodefile=$(echo $(cat $PBS_NODEFILE)) $GREETING"
          cat /proc/sys/kernel/random/boot_id
          trap 'echo told to stop; exit 7' TERM
          touch ~/vttest-runs
          while :; do sleep 0.2; done
        """
    )
    home = Path(world.user.pw_dir)
    plain = world.slurm.submit("#!/bin/sh\nsleep 1; echo plain\n", world.user, "--output=plain")
    assert world.slurm.wait(plain, *ENDED, limit_s=60) == "COMPLETED"
    assert world.said("plain") == "plain\n"
    try:
        world.until(job, "the guest boots", lambda: "kernel" in world.said("err"), 60)
        suspend_and_resume(world, job)
        world.until(job, "the job runs", (home / "vttest-runs").exists, BOOT_LIMIT_S + 60)
        suspend_and_resume(world, job)
        world.slurm.scancel(job)
        assert world.finished(job) == "CANCELLED", world.said("err")
    finally:
        (home / "vttest-runs").unlink(missing_ok=True)
    out = world.said("out").splitlines()
    assert out, world.said("err")
    assert re.fullmatch(r"vnode[12]-0", out[0])
    assert out[1] == f"id={job} np=2 nodefile={out[0]} {out[0]} it's me"
    assert out[2] != Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert out[3:] == ["told to stop"], world.said("err")
    assert "ExitCode=7:0" in world.slurm.command("scontrol", "show", "job", job)
    assert f"vtorque: {out[0]}: cloud-init" in world.said("err")
    assert "the guests used" in world.said("err")
    assert left_behind() == []


def suspend_and_resume(world: World, job: str) -> None:
    (domain,) = [name for name in virsh("list", "--name").split() if name.startswith("vt-")]
    world.slurm.suspend(job)
    world.until(job, "the guest is paused", lambda: virsh("domstate", domain) == "paused", 20)
    world.slurm.resume(job)
    world.until(job, "the guest runs", lambda: virsh("domstate", domain) == "running", 20)


def test_two_nodes(world: World, count_boots: Count) -> None:
    """The guests of both nodes know each other by name and key; ranks of one MPI program talk from node to node."""
    count_boots()
    count_boots()
    program = Path(world.user.pw_dir) / "vttest-rank.py"
    program.write_text(PROGRAM)
    job = world.submit(
        f"""\
        batch: {{nodes: 2}}
        vcpus: 1
        memory: 768MiB
        mounts: [home]
        network: cluster
        timeouts: {{boot: {2 * BOOT_LIMIT_S}s}}
        run: |
          cat $PBS_NODEFILE
          for node in $(cat $PBS_NODEFILE); do
            ssh $node 'echo "$(hostname) $(id -un) $(cat /proc/sys/kernel/random/boot_id)"'
          done
          mpirun python3 ~/{program.name} libmpi.so.40
          exit 3
        """,
        image="debian-12-mpi",
    )
    try:
        assert world.finished(job) == "FAILED", world.said("err")
    finally:
        program.unlink()
    out, told = world.said("out").splitlines(), world.said("err")
    assert out[:2] == ["vnode1-0", "vnode2-0"], told
    assert all(f"vtorque: {name}: {phase}" in told for name in out[:2] for phase in ("kernel", "cloud-init")), told
    answers = [line.split() for line in out[2:4]]
    assert [words[:2] for words in answers] == [["vnode1-0", world.user.pw_name], ["vnode2-0", world.user.pw_name]]
    assert len({words[2] for words in answers}) == 2
    ranks = sorted(re.findall(r"rank=(\d)/2 sum=(\d+) host=(\S+)", "\n".join(out[4:])))
    assert ranks == [("0", "21", "vnode1-0"), ("1", "21", "vnode2-0")], out
    assert "ExitCode=3:0" in world.slurm.command("scontrol", "show", "job", job)
    assert left_behind() == []


def test_a_users_fault_is_told_and_hurts_nobody(world: World) -> None:
    """The node's policy wins over the login node's: what it forbids is not started, and no node is drained."""
    script = world.compile("vcpus: 1\nmemory: 768MiB\nrun: hostname\n")
    policy = world.site / "policy.yaml"
    policy.write_text("properties: {memory: {maxQuantity: 512MiB, message: at most 512MiB here}}\n")
    try:
        job = world.slurm.submit(script, world.user, "--output=out", "--error=err")
        assert world.finished(job, 60) == "FAILED"
    finally:
        policy.unlink()
    assert world.said("out") == ""
    assert "error[VT0201]" in world.said("err")
    assert "at most 512MiB here" in world.said("err")
    assert "ExitCode=78:0" in world.slurm.command("scontrol", "show", "job", job)
    assert job in (world.site.parent / "earlier").read_text().split(), "the hook that the nodes had before"
    assert left_behind() == []


@pytest.mark.parametrize("phase", ["planning", "staging", "kernel"])
def test_a_cancel_in_each_phase(world: World, count_boots: Count, phase: str) -> None:
    if phase == "kernel":
        count_boots()
    job = world.submit("vcpus: 1\nmemory: 768MiB\nrun: hostname\n")
    world.until(job, "the job gets on", lambda: phase in world.said("err"), 90)
    world.slurm.scancel(job)
    assert world.finished(job, 60) == "CANCELLED"
    assert world.said("out") == ""
    assert left_behind() == []


def start_of(job: str) -> str | None:
    """What distinguishes this start of the job, as registered on its node; None before it is."""
    for registered in Path("/var/lib/vtorque/jobs").glob(f"{job}.*/job.json"):
        return str(json.loads(registered.read_text())["start"])
    return None


def test_a_requeued_job_is_another_start(world: World) -> None:
    """What the first start left is undone; the second is prepared anew, with keys of its own."""
    job = world.submit("vcpus: 1\nmemory: 768MiB\nrun: hostname\n")
    world.until(job, "the first start is prepared", lambda: "staging" in world.said("err"), 60)
    first = start_of(job)
    assert first is not None
    world.slurm.command("scontrol", "requeue", job)
    world.slurm.until("the first start is gone", lambda: left_behind() == [], 60)
    world.slurm.until("the second start is there", lambda: start_of(job) not in (None, first), 60)
    world.slurm.scancel(job)
    assert world.finished(job, 60) == "CANCELLED"
    assert left_behind() == []


def test_the_walltime_ends(world: World, count_boots: Count) -> None:
    """The job is told before, its epilogue hook runs, and the output is whole."""
    count_boots()
    job = world.submit(
        """\
        batch: {walltime: "00:02:00"}
        vcpus: 1
        memory: 768MiB
        timeouts: {boot: 80s, grace: 35s}
        hooks: {epilogue: {inline: "echo the epilogue hook"}}
        run: |
          trap 'echo told to stop; exit 0' TERM
          echo begins
          while :; do sleep 0.2; done
        """
    )
    assert world.finished(job, 300) in ("FAILED", "TIMEOUT")
    assert world.said("out") == "begins\ntold to stop\nthe epilogue hook\n", world.said("err")
    assert "VT0909" in world.said("err")
    assert left_behind() == []


def test_a_nodes_fault_takes_the_node_out(world: World, libvirtd: Libvirtd) -> None:
    """As the site says; the job's owner reads the reason."""
    if not libvirtd.ours:
        pytest.skip("the machine's own libvirtd is not ended")
    libvirtd.stop()
    try:
        job = world.submit("vcpus: 1\nmemory: 768MiB\nrun: hostname\n")
        assert world.slurm.wait(job, *ENDED, limit_s=60) == "FAILED"
    finally:
        libvirtd.start()
    assert "error[VT0902]" in world.said("err")
    assert "ExitCode=75:0" in world.slurm.command("scontrol", "show", "job", job)
    world.slurm.until("the node is drained", lambda: any("DRAIN" in state for state in world.nodes()), 30)
    reason = world.slurm.command("sinfo", "--noheader", "--list-reasons", "--format=%E")
    assert "VT0902" in reason
    for node in world.slurm.cluster.names:
        if world.slurm.node_state(node) != "IDLE":
            world.slurm.resume_node(node)
    assert left_behind() == []
