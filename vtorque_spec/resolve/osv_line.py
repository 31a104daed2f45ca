"""An OSv guest's command line: options of its kernel, then the commands that it runs.

Two grammars share the line (OSv, core/commands.cc). The kernel's options come first and are divided at blanks, with a
backslash as the only escape. From the first word that is no option on, a word is plain or in double quotes, and from
its first `$` on it names a variable; nothing escapes that. What no word can carry goes into a variable of its own,
which is expanded once: `--env=OSVARG1=a$b ... $OSVARG1`.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from itertools import count
from typing import Literal

from vtorque_spec.fault import Fault
from vtorque_spec.plan import EXPORTS_PORT, OsvImage, OsvRun, TapNic, UserNic

Boot = Literal["kernel", "disk"]

LIMIT_BYTES: dict[Boot, int] = {"kernel": 3600, "disk": 32000}
"""How long the line may be, by the way to boot.

QEMU's PVH loader cuts a longer one off without a word, at 3649 bytes; of a disk the boot sector reads 63 sectors.
"""

ALWAYS = ("--verbose", "--power-off-on-abort")
"""Without the first nothing tells a command's exit status; without the second an abort leaves the guest running."""

KERNELS_OWN = frozenset({"OSV_CPUS", "OSV_IP", "OSV_VERSION"})
"""Variables that the kernel sets after it has read its options (OSv, loader.cc)."""

LONGEST_NETWORK = (
    "--ip=eth0,255.255.255.255,255.255.255.255", "--defaultgw=255.255.255.255", "--nameserver=255.255.255.255"
)  # fmt: skip
"""Before a node is known, what `network_options` returns has at most this length."""

LONGEST_ADDRESS, LONGEST_TAG = "255.255.255.255", "mount99"
"""Before a node is known, where something is served has at most this length."""

_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@%+-]+", re.ASCII)
_QUOTABLE = re.compile(r"[ -#%-~]*", re.ASCII)
_BLANK = re.compile(r"([\\ \t\n])")
_UNCARRIED: dict[Boot, re.Pattern[str]] = {
    "kernel": re.compile("[\0-\x1f\ud800-\udfff\ufffe\uffff]"),
    "disk": re.compile("[\0\ud800-\udfff]"),
}
"""What no line can hold. One for QEMU passes through libvirt's XML."""

_SLIRP = ("--ip=eth0,10.0.2.15,255.255.255.0", "--defaultgw=10.0.2.2", "--nameserver=10.0.2.3")
"""QEMU's user-mode network: https://www.qemu.org/docs/master/system/devices/net.html#using-the-user-mode-network-stack"""

_ELSEWHERE = "put long and odd values into a file of the image or of a mount"


def unsayable(word: str, boot: Boot, *, path: bool) -> tuple[str, str] | None:
    """Return why no line can hold `word`, and what to do; None when one can. `path`: it names a program."""
    if found := _UNCARRIED[boot].search(word):
        return f"OSv's command line, where this image finds it, cannot hold U+{ord(found[0]):04X}", _ELSEWHERE
    if path and (word == "" or word.startswith("-")):
        message = f"the path of a program begins with a `-`: {word}" if word else "the path of a program is empty"
        return message, "name the program by its whole path in the image, as in /solver.so"
    return None


def command_line(run: OsvRun, image: OsvImage, options: Iterable[str]) -> str:
    """Return the line that runs the commands one after the other; `options` are further ones of the kernel's.

    Raises Fault VT0610 for what is `unsayable`, and for more bytes than LIMIT_BYTES.
    """
    variables = {one.name: one.value or "" for one in run.env}
    for value in variables.values():
        _refuse(unsayable(value, image.boot, path=False))
    spoken = " ; ".join(_command(command, image.boot, variables) for command in run.commands)
    rootfs = [f"--rootfs={image.rootfs}"] if image.rootfs is not None else []
    said = [*ALWAYS, *rootfs, *options, *(f"--env={name}={value}" for name, value in variables.items())]
    line = " ".join([*(_BLANK.sub(r"\\\1", word) for word in said), spoken])
    size_bytes, limit_bytes = len(line.encode()), LIMIT_BYTES[image.boot]
    if size_bytes > limit_bytes:
        message = f"the command line of the OSv guest has {size_bytes} bytes, its way to boot takes {limit_bytes}"
        _refuse((message, _ELSEWHERE))
    return line


def mount_options(targets: Iterable[str]) -> Iterator[str]:
    """Yield the options that mount what the node shares: OSv knows a virtiofs device by its number, not by its tag."""
    for index, target in enumerate(targets):
        yield f"--mount-fs=virtiofs,/dev/virtiofs{index},{target}"


def mount_commands(served: Iterable[tuple[str, str]], server: str, image: OsvImage) -> Iterator[tuple[str, ...]]:
    """Yield the commands that mount what the node serves by NFS at `server`: an export's name and a place, each.

    They come before the job's own: the kernel's option for mounts is obeyed before there is a network.
    """
    tool = ("/tools/mount-fs.so", "nfs") if image.options == "mainline" else ("/tools/mount-nfs.so",)
    for name, target in served:
        yield *tool, f"nfs://{server}/{name}/?version=4&nfsport={EXPORTS_PORT}", target


def network_options(nic: TapNic | UserNic) -> Iterator[str]:
    """Yield the options that fix the guest's address: without one OSv waits for a DHCP server, for ever."""
    if isinstance(nic, UserNic):
        yield from _SLIRP
        return
    mask = ipaddress.IPv4Network(f"0.0.0.0/{nic.prefix}").netmask
    yield f"--ip=eth0,{nic.address},{mask}"
    if nic.gateway is not None:
        yield f"--defaultgw={nic.gateway}"
    if nic.dns:
        yield f"--nameserver={nic.dns[0]}"


def _command(command: Sequence[str], boot: Boot, variables: MutableMapping[str, str]) -> str:
    for index, word in enumerate(command):
        _refuse(unsayable(word, boot, path=index == 0))
    return " ".join(_word(word, variables) for word in command)


def _word(word: str, variables: MutableMapping[str, str]) -> str:
    if _PLAIN.fullmatch(word):
        return word
    if _QUOTABLE.fullmatch(word):
        return '"' + word.replace("\\", r"\\").replace('"', r"\"") + '"'
    name = next(name for name in map("OSVARG{}".format, count(1)) if name not in variables)
    variables[name] = word
    return f"${name}"


def _refuse(why: tuple[str, str] | None) -> None:
    if why is not None:
        raise Fault("VT0610", why[0], help=why[1])
