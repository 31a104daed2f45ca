"""Give a node back: stop the guests, undo the journal, see that nothing is left, remove the spool.

Works with only the journal on disk, twice, after a crash, and while a prologue still runs.
"""

import contextlib
import os
import signal
import time
from typing import Any

from vtorque_runtime.files import boot_id
from vtorque_runtime.hypervisor import connect as connect_libvirt
from vtorque_runtime.log import LOG
from vtorque_runtime.spool import Registration, Registry, Spool, alive
from vtorque_runtime.steps import Connect, undo_all
from vtorque_spec.canonical import DecodeError, from_json
from vtorque_spec.fault import Fault

_STEP_LIMIT_S = 20.0
_TERM_LIMIT_S = 2.0
_KILL_LIMIT_S = 3.0
_AGAIN = "mend the cause, then run: vtorque-runtime reap"


def apply(registry: Registry, spool: Spool, connect: Connect = connect_libvirt) -> None:
    """Undo the job and remove its spool; nothing happens when that was done before.

    Raises Fault VT0911 naming what is left; then the journal stays, so that `vtorque-runtime reap` can try again.
    """
    if bury(spool):
        release(spool, connect)
        remove(registry, spool)


def bury(spool: Spool) -> bool:
    """Forbid all further steps, once the one that runs has ended; False when another epilogue was faster.

    A step that hangs gets no tombstone, nor does a disk that takes none: `stop` sees to it that nothing begins any
    more. Raises Fault VT0911 for a job whose journal was taken away.
    """
    try:
        spool.journal.bury(_STEP_LIMIT_S)
    except FileNotFoundError:
        if spool.registration.exists():
            hint = f"end by hand what of it still runs, then remove {spool.path}"
            raise Fault("VT0911", f"the journal {spool.journal.path} is gone", help=hint) from None
        return False
    except OSError as error:
        LOG.error("no tombstone for job %s: %s", spool.path.name, error)
    return True


def remove(registry: Registry, spool: Spool) -> None:
    """Remove the spool of a job that was undone. Raises Fault VT0911."""
    try:
        registry.remove(spool)
    except OSError as error:
        message = f"the spool of job {spool.path.name} could not be removed: {error}"
        raise Fault("VT0911", message, help=_AGAIN) from None


def release(spool: Spool, connect: Connect = connect_libvirt) -> None:
    """Undo all that the journal lists, and let go of what the job holds of the node. Raises Fault VT0911."""
    try:
        left = undo_all(_undos(spool), spool.path, connect)
    except FileNotFoundError:  # another epilogue was faster
        left = []
    LOG.info("undone, left: %s", left)
    if left:
        raise Fault(
            "VT0911",
            f"{len(left)} thing{'' if len(left) == 1 else 's'} of job {spool.path.name} could not be removed",
            help=_AGAIN,
            detail="\n".join(left),
        )
    try:
        spool.claim.unlink(missing_ok=True)
    except OSError as error:
        raise Fault("VT0911", f"job {spool.path.name} still has its claim: {error}", help=_AGAIN) from None


def _undos(spool: Spool) -> list[dict[str, Any]]:
    """Return what the journal lists, but for what the kernel forgot in a reboot: others may have set that anew."""
    undos = spool.journal.undos()
    try:
        rebooted = from_json(Registration, spool.registration.read_bytes()).boot_id != boot_id()
    except (OSError, DecodeError):
        rebooted = False
    return [undo for undo in undos if not (rebooted and undo.get("kind") in ("forwarding", "irq"))]


def stop(held: Registration) -> None:
    """End the process that holds the job, if it still is that process; returns when it is gone.

    Raises Fault VT0911 for one that not even KILL ends.
    """
    if held.pid == os.getpid():
        return
    try:
        process = os.pidfd_open(held.pid)  # one that comes later may have the number, never this handle
    except OSError:  # there is none; or the number is 0, which is no process's
        return
    try:
        for number, limit_s in ((signal.SIGTERM, _TERM_LIMIT_S), (signal.SIGKILL, _KILL_LIMIT_S)):
            if not alive(held):
                return
            LOG.info("process %d gets %s", held.pid, number.name)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
            until = time.monotonic() + limit_s
            while alive(held) and time.monotonic() < until:
                time.sleep(0.02)
    finally:
        os.close(process)
    if alive(held):
        raise Fault("VT0911", f"process {held.pid} of job {held.job_id} does not end", help="see what it waits for")
