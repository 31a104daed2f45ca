"""Landlock: a process gives up, for itself and all that it starts, every file but those beneath some directories.

It holds for files that are opened by their handles too (open_by_handle_at(2)), with one exception: since Linux 6.18 a
file that lies outside of the directory at which its mount begins has that directory's rights as well. So a mount must
begin above the directories that rights are for. Calls and numbers are those of linux/landlock.h; landlock(7) tells
which kernel has which.
"""

import ctypes
import os
from collections.abc import Mapping

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_DEVICES = 1 << 6 | 1 << 11 | 1 << 15
"""Making character and block devices, and ioctl(2) on such."""
_RIGHTS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
_MOST_BITS = 16
LIST = _READ_DIR
READ = _EXECUTE | _READ_FILE | _READ_DIR
WRITE = (1 << _MOST_BITS) - 1 & ~_DEVICES & ~_EXECUTE


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def version() -> int:
    """Return which version of Landlock the kernel has; 0: none."""
    return max(int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)), 0)


def restrict(allowed: Mapping[str, int]) -> None:
    """Leave this process LIST, READ or WRITE beneath each of the directories. Needs root. Raises OSError."""
    handled = (1 << _RIGHTS_BITS.get(version(), _MOST_BITS)) - 1
    attribute = _Ruleset(handled)
    ruleset = _checked(_libc().syscall(_CREATE_RULESET, ctypes.byref(attribute), ctypes.sizeof(attribute), 0))
    try:
        for path, rights in allowed.items():
            place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                rule = _PathBeneath(rights & handled, place)
                _checked(_libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
            finally:
                os.close(place)
        _checked(_libc().syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"landlock: {os.strerror(number)}")
    return result


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
