"""Whole jobs under OpenPBS's stand-in, which behaves as the real one was seen to: qsub, the real hook, real guests."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.boots import BOOT_LIMIT_S, left_behind
from tests.runtime.batch.installed import install_whole_runtime
from tests.runtime.batch.openpbs_standin import Job, OpenPbs
from tests.support.libvirtd import Libvirtd
from tests.support.pbs import RefusedError, World, made_world
from tests.test_run import Count
from tests.test_slurm_jobs import NETWORKS, bridge
from vtorque_compilers.script import refusing_script

pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]
NODES = ("node1", "node2")
ONE = "run: hostname\n"
TWO = "batch: {nodes: 2}\nnetwork: cluster\n"


@pytest.fixture(scope="module")
def world(libvirtd: Libvirtd) -> Iterator[World]:
    with bridge(), made_world("openpbs", NODES, NETWORKS) as made:
        yield made


@pytest.fixture(scope="module")
def moms(world: World) -> OpenPbs:
    made = OpenPbs(world.directory, NODES, alarm_s=60)
    for node, site in world.sites.items():
        install_whole_runtime(made.root(node), node, made.directory / "bin", site)
    return made


@pytest.fixture
def started(moms: OpenPbs) -> Iterator[Callable[[Job], object]]:
    """Start a job whose life goes on beside the test, and is over after it."""
    with ThreadPoolExecutor() as pool:
        yield lambda job: pool.submit(moms.run, job)


def submit(moms: OpenPbs, world: World, text: str, *options: str) -> Job:
    return moms.submit(world.compile(text), world.user, *options)


def test_two_nodes(moms: OpenPbs, world: World, count_boots: Count) -> None:
    """Output and exit code come from guests of both nodes, whose hosts have a domain; nothing is left."""
    count_boots()
    count_boots()
    job = submit(
        moms,
        world,
        TWO + f"timeouts: {{boot: {2 * BOOT_LIMIT_S}s}}\n"
        "run: |\n"
        '  echo "id=$PBS_JOBID np=$PBS_NP"\n'
        "  for node in $(cat $PBS_NODEFILE); do ssh $node 'echo $(hostname) $(id -un)'; done\n"
        "  cat /proc/sys/kernel/random/boot_id\n"
        "  exit 7\n",
    )
    moms.ran.clear()
    assert moms.run(job)
    out = world.said(job.id, "OU").splitlines()
    name = world.user.pw_name
    assert out[:3] == [f"id={job.id} np=2", f"vnode1-0 {name}", f"vnode2-0 {name}"], world.said(job.id)
    assert out[3] != Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert job.status == 7
    assert [(one.node, one.event, one.accepted) for one in moms.ran] == [
        ("node1", "EXECJOB_BEGIN", True), ("node2", "EXECJOB_BEGIN", True),
        ("node1", "EXECJOB_END", True), ("node2", "EXECJOB_END", True),
    ]  # fmt: skip
    lines = Path("/var/lib/vtorque/accounting.jsonl").read_text().splitlines()
    accounts = [one for one in map(json.loads, lines[-4:]) if one["job_id"] == job.id]
    assert [account["phase"] for account in accounts] == ["ready", "ready"]
    assert all(account["usage"]["cpu_time_ns"] > 0 for account in accounts)
    assert [moms.log(node) for node in NODES] == ["", ""]
    assert left_behind() == []


def test_nothing_compiled_is_no_job(moms: OpenPbs, world: World) -> None:
    with pytest.raises(RefusedError, match="walltime"):
        moms.submit(refusing_script("why"), world.user)


def test_a_carrier_that_is_lost(moms: OpenPbs, world: World) -> None:
    """A resource without `flag=m` does not reach the moms, and a `-v` on qsub's command line replaces the script's."""
    job = submit(moms, world, ONE, "-v", "X=1")
    del job.resources["vtspec"]
    assert moms.run(job)
    assert "nothing was prepared on this node for job" in world.said(job.id)
    assert (job.status, world.said(job.id, "OU"), left_behind()) == (78, "", [])


@pytest.mark.parametrize("node", NODES)
def test_a_users_fault_on_either_node(moms: OpenPbs, world: World, node: str) -> None:
    """Told in the job's output, whichever node found it."""
    job = submit(moms, world, TWO + ONE)
    policy = world.sites[node] / "policy.yaml"
    policy.write_text("properties: {memory: {maxQuantity: 512MiB, message: at most 512MiB here}}\n")
    try:
        assert moms.run(job)
    finally:
        policy.unlink()
    assert "at most 512MiB here" in world.said(job.id)
    assert (job.status, world.said(job.id, "OU")) == (78, ""), world.said(job.id)
    assert left_behind() == []


@pytest.mark.parametrize(("phase", "options"), [("planning", ()), ("kernel", ("-v", "X=1"))])
def test_a_qdel_while_the_guests_boot(
    moms: OpenPbs, world: World, started: Callable[[Job], object], phase: str, options: tuple[str, ...]
) -> None:
    """A `-v` on the command line does not reach the resource, so that job goes its way as any."""
    job = submit(moms, world, ONE, *options)
    started(job)
    world.until(job, phase, lambda: phase in world.said(job.id))
    moms.delete(job)
    world.until(job, "the job is over", lambda: job.state == "F")
    assert (world.said(job.id, "OU"), left_behind()) == ("", [])


def test_a_start_of_which_no_event_came(moms: OpenPbs, world: World, started: Callable[[Job], object]) -> None:
    """The mom was killed and forgot the job, the server starts it again: what the first start left is undone."""
    job = submit(moms, world, ONE)
    job.runs += 1
    assert moms.event("node1", "EXECJOB_BEGIN", job)
    first = start_of(job)
    time.sleep(3)  # its supervisor gets on meanwhile
    started(job)
    world.until(job, "the second start", lambda: start_of(job) not in (None, first))
    world.until(job, "its guest boots", lambda: "kernel" in world.said(job.id))
    moms.delete(job)
    world.until(job, "the job is over", lambda: job.state == "F")
    assert left_behind() == []


def start_of(job: Job) -> str | None:
    try:
        text = Path(f"/var/lib/vtorque/jobs/{job.id.partition('.')[0]}.node1/job.json").read_text()
    except FileNotFoundError:
        return None
    return str(json.loads(text)["start"])


def test_a_refused_start_is_reaped(moms: OpenPbs, world: World) -> None:
    """Another hook of the site's refuses the job on the sister, after ours: the one node that no event comes to."""
    job = submit(moms, world, TWO + ONE)
    sister = f"{job.id.partition('.')[0]}.node2"
    assert not moms.run(job, refused_on="node2")
    assert moms.event("node2", "EXECHOST_PERIODIC")
    assert {line.split("/")[-1] for line in left_behind() if "/jobs/" in line} == {sister}
    time.sleep(1.1)
    assert moms.event("node2", "EXECHOST_PERIODIC")
    assert left_behind() == []


def test_a_live_job_is_not_reaped(moms: OpenPbs, world: World, started: Callable[[Job], object]) -> None:
    """Its mom was killed and started again: the guests run on, and `exechost_startup` comes alone."""
    job = submit(moms, world, ONE)
    started(job)
    world.until(job, "its guest is prepared", lambda: "staging" in world.said(job.id))
    for event in ("EXECHOST_STARTUP", "EXECHOST_PERIODIC"):
        assert moms.event("node1", event)
        time.sleep(1.1)
    assert job.state == "R"
    assert left_behind() != []
    moms.delete(job)
    world.until(job, "the job is over", lambda: job.state == "F")
    assert left_behind() == []
