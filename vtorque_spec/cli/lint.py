"""`vtorque lint PATHS...`."""

import gc
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import click

from vtorque_spec.cli.common import FINDINGS_FORMAT, SITE_OPTION, context_options, print_findings
from vtorque_spec.cli.own_images import look
from vtorque_spec.cli.progress import bar
from vtorque_spec.cli.setting import asked_context, find_site
from vtorque_spec.diagnostics import Diagnostic, Report, Severity
from vtorque_spec.lint import baseline as baselines
from vtorque_spec.lint import engine
from vtorque_spec.lint.files import job_files
from vtorque_spec.lint.mend import Change
from vtorque_spec.lint.selection import Selection, UnknownCode, codes_of, known_codes
from vtorque_spec.render import printable
from vtorque_spec.render.formats import write
from vtorque_spec.site import Site
from vtorque_spec.sources import Sources

_FILE = click.Path(path_type=Path, dir_okay=False)
_SELECT_HELP = "Report these findings only: codes or their beginnings, with commas."


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@FINDINGS_FORMAT
@click.option("--select", metavar="CODES", help=_SELECT_HELP)
@click.option("--ignore", metavar="CODES", help="Do not report these, even if they are selected.")
@click.option("--baseline", type=_FILE, metavar="FILE", help="Do not report what this baseline knows.")
@click.option("--write-baseline", type=_FILE, metavar="FILE", help="Write a baseline that knows all findings.")
@click.option("--fix", is_flag=True, help="Mend what is safe to mend, in place; report what is left.")
@click.option("--diff", is_flag=True, help="With --fix: print the changes, and make none.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Processes at most. [default: the CPUs at hand]")
@click.option("--today", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Judge as on this day.")
@SITE_OPTION
@context_options
def command(
    paths: tuple[Path, ...], form: str, select: str | None, ignore: str | None, baseline: Path | None,
    write_baseline: Path | None, fix: bool, diff: bool, jobs: int | None, today: datetime | None, site: Path | None,
    **who: str | None,
) -> int:  # fmt: skip
    """Check job files, and all *.vjob.yaml files below directories. Exits with 1 when an error is reported.

    \b
    vtorque lint job.vjob.yaml
    vtorque lint --format sarif jobs/ > vtorque.sarif
    vtorque lint --select VT01,VT0306 jobs/
    vtorque lint --fix --diff jobs/
    vtorque lint --write-baseline known.json jobs/
    vtorque lint --baseline known.json jobs/

    A comment at a line's end, or above it, hides a warning from the report (`vtorque explain VT0801`):

    \b
    # vtorque: allow VT0306 until 2027-01 -- another program reads these lines
    """
    if diff and not fix:
        raise click.UsageError("--diff goes with --fix")
    if baseline and write_baseline:
        raise click.UsageError("--baseline and --write-baseline exclude each other")
    gc.enable()
    known = baselines.read(baseline) if baseline else baselines.Baseline()
    names = job_files(paths)
    if not names:
        raise click.UsageError(f"there is no *.vjob.yaml below {', '.join(map(str, paths))}")
    report = Report()
    day = today.date() if today else date.today()
    facts = find_site(site, report, day)
    if facts is None:
        return _print(form, report.items, names, [])
    mending: engine.Mending = "none" if not fix else "show" if diff else "write"
    checker = engine.Checker(facts, asked_context(facts, **who), look, day, _selection(select, ignore, facts), mending)
    run = _run(names, checker, jobs or engine.cores())
    if diff:
        click.echo("".join(run.diffs), nl=False)
        return 1 if run.diffs else 0
    for line in run.changes:
        click.echo(line, err=True)
    if write_baseline:
        return _write_baseline(write_baseline, run.findings)
    items = known.unknown(run.findings, Sources()) if baseline else run.findings
    return _print(form, items, names, _remarks(known, baseline, len(run.findings) - len(items), names))


def _selection(select: str | None, ignore: str | None, site: Site) -> Selection:
    known = known_codes(site)
    try:
        return Selection(codes_of(select, known) if select else ("",), codes_of(ignore, known) if ignore else ())
    except UnknownCode as error:
        raise click.UsageError(str(error)) from None


@dataclass(slots=True)
class _Run:
    """What is told of all files: findings, lines about changes, diffs."""

    findings: list[Diagnostic] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    diffs: list[str] = field(default_factory=list)
    told: set[Diagnostic] = field(default_factory=set)

    def add(self, result: engine.Result, names: Container[str]) -> None:
        """Take what was found in one file; what stands in the site's files is told once, however many jobs meet it."""
        for item in result.findings:
            elsewhere = item.span is not None and item.span.file not in names
            if not (elsewhere and item in self.told):
                self.findings.append(item)
            if elsewhere:
                self.told.add(item)
        self.changes += [_changed(change) for change in result.changes]
        self.diffs += [result.diff] if result.diff else []


class _Lost(click.ClickException):
    exit_code = 3


def _run(names: Sequence[str], checker: engine.Checker, workers: int) -> _Run:
    run, own = _Run(), set(names)
    try:
        for result in bar(engine.check_all(names, checker.check, workers), len(names)):
            run.add(result, own)
    except engine.WorkerLost:
        raise _Lost("a process that checked files was killed, for want of memory perhaps; try --jobs 1") from None
    return run


def _changed(change: Change) -> str:
    place = f"{change.span.file}:{change.span.line}:{change.span.column}"
    return printable(f"{place}: mended {change.code}: {change.old} -> {change.new}")


def _write_baseline(file: Path, items: Sequence[Diagnostic]) -> int:
    try:
        file.write_text(baselines.text_of(items, Sources()), encoding="utf-8", errors="replace")
    except OSError as error:
        raise click.UsageError(f"{file} cannot be written: {error.strerror}") from None
    click.echo(f"{file}: {_count(len(items), 'finding')}", err=True)
    return 0


def _remarks(known: baselines.Baseline, file: Path | None, hidden: int, names: Sequence[str]) -> list[str]:
    """What the summary says of the baseline."""
    if file is None:
        return []
    gone = known.gone(names)
    left = f"{_count(gone, 'entry')} of {file} no longer found: write it anew with --write-baseline"
    return [f"{hidden} more known from {file}", *([left] if gone else [])]


def _print(form: str, items: Sequence[Diagnostic], names: Sequence[str], remarks: Sequence[str]) -> int:
    """Print the report; on standard error a summary, which programs' formats have no need of, and the remarks."""
    errors = sum(item.severity is Severity.ERROR for item in items)
    if form == "text":
        print_findings(items, err=False, sources=Sources())
        counts = (
            f"{_count(len(names), 'job file')}: {_count(errors, 'error')}, {_count(len(items) - errors, 'warning')}"
        )
        fixable = sum(item.fix is not None and item.fix.span.file in names for item in items)
        remarks = [counts, *([f"--fix can mend {fixable} of them"] if fixable else []), *remarks]
    else:
        click.echo(write(form, items, names, Sources()), nl=False)
    if remarks:
        click.echo("; ".join(remarks), err=True)
    return 1 if errors else 0


def _count(number: int, noun: str) -> str:
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"
