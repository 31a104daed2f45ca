"""Whole jobs under Torque's stand-in, which behaves as the real one was seen to: qsub, the real hooks, real guests."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.boots import BOOT_LIMIT_S, left_behind
from tests.runtime.batch.installed import install_whole_runtime, program
from tests.runtime.batch.torque_standin import Call, Job, Torque
from tests.support.libvirtd import Libvirtd
from tests.support.pbs import RefusedError, World, made_world, reaped
from tests.test_run import Count
from tests.test_slurm_jobs import NETWORKS, bridge
from vtorque_compilers.script import refusing_script

pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]
NODES = ("node1", "node2")
ONE = "run: hostname\n"
TWO = "batch: {nodes: 2}\nnetwork: cluster\n"


@pytest.fixture(scope="module")
def world(libvirtd: Libvirtd) -> Iterator[World]:
    with bridge(), made_world("torque", NODES, NETWORKS) as made:
        yield made


@pytest.fixture(scope="module")
def torque(world: World) -> Torque:
    made = Torque(world.directory, NODES)
    for node, site in world.sites.items():
        install_whole_runtime(made.root(node), node, made.directory / "bin", site)
    return made


@pytest.fixture
def started(torque: Torque) -> Iterator[Callable[[Job], object]]:
    """Start a job whose life goes on beside the test, and is over after it."""
    with ThreadPoolExecutor() as pool:
        yield lambda job: pool.submit(torque.run, job)


def submit(torque: Torque, world: World, text: str, *options: str) -> Job:
    return torque.submit(world.compile(text), world.user, *options)


def test_two_nodes(torque: Torque, world: World, count_boots: Count) -> None:
    """Output and exit code come from guests of both nodes; each node's record has its part; nothing is left."""
    count_boots()
    count_boots()
    job = submit(
        torque,
        world,
        TWO + f"timeouts: {{boot: {2 * BOOT_LIMIT_S}s}}\n"
        "run: |\n"
        '  echo "id=$PBS_JOBID np=$PBS_NP"\n'
        "  for node in $(cat $PBS_NODEFILE); do ssh $node 'echo $(hostname) $(id -un)'; done\n"
        "  cat /proc/sys/kernel/random/boot_id\n"
        "  exit 7\n",
    )
    torque.calls.clear()
    assert torque.run(job) == "completed"
    out = world.said(job.id, "OU").splitlines()
    name = world.user.pw_name
    assert out[:3] == [f"id={job.id} np=2", f"vnode1-0 {name}", f"vnode2-0 {name}"], world.said(job.id)
    assert out[3] != Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert job.status == 7
    assert torque.calls == [
        Call("node2", "prologue.parallel", 0), Call("node1", "prologue", 0),
        Call("node2", "epilogue.parallel", 0), Call("node1", "epilogue", 0),
    ]  # fmt: skip
    assert {account["node"]: account["phase"] for account in accounts(job)} == dict.fromkeys(NODES, "ready")
    assert all(account["usage"]["cpu_time_ns"] > 0 for account in accounts(job))
    assert left_behind() == []


def accounts(job: Job) -> list[dict[str, Any]]:
    lines = Path("/var/lib/vtorque/accounting.jsonl").read_text().splitlines()
    return [one for one in map(json.loads, lines[-4:]) if one["job_id"] == job.id]


def test_nothing_compiled_is_no_job(torque: Torque, world: World) -> None:
    with pytest.raises(RefusedError, match="walltime"):
        torque.submit(refusing_script("why"), world.user)


def test_a_carrier_that_is_lost(torque: Torque, world: World) -> None:
    """A `-v` on qsub's command line replaces the script's: the hooks see an ordinary job, and the body says so."""
    job = submit(torque, world, ONE, "-v", "BEOWULF=1")
    assert torque.run(job) == "completed"
    assert "nothing was prepared on this node for job" in world.said(job.id)
    assert "a `-v` on qsub's command line replaced the script's" in world.said(job.id)
    assert (job.status, world.said(job.id, "OU"), left_behind()) == (78, "", [])


