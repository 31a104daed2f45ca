"""`vtorque show SCRIPT`."""

import re
import sys
from pathlib import Path

import click

from vtorque_spec.canonical import DecodeError, to_data
from vtorque_spec.carrier import decode_machine_part, decode_user_part, machine_part_in_script, own_in_script
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
    texts = None if machine is None or user is None else (machine, user[2].replace("\n", ""))
    if own := own_in_script(text):
        texts = own[1:]
    if texts is None:
        click.echo(f"{script}: this is no script that `vtorque compile` wrote, or not all of one", err=True)
        return 1
    try:
        part, user_part = decode_machine_part(texts[0]), decode_user_part(texts[1])
    except DecodeError as error:
        click.echo(f"{script}: the script is damaged: {error}", err=True)
        return 1
    reader = "the user's own process" if own else "root"
    said = {"job": part.job, "policy": part.policy_digest, "plan": part.job_plan_digest}
    _dump({f"machine part (read by {reader})": said})
    _dump({"user part (read by the user's own process)": to_data(user_part)})
    return 0


def _dump(data: object) -> None:
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import walk_tree

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096  # no line is folded: a digest stays behind its key
    walk_tree(data)  # texts of several lines as literal blocks
    yaml.dump(data, sys.stdout)
