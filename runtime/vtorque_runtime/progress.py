"""What the runtime tells the person who waits."""

import contextlib
from typing import Protocol

from vtorque_runtime.log import LOG
from vtorque_spec.fault import Fault


class Progress(Protocol):
    """Shows how a job gets on; the job's own streams are not part of it."""

    def phase(self, name: str, guest: str = "") -> None:
        """The job, or one of its guests, entered a phase.

        They are staging, those of `boot.PHASE_LIMITS`, prologue, run, epilogue and undo.
        """

    def note(self, text: str) -> None:
        """One sentence that the person should see."""

    def fault(self, fault: Fault) -> None:
        """A failure that does not end the way to the exit code, which `local.run` still returns."""


class Recorded:
    """A Progress that also writes the record, and that a terminal which went away does not stop."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown

    def phase(self, name: str, guest: str = "") -> None:
        """See Progress."""
        LOG.info("%sphase %s", f"{guest}: " if guest else "", name)
        with contextlib.suppress(OSError):
            self._shown.phase(name, guest)

    def note(self, text: str) -> None:
        """See Progress."""
        LOG.info("%s", text)
        with contextlib.suppress(OSError):
            self._shown.note(text)

    def fault(self, fault: Fault) -> None:
        """See Progress."""
        LOG.error("%s", fault)
        with contextlib.suppress(OSError):
            self._shown.fault(fault)
