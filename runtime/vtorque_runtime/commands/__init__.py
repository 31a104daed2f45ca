"""The commands of `vtorque-runtime` beside the hooks: what an admin or a batch script on a node starts.

A module for each group of them; what a command needs is imported when it runs.
"""

import argparse
import os
import sys
from collections.abc import Callable

from vtorque_runtime.commands import body, doctor, hooks, iocm, jobs
from vtorque_runtime.commands.common import tell
from vtorque_spec.fault import Fault

_GROUPS = (hooks, body, jobs, doctor, iocm)


def run(argv: list[str]) -> int:
    """Run a command; return its exit code: 0 fine, 1 a fault, 75 and 78 as `body.run` has them, 130 for an interrupt.

    Raises SystemExit: 2 for usage, 0 for help.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except Fault as fault:
        tell(fault)
    except KeyboardInterrupt:
        return 130
    except OSError as failure:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - what it did not take it will not take
        if not isinstance(failure, BrokenPipeError):  # who read has gone, and needs to know nothing more
            tell(Fault("VT0914", f"a step on this node failed: {failure}", help="is a disk full, or read only?"))
    return 1


def _run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="vtorque-runtime", description="The part of vtorque that works on a node.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.add(commands)
    chosen = parser.parse_args(argv)
    act: Callable[[argparse.Namespace], int] = chosen.act
    return act(chosen)
