"""`vtorque image show NAME`."""

import json
import os
from pathlib import Path

import click

from vtorque_spec.cli.common import SITE_OPTION


@click.command()
@click.argument("name", metavar="NAME[:REVISION|@DIGEST]")
@SITE_OPTION
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON.")
def command(name: str, site: Path | None, form: str) -> None:
    """Show what the catalogue says of an image, its files on this machine, and who uses it here.

    \b
    vtorque image show debian-12
    vtorque image show --format json debian-12:2026-11
    """
    from vtorque_spec.cli.images import as_data, chosen, known_images, users_of
    from vtorque_spec.render import image_tables

    found = [(one, users_of(one)) for one in chosen(name, known_images(site))]
    if form == "json":
        told = [{**as_data(one), "users": list(users)} for one, users in found]
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    nobody = "nothing on this machine" if os.geteuid() == 0 else "nothing that you may see; root sees all"
    told_text = [image_tables.detail(as_data(one), users or (nobody,)) for one, users in found]
    click.echo("\n".join(told_text), nl=False)
