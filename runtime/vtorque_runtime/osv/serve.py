"""The process that serves what a job's OSv guests write to: it locks itself in, then becomes nfs-ganesha.

As `python -I -m vtorque_runtime.osv.serve`, root starts it, with an Order on its standard input. What ganesha can reach
in the end, whatever a guest makes it do:

* files: Landlock holds it to the shared directories and to what a program of Debian's needs to run, also where a
  client makes up the handle of another file: without that, a handle leads past directories that the owner may not
  enter. Names and sizes of files on the same file system can be learnt in this way, and nothing of what is in them.
* rights: it is the job's owner, and can do one thing more, find files by their handles (CAP_DAC_READ_SEARCH).
* network: a namespace of its own, whose one link is a port of the job's bridge, with routes to the job's guests alone:
  no connection with anything else ever begins, be it the node's own processes.

Namespaces, mounts and link go when the process does.
"""

import ctypes
import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vtorque_runtime import landlock
from vtorque_runtime.shares import mount
from vtorque_spec.canonical import from_json
from vtorque_spec.plan import EXPORTS_PORT

GANESHA = "/usr/bin/ganesha.nfsd"
CONFIG = "/etc/ganesha.conf"
ROOT = "root"
SERVE = "vtorque_runtime.osv.serve"
_SERVER = f"""\
NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {EXPORTS_PORT}; Enable_NLM = false; Enable_RQUOTA = false; }}
NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = /run/state; Only_Numeric_Owners = true; }}
NFS_KRB5 {{ Active_krb5 = false; }}
MDCACHE {{ Entries_HWMark = 10000; }}
VFS {{ only_one_user = true; }}
LOG {{ Components {{ NFS_STARTUP = EVENT; }} }}
"""
"""NFS 4 alone needs no port mapper. https://github.com/nfs-ganesha/nfs-ganesha/wiki/Ganesha-config"""

_EXPORT = """\
EXPORT {{
    Export_Id = {number}; Path = "{path}"; Pseudo = /{name}; Access_Type = RW; SecType = sys; Transports = TCP;
    Squash = All_Squash; Anonymous_Uid = {uid}; Anonymous_Gid = {gid}; PrivilegedPort = false; FSAL {{ Name = VFS; }}
}}
"""

_NEEDED = (
    "usr", "bin", "sbin", "lib", "lib64", "etc/ld.so.cache", "etc/netconfig", "etc/services", "etc/localtime",
    "dev/null", "dev/urandom", "proc",
)  # fmt: skip
"""What ganesha is shown of the node's own root, read-only."""
_NEWNS, _NEWNET = 0x20000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND = 0x1, 0x2, 0x4, 0x20, 0x1000
_MS_REC_PRIVATE = 1 << 18 | 0x4000
_NO_IPV6 = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
_PIVOT_ROOT = 155
"""Of x86_64; the C library has no function for it."""
_MNT_DETACH = 2
_OPEN_FILES = 4096
_CAPABILITY = "-all,+dac_read_search"


@dataclass(frozen=True)
class Export:
    """The directory `path` of the node, as `/name`."""

    name: str
    path: str


@dataclass(frozen=True)
class Order:
    """What to serve at `address` to `guests` (addresses), as the owner.

    `directory` is root's, with a mount point; `link` what the node calls its end of the link to `bridge`.
    """

    directory: str
    exports: tuple[Export, ...]
    uid: int
    gid: int
    address: str
    guests: tuple[str, ...]
    bridge: str
    link: str


