"""What may enter a seed: each value stands in a file of the guest whose format has no quoting for the rest."""

import re
from collections.abc import Iterable, Iterator, Sequence

from vtorque_spec.fault import Fault
from vtorque_spec.plan import JobVm, LinuxGuest, TapNic

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
"""What useradd and groupadd take on every distribution."""

_USER = re.compile(rf"(?!root$){NAME.pattern}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]+")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_PATH = re.compile(r"/[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff:]*")
_TARGET = re.compile(r"/[^\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\\]+")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,35}")
_NFS_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*:" + _TARGET.pattern)
_OPTION = re.compile(r"[a-z][a-z_]*(=[A-Za-z0-9.]+)?")
_DISK = re.compile("vd[c-z]")
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9+._-]{0,125}[A-Za-z0-9+_])?")
_TEXT = re.compile(r"[^\x00\ud800-\udfff]*")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PUBLIC_KEY = re.compile(r"[ -~]+")
_PRIVATE_KEY = re.compile(r"[ -~\n]+")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*")
"""What stands for itself in a `Host` line of ssh_config: no pattern, no blank."""


def check(guest: LinuxGuest) -> None:
    """Raise Fault VT0605 for the first value that cannot reach the guest as it is."""
    _check(_values(guest))
    for what, private in (("host", guest.host_key.private), ("login", guest.keys.login_key)):
        if not _PRIVATE_KEY.fullmatch(private):
            raise Fault("VT0605", f"a seed cannot carry the private {what} key: it is not ASCII text")
    if not guest.keys.public_keys or not guest.keys.authorities:
        raise Fault("VT0605", "a seed cannot carry no login key or no authority")
    if guest.login.uid <= 0 or not guest.login.groups:
        raise Fault("VT0605", f"a seed cannot carry the user {guest.login.user}: uid 0 or no group")


def check_names(vms: Sequence[JobVm]) -> None:
    """Raise Fault VT0605 where there is no VM, or a name or an address that ssh or /etc/hosts would misread."""
    _check(("the name or address of a guest", name, _HOST) for vm in vms for name in vm.names)
    if not vms:
        raise Fault("VT0605", "a seed cannot carry no guest")


def _check(values: Iterable[tuple[str, str, re.Pattern[str]]]) -> None:
    for what, value, form in values:
        if not form.fullmatch(value):
            raise Fault("VT0605", f"a seed cannot carry {what} {value!a}")


def _values(guest: LinuxGuest) -> Iterator[tuple[str, str, re.Pattern[str]]]:
    yield "the nonce", guest.nonce, _ID
    yield "the host name", guest.hostname, _ID
    yield "the user name", guest.login.user, _USER
    yield "the home directory", guest.login.home, _PATH
    yield "the public host key", guest.host_key.public, _PUBLIC_KEY
    yield "the host certificate", guest.host_key.certificate, _PUBLIC_KEY
    for key in guest.keys.public_keys:
        yield "the login key", key, _PUBLIC_KEY
    for line in guest.keys.authorities:
        yield "the authority", line, _PUBLIC_KEY
    yield "the MAC address", guest.machine.nic.mac, _MAC
    yield from _network(guest)
    for filesystem in guest.machine.filesystems:
        if filesystem.kind == "nfs":
            yield "the source", filesystem.source, _NFS_SOURCE
        else:
            yield "the tag", filesystem.tag, _TAG
        yield "the mount point", filesystem.target, _TARGET
        for option in filesystem.options:
            yield "the option", option, _OPTION
    for disk in guest.disks:
        yield "the disk", disk.target, _DISK
        yield "the mount point", disk.mount, _TARGET
    for package in guest.setup.packages:
        yield "the package", package, _PACKAGE
    for text in (guest.setup.boot, guest.setup.shutdown, guest.setup.apt_sources, guest.setup.dnf_repos):
        yield "the site's text", text or "", _TEXT


def _network(guest: LinuxGuest) -> Iterator[tuple[str, str, re.Pattern[str]]]:
    yield "the node's name", guest.node, _NODE
    nic = guest.machine.nic
    if isinstance(nic, TapNic):
        for address in (nic.address, nic.host_address, *([nic.gateway] if nic.gateway else []), *nic.dns):
            yield "the address", address, _ADDRESS
        for name in (*nic.search, *nic.ntp):
            yield "the domain or time server", name, _HOST
