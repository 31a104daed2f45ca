"""Follow a guest's console: which phase of the boot it says it is in, its last lines, and a copy for the job's owner.

The seed makes the guest print `vtorque-phase: NAME [WHAT] NONCE`, and the initrd, which does not know the nonce,
`vtorque-phase: kernel`. A line with another nonce is not of this boot.
"""

import contextlib
import itertools
import os
import re
from pathlib import Path

COPY_LIMIT_BYTES = 4 * 1024**2
_TAIL_LIMIT_BYTES = 16 * 1024
_PARTS_LIMIT = 64
"""Of 64 KiB. A guest may print without end."""

_LINE = re.compile(rb"vtorque-phase: ([a-z-]+)((?: \S+)*)")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PRINTED = ("cloud-init", "mounts", "updates", "packages", "hooks", "ready")
_FAILURES = {
    "mounts-failed": "could not mount",
    "user-failed": "could not make the user",
    "updates-failed": "could not install security updates, exit code",
    "packages-failed": "could not install",
    "hooks-failed": "failed in the site's boot hook, exit code",
}


class Console:
    """The console in the file `source`, which libvirt makes and may replace by a fresh one when it has grown."""

    copy_limit_bytes = COPY_LIMIT_BYTES

    def __init__(
        self, source: Path, nonce: str, copy: Path | None = None, owner: tuple[int, int] | None = None
    ) -> None:
        """`copy`, made here in a directory of the caller's own, is given to `owner` (uid, gid)."""
        self.phase: str | None = None
        """The last phase that the guest reached."""
        self.failure: str | None = None
        """What the guest says went wrong."""
        self._source, self._nonce = source, nonce
        self._file: int | None = None
        self._copy = None if copy is None else _new_file(copy, owner)
        self._seen_bytes = self._copied_bytes = 0
        self._rest, self._tail = b"", b""

    def pump(self) -> None:
        """Take in what the guest has printed since, or as much of it as keeps nothing else waiting."""
        for part in itertools.islice(iter(self._read, b""), _PARTS_LIMIT):
            self._seen_bytes += len(part)
            self._tail = (self._tail + part)[-_TAIL_LIMIT_BYTES:]
            self._copy_out(part)
            *lines, self._rest = (self._rest + part).split(b"\n")
            self._rest = self._rest[-_TAIL_LIMIT_BYTES:]
            for line in lines:
                self._take(line)

    def tail(self, lines: int = 20) -> str:
        """Return the last lines, control characters made harmless."""
        text = _COLOUR.sub("", self._tail.decode("utf-8", "replace"))
        shown = [harmless(line) for line in text.split("\n")]
        return "\n".join([line for line in shown if line.strip()][-lines:]) or "(the console is empty)"

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._file, self._copy):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._copy = None

    def _read(self) -> bytes:
        if self._file is None and not self._open():
            return b""
        assert self._file is not None  # noqa: S101 - just opened; for mypy
        part = os.read(self._file, 65536)
        if not part and self._replaced(self._file):
            os.close(self._file)
            self._file = None
            return self._read()
        return part

    def _open(self) -> bool:
        try:
            self._file = os.open(self._source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        return True

    def _replaced(self, descriptor: int) -> bool:
        try:
            return self._source.lstat().st_ino != os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def _copy_out(self, part: bytes) -> None:
        if self._copy is not None:
            part = part[: self.copy_limit_bytes - self._copied_bytes]
            with contextlib.suppress(OSError):  # a disk that is full costs the copy, not the job
                self._copied_bytes += os.write(self._copy, part)

    def _take(self, line: bytes) -> None:
        match = _LINE.search(line)
        if match is None:
            return
        name, words = match[1].decode("ascii"), match[2].decode("utf-8", "replace").split()
        if name == "kernel" and self.phase is None:
            self.phase = name
        elif self._nonce in words:
            if name in _PRINTED:
                self.phase = name
            elif name in _FAILURES:
                self.failure = f"{_FAILURES[name]} {harmless(' '.join(words).removesuffix(self._nonce)).strip()}"


def harmless(text: str) -> str:
    """Return `text` with every character that a terminal could obey shown as `?`; tabs become blanks."""
    return "".join(char if char.isprintable() else " " if char == "\t" else "?" for char in text.rstrip("\r\n"))


def _new_file(path: Path, owner: tuple[int, int] | None) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o400)
    if owner is not None:
        os.fchown(descriptor, *owner)
    return descriptor
