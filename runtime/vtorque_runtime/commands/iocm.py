"""`iocm show` and `iocm set`: the I/O cores of jobs that run."""

import argparse
from typing import TYPE_CHECKING

from vtorque_runtime.commands import common
from vtorque_runtime.commands.common import command, say

if TYPE_CHECKING:
    from vtorque_runtime.commands.common import Commands

_WHOSE = "Run it as root; an ordinary user reaches the jobs of `vtorque run` of their own alone."


def add(commands: "Commands") -> None:
    """Add the commands."""
    iocm = command(
        commands, "iocm", "see and move the I/O cores of jobs that run",
        f"See the I/O cores of jobs that run here, and let more or fewer of them work. {_WHOSE}",
        "vtorque-runtime iocm set 2 --job 42.server",
    )  # fmt: skip
    acts = iocm.add_subparsers(dest="iocm", required=True, metavar="ACT")
    show = command(
        acts, "show", "the I/O cores of each running job",
        f"List the I/O cores of each running job: how many it may have (MIN to MAX), and those at work. {_WHOSE}",
        "vtorque-runtime iocm show --format json",
    )  # fmt: skip
    common.add_format(show)
    show.set_defaults(act=_show)
    change = command(
        acts, "set", "let N of a job's I/O cores work",
        f"Let N of a job's I/O cores work: its threads and interrupts move there at once, its vCPUs stay. {_WHOSE}",
        "vtorque-runtime iocm set 2 --job 42.server",
    )  # fmt: skip
    change.add_argument("count", metavar="N", type=int, help="from `min_cores` to `max_cores` of the job file's `iocm`")
    change.add_argument("--job", metavar="JOB", help="needed where several jobs run")
    change.set_defaults(act=_set)


def _show(chosen: argparse.Namespace) -> int:
    from vtorque_runtime.iocm import rows, table
    from vtorque_spec.canonical import canonical_json

    found = rows(common.registry())
    say(canonical_json(found) if chosen.format == "json" else table(found))
    return 0


def _set(chosen: argparse.Namespace) -> int:
    from vtorque_runtime.iocm import set_active

    say(set_active(common.registry(), chosen.job, chosen.count))
    return 0
