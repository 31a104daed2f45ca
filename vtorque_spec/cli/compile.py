"""`vtorque compile JOB [-o DIR]`."""

from dataclasses import replace
from pathlib import Path

import click

from vtorque_spec.cli.common import JOB_FILE, NODE_OPTION, SITE_OPTION, context_options, finish
from vtorque_spec.cli.setting import asked_context, checked_job, known, print_warnings, the_site
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import compile_bundle, compile_script
from vtorque_spec.plan import Flavour


@click.command()
@click.argument("job", type=JOB_FILE)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Write the whole bundle into DIR.")
@NODE_OPTION
@click.option(
    "--batch", type=click.Choice(["torque", "openpbs", "slurm"]), help="For this batch system. [default: the site's]"
)
@SITE_OPTION
@context_options
def command(
    job: Path, output: Path | None, node_class: str | None, batch: Flavour | None, site: Path | None,
    user: str | None, groups: str | None, queue: str | None,
) -> None:  # fmt: skip
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
    if node_class is not None:
        known("node class", node_class, facts.node_classes, facts)
    context = asked_context(facts, user, groups, queue)
    checked = checked_job(job, facts, replace(context, batch=batch or facts.batch), report, node_class)
    if node_class is not None and checked.choice.request.property is None and len(facts.node_classes) > 1:
        raise click.UsageError(f"the site `{facts.name}` has no word to ask for nodes of class `{node_class}` by")
    script = compile_script(checked, batch or facts.batch, report)
    files = compile_bundle(checked, facts, script, report) if script and output else ()
    if script is None or report.failed:
        finish(report)
    print_warnings(checked, facts, report)
    if output is None:
        click.echo(script.text, nl=False)
    else:
        from vtorque_spec.bundle import write_bundle

        write_bundle(output, files)
        click.echo(f"{output}: {len(files)} files", err=True)
