"""Torque's and OpenPBS's batch scripts, as a stand-in for qsub reads them (`qsub.py`)."""

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compilers.plans import GIB, JOB, REQUEST, with_batch
from tests.compilers.qsub import RefusedError, Request, read
from tests.compilers.scripts import ANY_WORD, FLAVOURS, MACHINE_PART, carried, compiled
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Array, Dependency, Flavour, IndexRange, JobPlan, Mail, NodeRequest

Pbs = Literal["torque", "openpbs"]
both = pytest.mark.parametrize("flavour", ["torque", "openpbs"])
NOTHING_SAID = with_batch(queue=None, account=None, output=None, join=False)


def asked(flavour: Pbs, job: JobPlan = JOB, request: NodeRequest = REQUEST) -> Request:
    return read(flavour, compiled(flavour, job, request))


@both
def test_options(flavour: Pbs) -> None:
    assert asked(flavour).options == {
        "-S": "/bin/bash",
        "-N": "cavity",
        "-q": "batch",
        "-A": "hpc1234",
        "-o": "cavity.out",
        "-j": "oe",
    }


@both
def test_what_is_not_said_is_not_asked(flavour: Pbs) -> None:
    assert asked(flavour, NOTHING_SAID).options == {"-S": "/bin/bash", "-N": "cavity"}
    assert asked(flavour, NOTHING_SAID).resources == asked(flavour).resources


def test_torque_counts_the_memory_of_all_nodes() -> None:
    request = asked("torque")
    assert request.resources == {"nodes": "2:ppn=14", "mem": f"{2 * 24 * GIB}b", "walltime": "02:00:00"}
    assert request.variables == {"BEOWULF_JOB_MAP": MACHINE_PART}


def test_openpbs_counts_the_memory_of_a_chunk() -> None:
    request = asked("openpbs")
    assert request.resources == {
        "select": f"2:ncpus=14:mem={24 * 1024**2}kb",
        "place": "scatter",
        "walltime": "02:00:00",
        "vtspec": MACHINE_PART,
    }
    assert request.variables == {"VTORQUE_SPEC": MACHINE_PART}


@pytest.mark.parametrize(("size", "told"), [(1, "1kb"), (1024, "1kb"), (1025, "2kb")])
def test_openpbs_memory_is_rounded_up(size: int, told: str) -> None:
    asked_for = asked("openpbs", request=replace(REQUEST, memory_bytes=size)).resources
    assert asked_for["select"] == f"2:ncpus=14:mem={told}"


@both
@pytest.mark.parametrize("prop", [None, "fat"])
def test_whole_nodes(flavour: Pbs, prop: str | None) -> None:
    request = asked(flavour, with_batch(exclusive=True), replace(REQUEST, property=prop))
    assert ("-n" in request.options) == (flavour == "torque")
    assert request.resources.get("place", "none") == {"torque": "none", "openpbs": "scatter:exclhost"}[flavour]


@pytest.mark.parametrize(
    ("exclusive", "policy", "place"), [(None, None, "scatter"), (False, "shared", "scatter:shared")]
)
def test_shared_nodes(exclusive: bool | None, policy: str | None, place: str) -> None:
    """Only a job that says so asks for nodes that others may use: a site's own default stays."""
    job = with_batch(exclusive=exclusive)
    assert asked("torque", job).resources.get("naccesspolicy") == policy
    assert asked("openpbs", job).resources["place"] == place


def an_array(*bounds: tuple[int, int], at_once: int | None = None) -> Array:
    return Array(tuple(IndexRange(*bound) for bound in bounds), at_once)