@pytest.mark.parametrize("node", NODES)
def test_a_users_fault_on_either_node(torque: Torque, world: World, node: str) -> None:
    """Told in the job's output, from the other node by pbsdsh, which ends with 0 itself; no node goes down."""
    job = submit(torque, world, TWO + ONE)
    policy = world.sites[node] / "policy.yaml"
    policy.write_text("properties: {memory: {maxQuantity: 512MiB, message: at most 512MiB here}}\n")
    try:
        assert torque.run(job) == "completed"
    finally:
        policy.unlink()
    assert "at most 512MiB here" in world.said(job.id)
    assert (job.status, world.said(job.id, "OU"), torque.down) == (78, "", set()), world.said(job.id)
    assert left_behind() == []


@pytest.mark.parametrize("phase", ["planning", "kernel"])
def test_a_qdel_while_the_guests_boot(
    torque: Torque, world: World, started: Callable[[Job], object], phase: str
) -> None:
    job = submit(torque, world, ONE)
    started(job)
    world.until(job, phase, lambda: phase in world.said(job.id))
    torque.delete(job)
    world.until(job, "the job is over", lambda: job.state == "C")
    assert (world.said(job.id, "OU"), left_behind()) == ("", [])


def test_a_qdel_in_the_prologue(torque: Torque, world: World) -> None:
    """The epilogue comes beside the prologue, first or last; the body is not run."""
    job = submit(torque, world, ONE)
    torque.delete_in_the_prologue(job)
    world.until(job, "nothing is left", lambda: left_behind() == [])


def test_a_start_of_which_no_epilogue_came(torque: Torque, world: World, started: Callable[[Job], object]) -> None:
    """The mom was killed in a prologue, the server starts the job again: with other keys, and one body."""
    job = submit(torque, world, ONE)
    torque.lose(job)
    first = start_of(job)
    time.sleep(3)  # its supervisor gets on meanwhile
    started(job)
    world.until(job, "the second start", lambda: start_of(job) not in (None, first))
    world.until(job, "its guest boots", lambda: "kernel" in world.said(job.id))
    torque.delete(job)
    world.until(job, "the job is over", lambda: job.state == "C")
    assert left_behind() == []


def start_of(job: Job) -> str | None:
    try:
        text = Path(f"/var/lib/vtorque/jobs/{job.id.partition('.')[0]}.node1/job.json").read_text()
    except FileNotFoundError:
        return None
    return str(json.loads(text)["start"])


def test_an_aborted_start_is_reaped(torque: Torque, world: World) -> None:
    """The site's own prologue fails on the first node; the sister, whose guests boot, gets no epilogue."""
    job = submit(torque, world, TWO + ONE)
    refusing = torque.root("node1") / "etc/vtorque/hooks/prologue"
    program(refusing, "#!/bin/sh\nexit 2\n")
    try:
        assert torque.run(job) == "requeued"
    finally:
        refusing.unlink()
    sister = f"{job.id.partition('.')[0]}.node2"
    assert any(sister in line for line in left_behind())
    assert re.search("gone says torque, for the first time", reaped(torque.root("node2")))
    time.sleep(1.1)
    assert f"{sister}: gone says torque, twice; undone" in reaped(torque.root("node2"))
    assert left_behind() == []


def test_a_live_job_is_not_reaped(torque: Torque, world: World, started: Callable[[Job], object]) -> None:
    job = submit(torque, world, ONE)
    started(job)
    world.until(job, "its guest is prepared", lambda: "staging" in world.said(job.id))
    assert "live says torque; not touched" in reaped(torque.root("node1"))
    torque.delete(job)
    world.until(job, "the job is over", lambda: job.state == "C")
    assert left_behind() == []
