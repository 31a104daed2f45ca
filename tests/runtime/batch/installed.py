"""The hooks as an admin installs them, but below a directory of the test's; and programs that stand in for others."""

import os
import sys
from pathlib import Path

from vtorque_runtime import SYSTEM_BASE

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
part, *words = sys.argv[1:]
if part == "reap":
    from vtorque_runtime import reap
    reap.APART_S = 1
elif part in ("prologue", "epilogue") and {site!r}:
    words = ["--site", {site!r}, *words]
from vtorque_runtime.__main__ import main
sys.exit(main([part, *words]))
"""
"""The real runtime on a node with a name, a spool and a site of its own, and with the batch system's programs of the
test. A reap need not wait for a minute.

What it starts in a process of its own is not told: that has this host's name, and /var/lib/vtorque.
"""


def install(hook: str, root: Path, *names: str) -> None:
    """Put a hook below `root`, a node's file system: under these names, with this node's paths in it."""
    text = (HOOKS / hook).read_text()
    for path in ("/opt/vtorque/bin", "/etc/vtorque", "/var/lib/vtorque"):
        text = text.replace(path, f"{root}{path}")
    text = text.replace("-user 0 ", f"-user {os.geteuid()} ")  # who is root where the test runs
    for name in names:
        program(root / name, text)


def earlier_hook(root: Path, name: str, text: str) -> Path:
    """Put a hook that the node below `root` had before ours in its place, as safe as it has to be; return the path."""
    path = root / "etc/vtorque/hooks" / name
    program(path, text)
    for directory in path.parents[:2]:
        directory.chmod(0o755)
    return path


def install_runtime(root: Path, text: str) -> None:
    """Put a program in the runtime's place on the node below `root`."""
    program(root / "opt/vtorque/bin/vtorque-runtime", text)


def recorder(root: Path, code: int = 0) -> str:
    """Return the text of a program that notes its calls below `root` and ends with `code`."""
    return RECORDER.format(records=root, code=code)


def real_runtime(root: Path, node: str, programs: Path) -> str:
    """Return the text of the real runtime for the node below `root`; `programs` is the batch system's directory."""
    return _real(node, programs, str(root / "var/lib/vtorque"), "")


def install_whole_runtime(root: Path, node: str, programs: Path, site: Path) -> None:
    """Put the real runtime on the node below `root`, for whole jobs: its spool is this host's own."""
    install_runtime(root, _real(node, programs, SYSTEM_BASE, str(site)))
    (root / "var/lib").mkdir(parents=True)
    (root / SYSTEM_BASE[1:]).symlink_to(SYSTEM_BASE)


def _real(node: str, programs: Path, base: str, site: str) -> str:
    path = f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"
    return REAL.format(python=sys.executable, path=path, node=node, base=base, site=site)


def program(path: Path, text: str) -> None:
    """Write an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
