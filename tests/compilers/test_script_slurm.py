"""Slurm's batch script as the real sbatch reads it: it says what it found before it looks for a controller."""

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compilers.plans import JOB, MIB, REQUEST, with_batch
from tests.compilers.scripts import ANY_WORD, HOSTILE, MACHINE_PART, carried, compiled
from vtorque_compilers.script import refusing_script
from vtorque_spec.carrier import machine_part_in_script
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Array, Dependency, IndexRange, Mail

CONFIGURATION = """\
ClusterName=nowhere
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=1
MessageTimeout=1
NodeName=n1
PartitionName=batch Nodes=ALL
"""
"""No controller listens there; with the shortest MessageTimeout sbatch asks once, instead of for nine seconds."""

Sbatch = Callable[..., dict[str, str]]


class RefusedError(Exception):
    """Sbatch takes no job."""


@pytest.fixture(scope="module")
def sbatch(tmp_path_factory: pytest.TempPathFactory) -> Sbatch:
    """What sbatch makes of a script: the options that it found, without the directory that it ran in."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "slurm.conf").write_text(CONFIGURATION)
    environment = {"PATH": os.environ["PATH"], "SLURM_CONF": str(folder / "slurm.conf")}

    def options_of(script: str, *arguments: str) -> dict[str, str]:
        command = ["sbatch", "-v", *arguments]
        try:
            done = subprocess.run(
                command, input=script.encode(), env=environment, cwd=folder, capture_output=True, check=False
            )
        except FileNotFoundError:
            pytest.skip("sbatch is not installed")
        said = done.stderr.decode()
        if "Unable to contact slurm controller" not in said:
            raise RefusedError(said)
        found = dict(re.findall(r"^sbatch: ([a-z-]+) +: (.*)$", said, re.MULTILINE))
        assert found.pop("verbose") == "1"
        return {name: value.removeprefix(f"{folder}/") for name, value in found.items()}

    return options_of


def test_options(sbatch: Sbatch) -> None:
    request = replace(REQUEST, property="fat")
    assert sbatch(compiled("slurm", with_batch(exclusive=True), request)) == {
        "job-name": "cavity",
        "nodes": "2",
        "ntasks-per-node": "1",
        "cpus-per-task": "14",
        "mem": "24G",
        "time": "02:00:00",
        "constraint": "fat",
        "exclusive": "exclusive",
        "partition": "batch",
        "account": "hpc1234",
        "output": "cavity.out",
    }


def test_what_is_not_said_is_not_asked(sbatch: Sbatch) -> None:
    job = with_batch(queue=None, account=None, output=None, join=False)
    assert sbatch(compiled("slurm", job)) == {
        "job-name": "cavity",
        "nodes": "2",
        "ntasks-per-node": "1",
        "cpus-per-task": "14",
        "mem": "24G",
        "time": "02:00:00",
        "output": "cavity.o%j",
        "error": "cavity.e%j",
    }


def test_arrays_dependencies_mail_and_features(sbatch: Sbatch) -> None:
    job = with_batch(
        features=("ib", "fat"),
        array=Array((IndexRange(0, 3), IndexRange(7, 7)), 2),
        depends=(Dependency("afterok", ("12", "13_4")), Dependency("after", ("14",))),
        mail=Mail(("me+x@site.org",), ("abort", "begin", "end")),
    )
    usual = sbatch(compiled("slurm", request=replace(REQUEST, property="fat")))
    assert sbatch(compiled("slurm", job, replace(REQUEST, property="fat"))) == usual | {
        "constraint": "fat&ib",
        "array": "0-3,7%2",
        "dependency": "afterok:12:13_4,after:14",
        "mail-type": "BEGIN,END,FAIL",
        "mail-user": "me+x@site.org",
        "output": "cavity.out.%a",
    }


@pytest.mark.parametrize(("events", "told"), [((), "NONE"), (("end",), "END"), (("abort",), "FAIL")])
def test_when_mail_is_sent(sbatch: Sbatch, events: tuple[Literal["abort", "end"], ...], told: str) -> None:
    script = compiled("slurm", with_batch(mail=Mail(("me",), events)))
    assert f"#SBATCH --mail-type={told}\n" in script
    assert sbatch(script)["mail-user"] == "me"


def test_each_task_of_an_array_has_files_of_its_own(sbatch: Sbatch) -> None:
    """Named by the array's job and the task; a path that the job says ends with the task's index."""
    array = Array((IndexRange(0, 3),), None)
    found = sbatch(compiled("slurm", with_batch(array=array, output=None, join=False)))
    assert (found["output"], found["error"]) == ("cavity.o%A.%a", "cavity.e%A.%a")
    assert sbatch(compiled("slurm", with_batch(array=array, output="a%a")))["output"] == "a%%a.%a"


def test_shared_nodes_are_the_sites_to_decide(sbatch: Sbatch) -> None:
    """--oversubscribe would let others have the same CPUs, and nothing takes back a partition's exclusive nodes."""
    assert sbatch(compiled("slurm", with_batch(exclusive=False))) == sbatch(compiled("slurm"))


