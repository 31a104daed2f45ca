"""What an OSv guest writes to: directories that its node serves to it by NFS, for OSv mounts virtiofs read-only."""

from ipaddress import IPv4Network

from vtorque_spec.plan.context import TapNic
from vtorque_spec.plan.node import Filesystem, Guest

EXPORTS_PORT = 2049


def exports_of(guest: Guest) -> tuple[Filesystem, ...]:
    """Return the guest's shares that its node serves by NFS, each as `/TAG`: those that an OSv guest writes to."""
    if guest.kind != "osv":
        return ()
    return tuple(share for share in guest.machine.filesystems if not share.read_only)


def exports_address(card: TapNic) -> str:
    """Return where a job's guests on a network of its own reach what they write to: the last address of its block."""
    return str(IPv4Network(f"{card.address}/{card.prefix}", strict=False)[-2])