@pytest.mark.parametrize(
    ("array", "torque", "openpbs"),
    [
        (an_array((0, 9), at_once=4), "0-9%4", "0-9%4"),
        (an_array((1, 1), (3, 3), (5, 5)), "1,3,5", "1-5:2"),
        (an_array((0, 4), (5, 9)), "0-4,5-9", "0-9"),
        (an_array((7, 7)), "7", None),
        (an_array((1, 2), (4, 5)), "1-2,4-5", None),
        (an_array((1, 3), (5, 5)), "1-3,5", None),
    ],
)
def test_arrays(array: Array, torque: str, openpbs: str | None) -> None:
    job = with_batch(array=array)
    assert asked("torque", job).options["-t"] == torque
    if openpbs is None:
        with pytest.raises(Fault, match="VT0603: a batch directive cannot carry"):
            compiled("openpbs", job)
    else:
        assert asked("openpbs", job).options["-J"] == openpbs


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=12, unique=True).map(sorted),
    st.none() | st.integers(1, 9),
)
def test_an_array_has_its_own_indices(numbers: list[int], at_once: int | None) -> None:
    """However it is said, qsub counts the same indices."""
    array = an_array(*((number, number) for number in numbers), at_once=at_once)
    job = with_batch(array=array)
    limit = "" if at_once is None else f"%{at_once}"
    assert asked("torque", job).options["-t"] == ",".join(map(str, numbers)) + limit
    gaps = {after - before for before, after in pairwise(numbers)}
    if len(gaps) != 1:
        with pytest.raises(Fault, match="VT0603"):
            compiled("openpbs", job)
        return
    said = asked("openpbs", job).options["-J"].removesuffix(limit)
    span, _, step = said.partition(":")
    first, last = map(int, span.split("-"))
    assert list(range(first, last + 1, int(step or 1))) == numbers


def test_each_task_of_an_array_has_a_file_of_its_own() -> None:
    """Torque's server appends `-INDEX` to every path itself; OpenPBS's replaces a word in it."""
    job = with_batch(array=an_array((0, 9)))
    assert asked("torque", job).options["-o"] == "cavity.out"
    assert asked("openpbs", job).options["-o"] == "cavity.out.^array_index^"


DEPENDS = (Dependency("afterany", ("7.srv", "8[].srv")), Dependency("after", ("9",)))


def test_what_a_job_waits_for() -> None:
    job = with_batch(depends=DEPENDS)
    assert asked("torque", job).options["-W"] == "depend=afterany:7.srv,afteranyarray:8[].srv,after:9"
    assert asked("openpbs", job).options["-W"] == "depend=afterany:7.srv:8[].srv,after:9"
    started = with_batch(depends=(Dependency("after", ("8[].srv",)),))
    assert asked("torque", started).options["-W"] == "depend=afterstartarray:8[].srv"


@both
@pytest.mark.parametrize(
    ("events", "letters"), [((), "n"), (("end",), "e"), (("abort", "begin", "end"), "abe"), (("abort", "end"), "ae")]
)
def test_mail(flavour: Pbs, events: tuple[Literal["abort", "begin", "end"], ...], letters: str) -> None:
    request = asked(flavour, with_batch(mail=Mail(("me@site.org", "you"), events)))
    assert (request.options["-m"], request.options["-M"]) == (letters, "me@site.org,you")


def test_features_stand_beside_the_class_and_only_once() -> None:
    job, fat = with_batch(features=("ib", "fat")), replace(REQUEST, property="fat")
    assert asked("torque", job, fat).resources["nodes"] == "2:ppn=14:fat:ib"
    assert asked("torque", job).resources["nodes"] == "2:ppn=14:ib:fat"
    assert asked("openpbs", job, fat).resources["select"].endswith("kb:fat=True:ib=True")


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(
    "word",
    ["", "1,walltime=9", "1:2", "-W", "1 -q x", "1\n#PBS -q x", "$(id)", "1#", "1'", "é", "1%2", "a@b@c", "a,b", "[]"],
)
def test_a_word_asks_for_nothing_else(flavour: Flavour, word: str) -> None:
    for job in (
        with_batch(depends=(Dependency("afterok", ("1", word)),)),
        with_batch(mail=Mail(("me", word), ("end",))),
        with_batch(features=("ib", word)),
    ):
        with pytest.raises(Fault, match="VT0603: a batch directive cannot carry"):
            compiled(flavour, job)


@pytest.mark.parametrize(
    ("flavour", "prop", "told"),
    [
        ("torque", "fat", "2:ppn=14:fat"),
        ("torque", "a.b_c-d", "2:ppn=14:a.b_c-d"),
        ("openpbs", "fat", f"2:ncpus=14:mem={24 * 1024**2}kb:fat=True"),
        ("openpbs", "class=fat.1", f"2:ncpus=14:mem={24 * 1024**2}kb:class=fat.1"),
    ],
)
def test_the_class_of_nodes(flavour: Pbs, prop: str, told: str) -> None:
    resources = asked(flavour, request=replace(REQUEST, property=prop)).resources
    assert resources["nodes" if flavour == "torque" else "select"] == told
    assert set(resources) == set(asked(flavour).resources)


