"""What runs the job in its first guest needs to know of it: all that root hands over to the job's owner."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vtorque_runtime.ssh import Access, access_to
from vtorque_spec.plan import VERSION, JobVm, Login, NodePlan


@dataclass(frozen=True)
class Handover:
    """A job whose guests were started; the content of handover.json.

    `job_id` is the batch system's. The job runs in the guest `hostname`, which ssh reaches at `address` and `port`; an
    OSv guest runs it by itself, and its console is all that there is of it: `console` says what of that is the job's.
    `vms` are those of all nodes in rank order, each with `vcpus`; `nodes` the job's nodes, this one first. `writable`
    are the directories whose data must be flushed before the guest goes. `ends_s` is when the walltime is over, which
    was `walltime_s` long, by the node's clock that nobody sets (CLOCK_MONOTONIC); `grace_s` before, the job is told to
    stop.
    """

    version: int
    job_id: str
    job_name: str
    login: Login
    guest: Literal["linux", "osv"]
    console: Literal["job", "all"]
    hostname: str
    address: str
    port: int
    vms: tuple[JobVm, ...]
    nodes: tuple[str, ...]
    vcpus: int
    writable: tuple[str, ...]
    boot_timeout_s: int
    walltime_s: int
    grace_s: int
    ends_s: int

    def access(self, directory: Path, name: str = "s0") -> Access:
        """Return how the owner of `directory` reaches the first guest, by a shared connection called `name`."""
        return Access(self.login, directory, name, self.hostname, self.address, self.port)


def of_plan(plan: NodePlan, vms: tuple[JobVm, ...], job_id: str, ends_s: int) -> Handover:
    """Return what the body of the job must know."""
    first = plan.guests[0]
    address, port = access_to(first)
    return Handover(
        version=VERSION,
        job_id=job_id,
        job_name=plan.job_name,
        login=plan.login,
        guest=first.kind,
        console=first.console if first.kind == "osv" else "job",
        hostname=first.hostname,
        address=address,
        port=port,
        vms=vms,
        nodes=tuple(dict.fromkeys(vm.node for vm in vms)),
        vcpus=first.machine.vcpus,
        writable=tuple(share.target for share in first.machine.filesystems if not share.read_only),
        boot_timeout_s=plan.boot_timeout_s,
        walltime_s=plan.walltime_s,
        grace_s=plan.grace_s,
        ends_s=ends_s,
    )
