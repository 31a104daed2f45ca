"""All OSv guests of a job on one node, from their start to their ends, as root or `vtorque run` looks after them.

A guest's job is the guest: nobody logs in, nothing is sent there. It ends by itself, by its ACPI power button when its
time is nearly over or its owner asks, and is destroyed when that does not help.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vtorque_runtime import partition, prologue
from vtorque_runtime.hypervisor import URIS, connect
from vtorque_runtime.identity import Reserved
from vtorque_runtime.osv import exports
from vtorque_runtime.osv.console import OsvConsole
from vtorque_runtime.osv.verdict import LOST, Ending
from vtorque_runtime.progress import Progress
from vtorque_runtime.signals import Signals
from vtorque_runtime.steps import TreeUndo
from vtorque_runtime.watch import PAUSED, TICK_S, Observer, Watch
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodeBundle, NodePlan
from vtorque_spec.plan.answer import ToldFinding

PHASE_LIMITS = {"firmware": 1 / 3, "kernel": 1 / 2}
"""How long a guest may stay in each phase before its program starts, as a share of the plan's `boot_timeout_s`."""

WALLTIME_EXIT_CODE = 124
"""As timeout(1) has it."""

_SETTLE_S = 3.0
"""So long after a guest ended its last words may take to come through libvirt's logging daemon."""

_GAP_S = 5.0
"""A pause between two looks that is longer was no running time: the job, or all of this process, was stopped."""


class Ender(Observer, Protocol):
    """What looking after OSv guests needs of a hypervisor."""

    def press_power_button(self, uuid: str) -> None:
        """Ask the domain to end. Raises Fault VT0902, VT0903."""

    def destroy_domain(self, uuid: str) -> None:
        """End the domain. Raises Fault VT0902, VT0903."""


Ended = Callable[[str, Ending], None]
"""Is told how the job ended in the guest of that name, once the copy of its console is whole."""


@dataclass(frozen=True)
class Limits:
    """When guests are ended: `walltime_s` after the job's start, of which `left_s` are left."""

    boot_timeout_s: int
    walltime_s: int
    left_s: float
    grace_s: int


@dataclass
class _Guest:
    watch: Watch
    console: OsvConsole
    name: str
    phase: str = "firmware"
    entered_s: float = 0.0
    gone_s: float | None = None
    seen_bytes: int = 0
    late: bool = False
    ending: Ending | None = None


def start(
    bundle: NodeBundle, reserved: Reserved, signals: Signals, progress: Progress, stack: ExitStack, left_s: float,
    ended: Ended = lambda _name, _ending: None,
) -> "Guests":  # fmt: skip
    """Apply the plan, whose guests are OSv's; `left_s` are left of its walltime. Raises what `prologue.apply` does."""
    plan, began = bundle.plan, time.monotonic()
    hypervisor = connect(URIS[plan.lane])
    stack.callback(hypervisor.close)
    progress.phase("staging")
    prologue.apply(bundle, reserved, hypervisor, signals.check)
    left_s -= time.monotonic() - began
    limits = Limits(min(plan.boot_timeout_s, plan.walltime_s), plan.walltime_s, left_s, plan.grace_s)
    watched, part = _watched(plan, reserved, hypervisor), reserved.context.partition
    guests = Guests(watched, hypervisor, progress, limits, ended, part)
    guests.server_lost = exports.Watch(plan).look
    stack.callback(guests.close)
    return guests


def _watched(plan: NodePlan, reserved: Reserved, hypervisor: Ender) -> list[tuple[str, Watch, OsvConsole]]:
    owner = (plan.login.uid, plan.login.groups[0].gid)
    found = []
    for guest in plan.guests:
        copy, source = reserved.spool.console_copy(guest.index), Path(guest.machine.console_log)
        undo = TreeUndo("tree", copy.name)
        console = reserved.spool.journal.step(undo, lambda: OsvConsole(source, copy, owner))  # noqa: B023 - called at once
        name = "the guest" if len(plan.guests) == 1 else guest.hostname
        found.append((guest.hostname, Watch(name, guest.machine.uuid, hypervisor, console), console))
    return found


