"""What the commands share: how one is described, where jobs are, and how something is said."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from vtorque_spec.fault import Fault

if TYPE_CHECKING:
    from vtorque_runtime.spool import Registry

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

SYSTEMS = ("torque", "openpbs", "slurm")


def command(commands: "Commands", name: str, purpose: str, description: str, example: str) -> argparse.ArgumentParser:
    """Add a command and return its parser."""
    return commands.add_parser(name, help=purpose, description=description, epilog=f"example: {example}")


def add_format(parser: argparse.ArgumentParser) -> None:
    """Let the command answer in text or in JSON."""
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json is for programs")


def registry() -> "Registry":
    """Return the caller's own registry: root's is that of the node. Raises Fault VT0914."""
    from vtorque_runtime.spool import open_registry

    return open_registry("system" if os.geteuid() == 0 else "session")


def say(text: str) -> None:
    """Write to standard output."""
    sys.stdout.write(text + "\n")


def tell(fault: Fault) -> None:
    """Write a fault to standard error."""
    lines = [f"error[{fault.code}]: {fault.message}", *(f"  {line}" for line in (fault.detail or "").splitlines())]
    if fault.help:
        lines.append(f"help: {fault.help}")
    sys.stderr.write("\n".join(lines) + "\n")


def coloured() -> bool:
    """Tell whether standard output is a terminal that shows colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
