"""Torque. Its prologue, prologue.parallel, epilogue and epilogue.parallel call here, as root.

The carrier is BEOWULF_JOB_MAP: the mom takes it from its own copy of the job's variables, made when the job was sent
to it, so the owner's `qalter` does not reach it. Of the other variables of the hook only PBS_NODENUM is read, of the
arguments the job's id. Which hook runs is told by who called, never by the file's name: `-W jobtype=` makes the mom
run another file. All else is the server's: `qstat -x`, and there only attributes that the owner of a running job cannot
alter. `ctime` and `start_count` are read-only to everybody, and the server counts a start before it sends the job.
"""

from collections.abc import Mapping, Sequence

from vtorque_runtime.batch import NODES_LIMIT, command, is_name, job_key, same_host, unusable
from vtorque_runtime.batch.pbs import (
    UNKNOWN_JOB_EXIT_CODE,
    cpuset,
    duration_s,
    job_id_of,
    own_job,
    size_bytes,
    this_node,
)
from vtorque_spec.fault import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vtorque_runtime.batch.contract import BatchJob, Share, State

__all__ = ["elsewhere", "hook", "offline", "own_job", "state"]

_ARGUMENTS = (7, 8, 10, 11)
"""How many a prologue has (with the script's path, and without), and an epilogue."""

_CPUSETS = (
    "/sys/fs/cgroup/cpuset/torque/{}/cpuset.cpus",
    "/dev/cpuset/torque/{}/cpuset.cpus",
    "/dev/cpuset/torque/{}/cpus",
)
"""Of a Torque with --enable-cgroups (cgroup v1 alone) or --enable-cpuset; made before the prologue runs."""

_ATTRIBUTES = (
    "Job_Id", "job_state", "exec_host", "ctime", "start_count", "queue", "node_exclusive",
    "Resource_List/walltime", "Resource_List/mem",
)  # fmt: skip
_WITH_NODES = "RES"
"""States of jobs that have nodes: running, exiting, suspended."""


