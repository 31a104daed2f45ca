"""QEMU's machines that guests are put on, and what each kind of guest wants on them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Board:
    """`name` is QEMU's; `bus` that of cards which libvirt does not know of. `agent`: there is a channel for it.

    `hpet`: the guest's kernel needs this clock where the hypervisor is none.
    """

    name: Literal["q35", "pc"]
    bus: str
    agent: bool
    hpet: bool


Q35 = Board("q35", "pcie.0", agent=True, hpet=False)

OSV_BOARDS = {
    "q35": Board("q35", "pcie.0", agent=False, hpet=True),
    "pc": Board("pc", "pci.0", agent=False, hpet=True),
}
"""OSv drives virtio's disks, cards, virtiofs and RNG, and the serial port: nothing else is there. (A CD drive, even an
empty one, would hang it.)"""
