"""What several commands share: the site, who asks, and printing findings."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from vtorque_spec import render
from vtorque_spec.diagnostics import Diagnostic, Report
from vtorque_spec.driver import open_site
from vtorque_spec.policy import Context
from vtorque_spec.site import Site

_STYLES: dict[str, dict[str, Any]] = {
    "error": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "note": {"fg": "cyan", "bold": True},
    "help": {"fg": "green", "bold": True},
    "gutter": {"fg": "blue"},
    "title": {"bold": True},
}

SITE_OPTION: Callable[[Any], Any] = click.option(
    "--site",
    envvar="VTORQUE_SITE",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="The site's directory. [default: $VTORQUE_SITE, else /etc/vtorque, else the built-in site `local`]",
)

JOB_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def the_site(directory: Path | None) -> Site:
    """Return the site that was asked for; prints its findings and exits with 1 when it is not valid."""
    report = Report()
    default = Path("/etc/vtorque")
    site = open_site(directory or (default if (default / "site.yaml").exists() else None), report)
    if site is None:
        finish(report)
    return site


def context_of(uid: int, site: Site) -> Context:
    """Return what the policy may know of the user and the site."""
    import grp
    import pwd

    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Context(str(uid), (), None, site.batch, site.name)
    names = []
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            names.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            names.append(str(gid))
    return Context(entry.pw_name, tuple(names), None, site.batch, site.name)


def finish(report: Report) -> NoReturn:
    """Print the findings to standard error and exit with 1."""
    print_findings(report.sorted())
    sys.stderr.flush()
    raise click.exceptions.Exit(1)


def print_findings(items: Iterable[Diagnostic], *, err: bool = True) -> None:
    """Print findings as text, in colour on a terminal."""
    found = list(items)
    sources = {name: _lines(name) for name in {item.span.file for item in found if item.span}}
    stream = sys.stderr if err else sys.stdout
    paint = _paint if stream.isatty() and "NO_COLOR" not in os.environ else render.plain
    click.echo(render.text(found, sources, paint), nl=False, err=err, color=True)


def _paint(text: str, style: str) -> str:
    return click.style(text, **_STYLES[style])


def _lines(name: str) -> list[str]:
    """The source of a finding, read again for the excerpt; one that can't be shown has no lines."""
    from vtorque_spec import data

    path = data.schemas().parent / name if name.startswith("schemas/") else Path(name)
    try:
        raw = path.read_bytes()[: 256 * 1024]
    except OSError:
        return []
    return raw.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
