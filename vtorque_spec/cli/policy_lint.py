"""`vtorque policy lint`."""

from pathlib import Path

import click

from vtorque_spec.cli.common import FINDINGS_FORMAT, SITE_DIRECTORY, SITE_OPTION, print_findings
from vtorque_spec.render import formats


@click.command()
@SITE_DIRECTORY
@FINDINGS_FORMAT
@SITE_OPTION
def command(directory: Path | None, form: str, site: Path | None) -> int:
    """Find what is wrong, contradictory or useless in a site's policy. Exits with 1 when there is an error.

    \b
    vtorque policy lint ./site
    vtorque policy lint --format sarif ./site
    """
    from vtorque_spec.cli.setting import find_site
    from vtorque_spec.diagnostics import Report
    from vtorque_spec.policy.lint import lint_policy
    from vtorque_spec.site.policy_files import ROOT_URI

    report = Report()
    found = find_site(directory or site, report)
    if found is not None:
        lint_policy(found, report)
    files = [file.name for uri, file in found.policy.files.items() if uri.startswith(ROOT_URI)] if found else []
    items = report.sorted()
    if form == "text":
        print_findings(items, err=False)
        errors = sum(item.severity.value == "error" for item in items)
        counts = f"{_count(errors, 'error')}, {_count(len(items) - errors, 'warning')}"
        click.echo(f"{_count(len(files), 'policy file') if found else 'the policy does not load'}: {counts}", err=True)
    else:
        from vtorque_spec.sources import Sources

        click.echo(formats.write(form, items, files, Sources()), nl=False)
    return 1 if report.failed else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
