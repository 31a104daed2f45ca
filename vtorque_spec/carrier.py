"""The two parts of a job that travel in a batch script. Standard library only.

The *machine part* goes to root: the job as said, in normal form, before defaults, with the digests of the policy and
of the JobPlan. The *user part* (`run`, `env`, hooks) stands in the script's body; only the user's own process reads it.
What an OSv guest runs, and its environment, are its machine's: its kernel has them on its command line.
Both are canonical JSON in base64, behind an envelope that names part and version.
"""

import base64
import binascii
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vtorque_spec.canonical import DecodeError, canonical_json, digest, from_json, plain_data
from vtorque_spec.fault import Fault
from vtorque_spec.plan import VERSION, JobPlan, UserPart

MACHINE_ENVELOPE = "VT1."
USER_ENVELOPE = "VTU1."
MACHINE_PART_LIMIT_BYTES = 8192

CARRIERS = ("#PBS -v BEOWULF_JOB_MAP=", "#PBS -l vtspec=", "#VTORQUE ")
"""How the line of a batch script begins that holds the machine part: Torque's, OpenPBS's, Slurm's."""

USER_FIELDS = frozenset({"env", "hooks", "run"})
"""The members of the normal form that belong to the user part."""

_OWN_BODY = re.compile(r"^exec vtorque own (\w+) <<'(\S+)'\n(.+?)\n\2$", re.MULTILINE | re.DOTALL)

_SHELL = frozenset({"args", "script", "text"})
"""The members of `run` that say what a Linux guest runs."""


def user_fields(job: Mapping[str, Any]) -> frozenset[str]:
    """Return which members of a job's normal form do not travel to root."""
    run = job.get("run")
    return USER_FIELDS if run is None or _SHELL & set(run) else USER_FIELDS - {"env", "run"}


@dataclass(frozen=True, slots=True)
class MachinePart:
    """`job` is the normal form without its `user_fields`; the digests are those of the compile."""

    job: dict[str, Any]
    policy_digest: str
    job_plan_digest: str


def job_plan_digest(job: JobPlan) -> str:
    """Return the digest by which the login node and the nodes compare what they understood."""
    return digest("job-plan", VERSION, job)


def encode_machine_part(part: MachinePart) -> str:
    """Return the text that the batch system carries to root. Raises Fault VT0601, which names the largest members."""
    text = MACHINE_ENVELOPE + _base64(canonical_json(part))
    if len(text) > MACHINE_PART_LIMIT_BYTES:
        sizes = sorted(_sizes(part.job), key=lambda member: (-member[1], member[0]))
        listed = ", ".join(f"{name} {size}" for name, size in sizes[:3])
        raise Fault(
            "VT0601",
            f"the job's machine part has {len(text)} bytes,"
            f" the batch system carries {MACHINE_PART_LIMIT_BYTES}: {listed}",
            help=f"shorten `{sizes[0][0]}`",
        )
    return text


def _sizes(job: dict[str, Any]) -> list[tuple[str, int]]:
    """Return how many bytes each member takes in base64; those of mappings one by one."""
    members = [
        (f"{outer}.{inner}", value)
        for outer, mapping in job.items()
        for inner, value in (mapping.items() if isinstance(mapping, dict) else ())
    ]
    members += [(name, value) for name, value in job.items() if not isinstance(value, dict)]
    return [(name, len(_base64(canonical_json(value)))) for name, value in members]


def decode_machine_part(text: str) -> MachinePart:
    """Read what the batch system carried; raises DecodeError, whatever the text is."""
    if len(text) > MACHINE_PART_LIMIT_BYTES:
        raise DecodeError(f"the machine part has {len(text)} bytes, {MACHINE_PART_LIMIT_BYTES} are allowed")
    data = plain_data(_from_base64(text, MACHINE_ENVELOPE))
    if not isinstance(data, dict) or set(data) != {"job", "policy_digest", "job_plan_digest"}:
        raise DecodeError("the machine part is not a mapping of job, policy_digest and job_plan_digest")
    if not isinstance(data["job"], dict) or not isinstance(data["job"].get("run", {}), dict):
        raise DecodeError("the machine part's job is not a mapping, or its `run` is none")
    if user_fields(data["job"]) & set(data["job"]):
        raise DecodeError("the machine part's job has members that are the user's own")
    if not all(isinstance(data[name], str) for name in ("policy_digest", "job_plan_digest")):
        raise DecodeError("the machine part's digests are not text")
    return MachinePart(**data)


def machine_part_in_script(script: str) -> str | None:
    """Return the machine part as it stands in a batch script: in the comments before the first line that is none.

    From Slurm root has the script and nothing else. None: an ordinary job's script.
    """
    for line in io.StringIO(script, newline="\n"):
        if not line.startswith("#"):
            return None
        for start in CARRIERS:
            if line.startswith(start):
                return line.removeprefix(start).removesuffix("\n")
    return None


def encode_user_part(part: UserPart) -> str:
    """Return the text that stands in the script's body."""
    return USER_ENVELOPE + _base64(canonical_json(part))


def split_parts(text: str) -> tuple[str, str]:
    """Return the machine part and the user part where one stands after the other, in lines of any length.

    So they stand in the body of a script whose image is its user's own: nothing of such a job is for root.
    """
    machine, _, user = "".join(text.split()).partition(USER_ENVELOPE)
    return machine, USER_ENVELOPE + user


def own_in_script(script: str) -> tuple[str, str, str] | None:
    """Return the batch system and both parts of a script whose image is its user's own; None for another script."""
    found = _OWN_BODY.search(script)
    return None if found is None else (found[1], *split_parts(found[3]))


def decode_user_part(text: str) -> UserPart:
    """Read the script's body again; raises DecodeError, whatever the text is."""
    return from_json(UserPart, _from_base64(text, USER_ENVELOPE))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("ascii")).decode("ascii")


def _from_base64(text: str, envelope: str) -> bytes:
    if not text.startswith(envelope):
        raise DecodeError(_other_envelope(text, envelope))
    try:
        return base64.b64decode(text.removeprefix(envelope).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise DecodeError(f"the part is not base64: {error}") from None


def _other_envelope(text: str, envelope: str) -> str:
    """Say what is wrong with the start of a part; a later version's has the same form with its own number."""
    name, reads = envelope[:-2], envelope[-2]
    version = re.match(rf"{name}([0-9]{{1,4}})\.", text)
    if version is None:
        return f"the part does not start with {envelope}"
    told = f"the part has version {int(version[1])}, this program reads version {reads}"
    return f"{told}: compile it with the node's vtorque"
