"""What may stand in the place of root's confined child: `python -m tests.runtime.hostile_child DIRECTORY NODE UID GID`.

The directory's name says what it does: before the first question, or, with `then-`, after it has been confined.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vtorque_spec.canonical import canonical_json
from vtorque_spec.plan import NO_SETUP, VERSION, NodeSite, SaidNode
from vtorque_spec.plan.answer import Needs, NodeAnswer, ToldFinding

SITE = NodeSite(
    VERSION, "site", "slurm", "generic", 1, "thread", 1, (), (), "none", "any", None,
    SaidNode(1, False, 1, (), (), False), (), NO_SETUP, "libvirt", None, False,
)  # fmt: skip


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def confine(uid: int, gid: int) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def answer(**members: object) -> str:
    whole = {"findings": (), "site": None, "needs": None, "plan": None, **members}
    return canonical_json(NodeAnswer(**whole))  # type: ignore[arg-type]


def endless() -> None:
    while True:
        os.write(1, b"x" * 65536)


def allocate() -> None:
    held = []
    while True:
        held.append(bytearray(2**24))


def closed() -> None:
    os.close(0)
    os.close(1)
    time.sleep(1000)


def told(what: str) -> None:
    """Do it, and tell by needs that are too many what became of it."""
    place = Path("/tmp/vtorque-hostile-child")
    try:
        if what == "fork":
            os.fork()
        elif what == "write":
            place.write_text("touched")
        elif what == "root":
            os.setresuid(0, 0, 0)
        elif what == "socket":
            kept = [socket.socket() for _ in range(100)]
            del kept
    except OSError:
        say(answer(needs=Needs(1, "refused", None, None, None)))
        return
    finally:
        if place.exists():
            place.unlink()
    say(answer(needs=Needs(1, "done", None, None, None)))


def act(what: str) -> None:
    acts: dict[str, Callable[[], object]] = {
        "crash": lambda: os.kill(os.getpid(), 11),
        "exit": lambda: os._exit(3),
        "loop": lambda: [None for _ in iter(int, 1)],
        "sleep": lambda: time.sleep(1000),
        "endless": endless,
        "allocate": allocate,
        "closed": closed,
        "garbage": lambda: os.write(1, b"\xff\x00\x1b[2J\n"),
        "shape": lambda: say('{"findings":[],"site":null,"needs":[],"plan":null}'),
        "deep": lambda: say("[" * 10**6),
        "nothing": lambda: say(answer()),
        "needs": lambda: say(answer(needs=Needs(2**40, "default", None, None, None))),
        "network": lambda: say(answer(needs=Needs(1, "../../etc", None, None, None))),
        "half": lambda: say(answer(needs=Needs(1, "default", 1, None, None))),
        "site": lambda: say(answer(site=SITE)),
        "escapes": lambda: say(
            answer(findings=(ToldFinding("VT0101\x1b", "error", "\x1b[2Jm\x07", "\x9bh", "a\r\nb\x00"),))
        ),
    }
    (acts.get(what) or (lambda: told(what)))()


def main() -> None:
    what, uid, gid = Path(sys.argv[1]).name, int(sys.argv[3]), int(sys.argv[4])
    if what == "stays-root":
        say(answer(site=SITE))
    elif what == "keeps-group":
        os.setresuid(uid, uid, uid)
        say(answer(site=SITE))
    elif not what.startswith("then-"):
        act(what)
    else:
        confine(uid, gid)
        say(answer(site=SITE))
    sys.stdin.readline()
    act(what.removeprefix("then-"))
    sys.stdin.readline()


if __name__ == "__main__":
    main()
