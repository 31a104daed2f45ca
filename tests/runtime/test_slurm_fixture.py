"""The throw-away Slurm of the tests does what the adapter was written for, and nothing of it stays."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boots import make_user
from tests.spec.helpers import ROOT
from tests.support import slurm as support
from tests.support.processes import started_with
from tests.support.slurm import CONTROLLER, Slurm, SlurmError, running_slurm
from tests.support.slurm_conf import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.root]

HOOK = """\
#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH
at={records}/$SLURM_JOB_ID.$SLURM_SCRIPT_CONTEXT.$SLURMD_NODENAME
tr '\\0' '\\n' </proc/$$/environ >"$at.environment"
scontrol write batch_script "$SLURM_JOB_ID" - >"$at.script"
case "$SLURM_SCRIPT_CONTEXT $SLURM_JOB_COMMENT $SLURMD_NODENAME" in
"prolog_slurmd cancel node2") scancel "$SLURM_JOB_ID" ;;
"prolog_slurmd fail node2") exit 1 ;;
esac
exit 0
"""
"""Notes what it was given; what it does beside is the job's comment."""

DATA = Path(__file__).parent / "data/slurm"
SLEEPING = "#!/bin/sh\necho began\nsleep 300\n"
HOOKS = [f"{context}_slurmd.{node}" for context in ("epilog", "prolog") for node in ("node1", "node2")]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the hooks note what they were given."""
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def slurm(start_slurm: Callable[[Cluster], Slurm], records: Path, tmp_path_factory: pytest.TempPathFactory) -> Slurm:
    """Two nodes that run HOOK before and after each job."""
    hook = tmp_path_factory.mktemp("hooks") / "hook"
    hook.write_text(HOOK.format(records=records))
    hook.chmod(0o755)
    return start_slurm(Cluster(prolog=hook, epilog=hook))


@pytest.fixture(scope="module")
def user(slurm: Slurm) -> pwd.struct_passwd:
    """An ordinary one."""
    return make_user()


def noted(records: Path, job: str, kind: str) -> dict[str, str]:
    """What the hooks of a job noted, by hook and node."""
    return {
        path.name.removeprefix(f"{job}.").removesuffix(f".{kind}"): path.read_text()
        for path in records.glob(f"{job}.*.{kind}")
    }


def variables(environment: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in environment.splitlines())


def test_hooks_and_script_of_a_job_of_two_nodes(slurm: Slurm, user: pwd.struct_passwd, records: Path) -> None:
    script = "#!/bin/sh\nid -un; id -Gn; pwd\nsrun sh -c 'echo $SLURMD_NODENAME' | sort  # no line end"
    job = slurm.submit(script, user, "--nodes=2", "--ntasks=2")
    slurm.wait(job, "COMPLETED")
    groups = subprocess.run(["id", "-Gn", user.pw_name], capture_output=True, text=True, check=True).stdout.strip()
    assert slurm.command("id", "-Gn", user=user) == groups
    assert slurm.output(job).splitlines() == [user.pw_name, groups, str(slurm.home(user)), "node1", "node2"]
    assert noted(records, job, "script") == dict.fromkeys(HOOKS, script)


def test_what_hooks_are_given(slurm: Slurm, user: pwd.struct_passwd, records: Path) -> None:
    """The same variables as in the recorded data, so no PATH and no HOME."""
    job = slurm.submit("#!/bin/sh\nexit 5\n", user, "--nodes=2", "--ntasks=4", "--ntasks-per-node=2")
    slurm.wait(job, "FAILED")
    given = {hook: variables(text) for hook, text in noted(records, job, "environment").items()}
    assert sorted(given) == HOOKS
    recorded = variables((DATA / "prolog-two-nodes-node1.env").read_text())
    assert set(given["prolog_slurmd.node1"]) == set(given["prolog_slurmd.node2"]) == set(recorded)
    for hook, environment in given.items():
        assert environment["SLURMD_NODENAME"] == hook.rpartition(".")[2]
        assert environment["SLURM_NODELIST"] == "node[1-2]"
        assert environment["SLURM_JOB_CPUS_PER_NODE"] == "2(x2)"
        assert environment["SLURM_JOB_USER"] == user.pw_name
    assert given["epilog_slurmd.node2"]["SLURM_JOB_EXIT_CODE2"] == "5:0"


def test_a_prolog_that_cancels_its_job(slurm: Slurm, user: pwd.struct_passwd, records: Path) -> None:
    """The epilog runs on every node, on one too whose prolog was not begun when the other's cancelled the job."""
    job = slurm.submit(SLEEPING, user, "--nodes=2", "--comment=cancel", "--output=cancelled.out")
    slurm.wait(job, "CANCELLED")
    assert not (slurm.home(user) / "cancelled.out").exists()
    ran = set(noted(records, job, "script"))
    assert {"epilog_slurmd.node1", "epilog_slurmd.node2"} < ran <= set(HOOKS)
    assert [slurm.node_state(node) for node in slurm.cluster.names] == ["IDLE", "IDLE"]


