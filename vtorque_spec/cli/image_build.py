"""`vtorque image build NAME`."""

import time

import click


@click.command()
@click.argument("name")
@click.option("--check", "again", is_flag=True, help="Build the stored image again and compare the two.")
def command(name: str, again: bool) -> None:
    """Build an image by its shipped recipe, as root; nothing is done when it would come out the same.

    \b
    sudo vtorque image build debian-12
    sudo vtorque image build --check debian-12
    """
    from vtorque_runtime.images import store
    from vtorque_runtime.images.build import build, check
    from vtorque_spec.cli.progress import build_steps

    with build_steps() as progress:
        if again:
            files = check(name, store.SYSTEM_STORE, progress=progress)
        else:
            files = build(name, store.SYSTEM_STORE, created=int(time.time()), progress=progress)
    click.echo(f"{files.name} sha256:{files.sha256}{', the same again' if again else ''}", err=True)
