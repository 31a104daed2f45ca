"""`vtorque image verify [NAME...]`."""

from pathlib import Path

import click

from vtorque_spec.cli.common import SITE_OPTION, print_findings


@click.command()
@click.argument("names", metavar="[NAME[:REVISION|@DIGEST]]...", nargs=-1)
@SITE_OPTION
def command(names: tuple[str, ...], site: Path | None) -> int:
    """Read images of this machine again, all or those named: compare them with their digests, and inspect their disks.

    Takes a second or so for each gigabyte. Exits with 1 when one has changed, or is none that a guest can have.

    \b
    vtorque image verify
    vtorque image verify debian-12
    """
    from vtorque_runtime.images.opened import read_again
    from vtorque_runtime.images.store import SYSTEM_STORE
    from vtorque_spec.cli.images import chosen, known_images
    from vtorque_spec.cli.progress import file_bars
    from vtorque_spec.driver import of_fault
    from vtorque_spec.fault import Fault

    known = known_images(site)
    wanted = [one for name in names for one in chosen(name, known)] if names else known
    failed = False
    for one in dict.fromkeys(wanted):
        if one.stored is None:
            click.echo(f"{one.called}: not on this machine")
            failed = failed or bool(names)
            continue
        try:
            with file_bars() as progress:
                read_again(one.stored.files(SYSTEM_STORE), progress)
        except Fault as fault:
            print_findings([of_fault(fault)])
            failed = True
        else:
            click.echo(f"{one.called}: sha256:{one.stored.disk.sha256}")
    return 1 if failed else 0