class Guests:
    """The guests of one node. Whoever looks after them calls `look` again and again."""

    def __init__(
        self, watched: Sequence[tuple[str, Watch, OsvConsole]], hypervisor: Ender, progress: Progress, limits: Limits,
        ended: Ended, part: str | None = None,
    ) -> None:  # fmt: skip
        """`part` is the job's partition on the node, if it has one."""
        self._guests = [_Guest(watch, console, name) for name, watch, console in watched]
        self._hypervisor, self._progress, self._limits, self._ended = hypervisor, progress, limits, ended
        self._part = part
        self._now_s, self._seen = 0.0, time.monotonic()
        self._stop_s: float | None = None
        self._kill_s = limits.left_s
        self._killed = False
        self.told_to_stop: Callable[[], bool] = lambda: False
        """Is asked at each look whether the job's owner wants the guests to end."""
        self.server_lost: Callable[[], Fault | None] = lambda: None
        """Is asked at each look, while a guest runs, what became of the server that the guests write to."""
        for one in self._guests:
            progress.phase(one.phase, one.name)

    @property
    def guests(self) -> Sequence[Watch]:
        """Those that run."""
        return [one.watch for one in self._guests if one.gone_s is None]

    @property
    def begun(self) -> bool:
        """Whether each has started its program, or ended before."""
        return all(one.phase == "running" or one.ending is not None for one in self._guests)

    @property
    def endings(self) -> Sequence[Ending | None]:
        """How the job ended in each; None while it runs."""
        return [one.ending for one in self._guests]

    def stop(self) -> None:
        """Press the power buttons, once; who does not end within the time of grace is destroyed."""
        if self._stop_s is None:
            self._stop_s = self._now_s
            self._kill_s = min(self._kill_s, self._now_s + self._limits.grace_s)
            for watch in self.guests:
                self._hypervisor.press_power_button(watch.uuid)

    def look(self) -> Fault | None:
        """Look at all of them and keep time; return the Fault for one that can't go on. Raises Fault VT0904."""
        now = time.monotonic()
        self._now_s, self._seen = self._now_s + min(now - self._seen, _GAP_S), now
        for one in self._guests:
            if one.ending is None and (lost := self._look_at(one)):
                return lost
        if self.guests and (lost := self.server_lost()):
            return lost
        if self.told_to_stop():
            self.stop()
        self._keep_time()
        return None

    def wait(self, signals: Signals, stopped: Callable[[Sequence[Watch]], bool]) -> None:
        """Wait until all have begun. Raises the Fault of one that did not, and `signals.SignalledError`."""
        while not self.begun:
            signals.wait(TICK_S)
            signals.check()
            if not stopped(self.guests) and (lost := self.look()):
                raise lost

    def close(self) -> None:
        """Close the consoles."""
        for one in self._guests:
            one.console.close()

    def _look_at(self, one: _Guest) -> Fault | None:
        how = one.watch.look()
        self._enter(one)
        if how is None:
            self._check_boot(one)
            return None
        if how == PAUSED:
            return one.watch.lost(how)
        if one.gone_s is None or one.seen_bytes != one.console.seen_bytes:
            one.gone_s, one.seen_bytes = self._now_s, one.console.seen_bytes
        if one.console.ended or self._now_s - one.gone_s >= _SETTLE_S:
            self._end(one)
        return None

    def _enter(self, one: _Guest) -> None:
        if one.console.phase not in (None, one.phase):
            one.phase, one.entered_s = str(one.console.phase), self._now_s
            self._progress.phase(one.phase, one.name)

    def _check_boot(self, one: _Guest) -> None:
        share = PHASE_LIMITS.get(one.phase)
        if share is not None and self._now_s - one.entered_s > self._limits.boot_timeout_s * share:
            raise Fault(
                "VT0904",
                f"{one.watch.name} did not start its program: it is in phase `{one.phase}` after {self._now_s:.0f} s",
                help="allow more time with `timeouts: {boot: ...}`, unless the console below shows why",
                detail=one.console.tail(),
            )

    def _keep_time(self) -> None:
        running = [one for one in self._guests if one.gone_s is None]
        if running and self._stop_s is None and self._now_s >= self._limits.left_s - self._limits.grace_s:
            for one in running:
                one.late = True
            self._progress.note(f"the walltime ends in {self._limits.grace_s} s: the guests are told to stop")
            self.stop()
        if running and not self._killed and self._now_s >= self._kill_s:
            self._killed = True
            for one in running:
                one.late = one.late or self._now_s >= self._limits.left_s
                self._hypervisor.destroy_domain(one.watch.uuid)

    def _end(self, one: _Guest) -> None:
        name = one.watch.name
        one.ending = self._too_late() if one.late else self._explained(one.console.ending(name))
        if lost := one.console.lost_bytes:
            self._progress.note(f"the last {lost} bytes that {name} printed are not kept")
        self._ended(one.name, one.ending)

    def _explained(self, ending: Ending) -> Ending:
        """A guest that the kernel killed, because the job came to its memory, had no time to say so."""
        told = ending.finding
        if self._part is None or told is None or told.code != LOST:
            return ending
        lost = Fault("VT0913", told.message, help=told.help, detail=told.detail)
        why = partition.explained(lost, self._part)
        if why is lost:
            return ending
        return Ending(ending.code, ToldFinding(why.code, "error", why.message, why.help, why.detail))

    def _too_late(self) -> Ending:
        message = f"the job was stopped: its walltime of {self._limits.walltime_s} s was over"
        hint = "ask for more with `batch: {walltime: ...}`; the boot counts"
        return Ending(WALLTIME_EXIT_CODE, ToldFinding("VT0909", "error", message, hint, None))
