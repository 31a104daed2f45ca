"""Interrupts of network adapters: moved to the CPUs that serve the guests' I/O, and given back.

Which interrupts an adapter has is read below its device (`msi_irqs`, the kernel's ABI/testing/sysfs-bus-pci), where
they may run from /proc/irq/N/smp_affinity_list (its core-api/irq/irq-affinity.rst).
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from vtorque_runtime.cpulist import list_text, read_list
from vtorque_runtime.journal import Journal
from vtorque_runtime.sysfs import ROOT
from vtorque_spec.fault import Fault

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,63}")


@dataclass(frozen=True, slots=True)
class IrqUndo:
    """Give interrupt `irq` back to the CPUs `old`, unless somebody took it away from the CPUs `new` meanwhile."""

    kind: Literal["irq"]
    irq: int
    old: str
    new: str


def interrupts(nic: str, root: Path = ROOT) -> tuple[int, ...]:
    """Return the numbers of the adapter's interrupts, ascending: a network interface (eth0) or an HCA (mlx5_0).

    A virtio adapter's belong to the PCI function above it. None for an adapter without message-signalled interrupts.
    Raises Fault VT0912 for what is no name.
    """
    if not _NAME.fullmatch(nic):
        raise Fault("VT0912", f"not the name of an adapter: {nic!r}")
    found: set[int] = set()
    for kind in ("net", "infiniband"):
        device = (root / "sys" / "class" / kind / nic / "device").resolve()
        if (device / "subsystem").resolve().name == "virtio":
            device = device.parent
        found.update(int(path.name) for path in device.glob("msi_irqs/[0-9]*"))
    return tuple(sorted(found))


def move(nics: Iterable[str], cpus: Collection[int], journal: Journal, root: Path = ROOT) -> list[str]:
    """Move the interrupts of `nics` to `cpus`; return what was done, one sentence for each adapter.

    Where each ran is in the journal before it moves. An interrupt that another job has moved stays with that job (hold
    the registry's lock, so that two jobs are not equally fast), one that the kernel does not let go stays where it is.
    Raises `journal.BuriedError`.
    """
    others = _moved_by_others(journal)
    return [_move_adapter(nic, list_text(cpus), others, journal, root) for nic in nics]


def restore(undo: IrqUndo, root: Path = ROOT) -> list[str]:
    """Undo a move; return what could not be undone. Nothing happens when the interrupt is gone or is not there now."""
    path = _affinity(undo.irq, root)
    try:
        now = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return []
    if _cpus(now) == _cpus(undo.old) or not _cpus(now) <= _cpus(undo.new):
        return []
    refusal = _write(path, undo.old)
    return [f"interrupt {undo.irq} on CPUs {now} instead of {undo.old}: {refusal}"] if refusal else []


def give_back(journal: Journal, root: Path = ROOT) -> list[str]:
    """Undo all moves of the job while it goes on; return what could not be undone."""
    undos = [IrqUndo(**record) for record in journal.undos() if record["kind"] == "irq"]
    return [left for undo in reversed(undos) for left in restore(undo, root)]


def watch(nics: Iterable[str], cpus: Collection[int], journal: Journal, root: Path = ROOT) -> None:
    """Journal where the interrupts of `nics` run, for somebody else will move them to some of `cpus`."""
    for irq in (irq for nic in nics for irq in interrupts(nic, root)):
        old = _affinity(irq, root).read_text(encoding="ascii").strip()
        journal.step(IrqUndo("irq", irq, old, list_text(cpus)), lambda: None)


def _move_adapter(nic: str, cpus: str, others: frozenset[int], journal: Journal, root: Path) -> str:
    irqs = interrupts(nic, root)
    if not irqs:
        return f"{nic} has no message-signalled interrupts to move"
    stayed = {irq: why for irq in irqs if (why := _move_one(irq, cpus, others, journal, root))}
    said = f"interrupts of {nic} on CPUs {cpus}: {list_text(set(irqs) - set(stayed)) or 'none'}"
    return "; ".join([said, *(f"{irq} {why}" for irq, why in stayed.items())])


def _move_one(irq: int, cpus: str, others: frozenset[int], journal: Journal, root: Path) -> str | None:
    """Return None, or why the interrupt stayed where it is."""
    if irq in others:
        return "stays with the job that moved it before"
    path = _affinity(irq, root)
    try:
        old = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return "is gone"
    if _cpus(old) == _cpus(cpus):
        return None
    refusal = journal.step(IrqUndo("irq", irq, old, cpus), partial(_write, path, cpus))
    return refusal and f"stays on CPUs {old}, for the kernel does not move it: {refusal}"


def _write(path: Path, cpus: str) -> str | None:
    """Return None, or the kernel's refusal: of an interrupt whose place its driver has fixed it is EIO."""
    try:
        path.write_text(cpus, encoding="ascii")
    except OSError as error:
        return error.strerror or str(error)
    return None


def _moved_by_others(journal: Journal) -> frozenset[int]:
    """The interrupts in the journals of the node's other jobs."""
    found: set[int] = set()
    for path in journal.path.parent.parent.glob(f"*/{journal.path.name}"):
        if path != journal.path:
            try:
                found.update(record["irq"] for record in Journal(path).undos() if record.get("kind") == "irq")
            except (FileNotFoundError, Fault):  # the job has ended, or its own end tells of the journal
                continue
    return frozenset(found)


def _affinity(irq: int, root: Path) -> Path:
    return root / "proc" / "irq" / str(irq) / "smp_affinity_list"


def _cpus(text: str) -> frozenset[int]:
    return frozenset(read_list(text))
