"""Give a node back: stop the guests, undo the journal, see that nothing is left, remove the spool.

Works with only the journal on disk, twice, after a crash, and while a prologue still runs.
"""

from vtorque_runtime.hypervisor import connect as connect_libvirt
from vtorque_runtime.log import LOG
from vtorque_runtime.spool import Registry, Spool
from vtorque_runtime.steps import Connect, undo_all
from vtorque_spec.fault import Fault


def apply(registry: Registry, spool: Spool, connect: Connect = connect_libvirt) -> None:
    """Undo the job and remove its spool; nothing happens when that was done before.

    Raises Fault VT0911 naming what is left; then the journal stays, so that `vtorque-runtime reap` can try again.
    """
    if not spool.path.exists():
        return
    try:
        spool.journal.bury()
        left = undo_all(spool.journal.undos(), spool.path, connect)
    except FileNotFoundError:  # another epilogue was faster
        left = []
    LOG.info("undone, left: %s", left)
    if left:
        raise Fault(
            "VT0911",
            f"{len(left)} thing{'' if len(left) == 1 else 's'} of job {spool.path.name} could not be removed",
            help="mend the cause, then run: vtorque-runtime reap",
            detail="\n".join(left),
        )
    registry.remove(spool)
