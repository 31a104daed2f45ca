"""Slurm's adapter and shim on what a real Slurm told (data/slurm), and on what a job's owner may make of it."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.batch.installed import earlier_hook, install, install_runtime, program, recorder
from vtorque_runtime.batch import command, slurm, slurm_record
from vtorque_runtime.batch.contract import BatchJob, Share
from vtorque_spec.fault import Fault

DATA = Path(__file__).parents[1] / "data/slurm"
SPEC = "VT1.e30="
SCRIPT = f"#!/bin/bash\n#VTORQUE {SPEC}\n#SBATCH --nodes=2\nexec vtorque-runtime job\n"

SCONTROL = """#!/bin/sh
[ "$SLURM_CONF" = /etc/slurm/slurm.conf ] && [ "$(env | grep -c SLURM_)" = 1 ] && [ "$TZ" = UTC ] || exit 9
case "$*" in
"write batch_script "*) cat {at}/script; cat {at}/script.err >&2 ;;
"show job -d "*) cat {at}/job; cat {at}/job.err >&2; exit "$(cat {at}/job.code)" ;;
"show hostnames node[1-2]") echo node1; echo node2 ;;
"show hostnames node[1-3]") echo node1; echo node2; echo node3 ;;
"update "*) printf '%s|' "$@" >{at}/update ;;
*) exit 8 ;;
esac
"""
Answer = Callable[..., None]


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Set what slurmctld knows: a job's record and its script, with what scontrol says on its standard error."""

    def set_answer(
        job: str = "", script: str = SCRIPT, *, job_err: str = "", code: int = 0, script_err: str = ""
    ) -> None:
        texts = {"job": job, "script": script, "job.err": job_err, "job.code": str(code), "script.err": script_err}
        for name, text in texts.items():
            (tmp_path / name).write_text(text)

    program(tmp_path / "bin/scontrol", SCONTROL.format(at=tmp_path))
    monkeypatch.setattr(command, "PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")  # and what else would change scontrol's words
    set_answer()
    return set_answer


def data(name: str) -> str:
    return (DATA / name).read_text()


def environment(name: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in data(name).splitlines())


def hook_of(name: str = "prolog-two-nodes-node1.env", **changes: str) -> slurm.Hook:
    return slurm.hook([], {**environment(name), **changes}, b"")


def test_what_a_job_is(answer: Answer) -> None:
    answer(data("running.txt"))
    hook = hook_of()
    job = hook.job(SPEC)
    submitted = re.search(r"SubmitTime=(\S+)", data("running.txt"))
    assert submitted
    assert job == BatchJob(
        "slurm", "test", "1", hook.start(), "alice", "batch", False, "node1",
        (Share("node1", 2, 0, None, None), Share("node2", 2, 0, None, None)), 600, job.ends_s, SPEC,
    )  # fmt: skip
    assert (hook.carried(), hook.key()) == (SPEC, "1.node1")
    assert job.ends_s is not None
    assert job.ends_s - int(job.start.partition(".")[0]) in (600, 601)


def test_both_nodes_see_the_same_job(answer: Answer) -> None:
    answer(data("running.txt"))
    first, second = (hook_of(f"prolog-two-nodes-node{n}.env").job(SPEC) for n in (1, 2))
    assert (first.shares, first.start, first.user) == (second.shares, second.start, second.user)
    assert [(job.node, job.rank) for job in (first, second)] == [("node1", 0), ("node2", 1)]


def test_uneven_nodes_and_memory(answer: Answer) -> None:
    answer(data("running-uneven.txt"))
    shares = hook_of("prolog-uneven-node1.env").job(SPEC).shares
    assert [(share.node, share.slots, share.first_slot) for share in shares] == [
        ("node1", 2, 2), ("node2", 2, 2), ("node3", 3, 0),
    ]  # fmt: skip
    answer(data("running-with-memory.txt"))
    assert [share.memory_bytes for share in hook_of().job(SPEC).shares] == [300 * 2**20] * 2


def test_exclusive(answer: Answer) -> None:
    answer(data("exclusive.txt"))
    assert hook_of("prolog-exclusive-node2.env").job(SPEC).exclusive


@pytest.mark.parametrize("name", ["array-master.txt", "array-task.txt"])
def test_an_arrays_task(answer: Answer, name: str) -> None:
    """Asked by the array's first number, slurmctld shows all tasks."""
    answer(data(name))
    assert hook_of("prolog-array-task-node1.env", SLURM_NODELIST="node1").job(SPEC).share.first_slot == 1


def test_the_epilog_of_a_start_that_is_requeued_is_of_that_start(answer: Answer) -> None:
    answer(data("epilog-requeued-node1.txt"))
    hook = hook_of("epilog-requeued-node1.env")
    assert (hook.start(), hook.key()) == ("1795411387.1795411387", "1.node1")
    assert slurm.state("1", hook.start(), "node1") == "live"
    answer(data("running.txt"))
    before = hook_of().start()
    answer(data("running-again.txt"))
    assert hook_of("prolog-again-node1.env").start() != before
    assert slurm.state("1", before, "node1") == "gone"


