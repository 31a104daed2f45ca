"""`vtorque lint PATHS...`."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import click

from vtorque_spec.cli.common import SITE_OPTION, print_findings
from vtorque_spec.cli.setting import context_of, find_site
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import check_file
from vtorque_spec.render import as_json


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How findings are printed.")
@SITE_OPTION
def command(paths: tuple[Path, ...], form: str, site: Path | None) -> int:
    """Check job files, and all *.vjob.yaml files below directories. Exits with 1 when there is an error.

    \b
    vtorque lint job.vjob.yaml
    vtorque lint --format json jobs/
    """
    gc.enable()
    files = list(_job_files(paths))
    if not files:
        raise click.UsageError(f"there is no *.vjob.yaml below {', '.join(map(str, paths))}")
    report = Report()
    facts = find_site(site, report)
    if facts is not None:
        context = context_of(os.getuid(), facts)
        for path in files:
            found = Report()
            check_file(path, facts, context, found)
            report.items += found.sorted()
    if form == "json":
        click.echo(as_json.lines(report.items), nl=False)
    else:
        print_findings(report.items, err=False)
        click.echo(_summary(len(files), report), err=True)
    return 1 if report.failed else 0


def _job_files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.vjob.yaml"))
        else:
            yield path


def _summary(files: int, report: Report) -> str:
    errors = sum(item.severity.value == "error" for item in report.items)
    warnings = len(report.items) - errors
    return f"{_count(files, 'job file')}: {_count(errors, 'error')}, {_count(warnings, 'warning')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
