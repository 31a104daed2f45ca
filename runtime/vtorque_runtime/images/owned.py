"""Files that nobody but root, or who runs this on a store of their own, could have changed."""

import io
import os
import stat
from pathlib import Path

from vtorque_spec.fault import Fault


def open_stored(path: Path) -> io.BufferedReader:
    """Open a plain file for reading; a link, a device, a pipe or what others could change is a Fault VT0503."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise damaged(f"cannot open {path}: {error.strerror}") from None
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise damaged(f"{path} is not a plain file")
        check_owner(path, status)
    except Fault:
        file.close()
        raise
    return file


def check_directory(path: Path) -> None:
    """Raise Fault VT0503 unless it is a directory that others cannot write to."""
    try:
        status = path.lstat()
    except OSError as error:
        raise damaged(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise damaged(f"{path} is not a directory")
    check_owner(path, status)


def check_owner(path: Path, status: os.stat_result) -> None:
    """Raise Fault VT0503 unless only root, or who runs this, can have had a hand in what has that status."""
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mend = f"chown 0 {path} && chmod go-w {path}"
        hint = f"where nobody has changed what is there: {mend}; else remove the images, then build or add them again"
        raise Fault("VT0503", f"{path} belongs to uid {status.st_uid} or others may write to it", help=hint)


def damaged(message: str) -> Fault:
    """Return the Fault VT0503 of a stored image."""
    return Fault("VT0503", message, help="remove that image's directory, then build or add the image again")
