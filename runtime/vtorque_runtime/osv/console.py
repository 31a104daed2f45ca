"""An OSv guest's console: judged whole as it comes, and copied for the job's owner, whose output it is."""

from pathlib import Path

from vtorque_runtime.console import Console
from vtorque_runtime.osv.verdict import Ending, Judge

COPY_LIMIT_BYTES = 64 * 1024**2
"""So much of what a job prints is kept, within what a plan sets aside for a VM's files (`plan.storage.FILES_BYTES`).

How the job ended is known whatever it prints.
"""


class OsvConsole(Console):
    """A Console whose `phase` is that of an OSv guest (kernel, running), and which knows how the job ended."""

    copy_limit_bytes = COPY_LIMIT_BYTES

    def __init__(self, source: Path, copy: Path, owner: tuple[int, int]) -> None:
        super().__init__(source, "", copy, owner)
        self._judge = Judge()

    @property
    def ended(self) -> bool:
        """Whether the guest said that it switches itself off: nothing comes after that."""
        return self._judge.powered_off

    @property
    def seen_bytes(self) -> int:
        """How much the guest has printed."""
        return self._seen_bytes

    @property
    def lost_bytes(self) -> int:
        """How much of it the owner's copy lacks."""
        return self._seen_bytes - self._copied_bytes

    def ending(self, name: str) -> Ending:
        """Return how the job ended in the guest `name`, which has ended and says no more."""
        self._take(self._rest)
        self._rest = b""
        return self._judge.ending(name, self.tail())

    def _take(self, line: bytes) -> None:
        self._judge.take(line)
        self.phase = self._judge.phase
