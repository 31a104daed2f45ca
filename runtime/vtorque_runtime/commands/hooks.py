"""`prologue`, `epilogue`, `supervise` and `refused`: what the batch system's hooks start."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vtorque_runtime.commands import common
from vtorque_runtime.commands.common import SYSTEMS, command

if TYPE_CHECKING:
    from vtorque_runtime.commands.common import Commands


def add(commands: "Commands") -> None:
    """Add the commands. A hook that is called with arguments does not come here (`__main__`)."""
    for name, purpose in (("prologue", "begin a job on this node, if it is ours"), ("epilogue", "undo it")):
        hook = command(
            commands, name, f"{purpose}; called by the batch system's hooks",
            f"{purpose.capitalize()}. Called by the batch system's hooks, as root; ends with 0 whatever happens.",
            f"vtorque-runtime {name} slurm",
        )  # fmt: skip
        hook.add_argument("--site", metavar="DIR", help="the site's directory [default: /etc/vtorque]")
        hook.add_argument("system", choices=SYSTEMS)
        hook.add_argument("arguments", nargs="*", help="as the batch system gives them to its hook")
    supervise = command(
        commands, "supervise", "prepare a registered job and look after it; started by the prologue",
        "Prepare a registered job and look after its guests until the epilogue. The prologue starts it.",
        "vtorque-runtime supervise 42.n001",
    )  # fmt: skip
    supervise.add_argument("key", metavar="JOB", help="the name of the job on this node")
    supervise.add_argument(
        "--site", metavar="DIR", type=Path, default=Path("/etc/vtorque"), help="the site's directory"
    )
    supervise.set_defaults(act=_supervise)
    refused = command(
        commands, "refused", "note that an earlier hook of the site's was not run; called by the batch system's hooks",
        "Write into log/hooks.jsonl why the hooks did not run FILE.",
        "vtorque-runtime refused /etc/vtorque/hooks/prologue",
    )  # fmt: skip
    refused.add_argument("file", metavar="FILE", type=Path, help="a hook that others than root can change")
    refused.set_defaults(act=_refused)


def _refused(chosen: argparse.Namespace) -> int:
    from vtorque_runtime import earlier_hooks
    from vtorque_runtime.log import LOG, recorded

    with recorded(common.registry().log("hooks")):
        LOG.error("%s", earlier_hooks.refused(chosen.file) or f"{chosen.file} was not run, and could be by now")
    return 0


def _supervise(chosen: argparse.Namespace) -> int:
    from vtorque_runtime.supervise import detach, supervise

    detach()
    return supervise(common.registry(), chosen.key, chosen.site)
