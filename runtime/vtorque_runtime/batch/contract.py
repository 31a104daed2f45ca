"""What the runtime asks of a batch system, in one interface with one adapter for each system.

Whatever an adapter returns comes from the batch system's own record, from what its hook is given, or from the kernel;
never from a file or a variable that the job's owner could change once the job has started.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

System = Literal["torque", "openpbs", "slurm", "local"]
State = Literal["live", "gone", "unknown"]
"""`gone` is an authoritative "no such job, or not this start of it"; whatever else goes wrong is `unknown`."""


@dataclass(frozen=True, slots=True)
class Share:
    """What the batch system gave a job of one node.

    `slots` are those that it counts, the lowest of them number `first_slot`. `cpus` are the kernel's numbers where the
    node that asks knows them of itself, None where there is a count alone, and of every other node; `memory_bytes`
    None where no limit is told.
    """

    node: str
    slots: int
    first_slot: int
    cpus: tuple[int, ...] | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class BatchJob:
    """One start of one job, as every one of its nodes sees it; `node` and the `cpus` of its share alone differ.

    `start` tells this start from others of the same id: a requeue, or a server that counts from 1 again. `shares` are
    in rank order: the job's body runs on the first. `ends_s` is the Unix time when the walltime is over, None where the
    batch system does not tell it when its hook runs. `spec` is the machine part that it carried, hostile still.
    """

    system: System
    server: str
    job_id: str
    start: str
    user: str
    queue: str | None
    exclusive: bool
    node: str
    shares: tuple[Share, ...]
    walltime_s: int | None
    ends_s: int | None
    spec: str

    @property
    def rank(self) -> int:
        """The place of this node among the job's."""
        return next(rank for rank, share in enumerate(self.shares) if share.node == self.node)

    @property
    def share(self) -> Share:
        """What the job was given of this node."""
        return self.shares[self.rank]


class Hook(Protocol):
    """A prologue or an epilogue as the batch system calls it, from arguments, environment and standard input alone."""

    def carried(self) -> str | None:
        """Return the machine part that this job carries, hostile bytes still; None: an ordinary job. Is quick.

        Raises Fault VT0930 when the batch system does not answer.
        """

    def names(self) -> tuple[str, str]:
        """Return what the batch system calls the job, and this node, for `state` to ask. Raises Fault VT0912."""

    def key(self) -> str:
        """Return the name of the job on this node, `job_key`. Raises Fault VT0912 for arguments that are none."""

    def start(self) -> str:
        """Return what `BatchJob.start` will be, in a prologue and in the epilogue after it. Raises as `job` does."""

    def job(self, spec: str) -> BatchJob:
        """Ask for the rest. Raises Fault VT0912, VT0930 (no answer), VT0931 (an answer that cannot be used)."""


class Adapter(Protocol):
    """A batch system. Each method is bounded in time."""

    def hook(self, arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes) -> Hook:
        """Return the hook that was called so."""

    def state(self, job_id: str, start: str, node: str) -> State:
        """Ask whether this start of the job is alive and has the node."""

    def offline(self, node: str, reason: str) -> None:
        """Take the node out of service, with the reason for its admin. Raises Fault VT0930."""

    def own_job(self, environment: Mapping[str, str]) -> tuple[str, str] | None:
        """Return key and id of the job in whose body the caller runs, None outside of any. For the job's owner."""

    def elsewhere(self, nodes: Sequence[str], command: Sequence[str]) -> list[list[str]]:
        """Return programs that, started together, run `command` once on each of these other nodes of the caller's job.

        They run as its owner, by `remote.start`. What `command` prints goes to the job's own output; in Slurm by way of
        theirs.
        """
