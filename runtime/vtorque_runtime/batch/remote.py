"""Programs of `Adapter.elsewhere`, started by the job's body: they end as the command on the other node does."""

import os
import re
import subprocess
import sys
import weakref
from collections.abc import Sequence

_FAILED = 255
_EXIT_STATUS = re.compile(r"^pbsdsh\w*: task \d+ exit status (-?\d+)$", re.MULTILINE)


def start(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start it without standard input. What it prints goes where this process's own output goes."""
    if argv[0] == "pbsdsh":
        return _Pbsdsh(argv)
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL)


class _Pbsdsh(subprocess.Popen[bytes]):
    """Torque's ends with 0 whatever its command did, or when that was never started (src/cmds/pbsdsh.c).

    With -v it says how the command ended. What it says is told where that is not 0, or missing.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._said = os.memfd_create("pbsdsh")
        weakref.finalize(self, os.close, self._said)
        self._code: int | None = None
        super().__init__(argv, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said)

    def poll(self) -> int | None:
        """Return what the command ended with, None while it runs."""
        if self._code is None and super().poll() is not None:
            said = os.pread(self._said, 65536, 0).decode("utf-8", "replace")  # its place is pbsdsh's too
            found = _EXIT_STATUS.findall(said)
            self._code = int(found[-1]) if found else _FAILED
            if self._code:
                sys.stderr.write(said)
        return self._code
