"""The job in OSv guests, as its owner follows it: their consoles on standard output, and the exit code."""

import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vtorque_runtime.handover import Handover
from vtorque_runtime.osv.output import Output
from vtorque_runtime.osv.verdict import Ending
from vtorque_runtime.progress import Progress
from vtorque_runtime.signals import ENDING, SignalledError, Signals
from vtorque_runtime.spool import Spool
from vtorque_spec.fault import Fault

_STDOUT = 1
_READ_BYTES = 64 * 1024
_TICK_S = 0.2


@dataclass
class Shown:
    """What of the copy of one guest's console `output` shows; after `prefix`, if any, on each line."""

    copy: Path
    prefix: str
    output: Output
    _offset: int = 0
    _pending: bytes = b""
    _line_begins: bool = True

    def show(self, *, whole: bool) -> bool:
        """Write what can be written without waiting; False while something is left. `whole`: nothing more comes.

        Raises SignalledError when nobody reads it any more.
        """
        while True:
            if not self._write():
                return False
            part = self._read()
            if part:
                self._add(self.output.feed(part))
            elif whole:
                self._add(self.output.end())
                return self._write()
            else:
                self._add(self.output.idle())
                return self._write()

    def _read(self) -> bytes:
        try:
            with self.copy.open("rb") as file:
                file.seek(self._offset)
                part = file.read(_READ_BYTES)
        except FileNotFoundError:
            return b""
        self._offset += len(part)
        return part

    def _add(self, own: bytes) -> None:
        if self.prefix and own:
            start = self.prefix.encode()
            own = (start if self._line_begins else b"") + own.replace(b"\n", b"\n" + start)
            self._line_begins = own.endswith(b"\n" + start)
            own = own.removesuffix(start) if self._line_begins else own
        self._pending += own

    def _write(self) -> bool:
        """Write to standard output as long as that does not wait for its reader."""
        while self._pending:
            if not _takes(_STDOUT):
                return False
            try:
                self._pending = self._pending[os.write(_STDOUT, self._pending[: select.PIPE_BUF]) :]
            except BrokenPipeError:
                raise SignalledError(signal.SIGPIPE) from None
        return True


def _takes(descriptor: int) -> bool:
    """Tell whether PIPE_BUF bytes can be written at once (poll(2): a pipe says so when it has that room)."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


def shown(spool: Spool, names: Sequence[str], job: Handover) -> list[Shown]:
    """Return the consoles of a node's guests by these names; of the job's VMs only the first has no prefix."""
    first = job.vms[0].hostname
    return [
        Shown(spool.console_copy(index), "" if name == first else f"{name}: ", Output(whole=job.console == "all"))
        for index, name in enumerate(names)
    ]


@dataclass
class OsvJob:
    """Follows the job to its end. `look` returns how it ended in each guest that `shown` has, None while it runs.

    `stop` asks for the guests' end, `others` returns the exit code of what follows other nodes, None while they run.
    """

    shown: Sequence[Shown]
    look: Callable[[], Sequence[Ending | None]]
    stop: Callable[[], None]
    others: Callable[[], int | None]
    signals: Signals
    progress: Progress
    _ending: int | None = None
    _interrupts: int = 0

    def run(self) -> int:
        """Return the exit code: of the first guest whose job failed, 128 + N when signal N came before the end, and
        before that of the walltime.

        Raises SignalledError on a second Ctrl-C, and when nobody reads standard output any more.
        """
        self.progress.phase("run")
        sys.stdout.flush()
        while True:
            self._deliver()
            endings = self.look()
            done = [one.show(whole=end is not None) for one, end in zip(self.shown, endings, strict=True)]
            elsewhere = self.others()
            ended = [end for end in endings if end is not None]
            if all(done) and len(ended) == len(self.shown) and elsewhere is not None:
                return self._code(ended, elsewhere)
            self.signals.wait(_TICK_S)

    def _code(self, endings: Sequence[Ending], elsewhere: int) -> int:
        # the signal may be the batch system's, of the same end of the walltime
        if self._ending is not None and not any(end.too_late for end in endings):
            return 128 + self._ending
        for end in endings:
            if told := end.finding:
                self.progress.fault(Fault(told.code, told.message, help=told.help, detail=told.detail))
        return next((code for code in (*(end.code for end in endings), elsewhere) if code), 0)

    def _deliver(self) -> None:
        """A unikernel takes no signals: those that ask a program to end press its power button."""
        for number in self.signals.take():
            self._interrupts += number == signal.SIGINT
            if self._interrupts > 1:
                raise SignalledError(number)
            if number in ENDING:
                self._ending = number
                self.stop()
            else:
                name = signal.Signals(number).name
                self.progress.note(f"{name} is not passed on: an OSv guest takes no signals")
