"""Torque's batch script against bash, shellcheck and qsub's measured limits."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compilers.plans import JOB, with_batch
from vtorque_compilers.script import compile_torque, refusing_script
from vtorque_spec.carrier import (
    MachinePart,
    decode_user_part,
    encode_machine_part,
    encode_user_part,
)
from vtorque_spec.fault import Fault
from vtorque_spec.plan import JobPlan, Script, UserPart, Variable

USER = UserPart(1, Script("echo hello\n", ("-v",)), None, None, (Variable("OMP_NUM_THREADS", "14", None),))
MACHINE = MachinePart({"image": "debian-12"}, "sha256:1", "sha256:2")
MACHINE_PART, USER_PART = encode_machine_part(MACHINE), encode_user_part(USER)


def compiled(job: JobPlan = JOB, user_part: str = USER_PART, description: str = "name: cavity\n") -> str:
    return compile_torque(job, MACHINE_PART, user_part, description).text


def directives(text: str) -> list[list[str]]:
    """Return the words of each `#PBS` line that qsub reads: those before the first line to execute."""
    found = []
    for line in text.split("\n"):
        if line.startswith("#PBS"):
            found.append(line.split()[1:])
        elif line.strip() and not line.startswith("#"):
            break
    return found


def recorded(text: str, folder: Path) -> bytes:
    """Run `text` by bash, with a `vtorque-runtime` that records; return its standard input."""
    stub = folder / "vtorque-runtime"
    stub.write_text(f'#!/bin/sh\necho "$@" >{folder}/arguments\ncat >{folder}/input\n')
    stub.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(["bash"], input=text.encode("ascii"), env={"PATH": path}, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (folder / "arguments").read_text() == "job\n"
    return (folder / "input").read_bytes()


def test_directives() -> None:
    assert directives(compiled()) == [
        ["-S", "/bin/bash"],
        ["-N", "cavity"],
        ["-l", "nodes=2:ppn=14"],
        ["-l", f"mem={2 * 24 * 1024**3}b"],
        ["-l", "walltime=02:00:00"],
        ["-q", "batch"],
        ["-A", "hpc1234"],
        ["-o", "cavity.out"],
        ["-j", "oe"],
        ["-v", f"BEOWULF_JOB_MAP={MACHINE_PART}"],
    ]


def test_what_is_not_said_is_not_asked() -> None:
    job = with_batch(queue=None, account=None, output=None, join=False)
    assert [words[0] for words in directives(compiled(job))] == ["-S", "-N", "-l", "-l", "-l", "-v"]


@pytest.mark.parametrize(("seconds", "text"), [(59, "00:00:59"), (3600, "01:00:00"), (360_061, "100:01:01")])
def test_walltime(seconds: int, text: str) -> None:
    assert ["-l", f"walltime={text}"] in directives(compiled(with_batch(walltime_s=seconds)))


def test_artifact_is_deterministic_and_executable() -> None:
    artifact = compile_torque(JOB, MACHINE_PART, USER_PART, "x")
    assert (artifact.path, artifact.mode) == ("job.sh", 0o755)
    assert artifact == compile_torque(JOB, MACHINE_PART, USER_PART, "x")


@pytest.mark.parametrize("text", [compiled(), refusing_script("bad.vjob.yaml:1:2: error\n")], ids=["job", "refusing"])
def test_shellcheck_finds_nothing(text: str) -> None:
    try:
        done = subprocess.run(["shellcheck", "-"], input=text, text=True, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("shellcheck is not installed")
    assert (done.returncode, done.stdout) == (0, "")


@given(text=st.text(), description=st.text())
def test_any_user_part_reaches_the_runtime(
    text: str, description: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    part = UserPart(1, Script(text, (text,)), None, None, ())
    script = compiled(user_part=encode_user_part(part), description=description)
    body = recorded(script, tmp_path_factory.mktemp("run")).decode("ascii")
    assert max(map(len, body.splitlines())) <= 76
    assert decode_user_part(body.replace("\n", "")) == part


def test_a_long_user_part_reaches_the_runtime(tmp_path: Path) -> None:
    part = replace(USER, run=Script("x" * 40_000, ()))
    body = recorded(compiled(user_part=encode_user_part(part)), tmp_path).decode("ascii")
    assert decode_user_part(body.replace("\n", "")) == part


HOSTILE = "\r#PBS -W jobtype=user\nid\r\n#PBS -q other\x85touch x\u2028id\x0b\x0c\x1c\x00$(id)`id`'\"\\\n#PBS -q x"


@given(text=st.text() | st.just(HOSTILE))
def test_a_description_stays_a_comment(text: str) -> None:
    script = compiled(description=text)
    assert directives(script) == directives(compiled())
    assert script.isascii()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", script)
    before, _ = script.split("exec vtorque-runtime", 1)
    assert all(line.startswith("#") for line in before.removesuffix("\n").split("\n"))


@given(text=st.text(), field=st.sampled_from(["queue", "account", "output"]))
def test_any_directive_comes_through_or_is_refused(text: str, field: str) -> None:
    job = replace(JOB, batch=replace(JOB.batch, **{field: text}))  # type: ignore[arg-type] # any of the three
    fine = re.fullmatch(r"[!-~]+", text) and not set(text) & set("\"'\\")
    if not fine:
        with pytest.raises(Fault, match="VT0603: a #PBS line cannot carry"):
            compiled(job)
        return
    option = {"queue": "-q", "account": "-A", "output": "-o"}[field]
    assert [words for words in directives(compiled(job)) if words[0] == option] == [[option, text]]


@pytest.mark.parametrize("name", ["", " x", "a b", "a\n#PBS -q y", "a\r", "é", "a\\", 'a"', "a\x00"])
def test_names_that_no_directive_carries(name: str) -> None:
    with pytest.raises(Fault, match="VT0603"):
        compiled(replace(JOB, name=name))


@pytest.mark.parametrize(
    "part", ["", "VTU1.", "VTU1.QUJD\nVTORQUE-USER-PART\nid", "VT1.QUJD", "VTU1.QU-D", "VTU1.QUJD\n"]
)
def test_only_base64_stands_in_the_body(part: str) -> None:
    with pytest.raises(Fault, match="VT0603: the user part"):
        compiled(user_part=part)


@pytest.mark.parametrize("part", ["", "VTU1.QUJD", "VT1.QUJD,PBS_O_WORKDIR=/evil", "VT1.QUJD\n#PBS -q x"])
def test_only_base64_stands_in_the_carrier(part: str) -> None:
    with pytest.raises(Fault, match="VT0603: the machine part"):
        compile_torque(JOB, part, USER_PART, "")


def test_machine_part_limit() -> None:
    fits = "VT1." + "A" * 8188
    assert ["-v", f"BEOWULF_JOB_MAP={fits}"] in directives(compile_torque(JOB, fits, USER_PART, "").text)
    with pytest.raises(Fault, match=r"VT0601: .* 8193 bytes.* 8192"):
        compile_torque(JOB, fits + "A", USER_PART, "")


def test_script_limit_names_the_largest_parts() -> None:
    part = "VTU1." + "A" * 60_000
    room = 65_536 - len(compiled(user_part=part, description=""))
    lines = "\n".join([""] + ["y" * 95] * ((room - 200) // 100))
    largest = compiled(user_part=part, description=lines + "\n" + "y" * (room - len(lines) - 4 * lines.count("\n") - 5))
    assert 65_000 < len(largest) <= 65_536
    with pytest.raises(
        Fault, match=r"VT0602: .* 6\d{4} bytes, Torque takes 65536: user part 60005, description \d{4}, machine"
    ):
        compiled(user_part=part, description=lines + "\n" + "y" * 1000)


def test_line_limit() -> None:
    compiled(description="y" * (32_766 - 4))
    with pytest.raises(Fault, match=r"VT0603: a line has 32767 bytes, qsub takes 32766: # \| yyyy"):
        compiled(description="y" * (32_766 - 3))


@given(reason=st.text() | st.just(HOSTILE))
def test_a_failed_compile_is_refused_by_qsub_and_by_itself(reason: str) -> None:
    script = refusing_script(reason)
    assert script.isascii()
    assert directives(script) == [["-l", "walltime=vtorque-compile-failed"]]
    done = subprocess.run(["sh"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "vtorque compiled nothing: this is no job\n"


def test_jinja2_is_imported_by_the_script_compiler_alone() -> None:
    names = ", ".join(f"vtorque_compilers.{name}" for name in ("domain", "script", "seed"))
    code = f"import sys, {names}; print('jinja2' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
