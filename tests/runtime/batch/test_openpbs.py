"""OpenPBS's adapter and hook against moms that behave as the real ones were seen to."""

import json
import time
from pathlib import Path

import pytest

from tests.runtime.batch.installed import install_runtime, program, recorder
from tests.runtime.batch.openpbs_standin import Job, OpenPbs, Ran
from vtorque_runtime.batch import command, openpbs
from vtorque_runtime.batch.contract import BatchJob, Share
from vtorque_spec.fault import Fault

SPEC = "VT1.e30="
NODES = ("n1", "n2", "n3")


@pytest.fixture
def moms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenPbs:
    made = OpenPbs(tmp_path / "pbs", NODES)
    for node in NODES:
        install_runtime(made.root(node), recorder(made.root(node)))
    monkeypatch.setattr(command, "PATH", f"{made.directory}/bin:/usr/bin:/bin")
    monkeypatch.setattr(command, "hostname", lambda: "n1")
    return made


def job(**changes: object) -> Job:
    given: dict[str, object] = {
        "id": "151.head", "user": "alice", "chunks": (("n1", 2, 1048576), ("n2", 2, 1048576)),
        "resources": {"vtspec": SPEC, "walltime": "01:00:00", "place": "scatter:exclhost"},
    }  # fmt: skip
    return Job(**{**given, **changes})  # type: ignore[arg-type] # the fields of Job


def calls(moms: OpenPbs, node: str) -> list[str]:
    """The parts that the runtime was called for."""
    path = moms.root(node) / "vtorque-runtime.calls"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.removesuffix(" openpbs") for line in lines if line == "reap" or line.endswith(" openpbs")]


def told(moms: OpenPbs, node: str) -> dict[str, str]:
    """What the first call on the node was given on its standard input."""
    lines = (moms.root(node) / "vtorque-runtime.calls").read_text().splitlines()
    found = json.loads(next(line.partition("}")[0] + "}" for line in lines if line.startswith("{")))
    assert isinstance(found, dict)
    return found


def hook_of(**changes: object) -> openpbs.Hook:
    given: dict[str, object] = {
        "id": "151.head", "euser": "alice", "queue": "batch", "run_version": "1", "vtspec": SPEC,
        "walltime": "01:00:00",
        "exec_vnode": "(n1:ncpus=2:mem=1048576kb)+(n2:ncpus=2:mem=1048576kb)", "place": "scatter",
        "exec_host2": "n1:15002/0*2+n2:15002/3*2",
    }  # fmt: skip
    return openpbs.hook([], {}, json.dumps({**given, **changes}).encode())


def test_the_order_of_a_life(moms: OpenPbs) -> None:
    order: list[tuple[str, str]] = []
    assert moms.start(job(), lambda: order.extend((one.node, one.event) for one in moms.ran))
    assert order == [("n1", "EXECJOB_BEGIN"), ("n2", "EXECJOB_BEGIN")]
    assert [calls(moms, node) for node in NODES] == [["prologue", "epilogue"], ["prologue", "epilogue"], []]
    assert told(moms, "n2") == {
        "id": "151.head", "euser": "alice", "queue": "batch", "run_version": "1", "vtspec": SPEC,
        "walltime": "01:00:00",
        "exec_vnode": "(n1:ncpus=2:mem=1048576kb)+(n2:ncpus=2:mem=1048576kb)", "place": "scatter:exclhost",
        "exec_host2": "n1:15002/0*2+n2:15002/0*2",
    }  # fmt: skip


def test_the_adapter_reads_what_the_hook_tells(moms: OpenPbs) -> None:
    one = job(variables={"VTORQUE_SPEC": "other"})
    moms.start(one)
    hook = openpbs.hook([], {}, json.dumps(told(moms, "n1")).encode())
    assert (hook.carried(), hook.key()) == (SPEC, "151.n1")
    assert hook.job(SPEC) == BatchJob(
        "openpbs", "head", "151.head", hook.start(), "alice", "batch", True, "n1",
        (Share("n1", 2, 0, None, 2**30), Share("n2", 2, 0, None, 2**30)), 3600, None, SPEC,
    )  # fmt: skip


@pytest.mark.parametrize("resources", [{}, {"vtspec": ""}])
def test_the_variable_is_the_fallback(moms: OpenPbs, resources: dict[str, str]) -> None:
    moms.start(job(resources=resources, variables={"VTORQUE_SPEC": SPEC}))
    assert openpbs.hook([], {}, json.dumps(told(moms, "n1")).encode()).carried() == SPEC


def test_an_ordinary_job_starts_nothing(moms: OpenPbs) -> None:
    (moms.root("n2") / "var/lib/vtorque/jobs").mkdir(parents=True)
    (moms.root("n2") / "var/lib/vtorque/jobs/.lock").touch()
    (moms.root("n1") / "var/lib/vtorque/jobs/150.n1").mkdir(parents=True)
    assert moms.start(job(resources={"place": "free"}, variables={"BEOWULF_JOB_MAP": SPEC}))
    assert [calls(moms, node) for node in NODES] == [["prologue", "epilogue"], [], []]


