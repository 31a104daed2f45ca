"""`vtorque show SCRIPT`."""

import re
import sys
from pathlib import Path

import click

from vtorque_spec.canonical import DecodeError, to_data
from vtorque_spec.carrier import decode_machine_part, decode_user_part, machine_part_in_script
from vtorque_spec.cli.common import JOB_FILE


@click.command()
@click.argument("script", type=JOB_FILE)
def command(script: Path) -> int:
    """Print, as YAML, the two parts of the job that a compiled batch script carries.

    \b
    vtorque show bundle/job.sh
    """
    text = script.read_text(encoding="utf-8", errors="replace")
    machine = machine_part_in_script(text)
    user = re.search(r"^exec vtorque-runtime job \w+ <<'(\S+)'\n(.+?)\n\1$", text, re.MULTILINE | re.DOTALL)
    if machine is None or user is None:
        click.echo(f"{script}: this is no script that `vtorque compile` wrote, or not all of one", err=True)
        return 1
    try:
        part = decode_machine_part(machine)
        own = decode_user_part(user[2].replace("\n", ""))
    except DecodeError as error:
        click.echo(f"{script}: the script is damaged: {error}", err=True)
        return 1
    _dump(
        {"machine part (read by root)": {"job": part.job, "policy": part.policy_digest, "plan": part.job_plan_digest}}
    )
    _dump({"user part (read by the user's own process)": to_data(own)})
    return 0


def _dump(data: object) -> None:
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import walk_tree

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096  # no line is folded: a digest stays behind its key
    walk_tree(data)  # texts of several lines as literal blocks
    yaml.dump(data, sys.stdout)
