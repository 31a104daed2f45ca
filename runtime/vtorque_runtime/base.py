"""Make ready what a job's root disks are read from: the image as it is, the node's copy of it, or one in memory."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from vtorque_runtime import ramdisk
from vtorque_runtime.identity import Reserved
from vtorque_runtime.images import prefetch
from vtorque_runtime.log import LOG
from vtorque_spec.plan import NodePlan, base_file, copy_name, memory_base


def make(plan: NodePlan, reserved: Reserved, proceed: Callable[[], None]) -> None:
    """Make the base of the plan's root disks. `proceed` is called all the time and may raise to stop there.

    The plan is kept already: from then on the node's copy of its image stays. Raises Fault VT0503, VT0914, VT0966,
    VT0967, OSError, and `journal.BuriedError`.
    """

    def look(_done: int, _whole: int) -> None:
        proceed()

    if plan.backing == "local":
        made = prefetch.prefetch(reserved.registry, plan.image, look)
        LOG.info("%s the node's copy %s", "made" if made else "found", copy_name(plan.image))
    elif plan.backing == "ram":
        at, several = Path(memory_base(plan.spool)), len(reserved.context.cells) > 1
        options = ramdisk.mount_options(plan.base_memory_bytes, plan.claim.memory if several else ())
        reserved.spool.journal.step(ramdisk.MemoryUndo("memory"), partial(ramdisk.mount, at, options))
        prefetch.copy_to_memory(plan.image, Path(base_file(plan.image, "ram", plan.spool)), look)


def outside_bytes(plan: NodePlan, *, diskless: bool) -> int:
    """Return how much of the claimed memory root itself fills, so that the kernel counts it to none of the guests."""
    if not diskless:
        return plan.base_memory_bytes
    thin = sum(guest.root_disk_bytes for guest in plan.guests)  # QEMU fills these
    return plan.base_memory_bytes + plan.claim.disk_bytes - thin
