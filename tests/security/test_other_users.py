"""Two users' jobs at once on one node: what each can do to the other's, and to root's."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.world import World
from vtorque_runtime import teardown
from vtorque_spec.canonical import from_json
from vtorque_spec.plan import NodePlan

pytestmark = pytest.mark.root

ROOTS = (
    "job.json", "batch.json", "journal.jsonl", "claim.json", "plan.json", "state.json", "vm0", "vm0/root.qcow2",
    "vm0/seed.iso", "vm0/vmlinuz", ".",
)  # fmt: skip
OWNERS = ("status.json", "handover.json", "console.log", "owner", "owner/id_ed25519", "owner/known_hosts")
DENIED = "PermissionError"

CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print('yes')"
FLOOD = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
held = []
for _ in range(1000):
    one = socket.socket(socket.AF_UNIX)
    one.setblocking(False)
    try:
        one.connect(sys.argv[1])
        socket.send_fds(one, [b"x" * 10000], [0] * 50)
    except OSError:
        pass
    held.append(one)
print(len(held), flush=True)
sys.stdin.read()
"""
HOLD = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""
SIGNAL = "import os, sys; os.kill(int(sys.argv[1]), int(sys.argv[2]))"
CHANGE = """
import os, sys
path, act = sys.argv[1:]
{"unlink": os.unlink, "chmod": lambda p: os.chmod(p, 0o777), "write": lambda p: open(p, "a"),
 "rename": lambda p: os.rename(p, p + ".old"), "make": lambda p: open(p + ".new", "w"),
 "link": lambda p: os.symlink("/etc/shadow", p + ".link"), "directory": lambda p: os.mkdir(p + ".d")}[act](path)
print("yes")
"""


@pytest.fixture
def both(world: World) -> Iterator[dict[str, int]]:
    """A job of each user, ready, and the process of root's that looks after it: 12 is `user`'s, 13 is `other`'s."""
    with world.supervised(world.user, "12") as first, world.supervised(world.other, "13") as second:
        for number, owner in (("12", world.user), ("13", world.other)):
            console = world.spool(number).console_copy(0)
            assert console.stat().st_uid == owner.uid
        yield {"12": first, "13": second}


def test_what_is_whose(world: World, both: dict[str, int]) -> None:
    """Nobody reads what is root's, an owner reads its own, and the other reads nothing."""
    spool = world.spool("12").path
    assert {name: world.user.reads(spool / name) for name in ROOTS} == dict.fromkeys(ROOTS, DENIED)
    assert {name: world.user.reads(spool / name) for name in OWNERS} == dict.fromkeys(OWNERS, "yes")
    every = (*ROOTS, *OWNERS)
    assert {name: world.other.reads(spool / name) for name in every} == dict.fromkeys(every, DENIED)
    base = world.node.registry.base
    others = ("jobs", "log", "log/12.node.jsonl", "log/13.node.jsonl", "shares", "shares/12.node")
    for user in (world.user, world.other):
        assert {name: user.reads(base / name) for name in others} == dict.fromkeys(others, DENIED)


def test_a_share_is_no_way_around_what_lies_above_it(world: World, both: dict[str, int]) -> None:
    """The directory itself lets everybody in; that others come there, only the one above it forbids."""
    shares = world.node.registry.base / "shares"
    assert f" {shares}/12.node/mount1 " in Path("/proc/self/mountinfo").read_text()
    assert (shares / "12.node/mount1").stat().st_mode & 0o005 == 0o005
    for user in (world.user, world.other):
        assert user.reads(shares / "12.node/mount1") == DENIED


def test_nobody_changes_a_spool(world: World, both: dict[str, int]) -> None:
    """An owner may change the mode of its own files; their text, root never reads."""
    refused = {"PermissionError", "IsADirectoryError"}
    for name in ("job.json", "status.json", "handover.json", "attached", "journal.jsonl", "vm0", ""):
        path = world.spool("12").path / name
        owns = path.lstat().st_uid == world.user.uid
        for act in ("unlink", "rename", "make", "link", "directory", "write"):
            assert world.user.does(CHANGE, path, act) in refused | ({"OSError"} if name == "attached" else set())
            assert world.other.does(CHANGE, path, act) in refused
        assert world.user.does(CHANGE, path, "chmod") == ("yes" if owns else DENIED)
        assert world.other.does(CHANGE, path, "chmod") == DENIED
        assert path.exists()


