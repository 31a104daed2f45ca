"""What Torque and OpenPBS have in common: job ids, sizes, durations, the environment of a job's body."""

from collections.abc import Mapping, Sequence

from vtorque_runtime.batch import command, is_name, job_key, same_host, unusable
from vtorque_spec.fault import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vtorque_runtime.batch.contract import Share

UNKNOWN_JOB_EXIT_CODE = 153
"""Of qstat: 15001 (PBSE_UNKJOBID) modulo 256."""

_SIZE_BYTES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_WORD_BYTES = 8
_MOST = 2**50
"""Seconds or bytes: more is as much. Root keeps a job as canonical JSON, which has no number beyond 2^53."""

_DIGITS_LIMIT = 15


def job_id_of(text: str) -> str:
    """Return a job id of the form 141.server or 141[3].server. Raises Fault VT0912 for anything else."""
    number, _, server = text.partition(".")
    digits, bracket, task = number.partition("[")
    array = not bracket or (task.endswith("]") and _is_number(task[:-1]))
    if not (_is_number(digits) and array and is_name(server)):
        raise Fault("VT0912", f"not a job's id: {text[:100]!r}")
    return text


def own_job(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return key and id of the job in whose body the caller runs, None outside of any."""
    job_id = environment.get("PBS_JOBID")
    return None if job_id is None else (job_key(job_id_of(job_id), command.hostname()), job_id)


def duration_s(text: str) -> int | None:
    """Return the seconds of [[DD:]HH:]MM:SS or SS, None for what is not that."""
    parts = text.split(":")
    if len(parts) > 4 or not all(map(_is_number, parts)):
        return None
    return min(_MOST, sum(int(part) * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False)))


def size_bytes(text: str) -> int | None:
    """Return the bytes of 4gb, 4194304kb, 100 or 2gw (words of 8 bytes), None for what is not that."""
    lower = text.lower()
    unit = _WORD_BYTES if lower.endswith("w") else 1
    number = lower[:-1] if lower.endswith(("b", "w")) else lower
    prefix = number[-1:] if number[-1:].isalpha() else ""
    number = number.removesuffix(prefix)
    if not _is_number(number) or prefix not in _SIZE_BYTES:
        return None
    return min(_MOST, int(number) * unit * _SIZE_BYTES[prefix])


def this_node(shares: "Sequence[Share]") -> str:
    """Return how the record calls this node. Raises Fault VT0931 when it does not name it once."""
    found = [share.node for share in shares if same_host(share.node, command.hostname())]
    if len(found) != 1:
        raise unusable(f"of the job's nodes {len(found)} are this one, {command.hostname()}")
    return found[0]


def cpuset(job_id: str, forms: Sequence[str]) -> tuple[int, ...] | None:
    """Return the CPUs of the job's cpuset here, whose file is one of `forms`; None: its CPUs are counted alone."""
    from vtorque_runtime.cpulist import read_list

    for form in forms:
        try:
            with open(form.format(job_id), encoding="ascii") as file:
                return read_list(file.read(65536)) or None
        except OSError:
            continue
        except ValueError as error:
            raise unusable(f"its cpuset: {error}") from None
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_LIMIT
