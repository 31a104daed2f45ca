"""Torque's adapter and shim against moms that behave as the real ones were seen to."""

from itertools import product
from pathlib import Path

import pytest

from tests.runtime.batch.installed import earlier_hook, install_runtime, program, real_runtime, recorder
from tests.runtime.batch.torque_standin import Call, Job, Torque
from vtorque_runtime.batch import command, pbs, torque
from vtorque_runtime.batch.contract import BatchJob, Share
from vtorque_spec.canonical import LARGEST_INTEGER
from vtorque_spec.fault import Fault

SPEC = "VT1.e30="
NODES = ("trqb", "trqa", "trqc")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Torque:
    made = Torque(tmp_path / "torque", NODES)
    for node in NODES:
        install_runtime(made.root(node), recorder(made.root(node)))
    monkeypatch.setattr(command, "PATH", f"{made.directory}/bin:/usr/bin:/bin")
    monkeypatch.setattr(command, "hostname", lambda: "trqb.cluster.org")
    return made


def job(**changes: object) -> Job:
    given: dict[str, object] = {
        "id": "141.head", "user": "alice", "exec_host": "trqb/2-3+trqa/0-1", "variables": {"BEOWULF_JOB_MAP": SPEC},
    }  # fmt: skip
    return Job(**{**given, **changes})  # type: ignore[arg-type] # the fields of Job


def calls(server: Torque, node: str) -> str:
    path = server.root(node) / "vtorque-runtime.calls"
    return path.read_text() if path.exists() else ""


def hook_of(job: Job, number: str = "0", **environment: str) -> torque.Hook:
    arguments = [job.id, job.user, "users", job.name, "walltime=1", "batch", "", "/spool/x.SC"]
    return torque.hook(arguments, {"PBS_NODENUM": number, **job.variables, **environment}, b"")


def asked(job: Job, **environment: str) -> BatchJob:
    return hook_of(job, **environment).job(SPEC)


def test_the_order_of_a_life(server: Torque) -> None:
    assert server.start(job(), lambda: server.calls.append(Call("", "body", 0))) == "completed"
    assert [(call.node, call.file) for call in server.calls] == [
        ("trqa", "prologue.parallel"), ("trqb", "prologue"), ("", "body"), ("trqa", "epilogue.parallel"),
        ("trqb", "epilogue"),
    ]  # fmt: skip
    for node in ("trqa", "trqb"):
        lines = calls(server, node).splitlines()
        assert [line.split(" 141.head ")[0] for line in lines if "141.head alice" in line] == [
            "prologue torque",
            "epilogue torque",
        ]
    assert f"BEOWULF_JOB_MAP={SPEC}" in calls(server, "trqa")


def test_an_ordinary_job_starts_nothing(server: Torque) -> None:
    assert server.start(job(variables={"MOAB_QOS": SPEC, "VTORQUE_SPEC": SPEC})) == "completed"
    assert [calls(server, node) for node in NODES] == ["", "", ""]


def test_beside_a_job_of_ours_an_ordinary_one_is_asked_about(server: Torque) -> None:
    (server.root("trqb") / "var/lib/vtorque/jobs/140.trqb").mkdir(parents=True)
    (server.root("trqa") / "var/lib/vtorque/jobs").mkdir(parents=True)
    (server.root("trqa") / "var/lib/vtorque/jobs/.lock").touch()
    server.start(job(variables={}))
    assert calls(server, "trqb").count("logue torque 141.head") == 2
    assert calls(server, "trqa") == ""


def test_the_real_runtime_leaves_an_ordinary_job_alone(server: Torque) -> None:
    """Also beside a job of ours, when the shim has to ask."""
    for node in NODES:
        root = server.root(node)
        (root / f"var/lib/vtorque/jobs/140.{node}").mkdir(parents=True)
        install_runtime(root, real_runtime(root, node, server.directory / "bin"))
    ordinary = job(variables={})
    assert server.start(ordinary) == "completed"
    assert server.output(ordinary) == ""
    assert list((server.root("trqb") / "var/lib/vtorque").rglob("*.jsonl")) == []  # where a hook that fails says so


