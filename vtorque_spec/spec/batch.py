"""`batch:`, what to ask the batch system for, in its own words."""

from typing import Annotated, Literal

from pydantic import Field

from vtorque_spec.spec.base import Duration, Form, Items, Model, Word

Count = Annotated[int, Field(ge=1, le=100_000)]

Feature = Annotated[
    str, Form(r"[A-Za-z][A-Za-z0-9._-]{0,62}", "a property of nodes: a letter, then letters, digits and . _ -")
]

_INDICES = r"(0|[1-9][0-9]{0,6})(-(0|[1-9][0-9]{0,6}))?"

Array = Annotated[
    str,
    Form(rf"{_INDICES}(,{_INDICES})*(%[1-9][0-9]{{0,6}})?", "an array range: indices, as in 0-9%4 or 1,3,5"),
]

JobId = Annotated[
    str,
    Form(
        r"[1-9][0-9]{0,9}(\[([0-9]{0,7})\]|_[0-9]{1,7})?(\.[A-Za-z0-9][A-Za-z0-9.-]{0,62})?",
        "a job id: what the batch system printed, as in 123.server and 123[].server (qsub), 123 and 123_4 (sbatch)",
    ),
]

Address = Annotated[
    str,
    Form(
        r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}(@[A-Za-z0-9][A-Za-z0-9.-]{0,189})?",
        "a mail address: a user, or as in me@site.org",
    ),
]


class Mail(Model):
    """Whom the batch system writes to, and when."""

    to: Annotated[Items[Address], Field(min_length=1, description="mail addresses")]
    events: Items[Literal["abort", "begin", "end"]] | None = Field(None, description="when to write")


class Batch(Model):
    """What is asked of the batch system."""

    nodes: Count | None = Field(None, description="number of nodes")
    walltime: Duration | None = Field(None, description="longest run time, booting included, as HH:MM:SS")
    queue: Word | None = Field(None, description="the queue (Slurm: partition)")
    account: Word | None = Field(None, description="whom the time is charged to")
    exclusive: bool | None = Field(
        None, description="whether the job takes whole nodes; if absent, as the batch system has it"
    )
    features: Items[Feature] | None = Field(None, description="properties that the nodes must have")
    array: Array | None = Field(None, description="indices of a job array, and how many may run at once")
    depends: dict[Literal["after", "afterok", "afternotok", "afterany"], Items[JobId]] | None = Field(
        None, description="job ids that this one waits for"
    )
    output: (
        Annotated[
            str,
            Form(
                r"[A-Za-z0-9_./+=@%-]{1,1024}",
                "a path that the batch system takes: letters, digits and . _ / + = @ % -",
            ),
        ]
        | None
    ) = Field(None, description="file for the job's output, relative to the directory of submission")
    join: bool | None = Field(None, description="whether errors go into the output file as well")
    mail: Mail | None = Field(None, description="mail about the job")
