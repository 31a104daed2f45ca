"""`vtorque image add NAME [FILE]`."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vtorque_spec.cli.common import SITE_OPTION

if TYPE_CHECKING:
    from vtorque_runtime.images.adding import Source, Staged
    from vtorque_spec.cli.catalogue import Catalogue
    from vtorque_spec.site.image import CatalogueImage

FILE = click.Path(path_type=Path)

_FILES = (
    click.option("--kernel", type=FILE, help="The kernel that QEMU starts. [default: the one beside FILE]"),
    click.option("--initrd", type=FILE, help="The kernel's initrd. [default: the one beside FILE]"),
    click.option("--disk-format", type=click.Choice(["qcow2", "raw"]), help="What FILE is. [default: what it shows]"),
    click.option("--revision", metavar="TEXT", help="What jobs may pin it by, as NAME:TEXT. [default: the day]"),
    click.option("--description", metavar="TEXT", help="One line for users."),
    click.option("--cmdline", metavar="TEXT", help="What a Linux kernel is started with."),
    click.option("--set", "settings", metavar="MEMBER=VALUE", multiple=True, help="Any other member of the entry."),
)


def file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that tell of an image's files and of its entry in the catalogue."""
    for option in reversed(_FILES):
        command = option(command)
    return command


@click.command()
@click.argument("name")
@click.argument("file", required=False, type=FILE)
@click.option("--capstan", type=click.Path(path_type=Path, exists=True, file_okay=False), help="A Capstan package.")
@file_options
@SITE_OPTION
def command(
    name: str, file: Path | None, capstan: Path | None, kernel: Path | None, initrd: Path | None,
    disk_format: str | None, revision: str | None, description: str | None, cmdline: str | None,
    settings: tuple[str, ...], site: Path | None,
) -> None:  # fmt: skip
    """Take the disk FILE into this machine's store, and into the site's catalogue as the image NAME.

    Where the catalogue has the same disk already, only this machine gets it. With --capstan the directory of a Capstan
    package tells of an OSv image; FILE is then by default the disk that Capstan has composed.

    \b
    sudo vtorque image add rocky-9 rocky.qcow2 --kernel vmlinuz \\
        --initrd initramfs.img --cmdline "console=ttyS0 root=LABEL=root rw" \\
        --set distro=rocky-9 --set min_memory=512MiB
    sudo vtorque image add solver --capstan ./solver
    """
    from vtorque_spec.cli.catalogue import held, joined, members_of, own_site

    root = own_site(site)
    told: dict[str, Any] = {}
    if capstan is not None:
        from vtorque_spec.site.capstan import read_package

        package = read_package(capstan)
        file = file or package.disk()
        told = {"description": package.title, "osv": {"config_sets": package.config_sets}}
    if file is None:
        raise click.UsageError("say the disk's FILE, or --capstan DIR")
    told |= {key: value for key, value in (("description", description), ("cmdline", cmdline)) if value}
    told |= joined(told, members_of(settings))

    source = source_of(name, file, kernel, initrd, disk_format)
    with held(root) as catalogue:
        if not catalogue.of_name(name):
            _check_told(source, told)

    def change(catalogue: "Catalogue", image: "Staged") -> None:
        _enter(catalogue, image, told, revision)

    store_image(source, lambda: held(root), change)


def source_of(name: str, file: Path, kernel: Path | None, initrd: Path | None, disk_format: Any) -> "Source":
    """Return the files of an image: a Linux kernel and initrd that were not named are those beside the disk."""
    from vtorque_runtime.images.adding import Source, is_osv
    from vtorque_runtime.images.store import NAME

    if not NAME.fullmatch(name):
        raise click.UsageError(f"`{name}` is not a name: letters, digits, dots, _ and -, at most 63")
    source = Source(name, file, disk_format, kernel, initrd)
    if is_osv(source):
        return source
    kernel = kernel or _beside(file, ("vmlinuz*",), "--kernel")
    if kernel is not None and kernel.parent == file.parent:
        initrd = initrd or _beside(file, ("initrd*", "initramfs*"), "--initrd")
    return replace(source, kernel=kernel, initrd=initrd)


def store_image(source: "Source", held: Callable[[], Any], change: "Callable[[Catalogue, Staged], None]") -> None:
    """Copy and check the files, then put them into the store and let `change` write the catalogue: both or neither."""
    from vtorque_runtime.images import store
    from vtorque_runtime.images.adding import staged
    from vtorque_spec.cli.progress import file_bars

    with (
        file_bars() as progress,
        staged(store.SYSTEM_STORE, source, created=int(time.time()), progress=progress) as image,
        held() as catalogue,
    ):
        _check_accounts(image, catalogue.min_uid)
        is_new = image.publish()
        try:
            change(catalogue, image)
        except BaseException:
            if is_new:
                image.withdraw()
            raise
    click.echo(f"{source.name} sha256:{image.record.disk.sha256}", err=True)


