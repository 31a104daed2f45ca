"""`vtorque image remove NAME`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vtorque_spec.cli.common import SITE_OPTION

if TYPE_CHECKING:
    from vtorque_spec.cli.catalogue import Catalogue
    from vtorque_spec.cli.images import Known
    from vtorque_spec.fault import Fault


@click.command()
@click.argument("name", metavar="NAME[:REVISION|@DIGEST]")
@click.option("--force", is_flag=True, help="Also when jobs use it, or queued jobs may need it.")
@SITE_OPTION
def command(name: str, force: bool, site: Path | None) -> None:
    """Remove an image with all its revisions, or one revision, from the site's catalogue and this machine's store.

    The node's own copy goes too, unless a job needs it. Jobs that run on an image keep the files that they have open.
    Other nodes keep theirs.

    \b
    sudo vtorque image update rocky-9:2026-01 --set state=withdrawn
    sudo vtorque image remove rocky-9:2026-01
    """
    from vtorque_runtime.images import store
    from vtorque_runtime.images.adding import not_writable, writing
    from vtorque_spec.cli.catalogue import held, own_site
    from vtorque_spec.cli.images import chosen, known_images
    from vtorque_spec.cli.setting import site_directory
    from vtorque_spec.fault import Fault
    from vtorque_spec.site import builtin

    found = chosen(name, known_images(site))
    built_in = site_directory(site) == builtin()  # its catalogue stays: images are built again
    stored = dict.fromkeys(one.stored for one in found if one.stored is not None)
    if built_in and not stored:
        hint = "nothing is to be removed: the catalogue of the built-in site `local` stays"
        raise Fault("VT0526", f"this machine does not have the image `{name}`", help=hint)
    if stored and not os.access(store.SYSTEM_STORE, os.W_OK):  # before the catalogue is changed
        raise not_writable(store.SYSTEM_STORE, "permission denied")
    needed = _needed(found, queues=not built_in)
    if needed.reasons and not force:
        raise _refused(name, needed)
    if not built_in and any(one.entry is not None for one in found):
        with held(own_site(site)) as catalogue:
            _remove_entries(catalogue, found)
    for record in stored:
        with writing(store.SYSTEM_STORE), store.changing(store.SYSTEM_STORE):
            store.remove(store.SYSTEM_STORE, record)
    for one in found:
        click.echo(f"vtorque: removed {one.called}", err=True)
    _remove_copies(found)
    for reason in needed.reasons:
        click.echo(f"vtorque: removed all the same: {reason}", err=True)


@dataclass(frozen=True, slots=True)
class _Needed:
    """Why images are still needed, in a few words each, and which of them the catalogue still offers."""

    reasons: tuple[str, ...]
    offered: tuple[str, ...]


def _needed(found: "tuple[Known, ...]", *, queues: bool) -> _Needed:
    from vtorque_spec.cli.images import users_of
    from vtorque_spec.site.catalogue import state_of

    used = [f"{one.called}: used by {user}" for one in found for user in users_of(one)]
    # nodes ask no clock: to them a deprecated one is not withdrawn after its last day
    states = {one.called: state_of(one.entry, None) for one in found if queues and one.entry}
    offered = {called: state for called, state in states.items() if state != "withdrawn"}
    queued = [f"{called}: {state}, so that queued jobs may need it" for called, state in offered.items()]
    return _Needed((*used, *queued), tuple(offered))


def _refused(name: str, needed: _Needed) -> "Fault":
    from vtorque_spec.fault import Fault

    withdraw = " && ".join(f"vtorque image update {called} --set state=withdrawn" for called in needed.offered)
    hint = f"withdraw it, and wait for its jobs: {withdraw}; or --force" if withdraw else "wait for them, or --force"
    return Fault("VT0523", f"`{name}` is still needed", help=hint, detail="\n".join(needed.reasons))


def _remove_copies(found: "tuple[Known, ...]") -> None:
    """Of this node alone, and root's: those that ordinary users have prefetched are theirs."""
    from vtorque_runtime.images import bases
    from vtorque_runtime.images.adding import writing
    from vtorque_runtime.spool import Registry, base_directory

    registry = Registry(base_directory("system"), "system")
    for name, sha256 in dict.fromkeys((one.name, one.sha256) for one in found):
        for copy in bases.copies(registry, name, sha256) if sha256 else ():
            with writing(copy.parent):
                gone = bases.remove(registry, copy)
            told = (
                f"removed {copy}" if gone else f"{copy} stays, for a job needs it or may; it goes when room is needed"
            )
            click.echo(f"vtorque: {told}", err=True)


def _remove_entries(catalogue: "Catalogue", found: "tuple[Known, ...]") -> None:
    wanted = [one.entry for one in found]
    for image, _ in catalogue.entries:
        if image in wanted:
            catalogue.remove(image)