@pytest.mark.parametrize("code", [1, 75, 255])
def test_a_runtime_that_fails_costs_no_job(moms: OpenPbs, code: int) -> None:
    for node in NODES:
        install_runtime(moms.root(node), recorder(moms.root(node), code))
    assert moms.start(job())


def test_a_node_without_the_runtime_lets_the_job_start(moms: OpenPbs) -> None:
    (moms.root("n1") / "opt/vtorque/bin/vtorque-runtime").unlink()
    assert moms.start(job())
    assert "FileNotFoundError" in moms.log("n1")


def test_failures_that_the_runtime_tells_are_logged(moms: OpenPbs) -> None:
    """Not what `reap` says every two minutes of jobs that live."""
    install_runtime(moms.root("n1"), "#!/bin/sh\necho something is wrong >&2\necho all is well\n")
    moms.start(job())
    assert "vtorque: something is wrong\n" in moms.log("n1")
    assert "all is well" not in moms.log("n1")


def test_every_way_to_end_has_an_epilogue(moms: OpenPbs) -> None:
    """The one exception is the node whose begin was refused, by another hook: `reap` gives that back."""
    assert not moms.start(job(chunks=tuple((node, 1, 1024) for node in NODES)), refused_on="n3")
    assert [calls(moms, node) for node in NODES] == [["prologue", "epilogue"], ["prologue", "epilogue"], ["prologue"]]


def test_the_nodes_own_events(moms: OpenPbs) -> None:
    assert moms.event("n1", "EXECHOST_STARTUP")
    assert moms.event("n1", "EXECHOST_PERIODIC")
    assert calls(moms, "n1") == ["reap", "reap"]


def test_a_child_in_its_own_session_outlives_the_event(moms: OpenPbs) -> None:
    """And one that is not is killed with the event: what the supervisor has to do."""
    root = moms.root("n1")
    later = "sh -c 'sleep {}; echo {} >>{}/alive' >/dev/null 2>&1 </dev/null"
    plain, own = later.format(0.5, "plain", root), later.format(1, "own", root)
    install_runtime(root, f"#!/bin/sh\n{plain} &\nsetsid -f {own}\n")
    moms.event("n1", "EXECJOB_BEGIN", job())
    while not (root / "alive").exists():
        time.sleep(0.05)
    assert (root / "alive").read_text() == "own\n"


def test_the_alarm(tmp_path: Path) -> None:
    moms = OpenPbs(tmp_path, ("n1",), alarm_s=0.5)
    install_runtime(moms.root("n1"), "#!/bin/sh\nexec sleep 20\n")
    assert not moms.start(job(chunks=(("n1", 1, 1024),)))
    assert moms.ran == [Ran("n1", "EXECJOB_BEGIN", False)]


def test_a_start_is_told_by_what_the_owner_cannot_alter() -> None:
    """With pbs_release_nodes he gives nodes back while the job runs."""
    altered = hook_of(run_count="9", queue="other", exec_host2="n1:15002/0*2", exec_vnode="(n1:ncpus=2)")
    assert hook_of().start() == altered.start()
    others = [hook_of(run_version="2"), hook_of(euser="bob"), hook_of(vtspec="VT1.e31=")]
    assert len({hook_of().start(), *(one.start() for one in others)}) == 4


def test_chunks_on_one_host_and_over_several_vnodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "hostname", lambda: "n1.cluster.org")
    packed = hook_of(
        exec_host2="n1:15002/3*2+n1:15002/2+n2:15002/0*4",
        exec_vnode="(n1:ncpus=2:mem=1gb)+(n1:ncpus=1:mem=1gb)+(n2[0]:ncpus=2:mem=1gb+n2[1]:ncpus=2:mem=3gb)",
    )
    assert packed.job(SPEC).shares == (Share("n1", 3, 2, None, 2**31), Share("n2", 4, 0, None, 2**32))
    unlimited = hook_of(exec_host2="n1:15002/0*2", exec_vnode="(n1:ncpus=2)")
    assert unlimited.job(SPEC).shares == (Share("n1", 2, 0, None, None),)