@both
@pytest.mark.parametrize("prop", ["", "fat:ppn=99", "fat+1", "fat,mem=1kb", "fat#excl", "2", "a=b=c", "=a", "a=", "é"])
def test_a_property_asks_for_nothing_else(flavour: Pbs, prop: str) -> None:
    with pytest.raises(Fault, match="VT0603: a batch directive cannot carry"):
        asked(flavour, request=replace(REQUEST, property=prop))


@both
@pytest.mark.parametrize(("seconds", "text"), [(59, "00:00:59"), (3600, "01:00:00"), (360_061, "100:01:01")])
def test_walltime(flavour: Pbs, seconds: int, text: str) -> None:
    assert asked(flavour, with_batch(walltime_s=seconds)).resources["walltime"] == text


@given(
    flavour=st.sampled_from(["torque", "openpbs"]), text=ANY_WORD, field=st.sampled_from(["queue", "account", "output"])
)
def test_any_directive_comes_through_or_is_refused(flavour: Pbs, text: str, field: str) -> None:
    job = with_batch(JOB, **{field: text})
    if not carried(text):
        with pytest.raises(Fault, match="VT0603: a batch directive cannot carry"):
            compiled(flavour, job)
        return
    option = {"queue": "-q", "account": "-A", "output": "-o"}[field]
    usual = asked(flavour)
    usual.options[option] = text
    assert asked(flavour, job) == usual


@both
def test_the_largest_machine_part_arrives_whole(flavour: Pbs) -> None:
    part = "VT1." + "+/" * 4094
    request = read(flavour, compiled(flavour, machine_part=part))
    assert part in request.variables.values()
    assert request.resources.get("vtspec", part) == part


def test_openpbs_takes_what_torque_does_not() -> None:
    assert len(asked("openpbs").options) == len(read("openpbs", compiled("openpbs", description="y" * 70_000)).options)


def test_torque_line_limit() -> None:
    compiled("torque", description="y" * (32_766 - 4))
    with pytest.raises(Fault, match=r"VT0603: a line has 32767 bytes, Torque takes 32766: # \| yyyy"):
        compiled("torque", description="y" * (32_766 - 3))


@pytest.mark.parametrize(
    ("flavour", "script"),
    [
        ("torque", "#PBS -Zfailed\n"),
        ("torque", "#PBS -v A=1,2\n"),
        ("openpbs", "#PBS -n\n"),
        ("openpbs", "#PBS -q batch # the usual one\n"),
        ("openpbs", "#PBS -l nodes=1\n"),
        ("openpbs", "#PBS -q batch\r\n"),
        ("torque", "#PBS -W depend=afterok:1[]\n"),
        ("torque", "#PBS -W depend=afterokarray:1\n"),
        ("torque", "#PBS -W depend=afterarray:1[]\n"),
        ("torque", "#PBS -m abx\n"),
        ("torque", "#PBS -t 1:2\n"),
        ("openpbs", "#PBS -t 1-2\n"),
        ("openpbs", "#PBS -J 7-7\n"),
        ("openpbs", "#PBS -J 1,2\n"),
        ("openpbs", "#PBS -W depend=afterok:1[2]\n"),
        ("openpbs", "#PBS -W depend=before:1\n"),
    ],
)
def test_the_stand_in_refuses_what_qsub_refuses(flavour: Pbs, script: str) -> None:
    with pytest.raises(RefusedError):
        read(flavour, script)


def test_the_stand_in_reads_as_qsub_reads() -> None:
    script = (
        "#!/bin/sh\n\n :\n\t#PBS -q a -A \\\nb\n# PBS -q c\n#pbs -q d\n#PBS -v A=1\n#PBS -v B=2\n:\nid\n#PBS -q e\n"
    )
    assert read("torque", script) == Request({"-q": "a", "-A": "b"}, {}, {"B": "2"})
