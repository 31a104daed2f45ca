"""`vtorque policy test [DIR]`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vtorque_spec.cli.common import SITE_DIRECTORY, SITE_OPTION, paint
from vtorque_spec.cli.setting import site_directory, the_site

if TYPE_CHECKING:
    from vtorque_spec.review.cases import Result
    from vtorque_spec.review.coverage import Coverage


@click.command()
@SITE_DIRECTORY
@SITE_OPTION
@click.option("--format", "form", type=click.Choice(["text", "junit", "json"]), default="text", help="How to report.")
@click.option("--require-coverage", is_flag=True, help="Fail, too, where no case meets a rule or a default.")
def command(directory: Path | None, site: Path | None, form: str, require_coverage: bool) -> int:
    """Run a policy's own cases, and tell which of its rules and defaults no case has met.

    DIR is the site's directory, which --site says as well. A file policy.test/pass/NAME.vjob.yaml must be accepted;
    policy.test/fail/CODE-NAME.vjob.yaml must be found with that code and no error of another. Who asks is said at the
    top of a case, and never taken from you:

    \b
    # context: user=alice groups=students,users queue=short host=login1

    Exits with 1 when a case does not come out as expected, and with 2 when there is none.

    \b
    vtorque policy test ./site
    vtorque policy test --format junit --require-coverage ./site > policy.xml
    """
    from vtorque_spec.review import case_report
    from vtorque_spec.review.cases import FOLDER, find_cases, run
    from vtorque_spec.review.coverage import coverage

    root = site_directory(directory or site)
    facts = the_site(root)
    cases = list(find_cases(root, facts))
    if not cases:
        raise click.UsageError(f"there is no case in {root / FOLDER}: pass/NAME.vjob.yaml or fail/CODE-NAME.vjob.yaml")
    width, results = max(len(case.name) for case in cases), []
    for case in cases:
        results.append(run(case, facts))
        if form == "text":
            click.echo(case_report.result_text(results[-1], width, paint()), nl=False)
    covered = coverage(facts.policy, results)
    click.echo(_end(form, results, covered), nl=False)
    uncovered = require_coverage and bool(covered.missing)
    if uncovered:
        click.echo(f"--require-coverage: no case meets {len(covered.missing)} of the rules and defaults", err=True)
    return 1 if uncovered or any(result.surprise is not None for result in results) else 0


def _end(form: str, results: "list[Result]", covered: "Coverage") -> str:
    if form == "junit":
        from vtorque_spec.review.case_junit import as_xml

        return as_xml(results, covered)
    from vtorque_spec.review import case_report

    if form == "json":
        return case_report.as_data(results, covered)
    return case_report.end_text(results, covered, paint())
