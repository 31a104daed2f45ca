"""`vtorque explain CODE` and `vtorque explain JOB --why FIELD`."""

import os
import re
from pathlib import Path

import click

from vtorque_spec import data
from vtorque_spec.cli.common import SITE_OPTION, finish
from vtorque_spec.diagnostics import Code, Report, Span, near_miss


@click.command()
@click.argument("subject", metavar="CODE|JOB")
@click.option("--why", metavar="FIELD", help="Tell where the job's value of FIELD comes from, and its limits.")
@SITE_OPTION
def command(subject: str, why: str | None, site: Path | None) -> None:
    """Explain a finding's code; or with --why, where a value of a job comes from.

    \b
    vtorque explain VT0107
    vtorque explain job.vjob.yaml --why vcpus
    vtorque explain job.vjob.yaml --why batch.walltime
    """
    if why is not None:
        _why(Path(subject), why, site)
    else:
        _code(subject.upper())


def _code(number: str) -> None:
    if number not in {code.id for code in Code}:
        meant = near_miss(number.lower(), [code.id.lower() for code in Code])
        hint = f"; did you mean {meant.upper()}?" if meant else ""
        raise click.UsageError(f"{number} is no finding's code{hint} (for a job file, add --why FIELD)")
    click.echo((data.error_pages() / f"{number}.md").read_text(encoding="utf-8"), nl=False)


def _why(job: Path, field: str, directory: Path | None) -> None:
    from vtorque_spec.canonical import canonical_json
    from vtorque_spec.cli.setting import context_of, the_site
    from vtorque_spec.document import read
    from vtorque_spec.driver import apply_policy
    from vtorque_spec.policy.rules import rules_about
    from vtorque_spec.policy.values import shown
    from vtorque_spec.spec import JobSpec
    from vtorque_spec.spec.parse import label, normal_form, parse_job, paths_of, value_at
    from vtorque_spec.spec.schema import field_schema

    if not job.is_file():
        raise click.UsageError(f"{job} is no file")
    report = Report()
    site = the_site(directory)
    document = read(job, report)
    spec = parse_job(document, report) if document else None
    if document is None or spec is None:
        finish(report)
    normal = normal_form(spec, document)
    effective = apply_policy(normal, site, context_of(os.getuid(), site), report)
    if effective is None:
        finish(report)
    path = _parse(field)
    language = field_schema(path)
    if not language:
        known = {label(found) for found in paths_of(effective.data) if found} | set(JobSpec.model_fields)
        meant = near_miss(field, known)
        hint = f"; did you mean {meant}?" if meant else ""
        raise click.UsageError(f"a job has no field `{field}`{hint}")
    try:
        value = value_at(effective.data, path)
    except (KeyError, IndexError):
        click.echo(f"{field} is not said, and no policy has a default for it")
    else:
        click.echo(f"{field} = {shown(path, value) if not isinstance(value, dict | list) else canonical_json(value)}")
        origin = effective.origin(path)
        if path in normal.spans or origin is None:
            _line("set by the job", _place(normal.at(path)))
        else:
            _line("a default of the policy", _place(origin.span))
    for keyword in ("minimum", "maximum", "enum", "const"):
        if keyword in language:
            _line(f"{keyword} {_limit(language[keyword])}", "the language")
    for rule in rules_about(site.policy, path):
        _line(f"{rule.keyword} {shown(path, rule.limit)}", _place(rule.span))


def _line(what: str, where: str) -> None:
    click.echo(f"  {what:<28} {where}")


def _limit(limit: object) -> str:
    return ", ".join(map(str, limit)) if isinstance(limit, list) else str(limit)


def _parse(field: str) -> tuple[str | int, ...]:
    """``mounts[0].name`` -> ("mounts", 0, "name")."""
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", field))


def _place(span: Span | None) -> str:
    return f"{span.file}:{span.line}" if span else "the language"
