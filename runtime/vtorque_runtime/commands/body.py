"""`job` and `follow`: what a batch script's body starts, as the job's owner."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from vtorque_runtime.commands.common import SYSTEMS, command
from vtorque_spec.fault import Fault

if TYPE_CHECKING:
    from vtorque_runtime.commands.common import Commands

_USER_PART_LIMIT = 16 * 1024**2


def add(commands: "Commands") -> None:
    """Add the commands."""
    job = command(
        commands, "job", "the body of a compiled batch script; the user part on standard input",
        "Wait for the job's guests, run the job in the first, and end with its exit code.", "vtorque-runtime job slurm",
    )  # fmt: skip
    job.add_argument("system", choices=SYSTEMS)
    job.set_defaults(act=_job)
    follow = command(
        commands, "follow", "what a job's body starts on the job's other nodes",
        "Tell how far the job's guests are on this node, until they are ready or one is lost.",
        "vtorque-runtime follow slurm ready",
    )  # fmt: skip
    follow.add_argument("system", choices=SYSTEMS)
    follow.add_argument("until", choices=("ready", "end"))
    follow.set_defaults(act=_follow)


def _job(chosen: argparse.Namespace) -> int:
    from vtorque_runtime.body import run as run_body
    from vtorque_spec.canonical import DecodeError
    from vtorque_spec.carrier import decode_user_part

    try:
        user = decode_user_part("".join(sys.stdin.read(_USER_PART_LIMIT).split()))
    except (DecodeError, UnicodeDecodeError) as error:
        raise Fault("VT0912", f"the script's body is damaged: {error}", help="compile it again") from None
    return run_body(chosen.system, user, os.environ)


def _follow(chosen: argparse.Namespace) -> int:
    from vtorque_runtime.body import follow

    return follow(chosen.system, chosen.until, os.environ)
