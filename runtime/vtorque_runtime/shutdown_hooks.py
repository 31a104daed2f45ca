"""The site's shutdown hook in each guest that got ready, before it is ended: as the guest's root, by its agent."""

import base64
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from vtorque_runtime.log import LOG

LIMIT_S = 30
"""For all guests together: they run at the same time. What is not done then is cut off."""

_AGENT_LIMIT_S = 5
_TICK_S = 0.5
_SHOWN = 2000
_COMMAND = "[ -e /run/vtorque/boot ] && mkdir /run/vtorque/shutdown && exec /etc/vtorque/shutdown"
"""In a guest that got ready, once: an epilogue may come twice."""


@dataclass(frozen=True, slots=True)
class ShutdownHooks:
    """Run the hook in these domains at `uri`. Written when all of them run, so that it comes first when undone."""

    kind: Literal["shutdown-hooks"]
    uri: str
    uuids: tuple[str, ...]


class Agents(Protocol):
    """What asks guest agents."""

    def ask_agent(self, uuid: str, request: str, limit_s: int) -> str | None:
        """Return what the guest agent answers to a request; None where no agent or no domain does."""


def run(uuids: Iterable[str], agents: Agents, limit_s: float = LIMIT_S) -> None:
    """Run the hooks and wait for them; what becomes of each is in the log. Raises Fault VT0902."""
    until = time.monotonic() + limit_s
    running, late = {}, []
    for uuid in uuids:
        if time.monotonic() > until:
            late.append(uuid)
        elif (pid := _started(uuid, agents)) is not None:
            running[uuid] = pid
        else:
            LOG.info("the shutdown hook in domain %s did not start: no agent there runs programs", uuid)
    while running and time.monotonic() < until:
        time.sleep(_TICK_S)
        for uuid, pid in list(running.items()):
            if time.monotonic() > until:
                break
            answer = _ask(agents, uuid, "guest-exec-status", pid=pid)
            if answer is None or answer.get("exited"):
                del running[uuid]
                _tell(uuid, answer or {})
    for uuid in (*running, *late):
        LOG.error("the shutdown hook in domain %s was not done after %d s", uuid, limit_s)


def _started(uuid: str, agents: Agents) -> int | None:
    command = {"path": "/bin/sh", "arg": ["-c", _COMMAND], "capture-output": True}
    pid = (_ask(agents, uuid, "guest-exec", **command) or {}).get("pid")
    return pid if isinstance(pid, int) else None


def _ask(agents: Agents, uuid: str, name: str, **arguments: object) -> dict[str, Any] | None:
    """Return an answer's content; None for whatever is none: a guest whose kernel is the user's may say anything."""
    answer = agents.ask_agent(uuid, json.dumps({"execute": name, "arguments": arguments}), _AGENT_LIMIT_S)
    try:
        content = json.loads(answer or "")["return"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _tell(uuid: str, answer: dict[str, Any]) -> None:
    said = "".join(_decoded(answer.get(name)) for name in ("out-data", "err-data"))
    code = answer.get("exitcode")
    LOG.log(20 if code == 0 else 40, "the shutdown hook in domain %s: exit code %s: %s", uuid, code, said)


def _decoded(text: object) -> str:
    try:
        content = base64.b64decode(text if isinstance(text, str) else "", validate=False)
    except ValueError:
        return ""
    return repr(content[-_SHOWN:].decode("utf-8", "replace"))
