"""Directories that a job's OSv guests write to: the node serves them by NFS 4, with one nfs-ganesha for the job.

An OSv guest mounts virtiofs read-only, and to a server of the site's it could claim to be any user: it has no users of
its own, its program is the kernel. So it gets a server that knows one user, the job's owner, whoever the guest says it
is, and exactly the directories that are bound for the job (`shares`). How that is locked in: `serve`.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vtorque_runtime import landlock, partition
from vtorque_runtime.console import harmless
from vtorque_runtime.files import write_private
from vtorque_runtime.journal import Journal
from vtorque_runtime.osv.serve import GANESHA, ROOT, SERVE, Export, Order
from vtorque_spec.canonical import canonical_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodePlan, TapNic, exports_address, exports_of
from vtorque_spec.plan.context import partition_name

DIRECTORY = "exports"
"""In the job's spool: its log, and a mount point."""
MODULE = Path("/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so")
"""What ganesha reads the node's file systems by, a package of its own."""
_LOG = "log"
_STARTED, _REFUSED = "NFS SERVER INITIALIZED", " :CONFIG :CRIT :"
"""What its log says; it starts without an export that it could not make."""
_START_LIMIT_S = 60
_END_LIMIT_S = 10
_TICK_S = 0.05
_TAIL_BYTES = 4000
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class ExportsUndo:
    """End the server that runs in the job's `partition`; its files go with the spool's."""

    kind: Literal["exports"]
    partition: str


def make(plan: NodePlan, bridge: str, journal: Journal, proceed: Callable[[], None]) -> None:
    """Serve what the guests write to, from before they start; nothing where they write to nothing.

    `bridge` is that of the job's own network. Raises Fault VT0937, VT0956, and what `proceed` does.
    """
    shares, cards = exports_of(plan.guests[0]), [guest.machine.nic for guest in plan.guests]
    if not shares:
        return
    check()
    addresses = tuple(card.address for card in cards if isinstance(card, TapNic))
    own = next(exports_address(card) for card in cards if isinstance(card, TapNic))
    uid, gid = plan.login.uid, plan.login.groups[0].gid
    served = tuple(Export(share.tag, share.path) for share in shares)
    order = Order(f"{plan.spool}/{DIRECTORY}", served, uid, gid, own, addresses, bridge, f"{bridge}-nfs")
    part = partition_name(plan.job_id)
    journal.step(ExportsUndo("exports", part), lambda: _start(order, part))
    _wait(part, Path(order.directory), proceed)


def check() -> None:
    """Raise Fault VT0956 where the node has no nfs-ganesha, or its kernel cannot hold one to some files."""
    if not Path(GANESHA).exists() or not MODULE.exists():
        raise Fault("VT0956", "this host has no nfs-ganesha", help="apt install nfs-ganesha nfs-ganesha-vfs")
    if landlock.version() == 0:
        hint = "start the kernel with `landlock` in `lsm=`, or offer OSv jobs read-only mounts alone"
        raise Fault("VT0956", "this node's kernel has no Landlock, which holds an NFS server to its exports", help=hint)


class Watch:
    """Tells when the server of a job has ended; there may be none to watch."""

    def __init__(self, plan: NodePlan) -> None:
        self._directory, self._part = Path(plan.spool) / DIRECTORY, partition_name(plan.job_id)
        self._any = bool(exports_of(plan.guests[0]))

    def look(self) -> Fault | None:
        """Return Fault VT0957 when it has ended."""
        if not self._any or partition.members(self._part, DIRECTORY):
            return None
        hint = "the guests' mounts do not answer any more; run the job again, and tell the admin of this site"
        message = "the node's NFS server for what the job writes to has ended"
        return Fault("VT0957", message, help=hint, detail=_tail(self._directory))


def end(undo: ExportsUndo) -> list[str]:
    """End the server; return it if it stays. Its network and its mounts end with it. Nothing where it never began."""
    until = time.monotonic() + _END_LIMIT_S
    while running := partition.members(undo.partition, DIRECTORY):
        if time.monotonic() > until:
            return [f"process {pid}" for pid in running]
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # nothing leaves that cgroup but by its end
        time.sleep(_TICK_S)
    return []


def _prepare(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    (directory / ROOT).mkdir(mode=0o700)
    write_private(directory / _LOG, "")


def _start(order: Order, part: str) -> None:
    """It is told what to do when it is in the job's cgroup, where it is found again; a child that is not, ends."""
    _prepare(Path(order.directory))
    log = os.open(Path(order.directory) / _LOG, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), os.fdopen(writer, "wb") as pipe, os.fdopen(log, "ab"):
        files = [(os.POSIX_SPAWN_DUP2, *pair) for pair in ((reader, 0), (log, 1), (log, 2))]
        argv = [sys.executable, "-I", "-m", SERVE]
        pid = os.posix_spawn(sys.executable, argv, {"PATH": _PATH}, file_actions=files, setsid=True)
        partition.enter(part, DIRECTORY, pid)
        pipe.write(canonical_json(order).encode())


def _wait(part: str, directory: Path, proceed: Callable[[], None]) -> None:
    until = time.monotonic() + _START_LIMIT_S
    while _STARTED not in (told := _tail(directory)) or _REFUSED in told:
        proceed()
        if not partition.members(part, DIRECTORY) or _REFUSED in told or time.monotonic() > until:
            hint = "see what it said, and whether the mount's file system can be exported (exports(5))"
            message = "the node's NFS server for what the job writes to did not start"
            raise Fault("VT0956", message, help=hint, detail=_tail(directory))
        time.sleep(_TICK_S)


def _tail(directory: Path) -> str:
    """Return the end of what the server told, which a guest may have made it say."""
    told = (directory / _LOG).read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace")
    return "\n".join(map(harmless, told.splitlines()))