@pytest.mark.parametrize(
    ("name", "state"),
    [("running", "live"), ("suspended", "live"), ("completed", "gone"), ("failed", "gone"), ("cancelled", "gone"),
     ("requeued", "gone"), ("pending", "gone"), ("completing", "live"), ("prolog-runs", "live")],
)  # fmt: skip
def test_states(answer: Answer, name: str, state: str) -> None:
    text = data(f"{name}.txt")
    job_id = re.match(r"JobId=(\d+) ", text)
    assert job_id
    answer(text)
    start = slurm_record.read(text, job_id[1]).start
    assert slurm.state(job_id[1], start, "node1") == state
    assert slurm.state(job_id[1], start, "node9") == "gone"
    assert slurm.state(job_id[1], "1.1", "node1") == "gone"


def test_a_job_that_slurmctld_does_not_know_is_gone(answer: Answer) -> None:
    answer(job_err=data("gone.txt"), code=1)
    assert slurm.state("1", "1.1", "node1") == "gone"
    with pytest.raises(Fault, match="VT0931"):
        hook_of().job(SPEC)


def test_without_slurmctld_nothing_is_known(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(job_err=data("no-controller.txt"), code=1, script="", script_err="Unable to contact slurm controller")
    assert slurm.state("1", "1.1", "node1") == "unknown"
    for ask in (hook_of().carried, hook_of().start):
        with pytest.raises(Fault, match="VT0930"):
            ask()
    monkeypatch.setattr(command, "PATH", "/nowhere")
    assert slurm.state("1", "1.1", "node1") == "unknown"


@pytest.mark.parametrize("script", ["", "#!/bin/sh\necho '\n#VTORQUE VT1.x'\n", "#!/bin/sh\nhostname\n", "\0" * 100])
def test_an_ordinary_job(answer: Answer, script: str) -> None:
    answer(script=script, script_err="" if script else "job script retrieval failed: Job script not specified")
    assert hook_of().carried() is None


def test_of_a_long_script_the_start_is_read(answer: Answer) -> None:
    """And of a machine part that is longer than any may be, more than may be: so it is refused, not cut."""
    answer(script=SCRIPT + "#" * 4_000_000)
    assert hook_of().carried() == SPEC
    answer(script="#!/bin/sh\n#VTORQUE VT1." + "x" * 4_000_000)
    carried = hook_of().carried()
    assert carried is not None
    assert 8192 < len(carried) <= 65536


WHOLE = (DATA / "running.txt").read_text().partition("JobName=two")[2].replace("alice", "bob")
FORGED = (
    f"x{WHOLE}\nJobId=1 JobName=y",
    "x\n   NodeList=node9",
    "x\n   UserId=root(0) GroupId=root(0) MCS_label=N/A",
    "x\n\nJobId=1 JobName=y",
    "x\n     Nodes=node[1-2] CPU_IDs=0-63 Mem=0 GRES=",
    "x\n   SubmitTime=2020-01-01T00:00:00 EligibleTime=2020-01-01T00:00:00",
)


@pytest.mark.parametrize("text", FORGED)
def test_a_name_that_looks_like_a_record_is_refused(answer: Answer, text: str) -> None:
    answer(data("running.txt").replace("JobName=two", f"JobName={text}"))
    with pytest.raises(Fault, match="VT0931"):
        hook_of().job(SPEC)
    assert slurm.state("1", "1.1", "node1") in ("unknown", "gone")


@pytest.mark.parametrize(
    "text", ["x NodeList=node9", "$(id)", "../../x", "\N{SNOWMAN}", "UserId=root(0) GroupId=root(0)"]
)
def test_a_name_of_one_line_changes_nothing(answer: Answer, text: str) -> None:
    answer(data("running.txt"))
    expected = hook_of().job(SPEC)
    answer(data("running.txt").replace("JobName=two", f"JobName={text}"))
    assert hook_of(SLURM_JOB_COMMENT=text, SLURM_JOB_WORK_DIR=text).job(SPEC) == expected


@pytest.mark.parametrize(
    "changes",
    [{"SLURM_JOB_ID": ""}, {"SLURM_JOB_ID": "1;x"}, {"SLURM_JOB_ID": "1_2"}, {"SLURM_JOB_ID": "²"},
     {"SLURMD_NODENAME": "../x"}, {"SLURMD_NODENAME": ""}],
)  # fmt: skip
def test_an_environment_of_no_hook(answer: Answer, changes: dict[str, str]) -> None:
    with pytest.raises(Fault, match="VT0912"):
        hook_of(**changes).key()
    with pytest.raises(Fault, match="VT0912"):
        slurm.own_job({**environment("prolog-two-nodes-node1.env"), **changes})


def test_a_node_that_the_job_does_not_have(answer: Answer) -> None:
    answer(data("running.txt"))
    with pytest.raises(Fault, match="VT0931"):
        hook_of(SLURMD_NODENAME="node9").job(SPEC)
    with pytest.raises(Fault, match="VT0931"):
        hook_of(SLURM_NODELIST="node1").job(SPEC)


def test_a_node_is_drained(answer: Answer, tmp_path: Path) -> None:
    slurm.offline("node1", "libvirt\nis 'dead' state=idle")
    assert (tmp_path / "update").read_text() == "update|nodename=node1|state=drain|reason=libvirt is dead state idle|"
    with pytest.raises(Fault, match="VT0912"):
        slurm.offline("node[1-100]", "x")


def test_the_jobs_own_side() -> None:
    assert slurm.own_job({}) is None
    assert slurm.own_job({"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "node2"}) == ("7.node2", "7")
    ((program_, *options),) = slurm.elsewhere(["node2", "node3"], ["follow", "-x"])
    assert (program_, options[-2:]) == ("srun", ["follow", "-x"])
    assert {"--nodelist=node2,node3", "--ntasks=2", "--overlap"} <= set(options)


@pytest.mark.parametrize(
    ("online", "sockets", "smt", "here", "alike"),
    [
        ("0-3", (0, 0, 1, 1), "0", "vm", True),
        ("0-3", (0, 1, 0, 1), "0", "vm", False),
        ("0-3", (0, 0, 1, 1), "1", "vm", False),
        ("0,2-4", (0, 0, 1, 1), "0", "vm", False),
        ("0-1", (0, 0), "0", "vm", False),
        ("0-3", (0, 0, 1, 1), "0", "node1", False),
    ],
)
def test_slurms_numbers_are_the_kernels_on_simple_nodes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    online: str, sockets: tuple[int, ...], smt: str, here: str, alike: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "hostname", lambda: "vm.cluster.org")
    for cpu, socket in enumerate((*sockets, 1)):
        (tmp_path / f"cpu{cpu}/topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}/topology/physical_package_id").write_text(f"{socket}\n")
    (tmp_path / "smt").mkdir()
    (tmp_path / "smt/active").write_text(f"{smt}\n")
    (tmp_path / "online").write_text(f"{online}\n")
    assert slurm_record._kernel_counts_alike(here, (2, 3), tmp_path) is alike


def run_shim(root: Path, name: str, **changes: str) -> int:
    hook = root / "hook"
    install("slurm", root, "hook")
    return os.spawnve(os.P_WAIT, hook, [str(hook)], {**environment(name), **changes})


def calls(root: Path) -> list[str]:
    path = root / "vtorque-runtime.calls"
    return [line for line in path.read_text().splitlines() if "logue slurm" in line] if path.exists() else []


@pytest.mark.parametrize("code", [0, 1, 255])
def test_the_shim_returns_success(tmp_path: Path, code: int) -> None:
    """Slurm would drain the node."""
    install_runtime(tmp_path, recorder(tmp_path, code))
    (tmp_path / "var/lib/vtorque/jobs/1.node1").mkdir(parents=True)
    assert run_shim(tmp_path, "prolog-two-nodes-node1.env") == 0
    assert run_shim(tmp_path, "epilog-requeued-node1.env") == 0
    assert calls(tmp_path) == ["prologue slurm", "epilogue slurm"]
    (tmp_path / "opt/vtorque/bin/vtorque-runtime").unlink()
    assert run_shim(tmp_path, "prolog-two-nodes-node1.env") == 0


def test_the_end_of_an_ordinary_job_starts_nothing(tmp_path: Path) -> None:
    install_runtime(tmp_path, recorder(tmp_path))
    assert run_shim(tmp_path, "epilog-requeued-node1.env") == 0
    assert run_shim(tmp_path, "prolog-two-nodes-node1.env", SLURM_SCRIPT_CONTEXT="prolog_task") == 0
    assert calls(tmp_path) == []


def test_the_sites_own_hooks_come_first_and_keep_their_codes(tmp_path: Path) -> None:
    install_runtime(tmp_path, recorder(tmp_path))
    (tmp_path / "var/lib/vtorque/jobs/1.node1").mkdir(parents=True)
    for part, code in (("prologue", 3), ("epilogue", 4)):
        earlier_hook(tmp_path, part, recorder(tmp_path, code))
    assert run_shim(tmp_path, "prolog-two-nodes-node1.env", PATH="/bin:/usr/bin") == 3
    assert run_shim(tmp_path, "epilog-requeued-node1.env", PATH="/bin:/usr/bin") == 4
    assert calls(tmp_path) == ["epilogue slurm"]
    assert "SLURM_JOB_ID=1\n" in (tmp_path / "prologue.calls").read_text()
