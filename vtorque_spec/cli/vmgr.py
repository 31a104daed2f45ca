"""The program `vmgr`: the old words for what `vtorque image` and `vtorque site show` do.

    vmgr show images|config|suspended          vmgr show image NAME
    vmgr add FILE [DESCRIPTION] [OPTIONS]       vmgr update NAME|FILE [DESCRIPTION] [OPTIONS]
    vmgr delete image NAME [OPTIONS]

An image is called as its file is, without the ending. OPTIONS are those of the new command.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

_OPEN = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": ["-h", "--help"]}

_OPTIONS = click.argument("rest", metavar="[OPTIONS]", nargs=-1, type=click.UNPROCESSED)
_DESCRIBED = click.argument("rest", metavar="[DESCRIPTION] [OPTIONS]", nargs=-1, type=click.UNPROCESSED)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vtorque")
def vmgr() -> None:
    """Manage the images of virtual machines, by the old words; `vtorque image` can do more.

    An image is called as its file is, without the ending. OPTIONS are those of the new command, which the help names.

    \b
    vmgr show images
    sudo vmgr add rocky-9.qcow2 "Rocky Linux 9" \\
        --cmdline "console=ttyS0 root=LABEL=root rw"
    """


@vmgr.group()
def show() -> None:
    """Show images, one image, the site's settings, or suspended jobs."""


@show.command("images", context_settings=_OPEN, options_metavar="")
@_OPTIONS
def show_images(rest: tuple[str, ...]) -> int:
    """List all images (vtorque image list)."""
    return _vtorque("image", "list", *rest)


@show.command("image", context_settings=_OPEN, options_metavar="")
@click.argument("name")
@_OPTIONS
def show_image(name: str, rest: tuple[str, ...]) -> int:
    """Show one image (vtorque image show)."""
    return _vtorque("image", "show", _name(name), *rest)


@show.command("config", context_settings=_OPEN, options_metavar="")
@_OPTIONS
def show_config(rest: tuple[str, ...]) -> int:
    """Show the site's settings (vtorque site show)."""
    return _vtorque("site", "show", *rest)


@show.command()
def suspended() -> None:
    """List the jobs of this node whose guests are suspended (vtorque-runtime status)."""
    import os

    from vtorque_runtime.overview import jobs
    from vtorque_runtime.spool import open_registry

    found = jobs(open_registry("system" if os.geteuid() == 0 else "session"), os.environ)
    for job in found:
        if job.suspended:
            click.echo(f"{job.id}  {job.user}  since {job.since}")
    if not any(job.suspended for job in found):
        click.echo("no job is suspended on this node", err=True)


@vmgr.command(context_settings=_OPEN, options_metavar="")
@click.argument("file")
@_DESCRIBED
def add(file: str, rest: tuple[str, ...]) -> int:
    """Add the image in FILE (vtorque image add)."""
    return _vtorque("image", "add", _name(file), file, *_described(rest))


@vmgr.command(context_settings=_OPEN, options_metavar="")
@click.argument("image", metavar="NAME|FILE")
@_DESCRIBED
def update(image: str, rest: tuple[str, ...]) -> int:
    """Add FILE as a new revision of the image, or change NAME's description (vtorque image update)."""
    from vtorque_spec.fault import Fault

    named = _described(rest)
    if "/" in image or _name(image) != image or Path(image).is_file():
        _check_file(image)
        return _vtorque("image", "update", _name(image), image, *named)
    try:
        return _vtorque("image", "update", image, *named)
    except Fault as fault:
        if fault.code != "VT0526":
            raise
        raise Fault(fault.code, f"{fault.message}, and there is no file {image}", help=fault.help) from None


@vmgr.group()
def delete() -> None:
    """Delete an image."""


@delete.command("image", context_settings=_OPEN, options_metavar="")
@click.argument("name")
@_OPTIONS
def delete_image(name: str, rest: tuple[str, ...]) -> int:
    """Delete an image with all its revisions (vtorque image remove)."""
    return _vtorque("image", "remove", _name(name), *rest)


@delete.command("suspended")
@click.argument("job")
def delete_suspended(job: str) -> None:
    """A suspended job is its batch system's to end."""
    raise click.UsageError(f"end it by the batch system: qdel {job} or scancel {job}; its guests end with it")


def _name(image: str) -> str:
    """Return the name of an image that may be said by its file, as in /srv/rocky-9.qcow2."""
    name = Path(image).name
    return next((name.removesuffix(end) for end in (".qcow2", ".img", ".raw", ".qemu") if name.endswith(end)), name)


def _check_file(path: str) -> None:
    """Raise Fault VT0536 where there is no such file: whether the catalogue has its name is the lesser question."""
    import os

    from vtorque_runtime.images.inspect import open_file

    os.close(open_file(Path(path)))


def _described(rest: Sequence[str]) -> list[str]:
    """Turn a description that stands before the options into one."""
    if rest and not rest[0].startswith("-"):
        return ["--description", *rest]
    return list(rest)


def _vtorque(*words: str) -> int:
    from vtorque_spec.cli import group

    result = group.main([*words], prog_name="vtorque", standalone_mode=False)
    return result if isinstance(result, int) else 0


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit, with `vtorque`'s exit codes."""
    from vtorque_spec.cli import run_program

    sys.exit(run_program(vmgr, "vmgr", sys.argv[1:] if arguments is None else arguments))
