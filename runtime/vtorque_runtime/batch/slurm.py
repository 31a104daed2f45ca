"""Slurm. Prolog and Epilog call here, as root; both have the same environment, which slurmd alone makes.

The carrier is the job's script as slurmctld keeps it (`scontrol write batch_script`): nothing alters it once it is
submitted. Everything else is `scontrol show job -d`. A job's name and comment may hold newlines, so its owner can write
lines that look like the record's own: a line that is read must be there once, else the record is refused.

`start` is the time of submission with the time from which the job could run: a requeue sets both anew. The number of
restarts, and the time of the start, change too early: in the Epilog of a requeued job they are the next start's.
"""

import os
from collections.abc import Mapping, Sequence

from vtorque_runtime.batch import command, is_name, job_key, unusable
from vtorque_spec.fault import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vtorque_runtime.batch.contract import BatchJob, State

__all__ = ["elsewhere", "hook", "offline", "own_job", "state"]

_SCRIPT_START_BYTES = 65536
"""As much of a script as is read: the machine part is in its second line, and has 8 KiB."""

_NO_SCRIPT = ("Job script not specified", "Invalid job id specified")
_LIVE = frozenset(
    {"RUNNING", "COMPLETING", "SUSPENDED", "CONFIGURING", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
)


class Hook:
    """A Prolog or an Epilog."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._text: str | None = None

    def carried(self) -> str | None:
        """Return what the script carries. Raises Fault VT0912, VT0930."""
        ended = command.run(
            "scontrol", "write", "batch_script", self._job_id(), "-",
            environment=_conf(self._environment), most_bytes=_SCRIPT_START_BYTES, may_be_cut=True,
        )  # fmt: skip
        if not ended.out and ended.err and not any(text in ended.err for text in _NO_SCRIPT):
            raise Fault("VT0930", "slurmctld did not show the job's script", detail=ended.err)
        if b"\n#VTORQUE " not in ended.out:
            return None
        from vtorque_spec.carrier import machine_part_in_script

        return machine_part_in_script(ended.out.decode("utf-8", "replace"))

    def names(self) -> tuple[str, str]:
        """Return the job's id and the node's name. Raises Fault VT0912."""
        return self._job_id(), self._node()

    def key(self) -> str:
        """Return the name of the job on this node. Raises Fault VT0912."""
        return job_key(*self.names())

    def start(self) -> str:
        """Return when the job was submitted, and from when on it could run. Raises Fault VT0912, VT0930, VT0931."""
        from vtorque_runtime.batch.slurm_record import read

        return read(self._asked(), self._job_id()).start

    def job(self, spec: str) -> "BatchJob":
        """Ask slurmctld for the rest. Raises Fault VT0912, VT0930, VT0931."""
        from vtorque_runtime.batch.contract import BatchJob
        from vtorque_runtime.batch.slurm_record import read

        job_id, node = self._job_id(), self._node()
        record = read(self._asked(), job_id)
        nodes = self._environment.get("SLURM_NODELIST", "")
        shares = record.shares(node, nodes, lambda group: _hostnames(group, self._environment))
        return BatchJob(
            "slurm", self._environment.get("SLURM_CLUSTER_NAME", ""), job_id, record.start, record.user,
            record.partition, record.exclusive, node, shares, record.walltime_s, record.ends_s, spec,
        )  # fmt: skip

    def _job_id(self) -> str:
        return _job_id_of(self._environment.get("SLURM_JOB_ID", ""))

    def _node(self) -> str:
        return _node_of(self._environment.get("SLURMD_NODENAME", ""))

    def _asked(self) -> str:
        if self._text is None:
            text = _show(self._job_id(), self._environment)
            if text is None:
                raise unusable("slurmctld does not know it")
            self._text = text
        return self._text


def hook(arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes) -> Hook:
    """Return the hook of this environment."""
    return Hook(environment)


def state(job_id: str, start: str, node: str) -> "State":
    """Ask slurmctld for this start of the job."""
    from vtorque_runtime.batch.slurm_record import read

    try:
        text = _show(_job_id_of(job_id), os.environ)
        if text is None:
            return "gone"
        record = read(text, job_id)
        if record.state not in _LIVE or record.start != start:
            return "gone"
        return "live" if node in _hostnames(record.nodes, os.environ) else "gone"
    except Fault:
        return "unknown"


def offline(node: str, reason: str) -> None:
    """Drain the node. Raises Fault VT0930, and VT0912 for what is no node's name."""
    change = (f"nodename={_node_of(node)}", "state=drain", f"reason={command.one_line(reason)}")
    ended = command.run("scontrol", "update", *change, environment=_conf(os.environ))
    if ended.code:
        raise Fault("VT0930", f"scontrol did not drain {node}", detail=ended.err)


def own_job(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return key and id of the job in whose body the caller runs, None outside of any."""
    job_id, node = environment.get("SLURM_JOB_ID"), environment.get("SLURMD_NODENAME")
    return None if job_id is None or node is None else (job_key(_job_id_of(job_id), _node_of(node)), job_id)


def elsewhere(nodes: Sequence[str], command: Sequence[str]) -> list[list[str]]:
    """Return one srun, beside what else runs on those nodes, which needs nothing of its own there."""
    count = str(len(nodes))
    names = f"--nodelist={','.join(nodes)}"
    one_each = (f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--cpus-per-task=1")
    return [["srun", "--overlap", "--mem=0", "--input=none", "--unbuffered", names, *one_each, *command]]


def _show(job_id: str, environment: Mapping[str, str]) -> str | None:
    """Return what slurmctld says of the job, of an array's first id of all its tasks; None: it knows no such job."""
    ended = command.run("scontrol", "show", "job", "-d", job_id, environment=_conf(environment))
    if ended.code and "Invalid job id specified" in ended.err:
        return None
    if ended.code:
        raise Fault("VT0930", f"scontrol show job {job_id} ended with {ended.code}", detail=ended.err)
    return ended.out.decode("utf-8", "replace")


def _hostnames(nodes: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the nodes of `node[1-2],x3`, in their order."""
    if is_name(nodes):
        return (nodes,)
    ended = command.run("scontrol", "show", "hostnames", nodes, environment=_conf(environment))
    if ended.code:
        raise Fault("VT0930", "scontrol does not understand the job's nodes", detail=ended.err)
    return tuple(ended.out.decode("utf-8", "replace").split())


def _conf(environment: Mapping[str, str]) -> dict[str, str]:
    """Return where slurmd says that its configuration is; what root starts by hand may leave it to Slurm's default."""
    return {name: environment[name] for name in ("SLURM_CONF",) if name in environment}


def _job_id_of(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise Fault("VT0912", f"not a job's id: {text[:100]!r}")
    return text


def _node_of(text: str) -> str:
    if not is_name(text):
        raise Fault("VT0912", f"not a node's name: {text[:100]!r}")
    return text
