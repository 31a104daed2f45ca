"""OSv jobs on a real Slurm of two nodes, with a kernel that speaks as OSv does: its console is all that there is."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boots import left_behind, make_user
from tests.support import osv_guest
from tests.support.cluster_site import write_hook, write_programs, write_site
from tests.support.libvirtd import Libvirtd
from tests.support.slurm_conf import Cluster
from tests.test_run import Count
from tests.test_slurm_jobs import KILL_WAIT_S, NETWORKS, StartSlurm, World, bridge, suspend_and_resume

pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.slurm, pytest.mark.root]


@pytest.fixture(scope="module")
def world(libvirtd: Libvirtd, start_slurm: StartSlurm) -> Iterator[World]:
    user = make_user()
    with tempfile.TemporaryDirectory(prefix="vtorque-cluster-") as name, bridge():
        directory = Path(name)
        directory.chmod(0o755)
        site = write_site(directory, more=f"{NETWORKS}    osv: true\n")
        with osv_guest.published(site):
            programs, hook = write_programs(directory), write_hook(directory, site)
            cluster = Cluster(nodes=2, cpus=2, memory_mib=4000, prolog=hook, epilog=hook, kill_wait_s=KILL_WAIT_S)
            slurm = start_slurm(cluster)
            slurm.environment["PATH"] = f"{programs}:{slurm.environment['PATH']}"
            yield World(slurm, user, site)


def submit(world: World, command: str, more: str = "", boot: str = "kernel") -> str:
    text = f"vcpus: 1\nmemory: 64MiB\n{more}run: {{command: {command}}}\n"
    return world.submit(text, osv_guest.IMAGES[boot])


def exit_code(world: World, job: str) -> str:
    words = world.slurm.command("scontrol", "show", "job", job).split()
    return next(word for word in words if word.startswith("ExitCode=")).removeprefix("ExitCode=")


@pytest.mark.parametrize("boot", ["kernel", "disk"])
def test_output_and_exit_code(world: World, count_boots: Count, boot: str) -> None:
    """Both are the program's; how far the guest was is told on standard error."""
    count_boots()
    job = submit(world, '[/t, "a  b", $HOME, exit, "7"]', boot=boot)
    assert world.finished(job, 90) == "FAILED", world.said("err")
    words = ["/t", "a  b", "$HOME", "exit", "7"]
    assert world.said("out").splitlines() == [*(f"argv[{n}]=<{word}>" for n, word in enumerate(words)), "EXITING 7"]
    assert exit_code(world, job) == "7:0"
    assert "the guests used" in world.said("err")
    assert "error[" not in world.said("err")
    assert left_behind() == []


def test_a_crash_is_explained(world: World, count_boots: Count) -> None:
    count_boots()
    job = submit(world, "[/t, abort]")
    assert world.finished(job, 90) == "FAILED"
    assert "error[VT0953]: the program crashed" in world.said("err")
    assert exit_code(world, job) == "134:0"
    assert left_behind() == []


def test_suspended_and_cancelled(world: World, count_boots: Count) -> None:
    """It stands still with its job, and a cancel ends it in its own order, by the power button."""
    count_boots()
    job = world.submit(
        'vcpus: 1\nmemory: 64MiB\nrun: {command: [/t, sleep, "600"], console: all}\n', osv_guest.IMAGES["disk"]
    )
    world.until(job, "the program runs", lambda: "SLEEP 600" in world.said("out"), 90)
    suspend_and_resume(world, job)
    world.slurm.scancel(job)
    assert world.finished(job, 60) == "CANCELLED"
    assert world.said("out").endswith("Powering off.\n"), world.said("err")
    assert left_behind() == []


def test_the_walltime_ends(world: World, count_boots: Count) -> None:
    """Before the batch system ends the job; a guest that does not hear the power button ends hard."""
    count_boots()
    more = 'batch: {walltime: "00:01:00"}\ntimeouts: {boot: 30s, grace: 20s}\n'
    job = submit(world, '[/t, hang, "600"]', more)
    assert world.finished(job, 150) in ("FAILED", "TIMEOUT")
    assert world.said("out").splitlines()[-1] == "HANGING"
    assert "error[VT0909]" in world.said("err")
    assert left_behind() == []


def test_two_nodes(world: World, count_boots: Count) -> None:
    """Each VM runs the command and ends by itself; all is in the output, the first VM's without a name before it."""
    for _ in range(2):
        count_boots()
    job = submit(world, '[/t, sleep, "1", ret, "4"]', "batch: {nodes: 2}\nnetwork: cluster\n")
    assert world.finished(job, 120) == "FAILED", world.said("err")
    own = ["argv[0]=</t>", "argv[1]=<sleep>", "argv[2]=<1>", "argv[3]=<ret>", "argv[4]=<4>", "SLEEP 1", "RETURNING 4"]
    lines, name = world.said("out").splitlines(), "vnode2-0: "
    assert [line for line in lines if not line.startswith(name)] == own, world.said("err")
    assert [line.removeprefix(name) for line in lines if line.startswith(name)] == own, world.said("err")
    assert exit_code(world, job) == "4:0"
    assert left_behind() == []
