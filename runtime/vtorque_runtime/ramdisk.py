"""The file system in memory of a job whose root disks are read from there."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vtorque_runtime import shares
from vtorque_spec.plan import CellMemory, memory_base

_INODES = 16
"""The directory, the file, and some to spare."""


@dataclass(frozen=True, slots=True)
class MemoryUndo:
    """Unmount the job's file system in memory."""

    kind: Literal["memory"]


def mount(path: Path, options: str) -> None:
    """Make it, with `mount_options`. Raises Fault VT0914, OSError."""
    path.mkdir(mode=0o700)
    shares.mount("vtorque", path, shares.MS_NOSUID | shares.MS_NODEV, "tmpfs", options)
    shares.check_seen(path)


def mount_options(size_bytes: int, memory: Iterable[CellMemory]) -> str:
    """Return those of tmpfs(5) for that size, in the cells where `memory` has ordinary one; none: wherever."""
    cells = ",".join(str(cell) for cell in sorted({own.cell for own in memory if own.page_bytes == 1}))
    return f"size={size_bytes},nr_inodes={_INODES},mode=0711" + (f",mpol=bind:{cells}" if cells else "")


def remove(spool: Path) -> list[str]:
    """Unmount it, which frees the memory; return its path if it stays. Nothing happens when there is none."""
    path = Path(memory_base(str(spool)))
    if not os.path.lexists(path):
        return []
    shares.unmount(path)
    path.rmdir()
    return []
