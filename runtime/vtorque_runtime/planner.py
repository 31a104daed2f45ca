"""Root's confined child on a node: it alone works with what a user wrote, and is nobody before it sees the first byte.

A program of its own (`vtorque_spec.node`), with no environment, little memory and time. It tells the facts of root's
own site first, so these can be trusted; then it has become nobody, which is looked up in /proc; only then is it asked.
Whatever it does afterwards (crash, loop, eat memory, print garbage) is a Fault here, and touches nothing.
"""

import os
import pwd
import re
import resource
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from vtorque_runtime.confine import Limits
from vtorque_runtime.console import harmless
from vtorque_spec.canonical import DecodeError, canonical_json, from_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodeBundle, NodeSite
from vtorque_spec.plan.answer import Needs, NodeAnswer, Question, ToldFinding

SITE = Path("/etc/vtorque")

LIMITS = Limits()

LARGEST_NEEDS = Needs(256, "", 2**16, 2**40 // 2**10)
"""What root accepts of a child: 256 VMs, 65,536 vCPUs, 1 PiB."""

_FINDINGS_LIMIT, _TEXT_LIMIT = 100, 2000
_CODE = re.compile(r"[A-Z][A-Z0-9]{0,7}[0-9]")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_END_LIMIT_S = 3.0


class RefusedError(Exception):
    """The job does not pass the node's own checks; the findings say why, in words that a terminal can show."""

    def __init__(self, findings: Sequence[ToldFinding]) -> None:
        super().__init__("; ".join(f"{one.code}: {one.message}" for one in findings))
        self.findings = tuple(findings)


class Planner:
    """The child, as a context manager. `site` are the node's facts; `warnings` what the answers told beside results.

    What goes wrong before the first question is this node's trouble, VT0914; afterwards it is the job's, VT0927.
    """

    def __init__(
        self, node: str, directory: Path = SITE, limits: Limits = LIMITS, program: str = "vtorque_spec.node"
    ) -> None:
        """Start it, and let it be confined. Raises RefusedError when the site's files cannot be used, Fault VT0914."""
        nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.warnings: list[ToldFinding] = []
        self._limits, self._ends, self._rest = limits, time.monotonic() + limits.time_s, b""
        self._code = "VT0914"
        ids = [str(nobody.pw_uid), str(nobody.pw_gid)]
        self._child = subprocess.Popen(
            ["setpriv", "--no-new-privs", "--", sys.executable, "-I", "-m", program, str(directory), node, *ids],
            env={"PATH": "/usr/bin:/bin"}, cwd="/", start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _limit(self._child.pid, limits)
            answer = self._answer()
            if answer.site is None:
                raise self._fault("did not tell the site's facts")
            _check_confined(self._child.pid, nobody.pw_uid, nobody.pw_gid)
        except BaseException:
            self._end()
            raise
        self.site: NodeSite = answer.site
        self._code = "VT0927"

    def needs(self, question: Question) -> Needs:
        """Return what the job needs, of a question whose context has no slots. Raises RefusedError, Fault VT0927."""
        needs = self._ask(question).needs
        if needs is None:
            raise self._fault("did not say what the job needs")
        check_needs(needs)
        return needs

    def bundle(self, question: Question) -> NodeBundle:
        """Return the plan, unchecked. Raises RefusedError, Fault VT0927."""
        bundle = self._ask(question).bundle
        if bundle is None:
            raise self._fault("has no plan")
        return bundle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _ask(self, question: Question) -> NodeAnswer:
        self._ends = time.monotonic() + self._limits.time_s
        self._write(canonical_json(question).encode("ascii") + b"\n")
        return self._answer()

    def _write(self, rest: bytes) -> None:
        assert self._child.stdin is not None  # noqa: S101 - a pipe; for mypy
        pipe = self._child.stdin.fileno()
        os.set_blocking(pipe, False)
        while rest:
            if not select.select([], [pipe], [], max(self._ends - time.monotonic(), 0))[1]:
                raise self._fault(f"took more than {self._limits.time_s} s")
            try:
                rest = rest[os.write(pipe, rest[:65536]) :]
            except BrokenPipeError:
                raise self._fault(self._ending()) from None

    def _answer(self) -> NodeAnswer:
        try:
            answer = from_json(NodeAnswer, self._line())
        except DecodeError:
            raise self._fault("gave an answer that cannot be read") from None
        findings = [_clean(one) for one in answer.findings[:_FINDINGS_LIMIT]]
        if any(one.severity == "error" for one in findings):
            raise RefusedError(findings)
        self.warnings += [one for one in findings if one not in self.warnings][:_FINDINGS_LIMIT]
        return answer

    def _line(self) -> bytes:
        assert self._child.stdout is not None  # noqa: S101 - a pipe; for mypy
        pipe = self._child.stdout.fileno()
        while b"\n" not in self._rest:
            if len(self._rest) > self._limits.result_bytes:
                raise self._fault(f"answered with more than {self._limits.result_bytes} bytes")
            if not select.select([pipe], [], [], max(self._ends - time.monotonic(), 0))[0]:
                raise self._fault(f"took more than {self._limits.time_s} s")
            part = os.read(pipe, 65536)
            if not part:
                raise self._fault(self._ending())
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _ending(self) -> str:
        try:
            code = self._child.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            return "closed its streams"
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def _fault(self, what: str) -> Fault:
        return Fault(self._code, f"the confined process that works out the job {what}")

    def _end(self) -> None:
        self._child.kill()
        for stream in (self._child.stdin, self._child.stdout):
            assert stream is not None  # noqa: S101 - a pipe; for mypy
            try:
                stream.close()
            except OSError:  # what was not written goes nowhere
                continue
        self._child.wait(_END_LIMIT_S)


def check_needs(needs: Needs) -> None:
    """Raise Fault VT0927 for what no job can need; whoever told it is not trusted."""
    pairs = [
        (getattr(needs, name), getattr(LARGEST_NEEDS, name)) for name in ("vms", "numad_vcpus", "numad_memory_mib")
    ]
    together = (needs.numad_vcpus is None) == (needs.numad_memory_mib is None)
    fine = all(value is None or 1 <= value <= most for value, most in pairs)
    if not (together and fine and _NETWORK.fullmatch(needs.network)):
        raise Fault("VT0927", "the confined process says that the job needs what no job can")


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
