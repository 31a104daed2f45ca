"""Root's own check of OSv guests, as `recheck` has it. What such a guest runs is the job file's, and so is its kernel's
command line: its user is the kernel, and all that it reaches is what it was given.
"""

from dataclasses import replace

from vtorque_runtime.recheck_cpus import require
from vtorque_spec.plan import (
    Disk,
    NodePlan,
    NodeSite,
    OsvGuest,
    SaidImage,
    TapNic,
    base_file,
    exports_address,
    exports_of,
)

LINE_LIMIT_BYTES = {"kernel": 3648, "disk": 32255}
"""What QEMU's loader, and OSv's boot sector, take without cutting it off."""

VCPUS_LIMIT = 64
"""OSv, include/osv/sched.hh."""


def check_osv_guest(guest: OsvGuest, plan: NodePlan, said: SaidImage, site: NodeSite) -> None:
    """Raise Fault VT0912 unless it boots as its image does, on a network and with the disks that it may have."""
    require(said.osv is not None, "a guest is to run OSv, and its image does not")
    if said.osv is not None:
        board = "pc" if said.osv.options == "fork-2018" else "q35"
        same = (guest.boot, guest.cloud_init, guest.board) == (said.osv.boot, said.osv.cloud_init, board)
        require(same, "an OSv guest is not to boot as its image does")
    machine, line = guest.machine, guest.command_line
    require(machine.vcpus <= VCPUS_LIMIT, f"an OSv guest has more than {VCPUS_LIMIT} vCPUs")
    require(
        _readable(line, LINE_LIMIT_BYTES[guest.boot]), "an OSv guest's command line is none that its kernel could read"
    )
    require(machine.cmdline == (line if guest.boot == "kernel" else ""), "an OSv guest has two command lines")
    directory = f"{plan.spool}/vm{guest.index}"
    kernel = f"{directory}/kernel.elf" if guest.boot == "kernel" else None
    require((machine.kernel, machine.initrd) == (kernel, None), "an OSv guest has another kernel than its own")
    there = guest.boot == "disk" or plan.image.kernel is not None
    require(there, "an OSv guest is to boot a kernel that its image does not have")
    require(machine.console_log == f"{directory}/console.log", "an OSv guest's console is not its own")
    base = base_file(plan.image, plan.backing, plan.spool)
    root = Disk("vda", f"{directory}/root.qcow2", "qcow2", False, base, plan.image.disk_format, None, None)
    seed = Disk("vdb", f"{directory}/seed.iso", "raw", True, None, None, None, None)
    found = [replace(disk, iothread=None, queues=None) for disk in machine.disks]
    require(found == [root, seed][: 1 + guest.cloud_init], "an OSv guest has other disks than its own")
    others = [share for share in machine.filesystems if share.kind != "virtiofs"]
    require(not others, "an OSv guest reads its shares through virtiofs, or its node serves them")
    _check_exports(guest, plan)
    bridges = {one.bridge for one in site.networks if one.kind == "bridge" and one.osv}
    fine = not isinstance(machine.nic, TapNic) or machine.nic.kind != "bridge" or machine.nic.source in bridges
    require(fine, "an OSv guest is to be on a bridge that is not for such guests")


def _check_exports(guest: OsvGuest, plan: NodePlan) -> None:
    """What it writes to is served where no machine is, on a network that the job alone has."""
    if exports_of(guest):
        cards = [one.machine.nic for one in plan.guests]
        own = [card for card in cards if isinstance(card, TapNic) and card.kind == "network"]
        require(len(own) == len(cards), "an OSv guest is to write to a share from a network that is not the job's own")
        taken = {address for card in own for address in (card.address, card.host_address)}
        free = not taken & {exports_address(card) for card in own}
        require(free, "the address where an OSv guest's shares are served is a machine's")


def _readable(line: str, limit_bytes: int) -> bool:
    """Tell whether it is text that ends where it is to end."""
    try:
        return "\0" not in line and len(line.encode()) <= limit_bytes
    except UnicodeEncodeError:
        return False
