"""The ssh client as the job's owner: strict about the guest's key, blind to every configuration file and agent.

The connection that `open_master` makes is shared by all later commands (ssh_config(5), ControlPath). When root calls,
setpriv(1) drops to the owner for good; it also ends each client when the caller dies. SIGTERM does not end a client.
"""

import contextlib
import os
import selectors
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vtorque_spec.fault import Fault
from vtorque_spec.plan import Guest, LinuxGuest, Login, TapNic

FAILED = 255
"""The exit code of a client that failed itself."""

CONNECT_LIMIT_S = 10
_END_LIMIT_S = 5.0
_ANSWER_LIMIT_BYTES = 64 * 1024
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Access:
    """How the owner reaches a guest. `directory` is the owner's own, with id_ed25519 and known_hosts.

    `socket`, in it, is where all connections to this guest are shared.
    """

    login: Login
    directory: Path
    socket: str
    alias: str
    address: str
    port: int


def access(guest: LinuxGuest, directory: Path) -> Access:
    """Return how the owner of `directory` reaches the guest."""
    return Access(guest.login, directory, f"s{guest.index}", guest.hostname, *access_to(guest))


def access_to(guest: Guest) -> tuple[str, int]:
    """Return the address and the port at which the host reaches the guest's ssh server."""
    nic = guest.machine.nic
    return (nic.address, 22) if isinstance(nic, TapNic) else ("127.0.0.1", nic.forward_port)


def argv(access: Access, command: str | None, *options: str) -> list[str]:
    """Return the command line of a client that runs `command` in the guest's shell, or none with `options` -M -N."""
    settings = {
        "BatchMode": "yes",
        "CheckHostIP": "no",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": str(CONNECT_LIMIT_S),
        "ControlPath": str(access.directory / access.socket),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": access.alias,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": str(access.directory / "id_ed25519"),
        "LogLevel": "ERROR",
        "PermitLocalCommand": "no",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": str(access.directory / "known_hosts"),
    }
    flags = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    client = ["ssh", "-F", "none", "-T", "-a", "-x", *flags, "-p", str(access.port), "-l", access.login.user, *options]
    return [*_as_owner(access.login), *client, access.address, *([] if command is None else [command])]


def open_master(access: Access) -> subprocess.Popen[bytes]:
    """Start the shared connection; it is there once the control socket is."""
    return _start(argv(access, None, "-M", "-N"), stdin=subprocess.DEVNULL)


def is_open(access: Access) -> bool:
    """Tell whether the shared connection stands."""
    return os.path.lexists(access.directory / access.socket)


def start(access: Access, command: str) -> subprocess.Popen[bytes]:
    """Start `command` in the guest, without standard input, both its streams as pipes."""
    return _start(argv(access, command), stdin=subprocess.DEVNULL)


def send(access: Access, command: str) -> subprocess.Popen[bytes]:
    """Start `command` in the guest and hear nothing of it."""
    return _start(argv(access, command), stdin=subprocess.DEVNULL, output=subprocess.DEVNULL)


def call(access: Access, command: str, *, limit_s: float, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Run one short command to its end; return exit code, output, and what it or ssh said on standard error.

    The exit code is FAILED when ssh failed or took longer than `limit_s`.
    """
    process = _start(argv(access, command), stdin=subprocess.PIPE)
    try:
        output, said = _exchange(process, stdin, time.monotonic() + limit_s)
        code = process.wait(_END_LIMIT_S)
    except _UnansweredError as error:
        return FAILED, b"", f"no answer within {limit_s:.0f} s" if error.late else "the answer is too long"
    except subprocess.TimeoutExpired:
        return FAILED, b"", "it closed its streams and did not end"
    finally:
        end(process)
    return code, output, said.decode("utf-8", "replace").strip()


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a client and let go of its streams, without reading them: somebody else may hold their other ends."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def left(stream: IO[bytes] | None) -> str:
    """Return what a client that ended has left in one of its streams, as far as it is there."""
    assert stream is not None  # noqa: S101 - a pipe; for mypy
    os.set_blocking(stream.fileno(), False)
    try:
        said = os.read(stream.fileno(), _ANSWER_LIMIT_BYTES)
    except BlockingIOError:
        said = b""
    return said.decode("utf-8", "replace").strip()


class _UnansweredError(Exception):
    def __init__(self, late: bool) -> None:
        super().__init__()
        self.late = late


def _exchange(process: subprocess.Popen[bytes], stdin: bytes, until: float) -> tuple[bytes, bytes]:
    """Feed `stdin` and return both streams up to their ends; the client is the user's, so time and size are bounded."""
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - all are pipes; for mypy
    answers = {process.stdout: bytearray(), process.stderr: bytearray()}
    rest = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdin, *answers):
            os.set_blocking(stream.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        for stream in answers:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(until - time.monotonic(), 0))
            if not ready and time.monotonic() >= until:
                raise _UnansweredError(late=True)
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    rest = _feed(process.stdin, rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                answer = next(buffer for stream, buffer in answers.items() if stream is key.fileobj)
                part = os.read(key.fd, 65536)
                answer += part
                if not part:
                    selector.unregister(key.fileobj)
                if len(answer) > _ANSWER_LIMIT_BYTES:
                    raise _UnansweredError(late=False)
    output, said = (bytes(buffer) for buffer in answers.values())
    return output, said


def _feed(stream: IO[bytes], rest: memoryview) -> memoryview:
    """Write what fits; a client that no longer reads gets no more."""
    try:
        return rest[os.write(stream.fileno(), rest[:65536]) :] if rest else rest
    except BrokenPipeError:
        return rest[:0]


def _start(command_line: list[str], stdin: int, output: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """In a session of its own: the caller's terminal is out of the user's reach, its Ctrl-C the caller's to forward."""
    for tool in ("setpriv", "ssh"):
        if shutil.which(tool, path=_ENVIRONMENT["PATH"]) is None:
            raise Fault("VT0905", f"this host has no {tool}", help="apt install openssh-client util-linux")
    return subprocess.Popen(
        command_line,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
        stdin=stdin,
        stdout=output,
        stderr=output,
    )


def _as_owner(login: Login) -> list[str]:
    # Slurm's SIGTERM goes to each process of the job, in whatever session: the job in the guest is told through these.
    prefix = ["env", "--block-signal=TERM", "setpriv", "--pdeathsig", "KILL", "--no-new-privs"]
    if os.geteuid() == 0:
        groups = ",".join(str(group.gid) for group in login.groups)
        prefix += ["--reuid", str(login.uid), "--regid", str(login.groups[0].gid), "--groups", groups]
    return [*prefix, "--"]
