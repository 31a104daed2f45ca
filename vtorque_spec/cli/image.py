"""`vtorque image build NAME` and `vtorque image list`."""

import time
from pathlib import Path

import click

from vtorque_spec.cli.common import SITE_OPTION


@click.group()
def command() -> None:
    """Build and list the images of this machine.

    \b
    sudo vtorque image build debian-12
    vtorque image list
    """


@command.command()
@click.argument("name")
def build(name: str) -> None:
    """Build an image by its shipped recipe, as root; nothing is done when it would come out the same.

    \b
    sudo vtorque image build debian-12
    """
    from vtorque_runtime.images.build import build as build_image
    from vtorque_runtime.images.store import SYSTEM_STORE
    from vtorque_spec.cli.progress import build_steps

    with build_steps() as progress:
        files = build_image(name, SYSTEM_STORE, created=int(time.time()), progress=progress)
    click.echo(f"{files.name} sha256:{files.sha256}", err=True)


@command.command("list")
@SITE_OPTION
def list_images(site: Path | None) -> None:
    """List the site's catalogue, and which of it this machine has.

    \b
    vtorque image list
    """
    from vtorque_runtime.images.store import SYSTEM_STORE, installed
    from vtorque_spec.cli.setting import the_site

    here = {image.name: image.sha256 for image in installed(SYSTEM_STORE)} if SYSTEM_STORE.is_dir() else {}
    catalogue = the_site(site).images
    width = max((len(name) for name in catalogue), default=0)
    for name, image in sorted(catalogue.items()):
        digest = f"sha256:{here[name][:16]}" if name in here else "not built here"
        click.echo(f"{name:<{width}}  {digest:<24}  {image.description}")
