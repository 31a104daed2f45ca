"""What goes into the guest: every byte arrives, whatever shell characters it has. Read by the real bash."""

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime import fakes
from vtorque_runtime import payload
from vtorque_runtime.handover import Handover
from vtorque_spec.fault import Fault
from vtorque_spec.plan import JobVm, Script, UserPart, Variable

NAMES = st.from_regex(r"V_[A-Za-z0-9_]{0,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Handover:
    with fakes.reserved(tmp_path_factory.mktemp("plan")) as reserved:
        return fakes.handover(reserved)


def part(text: str = "true", args: tuple[str, ...] = (), env: tuple[Variable, ...] = ()) -> UserPart:
    return UserPart(1, Script(text, args), None, None, env)


def unpacked(directory: Path, user: UserPart, job: Handover, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive in a directory in place of the guest's."""
    monkeypatch.setattr(payload, "DIRECTORY", str(directory))
    unpack = payload.UPLOAD.replace("/run/vtorque/job", str(directory))
    subprocess.run(["bash", "-c", unpack], input=payload.archive(user, job, {}), check=True)
    return directory


def start(directory: Path, part: str = "run") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["bash", directory / "start", part], capture_output=True, text=True, check=False)


@settings(deadline=None)  # each example starts processes
@given(st.dictionaries(NAMES, TEXTS, max_size=5))
def test_bash_reads_the_environment_back(values: dict[str, str]) -> None:
    script = payload.environment(values) + f"exec python3 -c '{SHOW}'"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"PATH": os.environ["PATH"]})
    found = json.loads(done.stdout)[1]
    assert {name: value for name, value in found.items() if name.startswith("V_")} == values


@settings(deadline=None)  # each example starts processes
@given(st.lists(TEXTS, max_size=4).map(tuple))
def test_bash_passes_the_arguments(args: tuple[str, ...]) -> None:
    wrapper = payload._wrapper("run", Script("#!/bin/sh", args)).splitlines(keepends=True)
    call = "".join(wrapper[2:]).replace("exec /run/vtorque/job/run", f"exec python3 -c '{SHOW}'")
    done = subprocess.run(["bash", "-c", call], capture_output=True, check=True)
    assert json.loads(done.stdout)[0] == list(args)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A\n", "A=B", "$(id)"])
def test_a_name_that_bash_could_misread_is_refused(name: str) -> None:
    with pytest.raises(Fault, match="VT0915"):
        payload.environment({name: "x"})


@pytest.mark.parametrize("value", ["a\0b", "x" * 100_001])
def test_a_value_that_no_variable_holds_is_refused(value: str) -> None:
    with pytest.raises(Fault, match="VT0915"):
        payload.environment({"A": value})


def test_text_that_is_no_text_is_refused(job: Handover) -> None:
    with pytest.raises(Fault, match="VT0915"):
        payload.archive(part("echo \udc80"), job, {})


def test_a_read_only_variable_ends_the_job(tmp_path: Path, job: Handover, monkeypatch: pytest.MonkeyPatch) -> None:
    done = start(unpacked(tmp_path, part("echo ran", env=(Variable("UID", "0", None),)), job, monkeypatch))
    assert (done.returncode, done.stdout) == (78, "")
    assert "readonly" in done.stderr


