"""`doctor`: whether this node can serve jobs, and what to do where it cannot."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vtorque_runtime.commands import common
from vtorque_runtime.commands.common import command, say

if TYPE_CHECKING:
    from vtorque_runtime.commands.common import Commands


def add(commands: "Commands") -> None:
    """Add the command."""
    doctor = command(
        commands, "doctor", "check that this node can serve jobs, and say how to mend it",
        "Check all that jobs need of this node, and say what to do about what is wrong. Run it as root. It starts an "
        "empty guest, paused, and ends it; it changes nothing that stays. The exit code is 1 when there is an error.",
        "vtorque-runtime doctor --format json",
    )  # fmt: skip
    doctor.add_argument(
        "--site", metavar="DIR", type=Path, default=Path("/etc/vtorque"),
        help="the site's directory [default: /etc/vtorque]",
    )  # fmt: skip
    doctor.add_argument("--node", metavar="NAME", help="what the batch system calls this node [default: its host name]")
    doctor.add_argument("--images", action="store_true", help="read the images too: a second for each gigabyte")
    common.add_format(doctor)
    doctor.set_defaults(act=_doctor)


def _doctor(chosen: argparse.Namespace) -> int:
    from vtorque_runtime.doctor import examine, failed
    from vtorque_runtime.doctor.node import this_node
    from vtorque_runtime.doctor.text import lines
    from vtorque_spec.canonical import canonical_json

    found = examine(this_node(chosen.site, chosen.node, images=chosen.images))
    say(canonical_json(found) if chosen.format == "json" else "\n".join(lines(found, coloured=common.coloured())))
    return 1 if failed(found) else 0
