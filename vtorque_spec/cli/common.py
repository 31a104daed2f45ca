"""What several commands share: options, and printing findings. Imports little, because every command pays for it."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from vtorque_spec import render
from vtorque_spec.diagnostics import Diagnostic, Report
from vtorque_spec.render.formats import FORMATS

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

SITE_DIRECTORY: Callable[[Any], Any] = click.argument(
    "directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
"""The site's directory, for commands that are about a site; --site says it as well."""

FINDINGS_FORMAT: Callable[[Any], Any] = click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    help="How findings are printed; json is one object a line for each.",
)

_CONTEXT = (
    click.option("--as", "user", metavar="USER", help="Check as for this user. [default: you]"),
    click.option("--groups", metavar="NAMES", help="Check as for these groups, with commas. [default: the user's]"),
    click.option("--queue", metavar="NAME", help="Check as for this queue (qsub -q). [default: the job's]"),
)


def context_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --as, --groups and --queue (arguments `user`, `groups`, `queue`): who asks, for rules on the context."""
    for option in reversed(_CONTEXT):
        command = option(command)
    return command


NODE_OPTION: Callable[[Any], Any] = click.option(
    "--node", "node_class", metavar="CLASS", help="For nodes of this class. [default: the first on which the job fits]"
)

JOB_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def finish(report: Report) -> NoReturn:
    """Print the findings to standard error and exit with 1."""
    print_findings(report.sorted())
    sys.stderr.flush()
    raise click.exceptions.Exit(1)


def print_findings(
    items: Iterable[Diagnostic], *, err: bool = True, sources: Mapping[str, list[str]] | None = None
) -> None:
    """Print findings as text, in colour on a terminal; `sources` are the files' lines, if somebody else read them."""
    found = list(items)
    if sources is None:
        from vtorque_spec.sources import source_lines

        sources = {name: source_lines(name) for name in {item.span.file for item in found if item.span}}
    click.echo(render.text(found, sources, paint(err=err)), nl=False, err=err, color=True)


def paint(*, err: bool = False) -> render.Paint:
    """Return what colours text for a terminal; nothing is coloured elsewhere."""
    stream = sys.stderr if err else sys.stdout
    return _paint if stream.isatty() and "NO_COLOR" not in os.environ else render.plain


def _paint(text: str, style: str) -> str:
    return click.style(text, **_STYLES[style])
