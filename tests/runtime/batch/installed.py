"""The hooks as an admin installs them, but below a directory of the test's; and programs that stand in for others."""

import sys
from pathlib import Path

HOOKS = Path(__file__).parents[3] / "runtime/hooks"

RECORDER = """#!/bin/sh
{{ echo "$*"; cat; env; }} >>{records}/$(basename "$0").calls
exit {code}
"""
"""Says what it was called with: arguments, standard input, environment."""

REAL = """#!{python}
import sys
import vtorque_runtime
from vtorque_runtime.batch import command
command.PATH = {path!r}
command.hostname = lambda: {node!r}
vtorque_runtime.SYSTEM_BASE = {base!r}
from vtorque_runtime.__main__ import main
sys.exit(main())
"""
"""The real runtime on a node with a name and a spool of its own, and with the batch system's programs of the test.

What it starts in a process of its own is not told: that has this host's name, and /var/lib/vtorque.
"""


def install(hook: str, root: Path, *names: str) -> None:
    """Put a hook below `root`, a node's file system: under these names, with this node's paths in it."""
    text = (HOOKS / hook).read_text()
    for path in ("/opt/vtorque/bin", "/etc/vtorque", "/var/lib/vtorque"):
        text = text.replace(path, f"{root}{path}")
    for name in names:
        program(root / name, text)


def install_runtime(root: Path, text: str) -> None:
    """Put a program in the runtime's place on the node below `root`."""
    program(root / "opt/vtorque/bin/vtorque-runtime", text)


def recorder(root: Path, code: int = 0) -> str:
    """Return the text of a program that notes its calls below `root` and ends with `code`."""
    return RECORDER.format(records=root, code=code)


def real_runtime(root: Path, node: str, programs: Path) -> str:
    """Return the text of the real runtime for the node below `root`; `programs` is the batch system's directory."""
    base = str(root / "var/lib/vtorque")
    return REAL.format(python=sys.executable, path=f"{programs}:/usr/bin:/bin", node=node, base=base)


def program(path: Path, text: str) -> None:
    """Write an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
