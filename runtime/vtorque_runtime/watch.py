"""What has to be looked at all the time while guests live: their domains, their consoles, and our own signals."""

from dataclasses import dataclass
from typing import Protocol

from vtorque_runtime.console import Console
from vtorque_runtime.signals import Signals
from vtorque_spec.fault import Fault

TICK_S = 0.3

PAUSED = "QEMU paused it: the disk below its overlay may be full"


class Observer(Protocol):
    """What watching needs of a hypervisor."""

    def domain_state(self, uuid: str) -> str | None:
        """Return the domain's state, None when there is none. Raises Fault VT0902, VT0903."""

    def suspend(self, uuid: str) -> bool:
        """Stop the domain's CPUs; False when that is to be tried again. Raises Fault VT0902, VT0903."""

    def resume(self, uuid: str) -> bool:
        """Let them run again, likewise. Raises Fault VT0902, VT0903."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Looks after one guest, which has the domain `uuid`; `name` is how messages call it."""

    name: str
    uuid: str
    hypervisor: Observer
    console: Console

    def look(self) -> str | None:
        """Take in the console; return how the guest ended, or None while it runs."""
        state = self.hypervisor.domain_state(self.uuid)
        self.console.pump()
        if state == "running":
            return None
        return {
            None: "it switched itself off or crashed",
            "paused": PAUSED,
        }.get(state, f"its domain is {state}")

    def lost(self, how: str) -> Fault:
        """Return the Fault for a guest that ended while its job ran."""
        return Fault("VT0913", f"{self.name} was lost while the job ran: {how}", detail=self.console.tail())


@dataclass(frozen=True, slots=True)
class Watches:
    """Looks after all guests of a job; the job runs in the first one."""

    guests: tuple[Watch, ...]
    signals: Signals

    def lost(self, how: str) -> Fault:
        """Return the Fault for a first guest that does not answer any more."""
        return self.guests[0].lost(how)

    def look(self) -> Fault | None:
        """Take in all consoles; return the Fault for the first guest that ended, or None while all run."""
        ended = [(watch, how) for watch in self.guests if (how := watch.look())]
        return ended[0][0].lost(ended[0][1]) if ended else None
