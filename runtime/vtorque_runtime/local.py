"""The adapter without a batch system: prologue, job and epilogue of one job in one process, on this machine."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack

from vtorque_runtime import epilogue, handover, partition, payload, ssh
from vtorque_runtime.bring_up import bring_up
from vtorque_runtime.files import running_s
from vtorque_runtime.handover import Handover
from vtorque_runtime.identity import Reserved
from vtorque_runtime.job import Job
from vtorque_runtime.log import LOG, recorded
from vtorque_runtime.osv import guests as osv
from vtorque_runtime.osv.job import OsvJob, shown
from vtorque_runtime.osv.verdict import Ending
from vtorque_runtime.progress import Progress, Recorded
from vtorque_runtime.signals import SignalledError, Signals
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodeBundle, UserPart


def run(
    bundle: NodeBundle, user: UserPart, reserved: Reserved, ui: Progress, batch_id: str | None = None
) -> int:  # fmt: skip
    """Boot the guests, run the job in the first, undo everything; return the job's exit code.

    `batch_id` is the id of the batch job whose process this is; then the job gets that one's variables, and its
    walltime began with this process.
    124 when the walltime was over, 128 + N when signal N ended it (a second Ctrl-C does at once), 1 when the job was
    fine but its epilogue hook was not. Call it in the main thread. Whatever happens, the node is given back before
    this returns or raises; raises Fault VT0503, VT0902 to VT0906, VT0908, VT0910 to VT0915, VT0920,
    VT0922.
    """
    progress = Recorded(ui)
    with Signals() as signals, recorded(reserved.registry.log(reserved.registration.job_id)):
        failure: BaseException | None = None
        code = 0
        try:
            code = _run(bundle, user, reserved, signals, progress, batch_id)
        except SignalledError as interrupted:
            progress.note("stopped by a signal")
            code = 128 + interrupted.number
        except OSError as error:
            LOG.error("failed", exc_info=error)
            failure = Fault("VT0914", f"a step on this node failed: {error}")
        except BaseException as error:  # raised again below, once all is undone
            LOG.error("failed", exc_info=error)
            own = reserved.context.partition
            failure = partition.explained(error, own) if isinstance(error, Fault) and own else error
        _undo(reserved, progress, failure)
        return code


def _run(
    bundle: NodeBundle, user: UserPart, reserved: Reserved, signals: Signals, progress: Progress, batch_id: str | None
) -> int:
    plan = bundle.plan
    ends = time.monotonic() + plan.walltime_s - (running_s() if batch_id else 0)
    for note in plan.notes:
        progress.note(note)
    job = handover.of_plan(plan, reserved.context.vms, batch_id or plan.job_id, int(ends))
    if job.guest == "osv":
        return _run_osv(bundle, job, reserved, signals, progress)
    archive = payload.archive(user, job, os.environ if batch_id else {})
    with ExitStack() as stack:
        watches, master = bring_up(bundle, reserved, signals, progress, stack)
        stack.callback(ssh.end, master)
        return Job(job, job.access(reserved.spool.owner), watches, progress, ends).run(user, archive)


def _run_osv(bundle: NodeBundle, job: Handover, reserved: Reserved, signals: Signals, progress: Progress) -> int:
    with ExitStack() as stack:
        guests = osv.start(bundle, reserved, signals, progress, stack, bundle.plan.walltime_s)

        def look() -> Sequence[Ending | None]:
            if lost := guests.look():
                raise lost
            return guests.endings

        consoles = shown(reserved.spool, [vm.hostname for vm in job.vms], job)
        return OsvJob(consoles, look, guests.stop, lambda: 0, signals, progress).run()


def _undo(reserved: Reserved, progress: Progress, failure: BaseException | None) -> None:
    """Give the node back, then raise what had gone wrong before; what can't be removed is told in any case."""
    progress.phase("undo")
    reserved.release_ports()
    try:
        epilogue.apply(reserved.registry, reserved.spool)
    except Fault as left:
        if failure is None:
            raise
        progress.fault(left)
    if failure is not None:
        raise failure
