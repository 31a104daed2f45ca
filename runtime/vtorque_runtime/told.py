"""What a job's body says to the job's owner, on standard error."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vtorque_runtime import verdict
from vtorque_spec.fault import Fault


class FailedError(Exception):
    """The job cannot run, which was told already; `code` is what the body ends with."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


@dataclass
class Told:
    """Writes to the job's standard error."""

    _began: float = field(default_factory=time.monotonic)

    def phase(self, name: str, guest: str = "") -> None:
        """See Progress."""
        self.note(f"{guest}{': ' if guest else ''}{name} ({time.monotonic() - self._began:.0f} s)")

    def note(self, text: str) -> None:
        """See Progress."""
        self.lines([f"vtorque: {text}"])

    def fault(self, fault: Fault) -> None:
        """See Progress."""
        self.lines(verdict.lines(verdict.of_error(fault, "run")))

    def lines(self, lines: Sequence[str]) -> None:
        """Write lines as they are. Who cannot be told (a disk that is full, a reader that went) is told no more."""
        try:
            sys.stderr.write("".join(f"{line}\n" for line in lines))
            sys.stderr.flush()
        except OSError:
            sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as this process lives
