"""What a batch system has no words for, though the language has: told where a script is compiled for it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Path
from vtorque_spec.plan import BatchRequest
from vtorque_spec.spec.parse import NormalForm


class _Words(NamedTuple):
    """`job_id` and `feature` are patterns of what its commands take, `printed` says what job ids look like."""

    name: str
    job_id: str
    printed: str
    feature: str = r"[A-Za-z][A-Za-z0-9._-]*"
    largest_index: int | None = None
    single_range: bool = False
    single_address: bool = False


_WORDS = {
    "torque": _Words(
        "Torque",
        r"[0-9]+(\.[^\[_]+|\[[0-9]+\](\..+)?|\[\]\..+)?",  # qsub completes the server's name of single jobs only
        "qsub printed it: 123.server, 123[].server for a whole array, 123[4].server for one of its tasks",
        largest_index=99_999,  # PBS_MAXJOBARRAY of pbs_ifl.h
    ),
    "openpbs": _Words(
        "OpenPBS",
        r"[0-9]+(\[\])?(\.[^\[_]+)?",
        "qsub printed it: 123.server, or 123[].server for a whole array; no job can wait for one of its tasks",
        feature=r"[A-Za-z][A-Za-z0-9_-]*",
        single_range=True,
    ),
    "slurm": _Words(
        "Slurm",
        r"[0-9]+(_[0-9]+)?",
        "sbatch printed it: 123 for a job or a whole array, 123_4 for one of its tasks",
        single_address=True,
    ),
}


def check_words(batch: BatchRequest, flavour: str, normal: NormalForm, report: Report) -> None:
    """Add a finding for each thing that is asked of this batch system and that it has no words for."""
    words = _WORDS[flavour]
    for path, message, hint in (*_array(batch, words), *_features(normal, words), *_mail(batch, words)):
        report.add(Code.NO_WORDS, message, normal.at(("batch", *path)), help=hint)
    for kind, jobs in normal.data.get("batch", {}).get("depends", {}).items():
        for number, job in enumerate(jobs):
            if not re.fullmatch(words.job_id, job):
                place = normal.at(("batch", "depends", kind, number))
                message = f"`{job}` is not a job id of {words.name}'s"
                report.add(Code.FOREIGN_JOB_ID, message, place, help=f"write it as {words.printed}")


def _array(batch: BatchRequest, words: _Words) -> Iterator[tuple[Path, str, str]]:
    if batch.array is None:
        return
    if words.single_range and batch.array.step is None:
        message = f"{words.name} has no words for this array: its arrays are two indices or more, all equally far apart"
        yield ("array",), message, "write one range, as in 0-9 or 1,3,5, or a job file for each part"
    largest = batch.array.ranges[-1].last
    if words.largest_index is not None and largest > words.largest_index:
        message = f"{words.name} has no array index {largest}: the largest is {words.largest_index}"
        yield ("array",), message, "count from a smaller number, and add the rest in `run`"


def _features(normal: NormalForm, words: _Words) -> Iterator[tuple[Path, str, str]]:
    for number, feature in enumerate(normal.data.get("batch", {}).get("features", ())):
        if not re.fullmatch(words.feature, feature):
            message = f"a request to {words.name} cannot carry the feature `{feature}`"
            yield ("features", number), message, "name a resource: a letter, then letters, digits, _ and -"


def _mail(batch: BatchRequest, words: _Words) -> Iterator[tuple[Path, str, str]]:
    if words.single_address and batch.mail is not None and len(batch.mail.to) > 1:
        message = f"{words.name} writes to one address, and the job names {len(batch.mail.to)}"
        yield ("mail", "to", 1), message, "keep one of them, as that of a mailing list"
