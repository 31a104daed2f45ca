"""Slurm's adapter and shim on a real Slurm with two nodes: what it learns of jobs, in Prolog, body and Epilog."""

import json
import pwd
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.boots import make_user
from tests.runtime.batch.installed import install, install_runtime
from tests.support.slurm import Slurm
from tests.support.slurm_conf import Cluster
from vtorque_runtime.batch import slurm as adapter

pytestmark = [pytest.mark.slurm, pytest.mark.root]

SPEC = "VT1.e30="
SCRIPT = f"#!/bin/bash\n#VTORQUE {SPEC}\n#SBATCH --nodes=2 --ntasks-per-node=1 --time=5\n"

RUNTIME = """#!{python}
import dataclasses, json, os, pathlib, sys
from vtorque_runtime.batch import slurm
from vtorque_spec.fault import Fault
hook = slurm.hook(sys.argv[3:], os.environ, sys.stdin.buffer.read())
told = {{"spec": hook.carried(), "key": hook.key()}}
if told["spec"] is not None:
    told["start"] = hook.start()
    told["state"] = slurm.state(os.environ["SLURM_JOB_ID"], hook.start(), os.environ["SLURMD_NODENAME"])
    if sys.argv[1] == "prologue":
        told["job"] = dataclasses.asdict(hook.job(told["spec"]))
pathlib.Path("{var}", hook.key()).mkdir(exist_ok=True)
with open(f"{at}/{{hook.key()}}.{{sys.argv[1]}}", "a") as file:
    file.write(json.dumps(told) + "\\n")
sys.exit(75)  # the hook returns success whatever this says
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the hooks note what they learned."""
    return tmp_path_factory.mktemp("told")


@pytest.fixture(scope="module")
def cluster(start_slurm: Callable[[Cluster], Slurm], told: Path, tmp_path_factory: pytest.TempPathFactory) -> Slurm:
    root = tmp_path_factory.mktemp("root")
    install("slurm", root, "hook")
    jobs = root / "var/lib/vtorque/jobs"
    jobs.mkdir(parents=True)
    install_runtime(root, RUNTIME.format(python=sys.executable, at=told, var=jobs))
    return start_slurm(Cluster(cpus=4, prolog=root / "hook", epilog=root / "hook", cred_expire_s=5))


@pytest.fixture(scope="module")
def user(cluster: Slurm) -> pwd.struct_passwd:
    """An ordinary one."""
    return make_user()


@pytest.fixture(autouse=True)
def _of_this_slurm(cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])


def learned(told: Path, job: str, part: str, node: str) -> list[dict[str, Any]]:
    path = told / f"{job}.{node}.{part}"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_job_of_two_nodes(cluster: Slurm, user: pwd.struct_passwd, told: Path) -> None:
    remote = " ".join(adapter.elsewhere(["node2"], ["sh", "-c", "'echo from $SLURMD_NODENAME; exit 3'"])[0])
    body = f"echo $SLURM_JOB_ID on $SLURMD_NODENAME\n{remote}\necho ended $?\nsleep 1\n"
    name = "x\n   NoSuchLine=1"
    job = cluster.submit(SCRIPT + body, user, f"--job-name={name}", "--cpus-per-task=2")
    cluster.wait(job, "COMPLETED")
    output = cluster.output(job).splitlines()
    assert {f"{job} on node1", "from node2", "ended 3"} <= set(output)
    (first,), (second,) = (learned(told, job, "prologue", node) for node in ("node1", "node2"))
    assert (first["spec"], first["state"], first["job"]["node"]) == (SPEC, "live", "node1")
    assert (first["job"]["user"], first["job"]["walltime_s"]) == (user.pw_name, 300)
    assert [(share["node"], share["slots"]) for share in first["job"]["shares"]] == [("node1", 2), ("node2", 2)]
    assert {**first["job"], "node": ""} == {**second["job"], "node": ""}
    for node, before in (("node1", first), ("node2", second)):
        (after,) = learned(told, job, "epilogue", node)
        assert (after["start"], after["state"], after["spec"]) == (before["start"], "live", SPEC)
    assert adapter.state(job, first["start"], "node1") == "gone"
    assert {cluster.node_state(node) for node in cluster.cluster.names} == {"IDLE"}


def test_an_ordinary_job_and_a_forged_one(cluster: Slurm, user: pwd.struct_passwd, told: Path) -> None:
    ordinary = cluster.submit("#!/bin/sh\nhostname\n", user)
    forged = cluster.submit(SCRIPT + "hostname\n", user, "--job-name=x\n   NodeList=node2\n   UserId=root(0) GroupId=")
    for job in (ordinary, forged):
        cluster.wait(job, "COMPLETED")
    assert [one["spec"] for one in learned(told, ordinary, "prologue", "node1")] == [None]
    assert learned(told, forged, "prologue", "node1") == []  # the record was refused, and the job ran without a guest


def test_a_requeue_is_another_start(cluster: Slurm, user: pwd.struct_passwd, told: Path) -> None:
    job = cluster.submit(SCRIPT + "sleep 60\n", user)
    cluster.wait(job, "RUNNING")
    cluster.until("the hooks are done", lambda: len(learned(told, job, "prologue", "node2")) == 1)
    cluster.command("scontrol", "requeue", job)
    cluster.wait(job, "PENDING")
    before = learned(told, job, "prologue", "node1")[0]["start"]
    assert learned(told, job, "epilogue", "node1")[0]["start"] == before
    assert adapter.state(job, before, "node1") == "gone"
    cluster.wait(job, "RUNNING")
    cluster.until("the hooks are done", lambda: len(learned(told, job, "prologue", "node1")) == 2)
    again = learned(told, job, "prologue", "node1")[1]["start"]
    assert again != before
    assert [adapter.state(job, start, "node1") for start in (again, before)] == ["live", "gone"]
    cluster.scancel(job)
    cluster.wait(job, "CANCELLED")


def test_a_node_is_drained(cluster: Slurm) -> None:
    adapter.offline("node2", "libvirt is dead: vtorque")
    assert "Reason=libvirt is dead: vtorque [" in cluster.command("scontrol", "show", "node", "node2")
    assert cluster.node_state("node2") == "IDLE+DRAIN"
    cluster.resume_node("node2")