def test_the_cpus_of_a_cpuset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "hostname", lambda: "n1")
    (tmp_path / "151.head").mkdir()
    (tmp_path / "151.head/cpuset.cpus").write_text("4-5\n")
    monkeypatch.setattr(openpbs, "_CPUSETS", (f"{tmp_path}/{{}}/cpuset.cpus",))
    assert [share.cpus for share in hook_of().job(SPEC).shares] == [(4, 5), None]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": "../x"}, "VT0912"),
        ({"id": 7}, "VT0912"),
        ({"euser": "a/b"}, "VT0912"),
        ({"euser": None}, "VT0912"),
        ({"run_version": "x"}, "VT0912"),
        ({"exec_host2": "n1:15002/0*2"}, "VT0931"),
        ({"exec_host2": "n1:15002/x+n2:15002/0"}, "VT0931"),
        ({"exec_host2": "../n1:15002/0+n2:15002/0"}, "VT0931"),
        ({"exec_host2": "n7:15002/0+n2:15002/0"}, "VT0931"),
        ({"exec_vnode": ""}, "VT0931"),
    ],
)
def test_attributes_that_are_none(changes: dict[str, object], code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "hostname", lambda: "n1")
    with pytest.raises(Fault, match=code):
        hook_of(**changes).job(SPEC)


@pytest.mark.parametrize("text", [b"", b"[]", b"[" * 100000, b"\xff", b"null"])
def test_no_attributes(text: bytes) -> None:
    with pytest.raises(Fault, match="VT0912"):
        openpbs.hook([], {}, text)


def qstat(moms: OpenPbs, code: int, out: str = "", err: str = "") -> None:
    (moms.directory / "answer").write_text(out)
    program(moms.directory / "bin/qstat", f"#!/bin/sh\ncat {moms.directory}/answer\necho '{err}' >&2\nexit {code}\n")


def record(**attributes: object) -> str:
    given = {"job_state": "R", "exec_host": "n1/0*2+n2/0*2", **attributes}
    return json.dumps({"timestamp": 1, "pbs_server": "head", "Jobs": {"151.head": given}})


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((0, record()), "live"),
        ((0, record(run_version=1)), "live"),
        ((0, record(run_version=2)), "gone"),
        ((0, record(job_state="E")), "live"),
        ((0, record(job_state="Q", exec_host=None)), "gone"),
        ((0, record(job_state="H")), "gone"),
        ((0, record(job_state="F")), "gone"),
        ((0, record(job_state="T")), "unknown"),
        ((0, record(job_state="")), "unknown"),
        ((0, record(exec_host="n3/0")), "gone"),
        ((0, record(exec_host=None)), "unknown"),
        ((0, '{"Jobs": {}}'), "unknown"),
        ((0, record().replace('"job_state"', '"job_state": "Q", "job_state"')), "unknown"),
        ((153, "", "qstat: Unknown Job Id 151.head"), "gone"),
        ((35, "", "qstat: 151.head Job has finished, use -x or -H to obtain historical job information"), "gone"),
        ((153, "", "qstat: something else"), "unknown"),
        ((111, "", "Connection refused"), "unknown"),
    ],
)
def test_states(moms: OpenPbs, answer: tuple[int, str], state: str) -> None:
    qstat(moms, *answer)
    assert openpbs.state("151.head", hook_of().start(), "n1") == state


def test_a_node_is_taken_out_of_service(moms: OpenPbs) -> None:
    program(moms.directory / "bin/pbsnodes", f"#!/bin/sh\nprintf '%s|' \"$@\" >{moms.directory}/offline\n")
    openpbs.offline("n1", "libvirt\nis dead")
    assert (moms.directory / "offline").read_text() == "-o|-C|libvirt is dead|n1|"


def test_a_node_that_the_server_knows_with_its_domain(moms: OpenPbs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "hostname", lambda: "n1.cluster.org")
    only = 'for name in "$@"; do :; done; [ "$name" = n1.cluster.org ] || { echo "Unknown node" >&2; exit 1; }'
    program(moms.directory / "bin/pbsnodes", f"#!/bin/sh\n{only}\ntouch {moms.directory}/offline\n")
    openpbs.offline("n1", "libvirt is dead")
    assert (moms.directory / "offline").exists()
    monkeypatch.setattr(command, "hostname", lambda: "n2")
    with pytest.raises(Fault, match="pbsnodes did not take n2 offline"):
        openpbs.offline("n2", "libvirt is dead")


def test_hosts_with_their_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """exec_host2 has it where the moms' machines call themselves so; a site's nodes have none."""
    monkeypatch.setattr(command, "hostname", lambda: "n2.cluster.org")
    found = hook_of(exec_host2="n1.cluster.org:15002/0*2+n2.cluster.org:15002/3*2").job(SPEC)
    assert (found.node, found.rank, [share.node for share in found.shares]) == ("n2", 1, ["n1", "n2"])


def test_the_jobs_own_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pbs_tmrsh takes the names in PBS_NODEFILE alone."""
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    (tmp_path / "nodes").write_text("n1\nn2\nn3.cluster.org\n")
    assert [argv[1] for argv in openpbs.elsewhere(["n2", "n3"], ["x"])] == [
        "n2",
        "n3.cluster.org",
    ]
    monkeypatch.delenv("PBS_NODEFILE")
    assert openpbs.elsewhere(["n2", "n3"], ["x", "-v"]) == [
        ["pbs_tmrsh", "n2", "x", "-v"],
        ["pbs_tmrsh", "n3", "x", "-v"],
    ]
