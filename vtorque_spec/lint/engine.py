"""Check many job files, over the cores: every file apart, and nothing of it kept but its findings."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Literal

from vtorque_spec.diagnostics import Code, Diagnostic, Report, Span
from vtorque_spec.document import read
from vtorque_spec.driver import Checked, check_document
from vtorque_spec.fault import Fault
from vtorque_spec.lint.mend import Change, mend_file
from vtorque_spec.lint.selection import Selection, known_codes
from vtorque_spec.lint.suppress import suppress
from vtorque_spec.policy import Context
from vtorque_spec.site import Site

WARM = 64
"""So many files are checked before workers start: fewer do not pay for them, and they inherit what was built."""

CHUNK = 32
"""Files that a worker takes at a time."""

Mending = Literal["none", "show", "write"]
"""What `--fix` asks for: nothing, a diff, or the files in place."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is told of one file. `changes` were made (or with "show": would be), `diff` shows them."""

    findings: list[Diagnostic]
    changes: list[Change] = field(default_factory=list)
    diff: str = ""


@dataclass(slots=True)
class Checker:
    """Checks one file after the other for one site. Workers inherit it, so nothing of it is ever copied.

    `look` is called with each job that passed, and looks at more than its text.
    """

    site: Site
    context: Context
    look: Callable[[Checked, Context, Report], None]
    today: date
    selection: Selection = field(default_factory=Selection)
    mending: Mending = "none"
    codes: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.codes = known_codes(self.site)

    def check(self, name: str) -> Result:
        """Check the file called `name`, mended before if that is asked for."""
        path, report = Path(name), Report()
        changes, diff = self._mend(path, name, report)
        if self.mending == "show":
            return Result(report.items, changes, diff)
        document = read(path, report, name)
        if document is not None:
            checked = check_document(document, path.parent, self.site, self.context, report)
            if checked is not None:
                self.look(checked, self.context, report)
        found = report.sorted()
        if document is not None:
            found = suppress(document, found, self.today, self.codes)
        return Result([item for item in found if self.selection.has(item.id)], changes, diff)

    def _mend(self, path: Path, name: str, report: Report) -> tuple[list[Change], str]:
        if self.mending == "none":
            return [], ""
        try:
            return mend_file(path, name, self.selection.has, write=self.mending == "write")
        except Fault as fault:
            report.add(Code.NOT_MENDED, fault.message, Span(name, 1, 1, 1, 1), help=fault.help)
            return [], ""


class WorkerLost(Exception):  # noqa: N818 - says what happened
    """A worker process ended before its work was done, most probably killed for want of memory."""


def cores() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_all(names: Sequence[str], check: Callable[[str], Result], workers: int) -> Iterator[Result]:
    """Yield the results in the order of `names`; raises WorkerLost.

    The workers are forked once there is work enough, after everything that they use was loaded and has been used.
    """
    head, rest = names[:WARM], names[WARM:]
    if workers == 1 or not rest:
        yield from map(check, names)
        return
    yield from map(check, head)
    yield from _spread(rest, check, min(workers, -(-len(rest) // CHUNK)))


def _spread(names: Sequence[str], check: Callable[[str], Result], workers: int) -> Iterator[Result]:
    import gc
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
    from multiprocessing import get_context

    gc.freeze()  # what the workers share with this process is never looked through, and so stays shared
    fork = get_context("fork")
    pool = ProcessPoolExecutor(workers, mp_context=fork, initializer=_inherit, initargs=(check, names))
    try:
        yield from chain.from_iterable(pool.map(_check_chunk, range(0, len(names), CHUNK)))
    except BrokenProcessPool:
        raise WorkerLost from None
    finally:
        pool.shutdown(cancel_futures=True)
        gc.unfreeze()


_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_inherited: list[tuple[Callable[[str], Result], Sequence[str]]] = []
"""In a worker: what it is to do, and all names. What is sent to it is small, so that no queue fills when one dies."""


def _inherit(check: Callable[[str], Result], names: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and the parent its workers
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a parent that is killed leaves none behind
    _inherited[:] = [(check, names)]


def _check_chunk(start: int) -> list[Result]:
    check, names = _inherited[0]
    return [check(name) for name in names[start : start + CHUNK]]
