"""A confined child of root's: a program of its own that is nobody before it is asked anything, and answers in JSON.

It has no environment, little memory and time. What it loads, and what it tells first, it does as root's own program;
then it has become nobody, which is looked up in /proc; only then is it asked. Whatever it does afterwards (crash, loop,
eat memory, print garbage) is a Fault here, and touches nothing.
"""

import os
import re
import resource
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from vtorque_runtime.confine import Limits, reader_ids
from vtorque_runtime.console import harmless
from vtorque_spec.canonical import DecodeError, canonical_json, from_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan.answer import FilesAnswer, NodeAnswer, ToldFinding

LIMITS = Limits()

_FINDINGS_LIMIT, _TEXT_LIMIT = 100, 2000
_CODE = re.compile(r"[A-Z][A-Z0-9]{0,7}[0-9]")
_END_LIMIT_S = 3.0

Answer = TypeVar("Answer", bound=NodeAnswer | FilesAnswer)


class RefusedError(Exception):
    """The job does not pass the node's own checks; the findings say why, in words that a terminal can show."""

    def __init__(self, findings: Sequence[ToldFinding]) -> None:
        super().__init__("; ".join(f"{one.code}: {one.message}" for one in findings))
        self.findings = tuple(findings)


class Confined(Generic[Answer]):
    """The child, as a context manager. `first` is what it told unasked; `warnings` what answers told beside results.

    What goes wrong before the first question is this node's trouble, VT0914; afterwards it is the job's, VT0927.
    """

    def __init__(self, kind: type[Answer], program: str, arguments: Sequence[str], limits: Limits = LIMITS) -> None:
        """Start a module that gets the arguments and the ids to take; it answers as `kind` has it.

        Raises RefusedError for errors that it tells at once, Fault VT0914.
        """
        reader = reader_ids()
        self.warnings: list[ToldFinding] = []
        self._kind, self._limits, self._rest = kind, limits, b""
        self._ends, self._code = time.monotonic() + limits.time_s, "VT0914"
        self._child = subprocess.Popen(
            ["setpriv", "--no-new-privs", "--", sys.executable, "-I", "-m", program, *arguments, *map(str, reader)],
            env={"PATH": "/usr/bin:/bin"}, cwd="/", start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _limit(self._child.pid, limits)
            self.first = self._answer()
            _check_confined(self._child.pid, *reader)
        except BaseException:
            self._end()
            raise

    def ask(self, question: object) -> Answer:
        """Return the answer. Raises RefusedError for the errors in it, Fault VT0927."""
        self._ends, self._code = time.monotonic() + self._limits.time_s, "VT0927"
        self._write(canonical_json(question).encode("ascii") + b"\n")
        return self._answer()

    def fault(self, what: str) -> Fault:
        """Return the Fault of a child that did `what`."""
        return Fault(self._code, f"the confined process that works out the job {what}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _write(self, rest: bytes) -> None:
        assert self._child.stdin is not None  # noqa: S101 - a pipe; for mypy
        pipe, unsent = self._child.stdin.fileno(), memoryview(rest)
        os.set_blocking(pipe, False)
        while unsent:
            if not select.select([], [pipe], [], max(self._ends - time.monotonic(), 0))[1]:
                raise self.fault(f"took more than {self._limits.time_s} s")
            try:
                unsent = unsent[os.write(pipe, unsent[:65536]) :]
            except BrokenPipeError:
                raise self.fault(self._ending()) from None

    def _answer(self) -> Answer:
        try:
            answer = from_json(self._kind, self._line())
        except DecodeError:
            raise self.fault("gave an answer that cannot be read") from None
        findings = [_clean(one) for one in answer.findings[:_FINDINGS_LIMIT]]
        if any(one.severity == "error" for one in findings):
            raise RefusedError(findings)
        self.warnings += [one for one in findings if one not in self.warnings][:_FINDINGS_LIMIT]
        return answer

    def _line(self) -> bytes:
        assert self._child.stdout is not None  # noqa: S101 - a pipe; for mypy
        pipe, found, part = self._child.stdout.fileno(), bytearray(self._rest), self._rest
        while b"\n" not in part:
            if len(found) > self._limits.result_bytes:
                raise self.fault(f"answered with more than {self._limits.result_bytes} bytes")
            if not select.select([pipe], [], [], max(self._ends - time.monotonic(), 0))[0]:
                raise self.fault(f"took more than {self._limits.time_s} s")
            part = os.read(pipe, 65536)
            if not part:
                raise self.fault(self._ending())
            found += part
        line, _, self._rest = bytes(found).partition(b"\n")
        return line

    def _ending(self) -> str:
        try:
            code = self._child.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            return "closed its streams"
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def _end(self) -> None:
        self._child.kill()
        for stream in (self._child.stdin, self._child.stdout):
            assert stream is not None  # noqa: S101 - a pipe; for mypy
            try:
                stream.close()
            except OSError:  # what was not written goes nowhere
                continue
        self._child.wait(_END_LIMIT_S)


def _limit(pid: int, limits: Limits) -> None:
    """From outside, and before the child is given anything that a user wrote."""
    for what, most in (
        (resource.RLIMIT_CPU, limits.time_s),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        hard = resource.prlimit(pid, what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.prlimit(pid, what, (most, most))


def _check_confined(pid: int, uid: int, gid: int) -> None:
    """Raise Fault VT0914 unless the process can neither be, nor become, anybody else (proc(5), status)."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    found = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    wanted = {"Uid": [str(uid)] * 4, "Gid": [str(gid)] * 4, "NoNewPrivs": ["1"]}
    if os.geteuid() == 0:
        wanted["Groups"] = []
    wrong = [name for name, words in wanted.items() if found.get(name, "?").split() != words]
    if wrong:
        raise Fault("VT0914", f"the confined process is not confined: {', '.join(wrong)} in /proc/{pid}/status")


def _clean(finding: ToldFinding) -> ToldFinding:
    def text(said: str | None) -> str | None:
        return said and "\n".join(harmless(line) for line in said[:_TEXT_LIMIT].split("\n"))

    code = finding.code if _CODE.fullmatch(finding.code) else "VT0927"
    return ToldFinding(code, finding.severity, text(finding.message) or "", text(finding.help), text(finding.detail))
