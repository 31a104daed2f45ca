"""What `scontrol show job -d` prints (Slurm 22.05), read so that no text of a job's owner is taken for Slurm's."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vtorque_runtime.batch import NODES_LIMIT, command, same_host, unusable
from vtorque_runtime.batch.contract import Share
from vtorque_runtime.cpulist import read_list

_LINES = (
    ("user", r"   UserId=([A-Za-z_][A-Za-z0-9_.-]*)\([0-9]+\) GroupId="),
    ("state", r"   JobState=([A-Z_]+) Reason="),
    ("limit", r"   RunTime=\S+ TimeLimit=(\S+) TimeMin="),
    ("submitted", r"   SubmitTime=(\S+) EligibleTime=\S+$"),
    ("eligible", r"   SubmitTime=\S+ EligibleTime=(\S+)$"),
    ("ends", r"   StartTime=\S+ EndTime=(\S+) Deadline="),
    ("partition", r"   Partition=(\S+) AllocNode:Sid="),
    ("nodes", r"   NodeList=(\S*)"),
    ("sharing", r"   OverSubscribe=(\S+) Contiguous="),
)
_DETAIL = re.compile(r"     Nodes=(\S+) CPU_IDs=(\S+) Mem=(\d{1,12}) GRES=")
_LIMIT = re.compile(r"(?:(\d{1,6})-)?(\d{1,6}):(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Record:
    """A job by slurmctld's record. `given` has for each group of nodes its CPU_IDs and MiB (0: memory is not counted).

    CPU_IDs are Slurm's numbers, those of the kernel on simple nodes alone (`_kernel_counts_alike`).
    """

    start: str
    user: str
    state: str
    partition: str
    exclusive: bool
    nodes: str
    walltime_s: int | None
    ends_s: int | None
    given: tuple[tuple[str, tuple[int, ...], int], ...]

    def shares(self, here: str, all_nodes: str, hostnames: Callable[[str], tuple[str, ...]]) -> tuple[Share, ...]:
        """Return what the job has of each of its nodes, in their order. Raises Fault VT0930, VT0931.

        `all_nodes` is the hook's SLURM_NODELIST: `nodes` lose one after the other while the job is completing.
        """
        nodes = hostnames(all_nodes)
        found: dict[str, Share] = {}
        for group, ids, mib in self.given:
            for node in hostnames(group):
                cpus = ids if node == here and _kernel_counts_alike(here, ids) else None
                if node in found:
                    raise unusable(f"{node} is there twice")
                found[node] = Share(node, len(ids), ids[0], cpus, mib * 2**20 or None)
        if set(found) != set(nodes) or here not in found or len(nodes) != len(found) or len(nodes) > NODES_LIMIT:
            raise unusable("its nodes are not those that its CPUs are on")
        return tuple(found[node] for node in nodes)


def read(text: str, job_id: str) -> Record:
    """Read one job's record; an array's text has one for each of its tasks. Raises Fault VT0931."""
    lines = _lines_of(text, job_id)
    said = {name: _once(name, re.compile(form), lines) for name, form in _LINES}
    details = [match for match in map(_DETAIL.match, lines) if match]
    try:
        given = tuple((match[1], read_list(match[2]), int(match[3])) for match in details)
        times = [_unix_time(said[name]) for name in ("submitted", "eligible", "ends")]
    except ValueError as error:
        raise unusable(str(error)) from None
    return Record(
        f"{times[0]}.{times[1]}", said["user"], said["state"], said["partition"], said["sharing"] == "NO",
        said["nodes"], _limit_s(said["limit"]), times[2], given,
    )  # fmt: skip


def _lines_of(text: str, job_id: str) -> list[str]:
    found: list[list[str]] = []
    for line in text.split("\n"):
        if line.startswith("JobId="):
            found.append([])
        if found:
            found[-1].append(line)
    ours = [lines for lines in found if lines[0].startswith(f"JobId={job_id} ")]
    if len(ours) != 1:
        raise unusable(f"it is there {len(ours)} times")
    return ours[0]


def _once(name: str, form: re.Pattern[str], lines: list[str]) -> str:
    found = [match[1] for match in map(form.match, lines) if match]
    if len(found) != 1:
        raise unusable(f"its {name} is there {len(found)} times")
    return found[0]


def _unix_time(text: str) -> int | None:
    """Read a time; the program that printed it ran with TZ=UTC."""
    if text in ("Unknown", "N/A", "None"):
        return None
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _limit_s(text: str) -> int | None:
    match = _LIMIT.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _kernel_counts_alike(node: str, ids: tuple[int, ...], root: Path = Path("/sys/devices/system/cpu")) -> bool:
    """Tell whether Slurm's numbers are the kernel's: a thread a core, sockets in turn, one slurmd on the host."""
    try:
        online = read_list((root / "online").read_text(encoding="ascii"))
        sockets = [int((root / f"cpu{cpu}/topology/physical_package_id").read_text()) for cpu in online]
        threads = (root / "smt/active").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return False
    in_turn = sockets == sorted(sockets) and online == tuple(range(len(online)))
    return threads == "0" and in_turn and same_host(node, command.hostname()) and ids[-1] < len(online)
