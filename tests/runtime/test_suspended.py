"""Guests stop with the processes of their job, and go on with them: while they boot, and when they are ready."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.runtime.faulty_node import KEY, Node, NodeHypervisor, made_node
from vtorque_runtime import boot, status, supervise
from vtorque_runtime.attached import Attached
from vtorque_runtime.signals import SignalledError
from vtorque_runtime.watch import Watches

pytestmark = pytest.mark.root


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    with made_node(tmp_path, monkeypatch) as made:
        yield made


def test_guests_stop_and_go_on_with_their_job(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each guest is told once; the owner can read it; the body may know the job while its guests still boot."""
    told: list[tuple[str, str]] = []
    for word in ("suspend", "resume"):
        act = lambda _self, uuid, word=word: told.append((word, uuid)) is None  # noqa: E731 - a method of each name
        monkeypatch.setattr(NodeHypervisor, word, act, raising=False)
    answers = iter([False, True, True, False] * 2)
    monkeypatch.setattr(Attached, "stopped", lambda _self: next(answers))

    def follow(stopped: Callable[[], bool]) -> None:
        told.clear()
        for expected in (False, True, True, False):
            assert stopped() is expected
            now = status.read(node.registry.spool(KEY).status)
            assert now is not None
            assert now.suspended is expected
        uuids = [uuid for word, uuid in told if word == "suspend"]
        assert set(uuids) == node.connect().domain_uuids()
        assert told == [("suspend", uuid) for uuid in uuids] + [("resume", uuid) for uuid in uuids]

    def wait(_boots: Sequence[object], _limit_s: int, *rest: object) -> None:
        assert node.registry.spool(KEY).handover.exists()
        follow(rest[-1])  # type: ignore[arg-type] # the last is `stopped`

    def watch(_self: object, watches: Watches, stopped: Callable[[object], bool], _part: str) -> None:
        follow(lambda: stopped(watches.guests))
        raise SignalledError(15)

    monkeypatch.setattr(boot, "wait", wait)
    monkeypatch.setattr(supervise._Supervisor, "_watch", watch)
    node.begin()
    assert node.in_child(node.supervise)[0] == 0, node.registry.log(KEY).read_text()
    node.end()
    assert node.left() == []
