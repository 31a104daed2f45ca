"""The host's switch for passing packets on (ip_forward): libvirt turns it on for a NAT network, and never off.

Several jobs may need it at once. What each writes to its journal is how it was before the first of them; who is last
puts that back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vtorque_runtime.files import locked
from vtorque_runtime.journal import Journal
from vtorque_spec.fault import Fault

SWITCH = Path("/proc/sys/net/ipv4/ip_forward")
_KIND: Literal["forwarding"] = "forwarding"


@dataclass(frozen=True, slots=True)
class ForwardingUndo:
    """Put the switch back to `found`, unless another job still needs it on."""

    kind: Literal["forwarding"]
    found: str


def note(journal: Journal) -> None:
    """Write to the job's journal, before libvirt turns the switch on, how to leave it."""
    with locked(_lock(journal.path.parent)):
        earlier = {found for found, _ in _others(journal.path.parent)}
        found = "0" if "0" in earlier else SWITCH.read_text(encoding="ascii").strip()
        journal.step(ForwardingUndo(_KIND, found), lambda: None)


def restore(undo: ForwardingUndo, spool: Path) -> list[str]:
    """Put the switch back when no job that is not being undone needs it; return what is left, by name."""
    with locked(_lock(spool)):
        if undo.found != "0" or any(not buried for _, buried in _others(spool)):
            return []
        SWITCH.write_text("0\n", encoding="ascii")
        return [] if SWITCH.read_text(encoding="ascii").strip() == "0" else [f"{SWITCH} at 1"]


def _lock(spool: Path) -> Path:
    """What keeps other jobs from the switch meanwhile."""
    return spool.parent / ".forwarding.lock"


def _others(spool: Path) -> Iterator[tuple[str, bool]]:
    """Yield what other jobs found, and whether each is being undone."""
    for path in sorted(spool.parent.glob("*/journal.jsonl")):
        try:
            records = [] if path.parent == spool else Journal(path).records()
        except FileNotFoundError:  # it has just gone
            continue
        except Fault:  # damaged: it may be one that needs it
            yield "", False
            continue
        found = [str(record["found"]) for record in records if record.get("kind") == _KIND]
        if found:
            yield found[0], any("tombstone" in record for record in records)
