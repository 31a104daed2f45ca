"""The programs, Python modules and daemons that the runtime uses."""

import importlib
import pwd
import shutil

from vtorque_runtime.confine import call_as
from vtorque_runtime.doctor.node import Node, Told, error
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

MODULES = ("libvirt", "libvirt_qemu", "cryptography", "pycdlib")
OLDEST_LIBVIRT = (9, 0, 0)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def programs(node: Node) -> Told:
    """Each is on the PATH that the hooks have."""
    for name, package in PROGRAMS.items():
        if shutil.which(name, path=":".join(str(node.path(part)) for part in _PATH.split(":"))) is None:
            yield error("VT0905", f"this host has no {name}", f"apt install {package}")
    yield ", ".join(PROGRAMS)


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
