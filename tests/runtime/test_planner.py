"""Whatever stands in the place of root's confined child, root gets an answer or a Fault, in bounded time and memory."""

import dataclasses
import json
import resource
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compilers.plans import GUEST, GUESTS, VMS
from tests.runtime import fakes
from tests.spec.helpers import MINIMAL, ROOT, checked
from vtorque_compilers.guests import compile_guests
from vtorque_runtime import verdict
from vtorque_runtime.confine import Limits
from vtorque_runtime.confined import RefusedError
from vtorque_runtime.planner import Planner, compiled
from vtorque_spec.driver import machine_part
from vtorque_spec.fault import Fault
from vtorque_spec.plan.answer import Needs, Question

LIMITS = Limits(time_s=2, memory_bytes=2**29, result_bytes=2**20)
BROKEN = (
    "crash", "exit", "loop", "sleep", "endless", "allocate", "closed", "garbage", "shape", "deep", "nothing",
)  # fmt: skip


def planner(what: str) -> Planner:
    return Planner("node", Path("/nowhere") / what, LIMITS, "tests.runtime.hostile_child")


def question(tmp_path: Path, machine: str = "VT1.hostile") -> Question:
    return Question(machine, "tester", (), None, fakes.draft(tmp_path).context)


@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_before_the_first_question_is_the_nodes_trouble(what: str) -> None:
    with pytest.raises(Fault, match="VT0914"):
        planner(what)


@pytest.mark.root
@pytest.mark.parametrize("what", ["stays-root", "keeps-group"])
def test_who_is_not_confined_is_asked_nothing(what: str) -> None:
    with pytest.raises(Fault, match="VT0914: the confined process is not confined"):
        planner(what)


@pytest.mark.parametrize("what", [*BROKEN, "needs", "network", "half", "site"])
def test_what_breaks_afterwards_is_the_jobs(what: str, tmp_path: Path) -> None:
    asked = question(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with planner(f"then-{what}") as child, pytest.raises(Fault, match="VT0927") as caught:
        child.needs(asked)
    assert child._child.returncode is not None, "nothing of it is left"
    assert verdict.of_error(caught.value, "planning").kind == "user"
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 256 * 1024


def test_a_question_that_nobody_reads(tmp_path: Path) -> None:
    """More than a pipe takes."""
    with planner("then-sleep") as child:
        child._child.stdin.flush()  # type: ignore[union-attr]
        asked = question(tmp_path, "x" * 2**20)
        with pytest.raises(Fault, match=r"VT0927.*took more than 2 s"):
            child.needs(asked)


def test_what_it_says_is_shown_to_a_terminal_without_harm(tmp_path: Path) -> None:
    with planner("then-escapes") as child, pytest.raises(RefusedError) as caught:
        child.needs(question(tmp_path))
    (finding,) = caught.value.findings
    texts = [finding.code, finding.message, finding.help or "", *(finding.detail or "").split("\n")]
    assert all(text.isprintable() for text in texts)
    assert finding.code == "VT0927"


@pytest.mark.root
@pytest.mark.parametrize("what", ["fork", "write", "root", "socket"])
def test_what_it_may_not_do(what: str, tmp_path: Path) -> None:
    """No process, no byte in a file, no other user, no more than some open files."""
    with planner(f"then-{what}") as child:
        assert child.needs(question(tmp_path)) == Needs(1, "refused", None, None, None)


# --- the real one ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Planner, Question]]:
    """One child, which every hostile machine part goes through."""
    directory = tmp_path_factory.mktemp("site")
    (directory / "site.yaml").write_text(
        "apiVersion: vtorque-site/v1\nname: test\nbatch: slurm\nhypervisor: any\nmin_uid: 1000\n"
        "node_classes:\n  generic: {cpus: 8, memory: 16GiB}\nmounts: {}\nnetworks:\n  default: {kind: isolated}\n"
    )
    directory.chmod(0o755)
    with Planner("node", directory) as child:
        yield child, question(directory)


def refused(asking: tuple[Planner, Question], machine: str) -> None:
    child, asked = asking
    with pytest.raises(RefusedError):
        child.needs(dataclasses.replace(asked, machine=machine))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TEXT | st.binary(max_size=300).map(lambda raw: raw.decode("latin-1")))
def test_any_machine_part_is_refused(asking: tuple[Planner, Question], machine: str) -> None:
    refused(asking, machine)
    refused(asking, f"VT1.{machine}")


@settings(deadline=None)
@given(JSON)
def test_any_json_is_refused(asking: tuple[Planner, Question], data: object) -> None:
    refused(asking, "VT1." + b64encode(json.dumps(data).encode()).decode())


@settings(deadline=None)
@given(st.data())
def test_a_flipped_or_cut_machine_part_is_refused(asking: tuple[Planner, Question], data: st.DataObject) -> None:
    whole = machine_part(checked(MINIMAL))
    place = data.draw(st.integers(0, len(whole) - 1))
    refused(asking, whole[:place])
    refused(asking, whole[:place] + chr(ord(whole[place]) ^ 1) + whole[place + 1 :])


# --- the compilers --------------------------------------------------------------------------------------------------


def test_the_guests_files_come_from_a_child() -> None:
    """They are what the compilers make; one that would not reach the guest is told as it is."""
    guests = [GUESTS["bridge"], dataclasses.replace(GUESTS["every-way-to-mount"], index=1)]
    assert compiled(guests, VMS) == compile_guests(guests, VMS)
    with pytest.raises(Fault, match="VT0605: a seed cannot carry the nonce"):
        compiled([dataclasses.replace(GUEST, nonce="../x")], VMS)


def test_compilers_that_break_are_no_trouble_of_the_nodes() -> None:
    """A job may be large."""
    with pytest.raises(Fault, match=r"VT0927.*answered with more than 4096 bytes"):
        compiled([GUEST], VMS * 1000, dataclasses.replace(LIMITS, result_bytes=4096))


LOADED = """
import sys
import vtorque_compilers.__main__ as program
from tests.compilers.plans import GUESTS, VMS
before = set(sys.modules)
program._answer(program.FilesQuestion(tuple(GUESTS.values()), VMS))
print(sorted(set(sys.modules) - before))
"""


def test_the_compilers_load_nothing_more_when_they_are_nobody() -> None:
    """The program may lie where only root can read."""
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