@pytest.mark.parametrize("code", [1, 2, 78, 255])
def test_a_runtime_that_fails_costs_no_job_and_no_node(server: Torque, code: int) -> None:
    for node in NODES:
        install_runtime(server.root(node), recorder(server.root(node), code))
    assert server.start(job()) == "completed"
    assert not server.down


def test_a_node_without_the_runtime_lets_the_job_start(server: Torque) -> None:
    for node in NODES:
        (server.root(node) / "opt/vtorque/bin/vtorque-runtime").unlink()
    one = job()
    assert server.start(one) == "completed"
    assert "vtorque-runtime" in server.output(one)


@pytest.mark.parametrize("kind", ["parallel", "user", "precancel"])
def test_a_jobtype_changes_no_part(server: Torque, kind: str) -> None:
    """The mom runs another file; what that is called for is told by its arguments."""
    server.start(job(exec_host="trqb/0-1", jobtype=kind))
    assert [line.split()[0] for line in calls(server, "trqb").splitlines() if "torque 141.head" in line] == [
        "prologue",
        "epilogue",
    ]


def test_the_sites_own_hooks_come_first_and_keep_their_codes(server: Torque) -> None:
    for node, name, code in (("trqb", "prologue", 0), ("trqa", "prologue.parallel", 0), ("trqb", "epilogue", 7)):
        earlier_hook(server.root(node), name, recorder(server.root(node), code))
    server.start(job())
    assert server.calls[-1] == Call("trqb", "epilogue", 7)
    theirs = (server.root("trqb") / "prologue.calls").read_text()
    assert theirs.startswith("141.head alice users STDIN ")
    assert "PATH=/bin:/usr/bin\n" in theirs
    assert (server.root("trqa") / "prologue.parallel.calls").exists()
    assert "epilogue torque 141.head" in calls(server, "trqb")


def test_after_a_prologue_of_the_sites_that_refuses_ours_does_not_run(server: Torque) -> None:
    earlier_hook(server.root("trqb"), "prologue", recorder(server.root("trqb"), 1))
    assert server.start(job()) == "aborted"
    assert "prologue torque" not in calls(server, "trqb")


def test_an_aborted_start_has_no_epilogue_on_the_sisters(server: Torque) -> None:
    """Torque's own gap, which `reap` closes; the same sister gets a prologue again for the same id."""
    earlier_hook(server.root("trqc"), "prologue.parallel", recorder(server.root("trqc"), 1))
    one = job(exec_host="trqb/0+trqa/0+trqc/0")
    assert [server.start(one), server.start(one)] == ["requeued", "requeued"]
    assert server.down == {"trqc"}
    assert "epilogue torque" not in calls(server, "trqa")
    assert calls(server, "trqa").count("prologue torque 141.head") == 2


def test_an_epilogue_beside_its_prologue(server: Torque) -> None:
    root = server.root("trqb")
    install_runtime(root, f"#!/bin/sh\n[ $1 = epilogue ] || sleep 0.5\necho $1 >>{root}/order\n")
    server.delete_in_the_prologue(job(exec_host="trqb/0-1"))
    assert (root / "order").read_text().split() == ["epilogue", "prologue"]


def test_a_signal_counts_as_success_and_the_alarm_does_not(tmp_path: Path) -> None:
    for text, after in (("kill -SEGV $$", "completed"), ("sleep 20", "requeued")):
        server = Torque(tmp_path / after, ("trqb",), alarm_s=0.5)
        program(server.root("trqb") / "mom_priv/prologue", f"#!/bin/sh\n{text}\n")
        assert server.start(job(exec_host="trqb/0", variables={})) == after


def test_what_a_job_is(server: Torque) -> None:
    one = job(resources={"nodes": "2:ppn=2", "walltime": "25:00:10", "mem": "8gb"}, exclusive=True)
    made: list[BatchJob] = []
    server.start(one, lambda: made.append(asked(one)))
    assert made == [
        BatchJob(
            "torque", "head", "141.head", "1795411890.1", "alice", "batch", True, "trqb",
            (Share("trqb", 2, 2, None, 4 * 2**30), Share("trqa", 2, 0, None, 4 * 2**30)), 90010, None, SPEC,
        )
    ]  # fmt: skip