def _enter(catalogue: "Catalogue", image: "Staged", told: dict[str, Any], revision: str | None) -> None:
    from vtorque_spec.cli.catalogue import free_revision
    from vtorque_spec.fault import Fault
    from vtorque_spec.site.entry import new_text

    name, digest = image.record.name, image.record.disk.sha256
    there = catalogue.of_name(name)
    same = next((entry for entry in there if entry.sha256 == digest), None)
    if same is not None:
        click.echo(f"vtorque: the catalogue has this disk of `{name}` already; it is on this machine now", err=True)
        _tell_untaken(catalogue, same, {**told, **({"revision": revision} if revision else {})})
        return
    if there:
        hint = f"add it as a new revision: vtorque image update {name} FILE"
        raise Fault("VT0521", f"the catalogue has the image `{name}`, with another disk", help=hint)
    members = _new_members(image, told)
    revision = revision or told.get("revision") or free_revision({}, date.today())
    path = catalogue.directory / f"{name}@{revision}.yaml"
    text = new_text({**members, "name": name, "revision": revision, "sha256": digest})
    catalogue.checked(path, text)
    catalogue.write(path, text)


def _tell_untaken(catalogue: "Catalogue", entry: "CatalogueImage", told: dict[str, Any]) -> None:
    """Say which members were told otherwise than the entry has them, which stays as it is."""
    from vtorque_spec.diagnostics import Report
    from vtorque_spec.site.catalogue import called
    from vtorque_spec.site.entry import changed_text, read_entry

    path, text = catalogue.file_of(entry), catalogue.text_of(entry)
    changed = {key: read_entry(str(path), changed_text(text, {key: told[key]}), Report()) for key in told}
    untaken = [key for key, found in changed.items() if found is None or found[0] != entry]
    if untaken:
        hint = f"to change it: vtorque image update {called(entry)} --set MEMBER=VALUE"
        click.echo(f"vtorque: {path} stays as it is, {' and '.join(untaken)} not taken; {hint}", err=True)


def _new_members(image: "Staged", told: dict[str, Any]) -> dict[str, Any]:
    """Return the members of an entry in their order: what was told, and for the rest what the files show."""
    from vtorque_spec.cli.catalogue import joined
    from vtorque_spec.site.image import CatalogueImage
    from vtorque_spec.units import print_size

    linux = image.guest == "linux"
    shown = {
        "description": image.record.name,
        "guest": image.guest,
        "arch": "x86_64",
        "format": "raw" if image.record.disk_format == "raw" else None,
        "min_memory": "256MiB" if linux else "64MiB",
        "min_disk": print_size(image.disk.disk_bytes),
    }
    if not linux:
        told = joined(told, {"osv": {**told.get("osv", {}), "boot": "kernel" if image.record.kernel else "disk"}})
    members = {**shown, **told}
    return {key: members.get(key) for key in CatalogueImage.model_fields}


def _check_told(source: "Source", told: dict[str, Any]) -> None:
    """What a new entry is told must be of its guest. Asked before the files are copied, which may take long."""
    from vtorque_runtime.images.adding import examine
    from vtorque_spec.fault import Fault

    guest = examine(source)[1]
    if guest == "linux" and "osv" in told:
        hint = "leave --capstan and --set osv out; or give OSv's disk, or its kernel by --kernel"
        raise Fault("VT0522", f"{source.disk} is no disk of OSv", help=hint)
    if guest == "osv" and "cmdline" in told:
        hint = "leave it out: what an OSv guest runs, its job says"
        raise Fault("VT0522", f"{source.disk} is OSv's, which takes no command line of the image", help=hint)
    if guest == "linux" and "cmdline" not in told:
        hint = """give it, as in --cmdline "console=ttyS0 root=LABEL=root rw"; the guest's boot loader has its own"""
        raise Fault("VT0522", "a Linux image needs a kernel command line", help=hint)


def _check_accounts(image: "Staged", min_uid: int) -> None:
    from vtorque_spec.fault import Fault
    from vtorque_spec.site.accounts import of_users

    found = image.record.accounts
    if found is None:
        known = f"vtorque: the accounts in `{image.record.name}` cannot be read here"
        click.echo(f"{known}: see that none has a number from {min_uid} on (VT0515)", err=True)
        return
    taken = of_users(found.uids, found.gids, min_uid)
    if taken:
        message = f"the image `{image.record.name}` has numbers of users: the {taken}"
        hint = "remove these accounts in it, and their files: a user of that number would own them in a guest"
        raise Fault("VT0515", message, help=hint, detail=f"the site's users have {min_uid} and above")


def _beside(disk: Path, patterns: tuple[str, ...], option: str) -> Path | None:
    """Return the one file of that kind in the disk's directory."""
    from vtorque_spec.fault import Fault

    found = sorted(path for pattern in patterns for path in disk.parent.glob(pattern))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise Fault("VT0522", f"{names} are beside {disk.name}", help=f"say which one it boots with: {option} FILE")
    return found[0] if found else None
