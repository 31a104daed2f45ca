"""OsvGuest -> a seed in the dialect of OSv's cloud-init, for images that have it; and its command line, to be read.

It reads `/user-data` alone, and of that few keys (OSv, modules/cloud-init): one that it does not know ends it, so
nothing of a Linux seed may be here. All that the job says is on the kernel's command line.
"""

from vtorque_compilers.seed.yaml11 import to_yaml
from vtorque_spec.plan import Artifact, OsvGuest


def compile_osv_seed(guest: OsvGuest) -> tuple[Artifact, ...]:
    """Return `vmN/seed/user-data`, or nothing for an image without cloud-init.

    The name is set by a call of OSv's own interface: the key `hostname` would then wait for an answer of a DHCP server,
    which a guest with a fixed address never gets.
    """
    if not guest.cloud_init:
        return ()
    calls: dict[str, object] = {"run": [{"POST": "/os/hostname", "name": guest.hostname}]}
    return (Artifact(f"vm{guest.index}/seed/user-data", to_yaml(calls)),)


def show_command_line(guest: OsvGuest) -> Artifact:
    """Return `vmN/command-line`, for people: a node has it in the domain, or in the root disk, where nobody sees it."""
    return Artifact(f"vm{guest.index}/command-line", guest.command_line + "\n")