def test_both_nodes_see_the_same_job(server: Torque, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job()
    server.start(one)
    first = asked(one)
    monkeypatch.setattr(command, "hostname", lambda: "trqa")
    second = asked(one, number="1")
    assert (second.node, second.rank, second.shares) == ("trqa", 1, first.shares)
    assert (second.start, second.server, second.user) == (first.start, first.server, first.user)
    assert [first.rank, hook_of(one).key()] == [0, "141.trqa"]


def test_a_start_differs_from_the_one_before(server: Torque) -> None:
    one = job(exec_host="trqb/0")
    starts = []
    for _ in range(2):
        server.start(one, lambda: starts.append(hook_of(one).start()))
        assert hook_of(one).start() == starts[-1]  # in the epilogue, and after it
    assert len(set(starts)) == 2


def test_slots_one_by_one_and_an_array_element(server: Torque) -> None:
    one = job(id="141[3].head", exec_host="trqb/7+trqb/5+trqa/0")
    server.start(one)
    assert asked(one).shares == (Share("trqb", 2, 5, None, None), Share("trqa", 1, 0, None, None))
    assert hook_of(one).key() == "141[3].trqb"


def test_the_cpus_of_a_cpuset(server: Torque, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job()
    server.start(one)
    (tmp_path / "141.head").mkdir()
    (tmp_path / "141.head/cpus").write_text("2-3,8\n")
    monkeypatch.setattr(torque, "_CPUSETS", (f"{tmp_path}/nowhere/{{}}", f"{tmp_path}/{{}}/cpus"))
    assert [share.cpus for share in asked(one).shares] == [(2, 3, 8), None]
    (tmp_path / "141.head/cpus").write_text("3-2\n")
    with pytest.raises(Fault, match="VT0931"):
        asked(one)


def test_states(server: Torque) -> None:
    one = job()
    seen = []

    def look(node: str, start: str = "1795411890.1") -> None:
        seen.append(torque.state(one.id, start, node))

    def while_it_runs() -> None:
        for node in ("trqb", "trqa.cluster.org", "trqc"):
            look(node)
        look("trqb", "1795411890.2")

    server.start(one, while_it_runs)
    assert seen == ["live", "live", "gone", "gone"]
    seen.clear()
    look("trqb")  # completed
    one.state = "Q"
    server.publish(one, "Q")
    look("trqb")
    server.forget(one)
    look("trqb")
    (server.directory / "server/down").touch()
    look("trqb")
    (server.directory / "bin/qstat").unlink()
    look("trqb")
    assert seen == ["gone", "gone", "gone", "unknown", "unknown"]


@pytest.mark.parametrize(("letter", "state"), [*product("RES", ["live"]), *product("CQHW", ["gone"])])
def test_a_state_is_told_by_its_letter(server: Torque, letter: str, state: str) -> None:
    one = job()
    server.start(one)
    record = server.directory / "server/141.head.xml"
    record.write_text(record.read_text().replace("<job_state>C<", f"<job_state>{letter}<"))
    assert torque.state(one.id, "1795411890.1", "trqb") == state


@pytest.mark.parametrize("text", ["", "<Data>", "<Data/>", "<Data><Job><Job_Id>7.head</Job_Id></Job></Data>"])
def test_an_answer_that_is_none_is_unknown(server: Torque, text: str) -> None:
    one = job()
    (server.directory / "server/141.head.xml").write_text(text)
    assert torque.state(one.id, "1.1", "trqb") == "unknown"
    with pytest.raises(Fault, match="VT0931"):
        asked(one)


HOSTILE = ("</Variable_List><exec_host>evil/0</exec_host>", "../../etc", "a\nb", "$(id)", "\udc80", "x" * 30000)


@pytest.mark.parametrize("text", HOSTILE[:4])
def test_what_the_owner_writes_changes_no_answer(server: Torque, text: str) -> None:
    """Names, variables, PBS_O_WORKDIR and MOAB_* reach root's prologue."""
    plain, theirs = job(), job(name=text, variables={"BEOWULF_JOB_MAP": SPEC, "PBS_O_WORKDIR": text, "MOAB_USER": text})
    server.start(plain)
    expected = asked(plain)
    server.start(theirs)
    assert asked(theirs) == expected


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_spec_is_carried_as_it_is(text: str) -> None:
    assert hook_of(job(variables={"BEOWULF_JOB_MAP": text})).carried() == text


@pytest.mark.parametrize("text", ["", "141", "a.head", "141.he ad", "../x", "141.head/..", "141[x].head", "141[3.head",
                                  "1\n.head", "²1.head", "1" * 16 + ".head", "141.head\n"])  # fmt: skip
def test_no_job_id(text: str) -> None:
    with pytest.raises(Fault, match="VT0912"):
        hook_of(job(id=text)).key()
    assert torque.state(text, "1.1", "trqb") == "unknown"
    with pytest.raises(Fault, match="VT0912"):
        torque.own_job({"PBS_JOBID": text})


@pytest.mark.parametrize(
    "exec_host", ["", "evil", "trqb/x", "trqb/3-1", "trqb/0-99999999", "-o/0", "tr qb/0", "trqb/-1"]
)
def test_an_exec_host_that_is_none(server: Torque, exec_host: str) -> None:
    one = job()
    server.start(one)
    one.exec_host = exec_host
    server.publish(one, "R")
    with pytest.raises(Fault, match="VT0931"):
        asked(one)


def test_a_node_that_the_job_does_not_have(server: Torque, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job()
    server.start(one)
    with pytest.raises(Fault, match="is not where exec_host has it"):
        asked(one, number="1")
    monkeypatch.setattr(command, "hostname", lambda: "other")
    with pytest.raises(Fault, match="of the job's nodes 0 are this one, other"):
        asked(one)


@pytest.mark.parametrize("user", ["", "a b", "../x", "-x", "a\n"])
def test_no_user(server: Torque, user: str) -> None:
    one = job()
    server.start(one)
    one.user = user
    with pytest.raises(Fault, match="VT0912"):
        asked(one)


@pytest.mark.parametrize("many", [0, 1, 6, 9, 12])
def test_arguments_of_no_hook(many: int) -> None:
    with pytest.raises(Fault, match="VT0912"):
        torque.hook(["141.head"] * many, {}, b"").key()


def test_a_node_is_taken_out_of_service(server: Torque) -> None:
    torque.offline("trqa", "libvirt is\ndead; $(x) \N{SNOWMAN}")
    assert (server.directory / "server/offline").read_text().split("\n")[:4] == [
        "-o", "-N", "libvirt is dead (x)", "trqa",
    ]  # fmt: skip
    program(server.directory / "bin/pbsnodes", "#!/bin/sh\necho Unauthorized >&2; exit 1\n")
    with pytest.raises(Fault, match="VT0930"):
        torque.offline("trqa", "x")


def test_the_jobs_own_side() -> None:
    assert torque.elsewhere(["trqa", "trqc"], ["vtorque-runtime", "follow"]) == [
        ["pbsdsh", "-v", "-h", "trqa", "vtorque-runtime", "follow"],
        ["pbsdsh", "-v", "-h", "trqc", "vtorque-runtime", "follow"],
    ]
    assert torque.own_job({}) is None


def test_the_body_finds_the_key_of_the_hook(server: Torque) -> None:
    assert torque.own_job({"PBS_JOBID": "141.head"}) == (hook_of(job()).key(), "141.head")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("01:30", 90), ("25:00:00", 90000), ("2:00:00:00", 172800), ("x", None), ("", None)],
)
def test_durations(text: str, seconds: int | None) -> None:
    assert pbs.duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("100", 100), ("2b", 2), ("3kb", 3072), ("4gb", 2**32), ("2GB", 2**31), ("1kw", 8192), ("2w", 16)]
    + [(text, None) for text in ("gb", "1xb", "-1gb", "")],
)
def test_sizes(text: str, size: int | None) -> None:
    assert pbs.size_bytes(text) == size


def test_what_a_user_asks_for_is_a_number_that_root_can_keep() -> None:
    assert max(pbs.duration_s("9" * 15 + ":00:00") or 0, pbs.size_bytes("9" * 15 + "pb") or 0) < LARGEST_INTEGER
