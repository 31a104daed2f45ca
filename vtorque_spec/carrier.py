"""The two parts of a job that travel in a batch script. Standard library only.

The *machine part* goes to root: the job as said, in normal form, before defaults, with the digests of the policy and
of the JobPlan. The *user part* (`run`, `env`, hooks) stands in the script's body; only the user's own process reads it.
Both are canonical JSON in base64, behind an envelope that names part and version.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from vtorque_spec.canonical import DecodeError, canonical_json, digest, from_json
from vtorque_spec.plan import VERSION, JobPlan, UserPart

MACHINE_ENVELOPE = "VT1."
USER_ENVELOPE = "VTU1."
MACHINE_PART_LIMIT_BYTES = 8192

CARRIERS = ("#PBS -v BEOWULF_JOB_MAP=", "#PBS -l vtspec=", "#VTORQUE ")
"""How the line of a batch script begins that holds the machine part: Torque's, OpenPBS's, Slurm's."""

USER_FIELDS = frozenset({"env", "hooks", "run"})
"""The members of the normal form that belong to the user part."""


@dataclass(frozen=True, slots=True)
class MachinePart:
    """`job` is the normal form without USER_FIELDS; the digests are those of the compile."""

    job: dict[str, Any]
    policy_digest: str
    job_plan_digest: str


def job_plan_digest(job: JobPlan) -> str:
    """Return the digest by which the login node and the nodes compare what they understood."""
    return digest("job-plan", VERSION, job)


def encode_machine_part(part: MachinePart) -> str:
    """Return the text that the batch system carries to root."""
    return MACHINE_ENVELOPE + _base64(canonical_json(part))


def decode_machine_part(text: str) -> MachinePart:
    """Read what the batch system carried; raises DecodeError, whatever the text is."""
    if len(text) > MACHINE_PART_LIMIT_BYTES:
        raise DecodeError(f"the machine part has {len(text)} bytes, {MACHINE_PART_LIMIT_BYTES} are allowed")
    try:
        data = json.loads(_from_base64(text, MACHINE_ENVELOPE))
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the machine part is not JSON: {error}") from None
    if not isinstance(data, dict) or set(data) != {"job", "policy_digest", "job_plan_digest"}:
        raise DecodeError("the machine part is not a mapping of job, policy_digest and job_plan_digest")
    if not isinstance(data["job"], dict) or USER_FIELDS & set(data["job"]):
        raise DecodeError("the machine part's job is not a mapping without the user's own members")
    if not all(isinstance(data[name], str) for name in ("policy_digest", "job_plan_digest")):
        raise DecodeError("the machine part's digests are not text")
    return MachinePart(**data)


def machine_part_in_script(script: str) -> str | None:
    """Return the machine part as it stands in a batch script: in the comments before the first line that is none.

    From Slurm root has the script and nothing else. None: an ordinary job's script.
    """
    for line in script.split("\n"):
        if not line.startswith("#"):
            return None
        for start in CARRIERS:
            if line.startswith(start):
                return line.removeprefix(start)
    return None


def encode_user_part(part: UserPart) -> str:
    """Return the text that stands in the script's body."""
    return USER_ENVELOPE + _base64(canonical_json(part))


def decode_user_part(text: str) -> UserPart:
    """Read the script's body again; raises DecodeError, whatever the text is."""
    return from_json(UserPart, _from_base64(text, USER_ENVELOPE))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("ascii")).decode("ascii")


def _from_base64(text: str, envelope: str) -> bytes:
    if not text.startswith(envelope):
        raise DecodeError(f"the part does not start with {envelope}")
    try:
        return base64.b64decode(text.removeprefix(envelope).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise DecodeError(f"the part is not base64: {error}") from None
