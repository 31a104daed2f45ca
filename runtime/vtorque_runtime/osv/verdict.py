"""How an OSv guest's job ended, from the lines of its console: QEMU ends with 0 whatever the program did.

The texts are the kernel's own, of OSv's runtime.cc, core/app.cc, core/options.cc, core/shutdown.cc, libc/signal.cc and
loader.cc. Those that report an exit status appear with its option `--verbose` alone; a `main` that returned 0 leaves no
trace but the orderly end.
"""

import re
from dataclasses import dataclass
from typing import Literal

from vtorque_runtime.console import harmless
from vtorque_spec.plan.answer import ToldFinding

Kind = Literal["status", "start", "option", "crash", "signal", "set-up"]

ROWS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("status", re.compile(r"program exited with status (-?\d{1,10})$")),
    ("status", re.compile(r"^(?>.*program ).+ returned (-?\d{1,10})$")),
    ("start", re.compile(r"^(?>.*Failed to load object: ).*\. Powering off\.$")),
    ("start", re.compile(r"Failed to parse command line\.")),
    ("start", re.compile(r"Nothing to run\.")),
    ("start", re.compile(r"unrecognized option: ?")),
    ("start", re.compile(r"not an option: ?")),
    ("start", re.compile(r"^(?>.*Ignoring value: ').*' for option mount-fs")),
    ("option", re.compile(r"^duplicate option: ")),
    ("option", re.compile(r"^the required argument for option '--")),
    ("option", re.compile(r"^option '--\S+' does not take any arguments")),
    ("option", re.compile(r"^the argument \('.*'\) for option '--\S+' is invalid")),
    ("signal", re.compile(r'Uncaught signal (\d{1,2}) \("[^"]*"\)\. Powering off\.$')),
    ("crash", re.compile(r"Aborted$")),
    ("crash", re.compile(r"Assertion failed:")),
    ("crash", re.compile(r"\[backtrace\]$")),
    ("crash", re.compile(r"page fault outside application")),
    ("set-up", re.compile(r"^cloud-init failed")),
    ("set-up", re.compile(r"Error in mount\(\)")),
    ("set-up", re.compile(r"failed to mount [^/]")),
    ("set-up", re.compile(r"failed to create missing mount point")),
)
"""What each line means. A program's last line may lack its newline, so a report need not begin a line.

An `option` is the kernel's until the program starts, whose own words may be the same afterwards. Each is looked for in
a time that grows with the line and not with its square: a program prints what it likes, and root reads it.
Of a mount that failed the kernel names the kind (`nfs`), while it looks for its root the place (`/rofs`, then `/zfs`).
"""

_STARTED = re.compile(r"Cmdline: ")
_ECHO = re.compile(r"Cmdline: |Setting in environment: ")
"""In such lines the kernel repeats what the job said, before it starts the program: nothing in them is a report."""
_KERNEL = re.compile(r"OSv v(\d{1,4})\.(\d{1,4})\S*$")
"""The kernel's first words; the firmware's may stand before, on the same line."""
_TELLS_START = (0, 50)
"""Kernels from this version on say `Cmdline:` when they are about to start the program."""
LAST_LINE = "Powering off."
_SUDDEN = re.compile(r"\S\. Powering off\.$")
"""As an end the kernel's word on a command that it cannot start, whatever the reason: that is no orderly end."""

CRASHED_EXIT_CODE = 134
"""As a shell has a program that abort(3) ended."""
SIGNALLED = 128
"""As a shell has a program that a signal ended: so much more than its number."""
NOT_STARTED_EXIT_CODE = 127
"""As a shell has a command that it can't start."""
SET_UP_EXIT_CODE = 1
LOST_EXIT_CODE = 75
"""EX_TEMPFAIL: the same job may end well elsewhere, or later (sysexits.h)."""
LOST = "VT0955"
"""The finding of a guest that is gone, and did not say why."""

_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[0-~])")


@dataclass(frozen=True)
class Ending:
    """How the job in one guest ended: its exit code, and what is to be told of it."""

    code: int
    finding: ToldFinding | None

    @property
    def too_late(self) -> bool:
        """Whether it was the end of the walltime."""
        return self.finding is not None and self.finding.code == "VT0909"


