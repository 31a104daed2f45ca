"""The site's shutdown hook is run once in each guest that got ready, whatever a guest answers."""

import base64
import json
import logging
import time
from pathlib import Path

import pytest

from tests.runtime import fakes
from vtorque_runtime import shutdown_hooks
from vtorque_runtime.shutdown_hooks import ShutdownHooks
from vtorque_runtime.steps import undo_all
from vtorque_spec.canonical import to_data


class Agents:
    """Agents of guests: UUID -> what each answers to the n-th request."""

    def __init__(self, **answers: list[str | None]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, object]]] = []

    def ask_agent(self, uuid: str, request: str, limit_s: int) -> str | None:
        self.asked.append((uuid, json.loads(request)))
        answers = self.answers[uuid]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def returned(**content: object) -> str:
    return json.dumps({"return": content})


def ended(code: int, said: str = "") -> str:
    return returned(**{"exited": True, "exitcode": code, "out-data": base64.b64encode(said.encode()).decode()})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown_hooks, "_TICK_S", 0.0)


def test_all_run_at_the_same_time_and_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    running = returned(exited=False)
    agents = Agents(a=[returned(pid=7), running, running, ended(0, "bye\n")], b=[returned(pid=9), ended(3, "\x1b[2J")])
    shutdown_hooks.run(["a", "b"], agents)
    assert [uuid for uuid, _ in agents.asked[:2]] == ["a", "b"]
    assert agents.asked[0][1]["execute"] == "guest-exec"
    assert agents.asked[2][1] == {"execute": "guest-exec-status", "arguments": {"pid": 7}}
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "the shutdown hook in domain b: exit code 3: '\\x1b[2J'''",
        "the shutdown hook in domain a: exit code 0: 'bye\\n'''",
    ]
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_hook_that_does_not_end_is_left(caplog: pytest.LogCaptureFixture) -> None:
    shutdown_hooks.run(["a"], Agents(a=[returned(pid=7), returned(exited=False)]), limit_s=0.1)
    assert "was not done after" in caplog.text


def test_an_agent_that_may_not_run_programs_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """As Red Hat's, by its own settings; libvirt has an error for that, and for a domain without an agent."""
    caplog.set_level(logging.INFO)
    shutdown_hooks.run(["a"], Agents(a=[None]))
    assert caplog.messages == ["the shutdown hook in domain a did not start: no agent there runs programs"]


def test_guests_without_an_answer_take_no_more_time_together(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each costs the whole wait for an agent, and an epilogue has a limit."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Deaf(Agents):
        def ask_agent(self, uuid: str, request: str, limit_s: int) -> None:
            now[0] += limit_s

    shutdown_hooks.run([str(number) for number in range(64)], Deaf())
    assert now[0] <= shutdown_hooks.LIMIT_S + 2 * shutdown_hooks._AGENT_LIMIT_S
    assert "domain 63 was not done after" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [None, "", "no JSON", "[]", "7", '{"return": 7}', '{"error": {}}', "[" * 100_000, '{"return": {"pid": "x"}}'],
)
def test_a_guest_may_answer_anything(answer: str | None) -> None:
    shutdown_hooks.run(
        ["a", "b"], Agents(a=[answer], b=[returned(pid=1), answer, returned(exited=1, **{"out-data": 3})])
    )


def test_undoing_runs_them(tmp_path: Path) -> None:
    agents = Agents(u=[None])

    def connect(uri: str) -> fakes.FileHypervisor:
        found = fakes.FileHypervisor(uri)
        found.ask_agent = agents.ask_agent  # type: ignore[method-assign]
        return found

    record = to_data(ShutdownHooks("shutdown-hooks", f"files:{tmp_path}", ("u",)))
    assert undo_all([record], tmp_path, connect) == []
    assert [uuid for uuid, _ in agents.asked] == ["u"]
