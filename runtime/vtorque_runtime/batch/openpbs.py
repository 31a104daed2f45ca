"""OpenPBS. Its hook, runtime/hooks/openpbs_hook.py, calls here as root, with the job's attributes as JSON on stdin.

The carrier is the site's resource `vtspec`, else the variable VTORQUE_SPEC: the owner can alter neither once the job
runs. `run_count` he can (`qalter -W run_count=`), so a start is told by `run_version`, which the server alone sets, and
by whose and what it is: a server whose database was lost counts ids and versions from the beginning again, and tells a
mom no time.
"""

import os
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
    from typing import Any

    from vtorque_runtime.batch.contract import BatchJob, Share, State

__all__ = ["elsewhere", "hook", "offline", "own_job", "state"]

_FINISHED_JOB_EXIT_CODE = 35
"""Of qstat: 15139 (PBSE_HISTJOBID) modulo 256."""

_CPUSETS = ("/sys/fs/cgroup/cpuset/pbs_jobs.service/jobid/{}/cpuset.cpus",)
"""Of the hook pbs_cgroups (cgroup v1 alone), when its order is before ours."""

_WITH_NODES = "RESU"
"""States of jobs that have nodes: running, exiting, suspended by somebody, suspended for a user at the keyboard."""
_WITHOUT_NODES = "QHWMXF"


class Hook:
    """An event of the mom's."""

    def __init__(self, told: "Mapping[str, Any]") -> None:
        self._told = told

    def carried(self) -> str | None:
        """Return the resource vtspec, else the variable VTORQUE_SPEC."""
        return self._text("vtspec") or self._text("VTORQUE_SPEC") or None

    def names(self) -> tuple[str, str]:
        """Return the job's id and the node's name. Raises Fault VT0912."""
        return self._job_id(), command.hostname()

    def key(self) -> str:
        """Return the name of the job on this node. Raises Fault VT0912."""
        return job_key(*self.names())

    def start(self) -> str:
        """Return which run of the job this is, with a digest over whose and what it is. Raises Fault VT0912."""
        import hashlib

        version = self._text("run_version")
        if not version.isdigit():
            raise Fault("VT0912", f"not a run_version: {version[:100]!r}")
        given = "\0".join((self._text("euser"), self.carried() or ""))  # not its nodes: pbs_release_nodes alters them
        return f"{version}.{hashlib.sha256(given.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"

    def job(self, spec: str) -> "BatchJob":
        """Return the rest. Raises Fault VT0912, VT0931."""
        from vtorque_runtime.batch.contract import BatchJob

        job_id, user, place = self._job_id(), self._text("euser"), self._text("place")
        if not is_name(user.lstrip("_")):
            raise Fault("VT0912", f"not a user's name: {user[:100]!r}")
        shares = _shares(self._text("exec_host2"), self._text("exec_vnode"), job_id)
        exclusive = bool({"excl", "exclhost"} & set(place.split(":")))
        return BatchJob(
            "openpbs", job_id.partition(".")[2], job_id, self.start(), user, self._text("queue") or None, exclusive,
            this_node(shares), shares, duration_s(self._text("walltime")), None, spec,
        )  # fmt: skip

    def _job_id(self) -> str:
        return job_id_of(self._text("id"))

    def _text(self, name: str) -> str:
        value = self._told.get(name)
        return value if isinstance(value, str) else ""


def hook(arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes) -> Hook:
    """Return the hook of these attributes. Raises Fault VT0912."""
    import json

    try:
        told = json.loads(stdin)
    except (ValueError, RecursionError) as error:
        raise Fault("VT0912", f"what the OpenPBS hook says is not JSON: {error}") from None
    if not isinstance(told, dict):
        raise Fault("VT0912", "what the OpenPBS hook says is not a mapping")
    return Hook(told)


def state(job_id: str, start: str, node: str) -> "State":
    """Ask the server for this start of the job."""
    try:
        record = _qstat(job_id_of(job_id))
    except Fault:
        return "unknown"
    if record is None:
        return "gone"
    letter, hosts, version = str(record.get("job_state")), record.get("exec_host"), record.get("run_version")
    other_start = version is not None and str(version) != start.partition(".")[0]
    if letter in tuple(_WITHOUT_NODES) or other_start:
        return "gone"
    if letter not in tuple(_WITH_NODES) or not isinstance(hosts, str):
        return "unknown"
    return "live" if any(same_host(node, part.partition("/")[0]) for part in hosts.split("+")) else "gone"


