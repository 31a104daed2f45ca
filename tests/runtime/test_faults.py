"""Nothing leaks: what is killed before any of its effects leaves nothing that an epilogue, or `reap`, does not undo.

The effects are counted in a first run, so that a step that is added later is killed as well.
"""

import json
import signal
import time
import typing
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.runtime.faulty_node import KEY, Node, StandInHook, made_node
from vtorque_runtime import epilogue, reap, teardown
from vtorque_runtime.batch.contract import BatchJob, State
from vtorque_runtime.spool import Start
from vtorque_runtime.steps import Undo
from vtorque_spec.fault import Fault

pytestmark = pytest.mark.root
KILLED = -signal.SIGKILL


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    with made_node(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock that nobody sets forward."""
    ahead, whole = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: whole() + ahead[0])
    return lambda seconds: ahead.__setitem__(0, ahead[0] + seconds)


def says(monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    """Let the batch system say so of every job."""

    class Adapter:
        def state(self, job_id: str, start: str, node: str) -> State:
            assert (job_id, node) == ("12", "node")
            return state

    monkeypatch.setattr(reap, "adapter", lambda _system: Adapter())


OF_OSV = {"exports"}
"""What jobs of OSv guests alone have to undo: `osv/test_exports.py` kills their supervisor."""


def ready(node: Node, start: str = "1") -> None:
    """A job whose supervisor got all its guests ready, and then vanished."""
    node.begin(start)
    assert node.in_child(node.supervise)[0] == 0, node.registry.log(KEY).read_text()
    assert node.left()


def kinds(node: Node) -> set[str]:
    return {str(undo["kind"]) for undo in node.registry.spool(KEY).journal.undos()}


def accounted(node: Node) -> list[str]:
    """The starts that the accounting has a line of."""
    lines = (node.registry.base / "accounting.jsonl").read_text().splitlines()
    return [json.loads(line)["start"] for line in lines]


def all_kinds() -> set[str]:
    return {typing.get_args(typing.get_type_hints(kind)["kind"])[0] for kind in typing.get_args(Undo)}


def test_the_supervisor_killed_before_any_of_its_effects(node: Node) -> None:
    node.begin("0")
    code, effects = node.in_child(node.supervise)
    assert (code, kinds(node) | OF_OSV) == (0, all_kinds()), "a kind of undo that no step of this job has"
    assert sum(effect.startswith("recorded ") for effect in effects) == len(node.registry.spool(KEY).journal.undos())
    node.end("0")
    assert node.left() == []
    for deadly in range(1, len(effects) + 1):
        node.begin(str(deadly))
        assert node.in_child(node.supervise, deadly)[0] == KILLED
        node.end(str(deadly))
        assert node.left() == [], f"after a kill before: {effects[deadly - 1]}"
    assert [path.name for path in (node.directory / "data").iterdir()] == ["the-users-own"]


def test_reap_after_a_kill_at_any_step(
    node: Node, monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    node.begin("0")
    effects = node.in_child(node.supervise)[1]
    node.end("0")
    steps = [number for number, effect in enumerate(effects, 1) if effect.startswith(("recorded ", "did "))]
    for deadly in steps:
        node.begin(str(deadly))
        assert node.in_child(node.supervise, deadly)[0] == KILLED
        there = node.left()
        for state in ("live", "unknown", "gone", "unknown"):
            says(monkeypatch, state)
            assert reap.reap(node.registry, node.connect)[1] == []
            clock(reap.APART_S)
            assert node.left() == there, f"{state} destroys nothing"
        says(monkeypatch, "gone")
        reap.reap(node.registry, node.connect)
        clock(reap.APART_S - 2)
        reap.reap(node.registry, node.connect)
        assert node.left() == there, "not yet a minute apart"
        clock(2)
        assert reap.reap(node.registry, node.connect)[1] == []
        assert node.left() == [], f"after a kill before: {effects[deadly - 1]}"


def test_the_prologue_killed_before_any_of_its_effects(node: Node) -> None:
    node.begin("first")  # makes directories that the next ones find
    node.end("first")
    effects = node.in_child(partial(node.begin, "0"))[1]
    node.end("0")
    assert len(effects) > 10
    for deadly in range(1, len(effects) + 1):
        assert node.in_child(partial(node.begin, str(deadly)), deadly)[0] == KILLED
        node.end(str(deadly))
        node.begin(f"after {deadly}")
        assert node.start() == f"after {deadly}"
        node.end(f"after {deadly}")
        assert node.left() == [], f"after a kill before: {effects[deadly - 1]}"


def test_the_epilogue_killed_before_any_of_its_effects(node: Node) -> None:
    ready(node, "first")
    node.end("first")  # makes directories that the next ones find
    ready(node, "0")
    effects = node.in_child(partial(node.end, "0"))[1]
    assert node.left() == []
    for deadly in range(1, len(effects) + 1):
        ready(node, str(deadly))
        assert node.in_child(partial(node.end, str(deadly)), deadly)[0] == KILLED
        node.end(str(deadly))
        assert reap.reap(node.registry, node.connect)[1] == [], "files that were not finished"
        assert node.left() == [], f"after a kill before: {effects[deadly - 1]}"
        assert accounted(node).count(str(deadly)) == 1, f"after a kill before: {effects[deadly - 1]}"


def test_the_epilogue_twice(node: Node) -> None:
    ready(node)
    node.end()
    node.end()
    assert node.left() == []
    assert accounted(node) == ["1"]


def test_a_prologue_after_the_epilogue_registers_nothing(node: Node) -> None:
    node.end()
    node.begin()
    assert (node.left(), node.supervisors) == ([], [])


def test_an_epilogue_while_the_prologue_asks(node: Node) -> None:
    """The batch system's answer comes when the job is over."""

    def late(spec: str) -> BatchJob:
        node.end()
        return StandInHook().job(spec)

    node.begin(answer=late)
    assert (node.left(), node.supervisors) == ([], [])


def test_a_supervisor_that_comes_after_the_epilogue_began(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not there to be stopped yet, and takes over nothing any more."""
    node.begin()
    stopped: list[int] = []

    def stop(held: object) -> None:
        stopped.append(node.in_child(node.supervise)[0])

    monkeypatch.setattr(epilogue, "stop", stop)
    node.end()
    assert stopped == [0]
    assert node.left() == []
    assert "supervises job" not in node.registry.log(KEY).read_text()


def test_two_prologues_of_one_start_at_once(node: Node) -> None:
    def meanwhile(spec: str) -> BatchJob:
        node.begin()
        return StandInHook().job(spec)

    node.begin(answer=meanwhile)
    assert node.supervisors == [KEY]
    node.begin()
    assert node.supervisors == [KEY]


def test_a_requeue_over_what_no_epilogue_ended(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(node)
    monkeypatch.setattr(teardown.end, "__defaults__", (node.connect,))
    node.begin("2")
    assert (node.start(), node.connect().domain_uuids()) == ("2", set())
    node.end("1")
    assert node.start() == "2", "an epilogue of the start before"
    assert node.in_child(node.supervise)[0] == 0
    node.end("2")
    assert node.left() == []


def test_a_late_epilogue_does_not_undo_the_start_that_came_meanwhile(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start before was undone, and this one registered, after the epilogue had looked who holds the job."""
    node.begin("1")
    whole = node.registry.__class__.alone

    def alone(self: object, key: str, limit_s: float | None = None) -> object:
        if limit_s is None:
            monkeypatch.undo()
            node.registry.remove(node.registry.spool(KEY))
            node.registry.register(KEY, 0, 0, Start("slurm", "12", "2", "node"))
        return whole(self, key, limit_s)  # type: ignore[arg-type]

    monkeypatch.setattr(node.registry.__class__, "alone", alone)
    teardown.end(node.registry, KEY, "1", node.connect)
    assert node.start() == "2"


def test_a_supervisor_of_the_start_before_takes_nothing_over(node: Node) -> None:
    node.begin("1")
    old = node.registry.registration(KEY)
    assert old is not None
    node.registry.remove(node.registry.spool(KEY))
    node.begin("2")
    with pytest.raises(Fault, match="undone"):
        node.registry.adopt(old)


def test_an_id_that_recurs(node: Node) -> None:
    """A server that counts from 1 again: another start of the same id is another job, with other keys."""
    found = set()
    for start in ("1", "2"):
        ready(node, start)
        found.add((node.registry.spool(KEY).owner / "id_ed25519").read_text())
        node.end(start)
    assert len(found) == 2
    assert node.left() == []


def test_an_epilogue_without_its_start_ends_what_is_there(node: Node) -> None:
    """The batch system does not answer any more, so the hook cannot say which start is over."""
    ready(node)
    node.end(None)
    assert node.left() == []
    node.end(None)
