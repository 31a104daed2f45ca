"""The commands of `vtorque-runtime` beside the hooks: what an admin or a batch script on a node starts.

A module for each group of them; what a command needs is imported when it runs.
"""

import argparse
from collections.abc import Callable

from vtorque_runtime.commands import body, doctor, hooks, iocm, jobs
from vtorque_runtime.commands.common import tell
from vtorque_spec.fault import Fault

_GROUPS = (hooks, body, jobs, doctor, iocm)


def run(argv: list[str]) -> int:
    """Run a command; return its exit code: 0 fine, 1 a fault, 2 usage; 75 and 78 as `body.run` has them."""
    parser = argparse.ArgumentParser(prog="vtorque-runtime", description="The part of vtorque that works on a node.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.add(commands)
    chosen = parser.parse_args(argv)
    act: Callable[[argparse.Namespace], int] = chosen.act
    try:
        return act(chosen)
    except Fault as fault:
        tell(fault)
        return 1