@pytest.mark.parametrize(("size", "told"), [(1, "1"), (MIB, "1"), (MIB + 1, "2"), (1025 * MIB, "1025")])
def test_memory_is_of_a_node_and_rounded_up(sbatch: Sbatch, size: int, told: str) -> None:
    assert sbatch(compiled("slurm", request=replace(REQUEST, memory_bytes=size)))["mem"] == told


@pytest.mark.parametrize(("seconds", "text"), [(60, "00:01:00"), (59, "00:01:00"), (360_061, "4-04:02:00")])
def test_walltime(sbatch: Sbatch, seconds: int, text: str) -> None:
    assert sbatch(compiled("slurm", with_batch(walltime_s=seconds)))["time"] == text


@pytest.mark.parametrize("prop", ["", "fat&thin", "fat*2", "[fat|thin]", "fat --uid=0", "2", "fat:x", "é"])
def test_a_feature_asks_for_nothing_else(prop: str) -> None:
    with pytest.raises(Fault, match="VT0603: a batch directive cannot carry"):
        compiled("slurm", request=replace(REQUEST, property=prop))


@settings(deadline=None)  # each example starts processes
@given(text=ANY_WORD, field=st.sampled_from(["queue", "account", "output"]))
def test_any_directive_comes_through_or_is_refused(sbatch: Sbatch, text: str, field: str) -> None:
    job = with_batch(JOB, **{field: text})
    if not carried(text):
        with pytest.raises(Fault, match="VT0603: a batch directive cannot carry"):
            compiled("slurm", job)
        return
    option = {"queue": "partition", "account": "account", "output": "output"}[field]
    meant = text.replace("%", "%%") if field == "output" else text
    assert sbatch(compiled("slurm", job)) == sbatch(compiled("slurm")) | {option: meant}


@settings(deadline=None)  # each example starts processes
@given(text=st.text() | st.just(HOSTILE))
def test_a_description_asks_for_nothing(sbatch: Sbatch, text: str) -> None:
    assert sbatch(compiled("slurm", description=text)) == sbatch(compiled("slurm"))


def test_a_path_with_percent_signs_means_itself(sbatch: Sbatch) -> None:
    assert sbatch(compiled("slurm", with_batch(output="a%j/%%.out")))["output"] == "a%%j/%%%%.out"


def test_the_machine_part_is_the_second_line() -> None:
    assert compiled("slurm").split("\n")[:2] == ["#!/bin/bash", f"#VTORQUE {MACHINE_PART}"]


def test_the_largest_machine_part_hides_no_option(sbatch: Sbatch) -> None:
    part = "VT1." + "+/" * 4094
    script = compiled("slurm", machine_part=part)
    assert sbatch(script) == sbatch(compiled("slurm"))
    assert machine_part_in_script(script) == part


def test_a_failed_compile_is_refused_twice(sbatch: Sbatch) -> None:
    script = refusing_script("bad.vjob.yaml:1:2: error\n")
    for arguments in ([], ["--ignore-pbs"]):
        with pytest.raises(RefusedError, match="sbatch: error: Invalid --time specification"):
            sbatch(script, *arguments)
    with pytest.raises(RefusedError, match="sbatch: error: Invalid --time specification"):
        sbatch(script.replace("#SBATCH", "#"))
