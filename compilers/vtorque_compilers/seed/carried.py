"""What may enter a seed: each value stands in a file of the guest whose format has no quoting for the rest."""

import re
from collections.abc import Iterator

from vtorque_spec.fault import Fault
from vtorque_spec.plan import BridgeNic, LinuxGuest

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
"""What useradd and groupadd take on every distribution."""

_USER = re.compile(rf"(?!root$){NAME.pattern}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]+")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_PATH = re.compile(r"/[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff:]*")
_TARGET = re.compile(r"/[^\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\\]+")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,35}")
_PUBLIC_KEY = re.compile(r"[ -~]+")
_PRIVATE_KEY = re.compile(r"[ -~\n]+")


def check(guest: LinuxGuest) -> None:
    """Raise Fault VT0605 for the first value that cannot reach the guest as it is."""
    for what, value, form in _values(guest):
        if not form.fullmatch(value):
            raise Fault("VT0605", f"a seed cannot carry {what} {value!a}")
    if not _PRIVATE_KEY.fullmatch(guest.host_key.private):
        raise Fault("VT0605", "a seed cannot carry the private host key: it is not ASCII text")
    if guest.login.uid <= 0 or not guest.login.groups:
        raise Fault("VT0605", f"a seed cannot carry the user {guest.login.user}: uid 0 or no group")


def _values(guest: LinuxGuest) -> Iterator[tuple[str, str, re.Pattern[str]]]:
    yield "the nonce", guest.nonce, _ID
    yield "the host name", guest.hostname, _ID
    yield "the user name", guest.login.user, _USER
    yield "the home directory", guest.login.home, _PATH
    yield "the login key", guest.login.public_key, _PUBLIC_KEY
    yield "the public host key", guest.host_key.public, _PUBLIC_KEY
    yield "the MAC address", guest.machine.nic.mac, _MAC
    if isinstance(guest.machine.nic, BridgeNic):
        yield "the address", guest.machine.nic.address, _ADDRESS
    for filesystem in guest.machine.filesystems:
        yield "the tag", filesystem.tag, _TAG
        yield "the mount point", filesystem.target, _TARGET