class Hook:
    """A hook of the mom's."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._environment = environment
        self._record: dict[str, str] | None = None

    def carried(self) -> str | None:
        """Return what BEOWULF_JOB_MAP holds."""
        return self._environment.get("BEOWULF_JOB_MAP") or None

    def names(self) -> tuple[str, str]:
        """Return the job's id and the node's name. Raises Fault VT0912."""
        return self._job_id(), command.hostname()

    def key(self) -> str:
        """Return the name of the job on this node. Raises Fault VT0912."""
        return job_key(*self.names())

    def start(self) -> str:
        """Return when the server made the job, and which start of it this is. Raises Fault VT0912, VT0930, VT0931."""
        return _start(self._asked())

    def job(self, spec: str) -> "BatchJob":
        """Ask the server for the rest. Raises Fault VT0912, VT0930, VT0931."""
        from vtorque_runtime.batch.contract import BatchJob

        job_id, record = self._job_id(), self._asked()
        shares = _shares(record, job_id)
        node = this_node(shares)
        if (self._environment.get("PBS_NODENUM", "0") == "0") != (node == shares[0].node):
            raise unusable(f"{node} is not where exec_host has it")
        return BatchJob(
            "torque", job_id.partition(".")[2], job_id, _start(record), self._user(), record.get("queue"),
            record.get("node_exclusive") == "True", node, shares,
            duration_s(record.get("Resource_List/walltime", "")), None, spec,
        )  # fmt: skip

    def _job_id(self) -> str:
        if len(self._arguments) not in _ARGUMENTS:
            many = len(self._arguments)
            raise Fault("VT0912", f"not a Torque hook's arguments: {many}", help="call it as runtime/hooks/torque does")
        return job_id_of(self._arguments[0])

    def _user(self) -> str:
        if not is_name(self._arguments[1].lstrip("_")):
            raise Fault("VT0912", f"not a user's name: {self._arguments[1][:100]!r}")
        return self._arguments[1]

    def _asked(self) -> dict[str, str]:
        if self._record is None:
            record = _qstat(self._job_id())
            if record is None:
                raise unusable("the server does not know it")
            self._record = record
        return self._record


def hook(arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes) -> Hook:
    """Return the hook of these arguments: job id, user, and more."""
    return Hook(arguments, environment)


def state(job_id: str, start: str, node: str) -> "State":
    """Ask the server for this start of the job."""
    try:
        record = _qstat(job_id_of(job_id))
        if record is None or record["job_state"] == "C":
            return "gone"
        if _start(record) != start or record["job_state"] not in _WITH_NODES:
            return "gone"
        return "live" if any(same_host(node, host) for host in _hosts(record)) else "gone"
    except (Fault, KeyError):
        return "unknown"


def offline(node: str, reason: str) -> None:
    """Mark the node offline with a note. Raises Fault VT0930."""
    ended = command.run("pbsnodes", "-o", "-N", command.one_line(reason), node)
    if ended.code:
        raise Fault("VT0930", f"pbsnodes did not take {node} offline", detail=ended.err)


def elsewhere(nodes: Sequence[str], command: Sequence[str]) -> list[list[str]]:
    """Return a pbsdsh for each node; `remote.start` reads how the command ended from what `-v` makes it say."""
    return [["pbsdsh", "-v", "-h", node, *command] for node in nodes]


def _qstat(job_id: str) -> dict[str, str] | None:
    """Return the attributes of the job that are needed, None when the server has no such job."""
    from xml.etree import ElementTree

    ended = command.run("qstat", "-x", job_id)
    if ended.code == UNKNOWN_JOB_EXIT_CODE and "Unknown Job" in ended.err:
        return None
    if ended.code:
        raise Fault("VT0930", f"qstat -x {job_id} ended with {ended.code}", detail=ended.err)
    try:
        jobs = ElementTree.fromstring(ended.out).findall("Job")  # noqa: S314 - the server writes it, and escapes what users write
    except ElementTree.ParseError as error:
        raise unusable(f"qstat -x does not print XML: {error}") from None
    found = [(name, element.text or "") for job in jobs for name in _ATTRIBUTES for element in job.findall(name)]
    record = dict(found)
    if len(jobs) != 1 or len(record) != len(found) or record.get("Job_Id") != job_id:
        raise unusable("qstat -x does not print this job, once")
    return record


def _start(record: dict[str, str]) -> str:
    made, count = record.get("ctime", ""), record.get("start_count", "0")
    if not (made.isdigit() and count.isdigit()):
        raise unusable("it has no time of creation")
    return f"{made}.{count}"


def _hosts(record: dict[str, str]) -> dict[str, list[str]]:
    """Return the hosts of exec_host (n1/0-1+n2/0), in their order, each with its ranges of slots."""
    hosts: dict[str, list[str]] = {}
    for part in filter(None, record.get("exec_host", "").split("+")):
        host, _, slots = part.partition("/")
        hosts.setdefault(host, []).extend(slots.split(","))
    return hosts


def _shares(record: dict[str, str], job_id: str) -> "tuple[Share, ...]":
    from vtorque_runtime.batch.contract import Share

    hosts = _hosts(record)
    if not 1 <= len(hosts) <= NODES_LIMIT or not all(map(is_name, hosts)):
        raise unusable("exec_host does not name its nodes")
    memory = size_bytes(record.get("Resource_List/mem", ""))
    shares = []
    for host, ranges in hosts.items():
        bounds = [_bounds(text) for text in ranges]
        slots, first = sum(last - low + 1 for low, last in bounds), min(low for low, _ in bounds)
        cpus = cpuset(job_id, _CPUSETS) if same_host(host, command.hostname()) else None
        shares.append(Share(host, slots, first, cpus, memory and memory // len(hosts)))
    return tuple(shares)


def _bounds(text: str) -> tuple[int, int]:
    low, _, last = text.partition("-")
    try:
        first, end = int(low), int(last or low)
    except ValueError:
        raise unusable(f"exec_host has no slots in {text!r}") from None
    if not 0 <= first <= end < 2**16:
        raise unusable(f"exec_host has no slots in {text!r}")
    return first, end
