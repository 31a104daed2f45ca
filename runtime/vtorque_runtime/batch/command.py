"""The batch system's own programs, as root starts them: from fixed places, with nothing of the hook's environment.

On `os` alone: a hook of an ordinary job waits for what is imported here (`subprocess` takes longer than the program).
"""

import os
import select
import time

from vtorque_spec.fault import Fault

PATH = (
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:"
    "/opt/torque/sbin:/opt/torque/bin:/opt/pbs/sbin:/opt/pbs/bin:/opt/slurm/sbin:/opt/slurm/bin"
)
"""Where a batch system's programs are looked for; what lies elsewhere needs a link in /usr/local/bin."""

LIMIT_S = 10.0
MOST_BYTES = 32 * 1024**2

_SIGKILL = 9
_DEFAULTED_SIGNALS = (1, 2, 3, 10, 12, 13, 15, 17, 25)
"""HUP INT QUIT USR1 USR2 PIPE TERM CHLD XFSZ: moms start their hooks with some of them ignored, Python ignores two."""


class Ended:
    """What a program did. `code` is negative for a signal; `cut`: it had more to say than was asked for."""

    def __init__(self, code: int, out: bytes, err: bytes, cut: bool) -> None:
        self.code = code
        self.out = out
        self.err = err.decode("utf-8", "replace").strip()[:1000]
        self.cut = cut


def hostname() -> str:
    """Return the node's name as the kernel has it."""
    return os.uname().nodename


def run(
    name: str, *arguments: str, environment: dict[str, str] | None = None,
    limit_s: float = LIMIT_S, most_bytes: int = MOST_BYTES, may_be_cut: bool = False,
) -> Ended:  # fmt: skip
    """Run a program to its end. Raises Fault VT0930 when it is not there, takes too long or says too much."""
    path = _find(name)
    (out, child_out), (err, child_err) = os.pipe(), os.pipe()
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, child_out, 1),
        (os.POSIX_SPAWN_DUP2, child_err, 2),
    ]
    clean = {"PATH": PATH, "LC_ALL": "C", "TZ": "UTC", **(environment or {})}
    try:
        pid = os.posix_spawn(
            path, [name, *arguments], clean, file_actions=actions, setsigmask=(), setsigdef=_DEFAULTED_SIGNALS
        )
        os.close(child_out)
        os.close(child_err)
        child_out = child_err = -1
        told, ending = _listen(pid, out, err, time.monotonic() + limit_s, most_bytes)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except OSError as error:
        raise Fault("VT0930", f"{path} cannot be run: {error.strerror}") from None
    finally:
        for descriptor in (out, err, child_out, child_err):
            if descriptor >= 0:
                os.close(descriptor)
    if ending == "late":
        raise Fault("VT0930", f"{name} did not answer within {limit_s:g} s", help="is the batch system's server down?")
    if ending == "cut" and not may_be_cut:
        raise Fault("VT0930", f"{name} said more than {most_bytes} bytes")
    return Ended(code, told[out], told[err], ending == "cut")


def one_line(text: str) -> str:
    """Return a reason as every batch system takes it: one line of plain signs, 200 at most."""
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in " .,:/_()-") else " " for sign in text)
    return " ".join(plain.split())[:200].lstrip("-")


def _find(name: str) -> str:
    for directory in PATH.split(":"):
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    raise Fault("VT0930", f"{name} is in none of {PATH}", help=f"link the batch system's {name} into /usr/local/bin")


def _listen(pid: int, out: int, err: int, ends: float, most_bytes: int) -> tuple[dict[int, bytes], str]:
    """Read until the process and both streams have ended ("done"), or end it: "late", "cut"."""
    process = os.pidfd_open(pid)
    told, ending = {out: bytearray(), err: bytearray()}, "done"
    poll, waiting = select.poll(), {process, out, err}
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    while waiting and ending == "done":
        ready = poll.poll(max(0, ends - time.monotonic()) * 1000)
        ending = "done" if ready else "late"
        for descriptor, _ in ready:
            piece = os.read(descriptor, 65536) if descriptor != process else b""
            if piece:
                told[descriptor] += piece
            else:
                poll.unregister(descriptor)
                waiting.discard(descriptor)
        if max(map(len, told.values())) > most_bytes:
            ending = "cut"
    os.close(process)
    if ending != "done":
        os.kill(pid, _SIGKILL)  # not yet waited for, so the id is its own
    return {stream: bytes(text[:most_bytes]) for stream, text in told.items()}, ending
