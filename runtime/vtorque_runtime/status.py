"""How far a job is on one node: `status.json` for its owner, replaced whole at each change; root never reads it."""

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from vtorque_runtime.files import replace_file, start_ticks
from vtorque_runtime.log import LOG
from vtorque_runtime.osv.verdict import Ending
from vtorque_runtime.partition import Usage
from vtorque_runtime.spool import Spool
from vtorque_runtime.verdict import Verdict
from vtorque_spec.canonical import canonical_json, from_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import VERSION

REGISTERED, READY, FAILED = "registered", "ready", "failed"


@dataclass(frozen=True)
class VmStatus:
    """One VM of this node, and the phase of its boot (`boot.PHASE_LIMITS`); of an OSv guest how its job ended, too."""

    hostname: str
    phase: str
    ending: Ending | None = None


@dataclass(frozen=True)
class Status:
    """The content of status.json.

    `phase` is registered, planning, staging, booting, ready or failed; a failed one has a verdict. `pid` and
    `start_ticks` are the supervisor's, 0 before there is one; `since_s` is the Unix time of the last change.
    """

    version: int
    job_id: str
    node: str
    pid: int
    start_ticks: int
    since_s: int
    phase: str
    vms: tuple[VmStatus, ...]
    notes: tuple[str, ...]
    verdict: Verdict | None
    suspended: bool
    usage: Usage | None


def read(path: Path) -> Status | None:
    """Return what the file says, None where there is none. Raises Fault VT0914."""
    try:
        return from_json(Status, path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Fault("VT0914", f"{path}: {error}") from None


@dataclass
class Publisher:
    """Writes status.json of a job whose owner is `owner` (uid, gid), and the same as state.json for root to read.

    Without an owner, when it is not known yet whose job it is, everybody may read it.

    It is a Progress as well: what a prologue and a boot tell is published, and goes into the record.
    """

    spool: Spool
    job_id: str
    node: str
    owner: tuple[int, int] | None
    _now: Status = field(init=False)

    def __post_init__(self) -> None:
        self._now = Status(VERSION, self.job_id, self.node, 0, 0, 0, REGISTERED, (), (), None, False, None)

    @property
    def now(self) -> Status:
        """The last that was published."""
        return self._now

    def publish(self, **changes: object) -> None:
        """Replace the file by one with these changes."""
        self._now = replace(self._now, since_s=int(time.time()), **changes)  # type: ignore[arg-type] # its own members
        text = canonical_json(self._now)
        replace_file(self.spool.state, text)
        replace_file(self.spool.status, text, 0o444 if self.owner is None else 0o400, self.owner)

    def update(self, **changes: object) -> None:
        """Publish what a running job can do without: where the disk is full, readers have what was there before."""
        try:
            self.publish(**changes)
        except OSError as error:
            LOG.error("not published: %s", error)

    def supervised(self) -> None:
        """Say that the calling process supervises the job."""
        self.publish(pid=os.getpid(), start_ticks=start_ticks(os.getpid()) or 0)

    def phase(self, name: str, guest: str = "") -> None:
        """See Progress."""
        LOG.info("%sphase %s", f"{guest}: " if guest else "", name)
        if not guest:
            self.publish(phase=name)
            return
        vms = tuple(replace(vm, phase=name) if vm.hostname == guest else vm for vm in self._now.vms)
        self.publish(phase="booting", vms=vms)

    def ended(self, guest: str, ending: Ending) -> None:
        """Say how the job of an OSv guest ended."""
        LOG.info("%s: ended with %d", guest, ending.code)
        vms = tuple(replace(vm, ending=ending) if vm.hostname == guest else vm for vm in self._now.vms)
        self.publish(vms=vms)

    def note(self, text: str) -> None:
        """See Progress."""
        LOG.info("%s", text)
        self.publish(notes=(*self._now.notes, text))

    def fault(self, fault: Fault) -> None:
        """See Progress."""
        self.note(str(fault))