def offline(node: str, reason: str) -> None:
    """Mark the node offline with a comment. Raises Fault VT0930."""
    for name in dict.fromkeys((node, command.hostname())):  # the server's name for it may have a domain
        ended = command.run("pbsnodes", "-o", "-C", command.one_line(reason), name)
        if ended.code == 0:
            return
    raise Fault("VT0930", f"pbsnodes did not take {node} offline", detail=ended.err)


def elsewhere(nodes: Sequence[str], command: Sequence[str]) -> list[list[str]]:
    """Return a pbs_tmrsh for each node. It ends as the command does; what that prints goes to the job's output.

    It knows a node by its line in PBS_NODEFILE alone, which may have a domain.
    """
    try:
        with open(os.environ["PBS_NODEFILE"], encoding="ascii") as file:
            lines = {_short(line): line for line in file.read().split()}
    except (KeyError, OSError, UnicodeDecodeError):
        lines = {}
    return [["pbs_tmrsh", lines.get(_short(node), node), *command] for node in nodes]


def _short(host: str) -> str:
    return host.partition(".")[0]


def _qstat(job_id: str) -> "dict[str, Any] | None":
    """Return the attributes of the job, None when the server has no such job or only its history."""
    import json

    ended = command.run("qstat", "-f", "-F", "json", job_id)
    if ended.code in (UNKNOWN_JOB_EXIT_CODE, _FINISHED_JOB_EXIT_CODE) and job_id in ended.err:
        return None
    if ended.code:
        raise Fault("VT0930", f"qstat -f {job_id} ended with {ended.code}", detail=ended.err)
    try:
        record = json.loads(ended.out, object_pairs_hook=_once)["Jobs"][job_id]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise unusable(f"qstat does not print this job: {error!r}") from None
    if not isinstance(record, dict):
        raise unusable("qstat does not print this job")
    return record


def _once(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _shares(hosts: str, vnodes: str, job_id: str) -> "tuple[Share, ...]":
    """Put exec_host2, `n1:15002/0*2+n2:15002/0*2`, and exec_vnode, `(n1:ncpus=2:mem=9kb)+(...)`, together by chunk."""
    from vtorque_runtime.batch.contract import Share

    chunks = vnodes.removeprefix("(").removesuffix(")").split(")+(")
    places = hosts.split("+")
    if len(chunks) != len(places) or len(places) > NODES_LIMIT:
        raise unusable("exec_host2 and exec_vnode have not as many chunks")
    found: dict[str, Share] = {}
    for place, chunk in zip(places, chunks, strict=True):
        host, first, slots = _place(place)
        memory = _memory_bytes(chunk)
        if host in found:
            before = found[host]
            slots, first = slots + before.slots, min(first, before.first_slot)
            memory = None if memory is None or before.memory_bytes is None else memory + before.memory_bytes
        cpus = cpuset(job_id, _CPUSETS) if same_host(host, command.hostname()) else None
        found[host] = Share(host, slots, first, cpus, memory)
    return tuple(found.values())


def _place(text: str) -> tuple[str, int, int]:
    """Return host, number of the slot and CPUs of `n1:15002/0*2`, where no `*` means one CPU.

    The host is as its mom's machine calls itself, often with a domain; a site's nodes have none.
    """
    at, _, given = text.partition("/")
    host, (number, _, many) = _short(at.partition(":")[0]), given.partition("*")
    if not (is_name(host) and number.isdigit() and (many or "1").isdigit() and len(given) < 12):
        raise unusable(f"exec_host2 has {text[:60]!r}")
    return host, int(number), int(many or "1")


def _memory_bytes(chunk: str) -> int | None:
    """Return the memory of a chunk, over all vnodes that it spans."""
    sizes = [item.removeprefix("mem=") for item in chunk.replace("+", ":").split(":") if item.startswith("mem=")]
    found = [size_bytes(size) for size in sizes]
    return sum(size for size in found if size is not None) if found and None not in found else None
