"""`vtorque compile JOB [-o DIR]`."""

from datetime import date
from pathlib import Path

import click

from vtorque_spec.cli.common import JOB_FILE, SITE_OPTION, context_options, finish, print_findings
from vtorque_spec.cli.setting import asked_context, the_site
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import check_file, compile_bundle, compile_script


@click.command()
@click.argument("job", type=JOB_FILE)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Write the whole bundle into DIR.")
@SITE_OPTION
@context_options
def command(
    job: Path, output: Path | None, site: Path | None, user: str | None, groups: str | None, queue: str | None
) -> None:
    """Compile a job file into a batch script on standard output.

    With -o, write the bundle: job.sh, job-plan.json, and for each VM the domain XML and the cloud-init seed as they
    would be on a node (job id 0.preview, placeholder keys), with a manifest of digests.

    \b
    vtorque compile job.vjob.yaml | qsub
    vtorque compile job.vjob.yaml -o bundle/

    When the job has an error nothing is submitted: standard output then carries a script that every qsub refuses.
    """
    report = Report()
    facts = the_site(site)
    checked = check_file(job, facts, asked_context(facts, user, groups, queue), report)
    if checked is None:
        finish(report)
    script = compile_script(checked, report)
    files = compile_bundle(checked, facts, script, report) if script and output else ()
    if script is None or report.failed:
        finish(report)
    if report.items:
        from vtorque_spec.lint.selection import known_codes
        from vtorque_spec.lint.suppress import visible  # comments hide warnings; errors never came this far

        print_findings(visible(checked.document, report.sorted(), date.today(), known_codes(facts)))
    if output is None:
        click.echo(script.text, nl=False)
    else:
        from vtorque_spec.bundle import write_bundle

        write_bundle(output, files)
        click.echo(f"{output}: {len(files)} files", err=True)
