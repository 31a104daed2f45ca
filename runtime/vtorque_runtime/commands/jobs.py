"""`status` and `reap`: the jobs of this node, and what is left of those that are over."""

import argparse
import os
from typing import TYPE_CHECKING

from vtorque_runtime.commands import common
from vtorque_runtime.commands.common import command, say, tell

if TYPE_CHECKING:
    from vtorque_runtime.commands.common import Commands


def add(commands: "Commands") -> None:
    """Add the commands."""
    status = command(
        commands, "status", "the jobs on this node and how far they are",
        "List the jobs on this node: the phase of each and of its VMs, whose it is, what it holds and has used. With "
        "JOB, all about one. Run it as root; an ordinary user sees jobs of their own alone: those of `vtorque run`, "
        "and inside of a batch job that one.",
        "vtorque-runtime status --format json",
    )  # fmt: skip
    status.add_argument("job", metavar="JOB", nargs="?", help="a job's name here, or its id in the batch system")
    common.add_format(status)
    status.set_defaults(act=_status)
    reap = command(
        commands, "reap", "undo what jobs left that are over",
        "Undo what jobs left that are over. A batch system's job is over when that system says so twice, a minute "
        "apart: run it at boot and every minute.",
        "vtorque-runtime reap",
    )  # fmt: skip
    reap.set_defaults(act=_reap)


def _status(chosen: argparse.Namespace) -> int:
    from vtorque_runtime import overview
    from vtorque_runtime.overview_text import details, table
    from vtorque_spec.canonical import canonical_json

    registry = common.registry()
    if chosen.job is not None:
        found = overview.details(registry, chosen.job, os.environ)
        say(canonical_json(found) if chosen.format == "json" else "\n\n".join(map(details, found)))
        return 0
    jobs = overview.jobs(registry, os.environ)
    say(canonical_json(jobs) if chosen.format == "json" else table(jobs, coloured=common.coloured()))
    damaged = registry.damaged()
    for fault in damaged:
        tell(fault)
    return 1 if damaged else 0


def _reap(_chosen: argparse.Namespace) -> int:
    from vtorque_runtime.reap import reap

    done, faults = reap(common.registry())
    for line in done:
        say(line)
    for fault in faults:
        tell(fault)
    return 1 if faults else 0