def test_variables_come_from_files_as_the_owner_reads_them(
    tmp_path: Path, job: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("it's\n$x\n\n")
    env = (Variable("A", None, str(tmp_path / "token")), Variable("PBS_NP", "9", None))
    done = start(unpacked(tmp_path, part('echo "[$A][$PBS_NP][$PBS_JOBID]"', env=env), job, monkeypatch))
    assert done.stdout == "[it's\n$x\n][9][42.srv]\n"


def test_the_node_file_has_a_line_for_each_slot_in_rank_order(
    tmp_path: Path, job: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    vms = tuple(JobVm("n2" if n < 2 else "n1", n % 2, f"vm{n}", None) for n in range(4))
    several = replace(job, vms=vms, vcpus=2)
    text = 'tr "\\n" " " <"$PBS_NODEFILE"; echo "$PBS_NP $PBS_NUM_NODES $PBS_NUM_PPN"'
    done = start(unpacked(tmp_path, part(text), several, monkeypatch))
    assert done.stdout == "vm0 vm0 vm1 vm1 vm2 vm2 vm3 vm3 8 4 2\n"


def test_launchers_of_mpi_find_the_node_file_and_ask_no_batch_system(
    tmp_path: Path, job: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = start(unpacked(tmp_path, part("env -0"), job, monkeypatch))
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    here = f"{tmp_path}/nodefile"
    assert {name: value for name, value in found.items() if re.match("OMPI|PRTE|HYDRA|I_MPI", name)} == {
        "OMPI_MCA_orte_default_hostfile": here,
        "OMPI_MCA_plm": "rsh",
        "OMPI_MCA_ras": "^tm",
        "PRTE_MCA_prte_default_hostfile": here,
        "PRTE_MCA_plm": "ssh",
        "HYDRA_HOST_FILE": here,
        "HYDRA_LAUNCHER": "ssh",
        "I_MPI_HYDRA_HOST_FILE": here,
        "I_MPI_HYDRA_BOOTSTRAP": "ssh",
    }


@pytest.mark.parametrize("path", ["/nowhere/token", "/", "/proc/self/mem"])
def test_a_file_that_cannot_be_read_is_told(path: str, job: Handover) -> None:
    with pytest.raises(Fault, match=f"VT0915.*{path}"):
        payload.archive(part(env=(Variable("A", None, path),)), job, {})


@pytest.mark.root
def test_a_file_of_roots_is_not_read_for_a_user(tmp_path: Path, job: Handover) -> None:
    (tmp_path / "secret").write_text("root's")
    (tmp_path / "secret").chmod(0o600)
    other = replace(job, login=replace(job.login, uid=12345, groups=(replace(job.login.groups[0], gid=12345),)))
    with pytest.raises(Fault, match="VT0915"):
        payload.archive(part(env=(Variable("A", None, str(tmp_path / "secret")),)), other, {})


@pytest.mark.parametrize(
    ("text", "code", "output"),
    [
        ('echo "$0 $1"; pwd', 0, "{dir}/run a b\n{home}\n"),
        ("#!/bin/cat\nI am read\n", 0, "#!/bin/cat\nI am read\n"),
        ("read x; echo $?", 0, "1\n"),
        ("exit 255", 255, ""),
        ("kill -TERM $$", 143, ""),
        ("kill -INT $$; echo no", 130, ""),
    ],
)
def test_how_a_part_runs(
    tmp_path: Path, job: Handover, monkeypatch: pytest.MonkeyPatch, text: str, code: int, output: str
) -> None:
    args = () if text.startswith("#!") else ("a b",)
    done = start(unpacked(tmp_path, part(text, args), job, monkeypatch))
    assert (done.returncode, done.stdout, done.stderr) == (code, output.format(dir=tmp_path, home=Path.home()), "")
    assert (tmp_path / "run.status").read_text() == f"{code}\n"


def test_a_part_that_is_stopped_has_not_ended(tmp_path: Path, job: Handover, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'sleep 0.5 && kill -CONT "$$" &\nkill -STOP "$$"; exit 7'
    assert start(unpacked(tmp_path, part(text), job, monkeypatch)).returncode == 7


def test_what_a_part_leaves_running_is_killed(tmp_path: Path, job: Handover, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "sleep 1000 & echo $!; exit 3"
    done = start(unpacked(tmp_path, part(text), job, monkeypatch))  # would not return while `sleep` holds the pipe
    assert done.returncode == 3
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", done.stdout.strip()], capture_output=True, text=True, check=False
    )
    assert state.stdout.strip()[:1] in ("", "Z")


def test_a_signal_reaches_the_whole_group(tmp_path: Path, job: Handover, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "trap 'echo caught; exit 5' USR1\ntouch ready\nwhile :; do sleep 0.1; done\n"
    directory = unpacked(tmp_path, part(text.replace("ready", str(tmp_path / "ready"))), job, monkeypatch)
    with subprocess.Popen(
        ["bash", directory / "start", "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while not (tmp_path / "ready").exists():
            pass
        subprocess.run(["bash", directory / "signal", "USR1", "run"], check=True)
        assert process.communicate()[0] == b"caught\n"
    assert process.returncode == 5
