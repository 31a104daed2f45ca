"""From a plan to guests that have proven to be ours: what `vtorque run` and a supervisor have in common."""

import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from vtorque_runtime import boot, prologue, ssh
from vtorque_runtime.console import Console
from vtorque_runtime.hypervisor import URIS, Hypervisor, connect
from vtorque_runtime.identity import Reserved
from vtorque_runtime.progress import Progress
from vtorque_runtime.signals import Signals
from vtorque_runtime.steps import TreeUndo
from vtorque_runtime.watch import Watch, Watches
from vtorque_spec.plan import LinuxGuest, NodeBundle, NodePlan


def bring_up(
    bundle: NodeBundle, reserved: Reserved, signals: Signals, progress: Progress, stack: ExitStack,
    stopped: Callable[[Sequence[Watch]], bool] = lambda _guests: False,
) -> tuple[Watches, subprocess.Popen[bytes]]:  # fmt: skip
    """Apply the plan of Linux guests, wait until all are ready; return what watches them and a connection to the first.

    `stack` gets what has to be closed in the end; undoing is the caller's. `stopped` is asked again and again: it stops
    these guests with their job, lets them go on with it, and tells whether they are stopped. Raises what
    `prologue.apply` and `boot.wait` raise, and Fault VT0902.
    """
    plan = bundle.plan
    hypervisor = connect(URIS[plan.lane])
    stack.callback(hypervisor.close)
    progress.phase("staging")
    prologue.apply(bundle, reserved, hypervisor, signals.check)
    guests = [guest for guest in plan.guests if guest.kind == "linux"]
    watches = Watches(tuple(_watch(plan, guest, reserved, hypervisor) for guest in guests), signals)
    for watch in watches.guests:
        stack.callback(watch.console.close)
    boots = [
        boot.Boot(guest, ssh.access(guest, reserved.spool.owner), watch)
        for guest, watch in zip(guests, watches.guests, strict=True)
    ]
    limit_s = min(plan.boot_timeout_s, plan.walltime_s)
    return watches, boot.wait(boots, limit_s, signals, progress, lambda: stopped(watches.guests))


def _watch(plan: NodePlan, guest: LinuxGuest, reserved: Reserved, hypervisor: Hypervisor) -> Watch:
    login, copy = guest.login, reserved.spool.console_copy(guest.index)
    source, owner = Path(guest.machine.console_log), (login.uid, login.groups[0].gid)
    console = reserved.spool.journal.step(
        TreeUndo("tree", copy.name), lambda: Console(source, guest.nonce, copy, owner)
    )
    name = "the guest" if len(plan.guests) == 1 else guest.hostname
    return Watch(name, guest.machine.uuid, hypervisor, console)
