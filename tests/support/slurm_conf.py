"""The configuration of a throw-away Slurm, which lies in one directory and needs nothing of the machine's."""

from dataclasses import dataclass
from pathlib import Path

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={controller_port}
# Listen on what the host's own name means, which is loopback, and not on every address.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={slurm_user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge/socket,cred_expire={cred_expire_s}

StateSaveLocation={directory}/controller
SlurmdSpoolDir={directory}/spool/%n
SlurmctldPidFile={directory}/controller/pid
SlurmdPidFile={directory}/spool/%n.pid
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdLogFile={directory}/log/%n.log

ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MailProg=/bin/true
# Nodes may claim more CPUs and memory than the machine has.
SlurmdParameters=config_overrides
# Look at a batch job at once; the default is up to three seconds later.
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
ReturnToService=2
KillWait={kill_wait_s}
MinJobAge=600

# Prolog runs on every node at allocation; the script starts when all of them are done.
PrologFlags=Alloc,DeferBatch
PrologEpilogTimeout={hook_limit_s}
{more}
NodeName=DEFAULT CPUs={cpus} CoresPerSocket={cpus} RealMemory={memory_mib} State=UNKNOWN
{nodes}
PartitionName=batch Nodes=ALL Default=YES DefaultTime=60 MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the nodes node1, node2, ... have, and what runs on them.

    `prolog` and `epilog` are programs that root runs on every node of a job, for at most `hook_limit_s`. A requeued job
    waits `cred_expire_s` and one second more. `lines` are added to slurm.conf; one of a key that is there replaces it.
    """

    nodes: int = 2
    cpus: int = 2
    memory_mib: int = 1000
    prolog: Path | None = None
    epilog: Path | None = None
    hook_limit_s: int = 60
    kill_wait_s: int = 2
    cred_expire_s: int = 5
    lines: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes, in Slurm's order."""
        return tuple(f"node{number}" for number in range(1, self.nodes + 1))

    def configuration(self, directory: Path, host: str, address: str, slurm_user: str, ports: list[int]) -> str:
        """Return slurm.conf; the controller has the first of the `ports`, each node one of the others."""
        hooks = [f"{key}={path}" for key, path in (("Prolog", self.prolog), ("Epilog", self.epilog)) if path]
        nodes = [
            f"NodeName={name} NodeHostname={host} NodeAddr={address} Port={port}"
            for name, port in zip(self.names, ports[1:], strict=True)
        ]
        return _CONFIGURATION.format(
            directory=directory,
            host=host,
            address=address,
            slurm_user=slurm_user,
            controller_port=ports[0],
            cred_expire_s=self.cred_expire_s,
            kill_wait_s=self.kill_wait_s,
            hook_limit_s=self.hook_limit_s,
            cpus=self.cpus,
            memory_mib=self.memory_mib,
            more="\n".join((*hooks, *self.lines)),
            nodes="\n".join(nodes),
        )
