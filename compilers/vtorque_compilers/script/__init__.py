"""JobPlan -> the batch script that `qsub` or `sbatch` takes. jinja2 is imported when a script is made, not before.

The formats: qsub(1B) and pbs_resources(7B) of Torque 6 and OpenPBS 23, sbatch(1) of Slurm 22.05.
"""

from vtorque_spec.plan import Artifact, Flavour, JobPlan, NodeRequest

REFUSED_DIRECTIVES = "#PBS -l walltime=vtorque-compile-failed\n#SBATCH --time=vtorque-compile-failed"
"""No qsub or sbatch takes a job with them. (Torque's and OpenPBS's qsub do take an empty standard input as a job.)"""


def compile_script(
    flavour: Flavour, job: JobPlan, request: NodeRequest, machine_part: str, user_part: str, description: str
) -> Artifact:
    """Return `job.sh`. The parts are what `vtorque_spec.carrier` encodes; `description` is shown as comments.

    The user part stands on the standard input of `vtorque-runtime job SYSTEM`, in lines of 76 columns.
    Raises Fault VT0602 or VT0603 for what the batch system would cut off, misread or refuse.
    """
    from vtorque_compilers.script import batch

    text = batch.script(flavour, job, request, machine_part, user_part, description)
    return Artifact("job.sh", text, mode=0o755)


def refusing_script(reason: str) -> str:
    """Return what stands on standard output when nothing was compiled, so that `vtorque compile | qsub` fails."""
    from vtorque_compilers.script.quoting import comment

    return f"""#!/bin/sh
{REFUSED_DIRECTIVES}
# vtorque compiled nothing, and no batch system takes this script: a directive above is illegal on purpose.
{comment(reason)}
echo 'vtorque compiled nothing: this is no job' >&2
exit 1
"""
