"""Run a program on a pseudo-terminal, as a person would."""

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shown:
    """What the terminal showed, what went to a standard output that is none, and the exit code."""

    terminal: bytes
    out: bytes
    code: int


def on_terminal(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, errors_only: bool = False
) -> Shown:
    """Run `command` with all its streams on a terminal; with `errors_only` its standard output goes into a pipe."""
    master, slave = pty.openpty()
    out = subprocess.PIPE if errors_only else slave
    with subprocess.Popen(command, cwd=cwd, env=env, stdin=slave, stdout=out, stderr=slave) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # how Linux says that nobody has the terminal open any more
                break
            shown += part
        told, _ = process.communicate()
    os.close(master)
    return Shown(shown, told or b"", process.returncode)
