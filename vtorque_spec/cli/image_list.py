"""`vtorque image list`."""

import json
import shutil
import sys
from pathlib import Path

import click

from vtorque_spec.cli.common import SITE_OPTION


@click.command()
@SITE_OPTION
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="A table, or JSON.")
def command(site: Path | None, form: str) -> None:
    """List the images of the site's catalogue and of this machine.

    The first of a name is what jobs get that pin no revision.

    \b
    vtorque image list
    vtorque image list --format json
    """
    from vtorque_spec.cli.images import as_data, known_images
    from vtorque_spec.render import image_tables

    found = [as_data(one) for one in known_images(site)]
    if form == "json":
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(image_tables.overview(found, width), nl=False)
