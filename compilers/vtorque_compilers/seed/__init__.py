"""LinuxGuest -> the three files of a NoCloud seed (volume label `cidata`).

The format: https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

from vtorque_compilers.seed.carried import check
from vtorque_compilers.seed.cloud_config import user_data
from vtorque_compilers.seed.network import network_config
from vtorque_compilers.seed.yaml11 import to_yaml
from vtorque_spec.plan import Artifact, LinuxGuest


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
