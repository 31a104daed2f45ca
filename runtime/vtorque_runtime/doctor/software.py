"""The programs, Python modules and daemons that the runtime uses."""

import importlib
import pwd
import shutil
import subprocess

from vtorque_runtime.begin import PATH
from vtorque_runtime.confine import call_as
from vtorque_runtime.doctor.node import Node, Told, error, warning
from vtorque_spec.fault import Fault

PROGRAMS = {
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "ip": "iproute2",
    "mke2fs": "e2fsprogs",
}
"""Program -> the Debian package that has it."""

MODULES = ("libvirt", "libvirt_qemu", "cryptography", "pycdlib", "oslo_utils.imageutils.format_inspector")
OLDEST_LIBVIRT = (9, 0, 0)

_JOBS_PATH = "/usr/local/bin:/usr/bin:/bin"
_HELP_LIMIT_S = 30


def programs(node: Node) -> Told:
    """Each is on the PATH that the supervisor has."""
    for name, package in PROGRAMS.items():
        if _which(node, name, PATH) is None:
            yield error("VT0905", f"this host has no {name}", f"apt install {package}")
    yield ", ".join(PROGRAMS)


def jobs_command(node: Node) -> Told:
    """The scripts of jobs call `vtorque-runtime` as their owners: it is tried as nobody."""
    path = _which(node, "vtorque-runtime", _JOBS_PATH)
    if path is None:
        message = f"the scripts of jobs call vtorque-runtime, which is in none of {_JOBS_PATH}"
        yield warning("VT0948", message, "ln -s /opt/vtorque/bin/vtorque-runtime /usr/local/bin/")
        return
    nobody = pwd.getpwnam("nobody")
    try:
        subprocess.run(
            [path, "--help"], user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=(), env={}, cwd="/",
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_HELP_LIMIT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as failure:
        fix = "let everybody read /opt/vtorque, made with a Python that everybody can run: /usr/bin/python3 -m venv"
        yield error("VT0948", f"an ordinary user cannot run {path}, as the scripts of jobs do", fix, str(failure))
    yield path


def _which(node: Node, name: str, path: str) -> str | None:
    return shutil.which(name, path=":".join(str(node.path(part)) for part in path.split(":")))


def modules(_node: Node) -> Told:
    """Each can be loaded by the Python that runs this, which is the one that runs the hooks."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as failure:
            yield error("VT0905", f"Python has no {name} module here", "pip install 'vtorque[runtime]'", str(failure))
    yield ", ".join(MODULES)


def libvirt(node: Node) -> Told:
    """The daemon answers and is new enough."""
    connection = node.connect()
    try:
        daemon, qemu = connection.versions()
    finally:
        connection.close()
    if daemon < OLDEST_LIBVIRT:
        fix = "install libvirt 9.0 or newer, as Debian 12 has it"
        yield error("VT0905", f"libvirt {_dotted(daemon)} is too old", fix)
    yield f"libvirt {_dotted(daemon)}, QEMU {_dotted(qemu)}"


def libvirts_users(node: Node) -> Told:
    """Who commands libvirt is root on the node, so no ordinary user may: it is tried as nobody."""
    nobody = pwd.getpwnam("nobody")

    def connected() -> bytes:
        node.connect().close()
        return b""

    try:
        call_as(nobody.pw_uid, nobody.pw_gid, (), connected)
    except Fault:
        yield "it refuses nobody"
        return
    ways = 'auth_unix_rw = "polkit", or unix_sock_rw_perms = "0770" where polkit does not run'
    fix = f"in /etc/libvirt/libvirtd.conf say {ways}"
    yield error("VT0949", "every user of this node commands its libvirt, and so is root here", fix)


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
