"""Which trees of cgroups a node has, and the way out of those that a batch system made."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.fake_cgroups import V1, V2, cgroups
from vtorque_runtime.cgroups import leave_job_cgroup, trees


def test_version_1(tmp_path: Path) -> None:
    found = {
        tuple(sorted(tree.controllers)): (tree.version, tree.own) for tree in trees(cgroups(tmp_path, V1, own="/a"))
    }
    names = [("cpu", "cpuacct"), ("cpuset",), ("memory",), ("devices",), ("pids",), ("name=systemd",)]
    assert found == dict.fromkeys(names, (1, "/a"))


def test_version_2(tmp_path: Path) -> None:
    (tree,) = trees(cgroups(tmp_path, v2=V2, own="/system.slice/a.service"))
    assert (tree.version, tree.controllers, tree.own) == (2, frozenset(V2), "/system.slice/a.service")


def test_both(tmp_path: Path) -> None:
    found = trees(cgroups(tmp_path, V1, ()))
    assert [tree.version for tree in found] == [1] * len(V1) + [2]
    assert found[-1].path == tmp_path / "sys/fs/cgroup/unified"


def test_a_mount_that_shows_a_part(tmp_path: Path) -> None:
    """In a container: the kernel tells the whole path of the process, the mount has what is below /box."""
    root = cgroups(tmp_path, ("memory",), own="/box/torque/12.srv")
    info = root / "proc/self/mountinfo"
    info.write_text(info.read_text().replace(" / /sys/fs/cgroup", " /box /sys/fs/cgroup"))
    assert trees(root)[0].own == "/torque/12.srv"


@pytest.mark.parametrize(
    ("own", "job_id", "entered"),
    [
        ("/torque/12.srv", "12.srv", "torque"),
        ("/pbs_jobs.service/jobid/12[3].srv", "12[3].srv", "pbs_jobs.service/jobid"),
        ("/slurm_node1/uid_1000/job_12/step_batch/task_0", "12", "slurm_node1/uid_1000"),
        ("/pbs_jobs.slice/pbs_jobs-12.srv.slice", "12.srv", "pbs_jobs.slice"),
        ("/12.srv", "12.srv", "."),
        ("/torque/112.srv", "12.srv", None),
        ("/a/0c12f3", "12.srv", None),
        ("/torque/12.srv", "local-00000012", None),
        ("/", "12.srv", None),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_the_jobs_cgroup_is_left(tmp_path: Path, own: str, job_id: str, entered: str | None, version: int) -> None:
    root = cgroups(tmp_path, ("cpuset",), own=own) if version == 1 else cgroups(tmp_path, v2=V2, own=own)
    assert leave_job_cgroup(job_id, root) == []
    top = root / "sys/fs/cgroup" / ("cpuset" if version == 1 else "")
    assert list(top.rglob("cgroup.procs")) == ([] if entered is None else [top / entered / "cgroup.procs"])


def test_a_cgroup_that_takes_no_process_is_passed(tmp_path: Path) -> None:
    """On v2 one that hands controllers down."""
    root = cgroups(tmp_path, v2=V2, own="/a/slurm/job_12")
    (root / "sys/fs/cgroup/a/slurm/cgroup.procs").mkdir()  # nobody can write it
    assert leave_job_cgroup("12", root) == []
    assert (root / "sys/fs/cgroup/a/cgroup.procs").read_text() == "0"


def test_what_cannot_be_left_is_told(tmp_path: Path) -> None:
    root = cgroups(tmp_path, ("memory",), own="/job_12")
    (root / "sys/fs/cgroup/memory/cgroup.procs").mkdir()
    assert leave_job_cgroup("12", root) == [f"{root}/sys/fs/cgroup/memory/job_12"]


@pytest.fixture
def job_cgroup() -> Iterator[Path]:
    """A cgroup as a batch system makes one for job 4711, in the kernel's freezer tree or in that of version 2."""
    tops = [tree.path for tree in trees() if "freezer" in tree.controllers] or [
        t.path for t in trees() if t.version == 2
    ]
    if os.geteuid() != 0 or not tops or not os.access(tops[0], os.W_OK):
        pytest.skip("cgroups are made by root")
    path = tops[0] / "vtorque-test" / "4711.srv"
    path.mkdir(parents=True)
    yield path
    path.rmdir()
    path.parent.rmdir()


LEAVING = """
import os, sys
from pathlib import Path
from vtorque_runtime.cgroups import leave_job_cgroup
Path(sys.argv[1], "cgroup.procs").write_text("0")
print(open("/proc/self/cgroup").read().count("/vtorque-test/4711.srv"))
print(leave_job_cgroup("4711.srv"), open("/proc/self/cgroup").read().count("4711"))
input()
"""


@pytest.mark.root
def test_the_kernels_own_cgroup_is_left(job_cgroup: Path) -> None:
    """A batch system ends its job by killing all that is in the job's cgroup: who has left it stays."""
    child = subprocess.Popen(
        [sys.executable, "-c", LEAVING, job_cgroup],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert child.stdout is not None
    assert [child.stdout.readline(), child.stdout.readline()] == ["1\n", "[] 0\n"]
    assert (job_cgroup / "cgroup.procs").read_text() == ""
    assert str(child.pid) in (job_cgroup.parent / "cgroup.procs").read_text().split()
    child.communicate("\n")
    assert child.returncode == 0