def test_what_an_owner_writes_to_its_own_files_is_nothing_to_root(world: World, both: dict[str, int]) -> None:
    """A status that claims another job, another process, a verdict: epilogue and accounting go by root's own."""
    forge = (
        "import os, sys, pathlib\nfor p in sys.argv[1:]:\n os.chmod(p, 0o600)\n"
        ' pathlib.Path(p).write_text(\'{"job_id": "13", "pid": 1}\')\nprint(\'yes\')'
    )
    spool = world.spool("12")
    assert world.user.does(forge, spool.status, spool.handover) == "yes"
    os.kill(both["12"], signal.SIGTERM)
    teardown.end(world.node.registry, "12.node", None, world.node.connect)
    record = (world.node.registry.base / "accounting.jsonl").read_text()
    assert '"job_id":"12"' in record
    assert f'"uid":{world.user.uid}' in record
    assert not spool.path.exists()
    assert world.status("13").phase == "ready"


def test_a_link_in_the_owners_directory_leads_root_nowhere(world: World, both: dict[str, int], tmp_path: Path) -> None:
    """The owner may fill its directory with anything; undoing removes the links, and nothing that they lead to."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    fill = (
        "import os, sys\nd, other = sys.argv[1:]\nos.symlink(other, d + '/link')\nos.mkdir(d + '/a')\n"
        "os.symlink(other, d + '/a/link')\nos.unlink(d + '/id_ed25519')\nos.symlink(other, d + '/id_ed25519')\n"
        "print('yes')"
    )
    assert world.user.does(fill, world.spool("12").owner, kept) == "yes"
    teardown.end(world.node.registry, "12.node", None, world.node.connect)
    assert (kept / "file").exists()
    assert not world.spool("12").path.exists()


def test_the_socket_is_the_owners(world: World, both: dict[str, int]) -> None:
    assert world.user.does(CONNECT, world.spool("12").attached) == "yes"
    assert world.other.does(CONNECT, world.spool("12").attached) == DENIED


def test_a_flood_of_the_socket_holds_nobody_up(world: World, both: dict[str, int]) -> None:
    """Connections, bytes, and descriptors for root to keep."""
    descriptors = Path(f"/proc/{both['12']}/fd")
    before = len(list(descriptors.iterdir()))
    with world.user.start(FLOOD, world.spool("12").attached) as flood:
        assert flood.stdout is not None
        assert flood.stdout.readline() == "1000\n"
        time.sleep(0.5)
        assert len(list(descriptors.iterdir())) < before + 100
        assert world.status("12").phase == "ready"
        os.kill(both["12"], signal.SIGTERM)
        wait_for_end(both["12"])
        flood.kill()
    assert world.status("13").phase == "ready"


def wait_for_end(pid: int) -> None:
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, "it goes on"
        time.sleep(0.05)


def test_a_stopped_body_stops_its_own_guests_alone(world: World, both: dict[str, int]) -> None:
    with world.user.start(HOLD, world.spool("12").attached) as body:
        assert body.stdout is not None
        assert body.stdout.readline() == "connected\n"
        assert world.other.does(SIGNAL, body.pid, signal.SIGSTOP) == DENIED
        assert world.user.does(SIGNAL, body.pid, signal.SIGSTOP) == ""
        until = time.monotonic() + 10
        while not world.status("12").suspended:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert not world.status("13").suspended
        body.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT])
def test_nobody_signals_roots_process(world: World, both: dict[str, int], number: signal.Signals) -> None:
    for user in (world.user, world.other):
        assert user.does(SIGNAL, both["12"], int(number)) == DENIED
    assert Path(f"/proc/{both['12']}").exists()


@pytest.mark.parametrize("file", ["mem", "environ", "fd", "maps", "cwd/jobs", "root/etc/shadow"])
def test_nobody_looks_into_roots_process(world: World, both: dict[str, int], file: str) -> None:
    for user in (world.user, world.other):
        assert user.reads(Path(f"/proc/{both['12']}") / file) == DENIED


def test_nobody_attaches_to_roots_process(world: World, both: dict[str, int]) -> None:
    attach = (
        "import ctypes, os, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.ptrace(16, int(sys.argv[1]), 0, 0), os.strerror(ctypes.get_errno()))"
    )
    for user in (world.user, world.other):
        assert user.does(attach, both["12"]) == "-1 Operation not permitted"


def test_jobs_share_nothing(world: World, both: dict[str, int]) -> None:
    """Cores, addresses, hardware addresses, networks, filters, partitions, keys, nonces."""
    plans = [from_json(NodePlan, world.spool(number).plan.read_bytes()) for number in ("12", "13")]
    first, second = [plan.guests[0] for plan in plans]
    assert not set(plans[0].claim.cpus) & set(plans[1].claim.cpus)
    for name in ("address", "mac", "source", "filter"):
        assert getattr(first.machine.nic, name) != getattr(second.machine.nic, name)
    assert first.machine.partition != second.machine.partition
    assert first.machine.uuid != second.machine.uuid
    assert first.nonce != second.nonce
    assert first.host_key != second.host_key
    assert first.keys.login_key != second.keys.login_key
    assert not set(first.keys.authorities) & set(second.keys.authorities)
