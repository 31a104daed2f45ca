"""What of an OSv guest's console is the job's own output: all but what the kernel says before and after the program."""

import re

from vtorque_runtime.osv.verdict import LAST_LINE, plain, starts

BOOT_LIMIT_BYTES = 256 * 1024
"""A kernel that says so much, and not that it starts the program, never says it: then all is shown."""

_LINE_LIMIT_BYTES = 64 * 1024
_END = re.compile(
    rb"(VFS: unmounting /\S*|program exited with status -?\d+|program .+ returned -?\d+|^Powering off\.)\n$"
)
_ENDS = (b"VFS: unmounting /", b"program ", b"Powering off.")
"""How the lines of an orderly end look, and begin. One of them ends a program's last line that lacks its newline."""
_BETWEEN = b"random: device unblocked."
"""The kernel says it once, at any time, on the line on which the program is."""


class Output:
    """Takes a console's bytes as they come, and returns those that are the job's, with plain newlines.

    What looks like the kernel's last lines is held until it is known that it is: nothing of a program's own is lost.
    Of a `whole` console all lines are the job's: those of the boot without the codes by which a terminal is cleared.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole_console = whole
        self._started = False
        self._held = b""
        self._line = b""
        """The line that is not whole yet, of which `_shown` bytes were returned already."""
        self._shown = 0

    def feed(self, part: bytes) -> bytes:
        """Take in what has come since; return what is to be shown now."""
        shown = []
        *lines, rest = part.split(b"\n")
        for line in lines:
            self._line += line
            if not self._interrupted():
                shown.append(self._whole())
                self._line, self._shown = b"", 0
        self._line += rest
        if len(self._line) > _LINE_LIMIT_BYTES:
            self._started = True
            shown.append(self.idle())
            self._line, self._shown = b"", 0
        return b"".join(shown)

    def idle(self) -> bytes:
        """Return what there is of a line that is not whole: nothing more comes for now."""
        fresh = self._line.removesuffix(b"\r")[self._shown :]
        if not self._started or not fresh or (not self._shown and _may_end(fresh)):
            return b""
        self._shown += len(fresh)
        return self._released() + fresh

    def end(self) -> bytes:
        """Return what was held and is the job's after all: the console says no more."""
        line = self._line[self._shown :].removesuffix(b"\r")
        self._line = b""
        if self._started and not line and self._held.endswith(f"{LAST_LINE}\n".encode()):
            return b""
        return self._released() + line

    def _interrupted(self) -> bool:
        """Take the kernel's word out of the program's line, which then is not whole yet."""
        line = self._line.rstrip(b"\r")
        found = self._started and not self._whole_console and line.endswith(_BETWEEN)
        if found:
            self._line = line.removesuffix(_BETWEEN)
            self._shown = min(self._shown, len(self._line))
        return found

    def _boot(self, line: bytes) -> bytes:
        """Hold a line of the boot back, until it is known that the program starts, or never will."""
        text = plain(line)
        self._started = starts(text)
        if self._whole_console:
            return f"{text}\n".encode()
        self._held = b"" if self._started else self._held + line
        if len(self._held) > BOOT_LIMIT_BYTES:
            self._started = True
            return self._released()
        return b""

    def _whole(self) -> bytes:
        line = self._line.rstrip(b"\r") + b"\n"
        if not self._started:
            return self._boot(line)
        end = None if self._whole_console else _END.search(line)
        own = line if end is None else line[: end.start()]
        fresh = own[self._shown :]
        released = self._released() if fresh or end is None else b""
        if end is not None:
            self._held += line[max(end.start(), self._shown) :]
        return released + fresh

    def _released(self) -> bytes:
        held, self._held = self._held, b""
        return held


def _may_end(line: bytes) -> bool:
    """Tell whether it may become one of the kernel's lines."""
    return any(end.startswith(line) or line.startswith(end) for end in (*_ENDS, _BETWEEN))
