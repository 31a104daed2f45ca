"""Root's own files and directories, made so that nobody else gets a hand on them; what the kernel says of processes."""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from vtorque_spec.fault import Fault

_POLL_S = 0.02


def write_private(path: Path, text: str) -> None:
    """Write a file that only the caller can read; under its name is the whole text or what was there before."""
    replace_file(path, text, sync=True)


def replace_file(
    path: Path, text: str, mode: int = 0o600, owner: tuple[int, int] | None = None, *, sync: bool = False
) -> None:
    """Put a fresh file in the place of whatever is there, in a directory of the caller's own; give it to `owner`.

    Readers see the old text or the new one, whole. With `sync` it is on the disk before the name is.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            if sync:
                os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError:  # the disk is full, say
        unfinished.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(path: Path, limit_s: float | None = None) -> Iterator[None]:
    """Keep others from the lock `path` meanwhile; it is the caller's file, on a disk that may be read only by now.

    A process can't take it twice. Raises TimeoutError when others have it for longer than `limit_s`.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        lock(descriptor, limit_s)
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int, limit_s: float | None) -> None:
    """Lock an open file until it is closed. Raises TimeoutError when others have it for longer than `limit_s`."""
    until = time.monotonic() + (limit_s or 0)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if limit_s is None else fcntl.LOCK_NB))
        except BlockingIOError:
            if time.monotonic() > until:
                raise TimeoutError(f"the lock was not free within {limit_s} s") from None
            time.sleep(_POLL_S)
        else:
            return


def running_s() -> float:
    """Return for how long this process has run, and before it the shell that it replaced (`exec`), in seconds."""
    began_s = (start_ticks(os.getpid()) or 0) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began_s


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot, or None when there is none (proc(5), field 22).

    One that has ended, and that its parent has not asked about yet, is none.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def runs(pid: int, ticks: int) -> bool:
    """Tell whether that process, which started at `ticks`, runs; where /proc hides it, whether one of its number does.

    /proc shows an ordinary user nothing of root's where it is mounted with hidepid=1 or 2 (proc(5)).
    """
    with contextlib.suppress(PermissionError):
        if os.path.lexists(f"/proc/{pid}"):
            return start_ticks(pid) == ticks
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def boot_id() -> str:
    """Return the UUID of the host's running boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def make_missing(path: Path, mode: int) -> None:
    """Make a directory unless something of that name is there."""
    with contextlib.suppress(FileExistsError):
        make_directory(path, mode)


def make_directory(path: Path, mode: int) -> None:
    """Make a directory with exactly these permission bits, whatever the umask. Raises FileExistsError."""
    path.mkdir(mode=0o700)
    path.chmod(mode)


def check_directory(path: Path, forbidden: int) -> None:
    """Raise Fault VT0914 unless it is a directory of the caller's without the permission bits `forbidden`."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & forbidden:
        uid, mode = os.geteuid(), stat.S_IMODE(found.st_mode) & ~forbidden
        hint = f"remove {path}; it is made anew"
        if stat.S_ISDIR(found.st_mode):  # what is in it may be needed, as the image store is
            hint = f"see whose it is and what is in it, then: chown {uid} {path} && chmod {mode:o} {path}"
        raise Fault("VT0914", f"{path} is not a directory that only uid {uid} can write", help=hint)
