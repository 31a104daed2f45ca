"""`vtorque policy diff OLD NEW JOBS...`."""

import gc
from pathlib import Path

import click

from vtorque_spec.cli.common import context_options, paint, print_findings
from vtorque_spec.cli.setting import asked_context, the_site
from vtorque_spec.diagnostics import Diagnostic

DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("old", type=DIRECTORY)
@click.argument("new", type=DIRECTORY)
@click.argument("jobs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", help="How to report."
)
@context_options
def command(
    old: Path, new: Path, jobs: tuple[Path, ...], form: str, user: str | None, groups: str | None, queue: str | None
) -> int:
    """Tell which jobs change their verdict, findings or values between two site directories, and why.

    JOBS are job files and folders of them. Who asks is said at the top of a file, as for `vtorque policy test`;
    --as, --groups and --queue say it for the others. Exits with 1 when a job changes or a file cannot be read.

    \b
    vtorque policy diff /etc/vtorque ./site ~/jobs
    git worktree add ../before main
    vtorque policy diff --format markdown ../before/site ./site jobs/
    """
    from vtorque_spec.cli.progress import bar
    from vtorque_spec.lint.files import job_files
    from vtorque_spec.review import diff_report
    from vtorque_spec.review.diff import Side, compare, tally

    gc.enable()
    files = job_files(jobs)
    if not files:
        raise click.UsageError(f"there is no *.vjob.yaml below {', '.join(map(str, jobs))}")
    sides = [Side(site, asked_context(site, user, groups, queue)) for site in map(the_site, (old, new))]
    trouble: list[Diagnostic] = []
    total = tally(bar(compare(files, *sides), len(files)), trouble)
    print_findings(trouble)
    if form == "text":
        click.echo(diff_report.as_text(total, paint()), nl=False)
    else:
        write = diff_report.as_markdown if form == "markdown" else diff_report.as_data
        click.echo(write(total, str(old), str(new)), nl=False)
    return 1 if trouble or any(total.changes.values()) else 0