def main() -> None:
    """Serve, until killed. What fails before is told on standard error, which is the log."""
    order = from_json(Order, sys.stdin.buffer.read())
    _unshare(_NEWNS | _NEWNET)
    _connect(order)
    paths = _change_root(order)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _restrict(paths)
    ids = [f"--reuid={order.uid}", f"--regid={order.gid}", "--clear-groups"]
    caps = [f"--{kind}={_CAPABILITY}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    server = [GANESHA, "-F", "-f", CONFIG, "-p", "/run/pid", "-L", "STDOUT", "-N", "NIV_CRIT"]
    argv = ["setpriv", *ids, *caps, "--no-new-privs", *server]
    os.execve("/usr/bin/setpriv", argv, {"PATH": "/usr/bin:/bin"})  # noqa: S606 - no shell is wanted


def _restrict(paths: list[str]) -> None:
    """Ganesha opens each directory on the way to an export, so all can be listed; files are another matter."""
    places = {f"/{name.split('/')[0]}" for name in _NEEDED}
    rights = {"/": landlock.LIST} | {place: landlock.READ for place in places if not Path(place).is_symlink()}
    rights |= dict.fromkeys(("/dev", "/run", *paths), landlock.WRITE)
    landlock.restrict(rights)


def configuration(order: Order, paths: Sequence[str]) -> str:
    """Return ganesha's configuration: exactly these exports, and every client is the owner."""
    for path in paths:
        if not path.isprintable() or set(path) & {'"', "\\"}:
            raise ValueError(f"ganesha cannot be told of a directory of this name: {path!r}")
    exports = (
        _EXPORT.format(number=number, path=path, name=one.name, uid=order.uid, gid=order.gid)
        for number, (one, path) in enumerate(zip(order.exports, paths, strict=True), 1)
    )
    return _SERVER + "".join(exports)


def _connect(order: Order) -> None:
    """Be reached by the guests, and reach them; there is no other route, so nobody else gets an answer.

    IPv6 would make a route of its own, to all on the bridge.
    """
    if _NO_IPV6.exists():
        _NO_IPV6.write_text("1", encoding="ascii")
    host = ["nsenter", f"--net=/proc/{os.getppid()}/ns/net", "ip", "link"]
    _run([*host, "add", order.link, "type", "veth", "peer", "name", "eth0", "netns", str(os.getpid())])
    _run([*host, "set", order.link, "master", order.bridge, "up"])
    _run(["ip", "addr", "add", f"{order.address}/32", "dev", "eth0"])
    _run(["ip", "link", "set", "eth0", "up"])
    for guest in order.guests:
        _run(["ip", "route", "add", f"{guest}/32", "dev", "eth0", "src", order.address])


def _change_root(order: Order) -> list[str]:
    """Make a root of what is needed alone; return where in it each export is.

    The file systems come first: where one is mounted twice, ganesha takes the first.
    """
    mount(None, Path("/"), _MS_REC_PRIVATE)
    found = [_above(one.path) for one in order.exports]
    root = Path(order.directory) / ROOT
    mount("none", root, _MS_NOSUID, "tmpfs", "size=16m,mode=0755")
    bound: dict[str, str] = {}
    for place, _ in found:
        if place not in bound:
            bound[place] = f"/fs{len(bound)}"
            (root / bound[place][1:]).mkdir()
            mount(place, root / bound[place][1:], _MS_BIND)
    for name in ("dev", "etc", "run", "var"):
        (root / name).mkdir()
    for name in ("tmp", "var/run"):
        (root / name).symlink_to("/run")
    (root / "etc/mtab").symlink_to("/proc/self/mounts")
    os.chown(root / "run", order.uid, order.gid)
    for name in _NEEDED:
        _show(Path("/") / name, root / name)
    paths = [bound[place] + inner for place, inner in found]
    (root / CONFIG[1:]).write_text(configuration(order, paths), encoding="utf-8")
    _pivot(root)
    return paths


def _above(path: str) -> tuple[str, str]:
    """Return a mount of the file system that begins above the directory bound at `path`, and the way from there.

    Above, or Landlock could not tell the directory from what lies beside it; a whole file system has nothing beside it.
    """
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()]
    device, inside = [(words[2], _unescaped(words[3])) for words in mounts if _unescaped(words[4]) == path][-1]
    if inside == "/":
        return path, ""
    for words in mounts:
        begins, place = _unescaped(words[3]).rstrip("/"), _unescaped(words[4])
        if words[2] == device and inside.startswith(begins + "/") and _same(place + inside[len(begins) :], path):
            return place, inside[len(begins) :]
    raise OSError(f"no mount of this node begins above what is shared as {inside}")


def _same(path: str, other: str) -> bool:
    """Tell whether both are one directory; what is mounted over another hides it."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.stat(other, follow_symlinks=False))
    except OSError:
        return False


def _unescaped(word: str) -> str:
    """Return a path of /proc/self/mountinfo, where blanks and backslashes are octal numbers (proc(5))."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


def _pivot(root: Path) -> None:
    old = root / "old"
    old.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.syscall(_PIVOT_ROOT, os.fsencode(root), os.fsencode(old)))
    os.chdir("/")
    _checked(libc.umount2(b"/old", _MNT_DETACH))
    os.rmdir("/old")


def _show(path: Path, place: Path) -> None:
    if path.is_symlink() and path.parent == Path("/"):
        place.symlink_to(os.readlink(path))
    elif path.exists():
        place.mkdir() if path.is_dir() else place.touch()
        mount(str(path), place, _MS_BIND)
        if path.parent != Path("/dev"):
            mount(None, place, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _unshare(flags: int) -> None:
    _checked(ctypes.CDLL(None, use_errno=True).unshare(flags))


def _run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, timeout=10)


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
