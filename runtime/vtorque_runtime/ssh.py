"""The ssh client as the job's owner: strict about the guest's key, blind to every configuration file and agent.

The connection that `open_master` makes is shared by all later commands (ssh_config(5), ControlPath). When root calls,
setpriv(1) drops to the owner for good; it also ends each client when the caller dies.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vtorque_spec.fault import Fault
from vtorque_spec.plan import BridgeNic, Guest, Login

FAILED = 255
"""The exit code of a client that failed itself."""

CONNECT_LIMIT_S = 10
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Access:
    """How the owner reaches a guest. `directory` is the owner's own, with id_ed25519 and known_hosts."""

    login: Login
    directory: Path
    alias: str
    address: str
    port: int


def access(guest: Guest, directory: Path) -> Access:
    """Return how the owner of `directory` reaches the guest."""
    nic = guest.machine.nic
    address, port = (nic.address, 22) if isinstance(nic, BridgeNic) else ("127.0.0.1", nic.forward_port)
    return Access(guest.login, directory, guest.hostname, address, port)


def argv(access: Access, command: str | None, *options: str) -> list[str]:
    """Return the command line of a client that runs `command` in the guest's shell, or none with `options` -M -N."""
    settings = {
        "BatchMode": "yes",
        "CheckHostIP": "no",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": str(CONNECT_LIMIT_S),
        "ControlPath": str(access.directory / "s"),
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
    return os.path.lexists(access.directory / "s")


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
    with _start(argv(access, command), stdin=subprocess.PIPE) as process:
        try:
            output, said = process.communicate(stdin, timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return FAILED, b"", f"no answer within {limit_s:.0f} s"
    return process.returncode, output, said.decode("utf-8", "replace").strip()


def _start(command_line: list[str], stdin: int, output: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """In a process group of its own: a terminal's Ctrl-C is the caller's to forward."""
    for tool in ("setpriv", "ssh"):
        if shutil.which(tool, path=_ENVIRONMENT["PATH"]) is None:
            raise Fault("VT0905", f"this host has no {tool}", help="apt install openssh-client util-linux")
    return subprocess.Popen(
        command_line,
        env=_ENVIRONMENT,
        cwd="/",
        process_group=0,
        stdin=stdin,
        stdout=output,
        stderr=output,
    )


def _as_owner(login: Login) -> list[str]:
    prefix = ["setpriv", "--pdeathsig", "KILL", "--no-new-privs"]
    if os.geteuid() == 0:
        groups = ",".join(str(group.gid) for group in login.groups)
        prefix += ["--reuid", str(login.uid), "--regid", str(login.groups[0].gid), "--groups", groups]
    return [*prefix, "--"]