@dataclass(frozen=True, slots=True)
class Report:
    """A line that tells how the program got on."""

    kind: Kind
    line: str
    status: int = 0


class Judge:
    """Takes the console's lines in their order, and knows at each moment how the job would have ended.

    A program can print such lines itself: of those after its start the last one counts. What failed before it started,
    and a mount or cloud-init that failed at any time, stays: the program ran without what the job asked for.
    """

    def __init__(self) -> None:
        self.phase: Literal["kernel", "running"] | None = None
        """How far the guest is; None while only its firmware has spoken."""
        self.powered_off = False
        """Whether the last line says that nothing comes any more."""
        self._last: Report | None = None
        self._kept: Report | None = None
        self._sudden: Report | None = None

    def take(self, raw: bytes) -> None:
        """Take in one line, without its newline."""
        line = plain(raw)
        if not line:
            return
        self.powered_off = line.endswith(LAST_LINE)
        self._sudden = Report("start", line) if _SUDDEN.search(line) else None
        echo = self.phase != "running" and _ECHO.match(line)
        if starts(line):
            self.phase = "running"
        elif self.phase is None and _KERNEL.search(line):
            self.phase = "kernel"
        found = None if echo else _report(line)
        if found is None:
            return
        if found.kind == "set-up" or (found.kind in ("start", "option") and self.phase != "running"):
            self._kept = self._kept or found
        elif found.kind != "option":
            self._last, self._sudden = found, None

    def ending(self, name: str, tail: str) -> Ending:
        """Return how the job ended in the guest `name`, which has ended; `tail` is what its console showed last."""
        last, kept = self._sudden or self._last, self._kept
        if last is not None and last.kind in ("crash", "signal"):
            return Ending(last.status or CRASHED_EXIT_CODE, _crash(name, tail))
        failed = kept if last is None or last.kind == "status" else last
        if failed is not None and failed.kind in ("start", "option"):
            return Ending(NOT_STARTED_EXIT_CODE, _no_start(name, failed))
        status = last.status if last is not None else 0
        if kept is not None:
            return Ending(status or SET_UP_EXIT_CODE, _no_set_up(name, kept))
        if last is None and not self.powered_off:
            return Ending(LOST_EXIT_CODE, _lost(name, tail))
        return Ending(status, None)


def starts(line: str) -> bool:
    """Tell whether this line is the last before the program's; a kernel that has no such line starts it at once."""
    version = _KERNEL.search(line)
    return bool(_STARTED.match(line)) or (version is not None and (int(version[1]), int(version[2])) < _TELLS_START)


def plain(raw: bytes) -> str:
    """Return a line as it can be read: no escape codes, no carriage returns, no blanks around it."""
    return _ESCAPE.sub("", raw.decode("utf-8", "replace")).replace("\r", "").strip()


def _report(line: str) -> Report | None:
    for kind, row in ROWS:
        if match := row.search(line):
            number = int(match[1]) if row.groups else 0
            return Report(kind, line, SIGNALLED + number if kind == "signal" else number & 0xFF)
    return None


def _no_start(name: str, report: Report) -> ToldFinding:
    hint = "the path is the one inside the image; what the kernel can't read is in the line above"
    return ToldFinding("VT0952", "error", f"{name} could not start the job", hint, harmless(report.line))


def _crash(name: str, tail: str) -> ToldFinding:
    hint = "the program aborted, or used memory that it has not: its last lines are above"
    return ToldFinding("VT0953", "error", f"the program crashed, and {name} with it", hint, tail)


def _no_set_up(name: str, report: Report) -> ToldFinding:
    hint = "the job ran without it; a mount point must be in the image, unless its root is in memory"
    return ToldFinding("VT0954", "error", f"{name} lacked what the job asked for", hint, harmless(report.line))


def _lost(name: str, tail: str) -> ToldFinding:
    hint = "it was ended from outside or crashed hard; run the job again, and look at its last lines"
    return ToldFinding(LOST, "error", f"{name} ended, and did not say how its job ended", hint, tail)
