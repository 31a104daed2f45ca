"""`vtorque plan JOB`."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vtorque_spec.cli.common import JOB_FILE, NODE_OPTION, SITE_OPTION, context_options

if TYPE_CHECKING:
    from vtorque_spec.placement.picture import Picture


@click.command()
@click.argument("job", type=JOB_FILE)
@NODE_OPTION
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "svg"]), default="text",
    help="Letters and bars, data for programs, or a picture.",
)  # fmt: skip
@SITE_OPTION
@context_options
def command(
    job: Path, node_class: str | None, form: str, site: Path | None,
    user: str | None, groups: str | None, queue: str | None,
) -> None:  # fmt: skip
    """Show who gets which CPUs and memory of a node: the host, the I/O, each guest, nobody.

    \b
    vtorque plan job.vjob.yaml
    vtorque plan job.vjob.yaml --node fat
    vtorque plan job.vjob.yaml --format svg > plan.svg
    vtorque plan job.vjob.yaml --format json | jq '.cells[].used'

    The node is drawn with nothing else on it; on the day, other jobs may hold parts of it.
    """
    from vtorque_spec.cli.setting import asked_context, checked_job, known, print_warnings, the_site
    from vtorque_spec.diagnostics import Report
    from vtorque_spec.driver import picture_of

    report, facts = Report(), the_site(site)
    if node_class is not None:
        known("node class", node_class, facts.node_classes, facts)
    checked = checked_job(job, facts, asked_context(facts, user, groups, queue), report, node_class)
    print_warnings(checked, facts, report)
    _print(picture_of(checked, facts), form)


def _print(picture: "Picture", form: str) -> None:
    if form == "json":
        from vtorque_spec.render import plan_json

        click.echo(plan_json.text(picture), nl=False)
    elif form == "svg":
        from vtorque_spec.render import plan_svg

        click.echo(plan_svg.svg(picture), nl=False)
    else:
        from vtorque_spec.render import plan_text

        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns
            plan_text.write(picture, sys.stdout, width, colour="NO_COLOR" not in os.environ)
        else:
            click.echo(plan_text.text(picture), nl=False)
