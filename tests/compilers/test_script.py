"""What holds for the batch script of every flavour: against bash, shellcheck, and `vtorque show`."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compilers.plans import JOB, REQUEST
from tests.compilers.qsub import RefusedError, read
from tests.compilers.scripts import FLAVOURS, HOSTILE, MACHINE_PART, USER, USER_PART, compiled
from vtorque_compilers.script import compile_script, refusing_script
from vtorque_spec.carrier import decode_user_part, encode_user_part, machine_part_in_script
from vtorque_spec.cli.show import command as show
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Flavour, Script, UserPart

flavours = pytest.mark.parametrize("flavour", FLAVOURS)
any_flavour = st.sampled_from(FLAVOURS)


def recorded(flavour: Flavour, text: str, folder: Path, *, from_file: bool) -> bytes:
    """Run `text` by bash, with a `vtorque-runtime` that records; return its standard input."""
    stub = folder / "vtorque-runtime"
    stub.write_text(f'#!/bin/sh\necho "$@" >{folder}/arguments\ncat >{folder}/input\n')
    stub.chmod(0o755)
    (folder / "job.sh").write_text(text, encoding="ascii")
    done = subprocess.run(
        ["bash", folder / "job.sh"] if from_file else ["bash"],
        input=b"" if from_file else text.encode("ascii"),
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (folder / "arguments").read_text() == f"job {flavour}\n"
    return (folder / "input").read_bytes()


def head(text: str) -> list[str]:
    """Return what a batch system may read: the comments before the first line to execute, but not the description."""
    before, _ = text.split("exec vtorque-runtime", 1)
    lines = before.removesuffix("\n").split("\n")
    assert all(line.startswith("#") for line in lines)
    return [line for line in lines if not line.startswith("# | ") and line != "# |"]


@flavours
def test_artifact_is_deterministic_and_executable(flavour: Flavour) -> None:
    artifact = compile_script(flavour, JOB, REQUEST, MACHINE_PART, USER_PART, "x")
    assert (artifact.path, artifact.mode) == ("job.sh", 0o755)
    assert artifact == compile_script(flavour, JOB, REQUEST, MACHINE_PART, USER_PART, "x")


@pytest.mark.parametrize(
    "text", [*map(compiled, FLAVOURS), refusing_script("bad.vjob.yaml:1:2: error\n")], ids=[*FLAVOURS, "refusing"]
)
def test_shellcheck_and_bash_find_nothing(text: str) -> None:
    for checker in (["bash", "-n"], ["shellcheck", "-"]):
        try:
            done = subprocess.run(checker, input=text, text=True, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"{checker[0]} is not installed")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@settings(deadline=None)  # each example starts processes
@given(flavour=any_flavour, text=st.text(), description=st.text() | st.just(HOSTILE), from_file=st.booleans())
def test_any_user_part_reaches_the_runtime(
    flavour: Flavour, text: str, description: str, from_file: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    part = UserPart(1, Script(text, (text,)), None, None, ())
    script = compiled(flavour, user_part=encode_user_part(part), description=description)
    body = recorded(flavour, script, tmp_path_factory.mktemp("run"), from_file=from_file).decode("ascii")
    assert max(map(len, body.splitlines())) <= 76
    assert decode_user_part(body.replace("\n", "")) == part


@flavours
def test_a_long_user_part_reaches_the_runtime(flavour: Flavour, tmp_path: Path) -> None:
    part = replace(USER, run=Script("x" * 40_000, ()))
    script = compiled(flavour, user_part=encode_user_part(part))
    body = recorded(flavour, script, tmp_path, from_file=False).decode("ascii")
    assert decode_user_part(body.replace("\n", "")) == part


@given(flavour=any_flavour, text=st.text() | st.just(HOSTILE))
def test_a_description_stays_a_comment(flavour: Flavour, text: str) -> None:
    script = compiled(flavour, description=text)
    assert head(script) == head(compiled(flavour))
    assert machine_part_in_script(script) == MACHINE_PART
    assert script.isascii()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", script)


@flavours
@pytest.mark.parametrize("name", ["", " x", "a b", "a\n#PBS -q y", "a\r", "é", "a\\", 'a"', "a'", "a#b", "a\x00"])
def test_names_that_no_directive_carries(flavour: Flavour, name: str) -> None:
    with pytest.raises(Fault, match="VT0603: a batch directive cannot carry"):
        compiled(flavour, replace(JOB, name=name))


@flavours
@pytest.mark.parametrize(
    "part", ["", "VTU1.", "VTU1.QUJD\nVTORQUE-USER-PART\nid", "VT1.QUJD", "VTU1.QU-D", "VTU1.QUJD\n"]
)
def test_only_base64_stands_in_the_body(flavour: Flavour, part: str) -> None:
    with pytest.raises(Fault, match="VT0603: the user part"):
        compiled(flavour, user_part=part)


@flavours
@pytest.mark.parametrize("part", ["", "VTU1.QUJD", "VT1.QUJD,PBS_O_WORKDIR=/evil", "VT1.QUJD\n#PBS -q x"])
def test_only_base64_stands_in_the_carrier(flavour: Flavour, part: str) -> None:
    with pytest.raises(Fault, match="VT0603: the machine part"):
        compiled(flavour, machine_part=part)


@pytest.mark.parametrize(
    ("flavour", "system", "limit"),
    [("torque", "Torque", 65_536), ("slurm", "Slurm", 4 * 1024**2)],
)
def test_script_limit_names_the_largest_parts(flavour: Flavour, system: str, limit: int) -> None:
    user, line = "VTU1." + "A" * (limit // 4), "y" * 95 + "\n"
    room = limit - len(compiled(flavour, user_part=user, description="x"))
    count, rest = divmod(room, 100)
    fits = line * count + "x" * (rest + 1)
    assert len(compiled(flavour, user_part=user, description=fits)) == limit
    parts = rf"description {len(fits) + 1 + 4 * (count + 1)}, user part {len(user)}, machine part {len(MACHINE_PART)}"
    with pytest.raises(Fault, match=f"VT0602: the batch script has {limit + 1} bytes, {system} takes {limit}: {parts}"):
        compiled(flavour, user_part=user, description=fits + "x")


@flavours
def test_show_reads_back_what_was_compiled(flavour: Flavour, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(compiled(flavour, description=HOSTILE))
    shown = CliRunner().invoke(show, [str(script)])
    assert shown.exit_code == 0
    assert "image: debian-12" in shown.output
    assert "echo hello" in shown.output
    assert "OMP_NUM_THREADS" in shown.output


@pytest.mark.parametrize("script", ["", "#!/bin/bash\nid\n#VTORQUE VT1.QUJD\n", " #VTORQUE VT1.QUJD\n", "#VTORQUES x"])
def test_an_ordinary_script_carries_no_machine_part(script: str) -> None:
    assert machine_part_in_script(script) is None


@settings(deadline=None)  # each example starts processes
@given(reason=st.text() | st.just(HOSTILE))
def test_a_failed_compile_is_refused_by_qsub_and_by_itself(reason: str) -> None:
    script = refusing_script(reason)
    assert script.isascii()
    assert [line for line in script.split("\n") if re.match(r"#(PBS|SBATCH|BSUB|VTORQUE)", line)] == [
        "#PBS -l walltime=vtorque-compile-failed",
        "#SBATCH --time=vtorque-compile-failed",
    ]
    for flavour in ("torque", "openpbs"):
        with pytest.raises(RefusedError, match="walltime"):
            read(flavour, script)
    done = subprocess.run(["sh"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "vtorque compiled nothing: this is no job\n"


def test_jinja2_is_imported_by_the_script_compiler_alone() -> None:
    names = ", ".join(f"vtorque_compilers.{name}" for name in ("domain", "script", "seed"))
    code = f"import sys, {names}; print('jinja2' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
