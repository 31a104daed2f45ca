"""LinuxGuest -> the three files of a NoCloud seed (volume label `cidata`), and what all guests of a job have beside.

The format: https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

from collections.abc import Sequence

from vtorque_compilers.seed.carried import check, check_names
from vtorque_compilers.seed.cloud_config import ssh_config, user_data
from vtorque_compilers.seed.network import hosts, network_config
from vtorque_compilers.seed.yaml11 import to_yaml
from vtorque_spec.plan import Artifact, JobVm, LinuxGuest


def compile_names(vms: Sequence[JobVm]) -> tuple[Artifact, ...]:
    """Return `seed/hosts` and `seed/ssh_config`, which lie on each guest's volume: names.sh puts them in place.

    They name all VMs of the job, so they grow with its nodes: plain text, because cloud-init takes minutes for a table
    of thousands, and a node would compile it anew for each guest. Raises Fault VT0605.
    """
    check_names(vms)
    return Artifact("seed/hosts", hosts(vms)), Artifact("seed/ssh_config", ssh_config(vms))


def compile_seed(guest: LinuxGuest) -> tuple[Artifact, ...]:
    """Return `vmN/seed/user-data`, `meta-data` and `network-config`; user-data is private to root: it holds the
    guest's host key.

    Raises Fault VT0605 for values that cloud-init, sshd or fstab could not take as they are.
    """
    check(guest)
    meta_data: dict[str, object] = {"instance-id": guest.nonce, "local-hostname": guest.hostname}
    folder = f"vm{guest.index}/seed"
    return (
        Artifact(f"{folder}/user-data", "#cloud-config\n" + to_yaml(user_data(guest)), mode=0o600),
        Artifact(f"{folder}/meta-data", to_yaml(meta_data)),
        Artifact(f"{folder}/network-config", to_yaml(network_config(guest.machine.nic))),
    )
