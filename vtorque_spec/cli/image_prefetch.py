"""`vtorque image prefetch NAME...`."""

import os
from functools import partial
from pathlib import Path

import click

from vtorque_spec.cli.common import SITE_OPTION


@click.command()
@click.argument("names", metavar="NAME[:REVISION|@DIGEST]...", nargs=-1, required=True)
@SITE_OPTION
def command(names: tuple[str, ...], site: Path | None) -> int:
    """Copy images from the store to this node, as root, before jobs with `root_disk: {backing: local}` wait for that.

    A copy that is there is left as it is; one that no job needs goes with its image, or when there is no room for
    something else. Of a NAME all revisions are copied that are not withdrawn. An ordinary user makes copies for own
    jobs. Exits with 1 when an image is not in the store.

    \b
    sudo vtorque image prefetch debian-12
    clush -w n[001-128] vtorque image prefetch debian-12
    """
    from vtorque_runtime.images.prefetch import prefetch
    from vtorque_runtime.images.store import SYSTEM_STORE
    from vtorque_runtime.spool import open_registry
    from vtorque_spec.cli.images import chosen, known_images
    from vtorque_spec.cli.progress import file_bars
    from vtorque_spec.site.catalogue import state_of

    known = known_images(site)
    wanted = dict.fromkeys(one for name in names for one in chosen(name, known))
    registry, failed = open_registry("system" if os.geteuid() == 0 else "session"), False
    with file_bars() as show:
        for one in wanted:
            if one.stored is None:
                click.echo(f"{one.called}: not in {SYSTEM_STORE}", err=True)
                failed = True
                continue
            if one.entry is not None and state_of(one.entry, None) == "withdrawn":
                click.echo(f"{one.called}: withdrawn, no job gets it", err=True)
                continue
            made = prefetch(registry, one.stored.files(SYSTEM_STORE), partial(show, one.called))
            click.echo(f"{one.called}: {'copied' if made else 'was here'}", err=True)
    return 1 if failed else 0