def test_a_prolog_that_fails(slurm: Slurm, user: pwd.struct_passwd) -> None:
    job = slurm.submit(SLEEPING, user, "--nodes=2", "--comment=fail")
    slurm.until("node2 is drained", lambda: slurm.node_state("node2") == "IDLE+DRAIN")
    slurm.wait(job, "PENDING")
    assert "Reason=launch_failed_requeued_held" in slurm.command("scontrol", "show", "job", job)
    assert "Reason=Prolog error" in slurm.command("scontrol", "show", "node", "node2")
    slurm.scancel(job)
    slurm.resume_node("node2")
    slurm.settle()


def test_suspend_is_for_operators(slurm: Slurm, user: pwd.struct_passwd) -> None:
    job = slurm.submit(SLEEPING, user)
    slurm.wait(job, "RUNNING")
    with pytest.raises(SlurmError, match="Access/permission denied"):
        slurm.command("scontrol", "suspend", job, user=user)
    slurm.suspend(job)
    slurm.wait(job, "SUSPENDED")
    slurm.resume(job)
    slurm.wait(job, "RUNNING")
    slurm.scancel(job)
    slurm.wait(job, "CANCELLED")


def test_an_array_and_a_job_that_waits_for_it(slurm: Slurm, user: pwd.struct_passwd, records: Path) -> None:
    """Each task has a number of its own, which is what its hooks are given."""
    array = slurm.submit("#!/bin/sh\necho $SLURM_ARRAY_TASK_ID\n", user, "--array=1-2", "--mail-type=BEGIN,END,FAIL")
    after = slurm.submit("#!/bin/sh\n", user, f"--dependency=afterok:{array}")
    slurm.wait(after, "COMPLETED")
    tasks = slurm.command("squeue", "--noheader", "--states=all", f"--jobs={array}", "--format=%A").split()
    assert {slurm.output(task) for task in tasks} == {"1\n", "2\n"}
    assert all(noted(records, task, "script") for task in tasks)


def test_the_controller_comes_back(slurm: Slurm, user: pwd.struct_passwd) -> None:
    job = slurm.submit(SLEEPING, user, "--nodelist=node1")
    slurm.wait(job, "RUNNING")
    slurm.end_daemon(CONTROLLER)
    slurm.start_daemon(CONTROLLER)
    slurm.until("the nodes are known again", lambda: slurm.node_state("node2") == "IDLE")
    assert slurm.state(job) == "RUNNING"
    slurm.scancel(job)
    slurm.wait(job, "CANCELLED")
    slurm.settle()


def test_what_does_not_happen_is_told_with_the_record(slurm: Slurm, user: pwd.struct_passwd) -> None:
    job = slurm.submit("#!/bin/sh\n", user, "--hold")
    with pytest.raises(SlurmError, match=rf"(?s)not within 0.1 s: job {job} is RUNNING.*Reason=JobHeldUser"):
        slurm.wait(job, "RUNNING", limit_s=0.1)
    with pytest.raises(SlurmError, match=r"exit code 1: .*Invalid job id specified"):
        slurm.state("4242")
    slurm.scancel(job)


def test_nothing_is_left(user: pwd.struct_passwd) -> None:
    """Not even what has left its job's session."""
    with running_slurm(Cluster(nodes=1)) as slurm:
        job = slurm.submit("#!/bin/sh\nsetsid -f sh -c 'echo $$; exec sleep 300'\nsleep 300\n", user)
        slurm.until("the job has begun", lambda: slurm.output(job).strip() != "")
        assert {"munged", "slurmctld", "slurmd", "slurmstepd"} <= set(slurm.processes().values())
        stray = int(slurm.output(job))
        assert os.getsid(stray) == stray
    assert slurm.processes() == {}
    assert not slurm.directory.exists()


def test_a_killed_test_run_is_cleared_up_by_the_next(user: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a prefix of its own: others may start a Slurm at this moment."""
    monkeypatch.setattr(support, "PREFIX", "vtorque-killed-slurm-")
    program = textwrap.dedent("""\
        import os
        from tests.boots import make_user
        from tests.support import slurm as support
        from tests.support.slurm_conf import Cluster
        support.PREFIX = "vtorque-killed-slurm-"
        with support.running_slurm(Cluster()) as slurm:
            slurm.wait(slurm.submit("#!/bin/sh\\nexec sleep 300\\n", make_user()), "RUNNING")
            print(slurm.environment["SLURM_CONF"], flush=True)
            os.kill(os.getpid(), 9)
        """)
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    configuration = Path(killed.stdout.strip())
    assert started_with("SLURM_CONF", str(configuration))
    with running_slurm(Cluster(nodes=1)) as slurm:
        assert started_with("SLURM_CONF", str(configuration)) == {}
        assert not configuration.parent.exists()
        assert slurm.node_state("node1") == "IDLE"


def test_a_host_whose_name_means_nothing(
    user: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "nobody-knows.example")
    with running_slurm(Cluster()) as slurm:
        assert "this Slurm calls the host localhost" in capfd.readouterr().err
        job = slurm.submit("#!/bin/sh\nsrun hostname\n", user, "--nodes=2")
        slurm.wait(job, "COMPLETED")
        assert slurm.output(job) == "localhost\nlocalhost\n"


def test_what_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "PREFIX", "vtorque-broken-slurm-")
    with (
        pytest.raises(SlurmError, match=r"(?s)waiting until .* ended\n.*plugin for select/nothing"),
        running_slurm(Cluster(lines=("SelectType=select/nothing",))),
    ):
        pass
    assert not list(Path(tempfile.gettempdir()).glob("vtorque-broken-slurm-*"))
