"""The processes of a job's body on this node: each holds a connection to a socket of the supervisor's.

The kernel says who they are; nothing that they write is read. When the batch system has stopped them all (Slurm's
`scontrol suspend`), the guests are to stop too.
"""

import contextlib
import os
import re
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from vtorque_spec.plan import Login

_MOST = 64
_GONE = select.POLLHUP | select.POLLERR


class Attached:
    """The socket `path`, which only `owner` can connect to."""

    def __init__(self, path: Path, owner: Login) -> None:
        self._owner = owner.uid
        self._peers: dict[socket.socket, int] = {}
        self._path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with _umask(0o177):
            self._socket.bind(str(path))
        os.chown(path, owner.uid, owner.groups[0].gid, follow_symlinks=False)
        self._socket.listen(_MOST)

    def stopped(self) -> bool:
        """Tell whether there are such processes and each of them is stopped (proc(5), state T)."""
        self._accept()
        states = [_state(pid) for pid in self._peers.values()]
        return bool(states) and all(state == "T" for state in states)

    def asked_to_stop(self) -> bool:
        """Tell whether one of them says that the guests are to end: it has shut down its side, and is still there."""
        self._accept()
        return any(_events(peer) & select.POLLRDHUP for peer in self._peers)

    def close(self) -> None:
        """Let all go."""
        for one in (*self._peers, self._socket):
            one.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(self._peers) < _MOST:
                peer, _ = self._socket.accept()
                peer.setblocking(False)
                pid, uid, _gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                if uid == self._owner:
                    self._peers[peer] = pid
                else:
                    peer.close()
        for peer in [one for one in self._peers if _events(one) & _GONE]:
            peer.close()
            del self._peers[peer]


def _events(peer: socket.socket) -> int:
    """What the kernel says of its other end (poll(2)); nothing of what was written there is read."""
    poll = select.poll()
    poll.register(peer, select.POLLRDHUP)
    return next((events for _, events in poll.poll(0)), 0)


def _state(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.match(r" (\w)", text.rpartition(")")[2])
    return found[1] if found else ""


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
