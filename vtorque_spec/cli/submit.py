"""`vtorque submit JOB`: compile, and hand the script to the site's batch system."""

import os
import subprocess
from pathlib import Path

import click

from vtorque_spec.cli.common import JOB_FILE, SITE_OPTION, finish
from vtorque_spec.cli.setting import checked_job, context_of, print_warnings, the_site
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import compile_script
from vtorque_spec.fault import Fault

_COMMANDS = {"torque": ["qsub"], "openpbs": ["qsub"], "slurm": ["sbatch", "--parsable"]}
"""What reads a script on standard input and prints the job's id alone. (Slurm's own qsub reads no standard input.)"""


@click.command()
@click.argument("job", type=JOB_FILE)
@SITE_OPTION
def command(job: Path, site: Path | None) -> int:
    """Compile a job file and submit it to the site's batch system: by qsub, or for Slurm by sbatch.

    Prints the job's id, and exits with the exit code of qsub or sbatch. A job with an error is not submitted.

    \b
    vtorque submit job.vjob.yaml
    id=$(vtorque submit job.vjob.yaml)
    """
    report = Report()
    facts = the_site(site)
    checked = checked_job(job, facts, context_of(os.getuid(), facts), report)
    script = compile_script(checked, facts.batch, report)
    if script is None:
        finish(report)
    print_warnings(checked, facts, report)
    return _fed(_COMMANDS[facts.batch], script.text)


def _fed(argv: list[str], script: str) -> int:
    """Run a command with the script on its standard input; return its exit code as a shell tells it."""
    try:
        code = subprocess.run(argv, input=script.encode("ascii"), check=False).returncode
    except OSError as error:
        message = f"`{argv[0]}` cannot be started: {(error.strerror or 'no reason told').lower()}"
        hint = "submit on a host of the cluster where it is on the PATH; `vtorque run` needs no batch system"
        raise Fault("VT0608", message, help=hint) from None
    return code if code >= 0 else 128 - code
