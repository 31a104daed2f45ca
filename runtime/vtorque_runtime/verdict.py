"""Verdicts: whose fault it is that a job could not be prepared, and what follows, on each batch system alike.

A hook returns success whatever the fault (runtime/README.md has what batch systems do with anything else): the job's
body prints the reason, and ends with its exit code. Only a fault of the node may take it out of service, where the site
says so.
"""

import errno
from dataclasses import dataclass
from typing import Literal

from vtorque_runtime.confined import RefusedError
from vtorque_runtime.console import harmless
from vtorque_spec.fault import Fault
from vtorque_spec.plan.answer import ToldFinding

Kind = Literal["user", "site", "node", "transient"]
"""Whose fault: the job's, the site's files', this node's; or one that may be over when the job is submitted again."""

BODY_EXIT_CODES: dict[Kind, int] = {"user": 78, "site": 78, "node": 75, "transient": 75}
"""EX_CONFIG: the same job would end the same way. EX_TEMPFAIL: it may run elsewhere, or later (sysexits.h)."""
OFFLINE: frozenset[Kind] = frozenset({"node"})
"""For which the node may be taken out of service."""

_SITE = frozenset({"VT0501", "VT0502", "VT0503", "VT0504", "VT0505", "VT0704", "VT0926", "VT0935", "VT0938", "VT0967"})
_SITE |= {"VT0510", "VT0512", "VT0513", "VT0514"}  # what the catalogue says, or says no more
_SITE |= {"VT0956"}  # a node without what the site's mounts need for OSv
_SITE |= {f"VT053{n}" for n in range(7)}  # a stored image that no guest can have
_NODE = frozenset({"VT0902", "VT0905", "VT0907", "VT0911", "VT0937", "VT0944"})
"""What no job can cause: a user whose job could would take nodes away from everybody."""
_BROKEN = frozenset({errno.EIO, errno.EROFS})
"""A full disk is not among them: what guests write, and what their owner does on the node, may fill one."""
_TRANSIENT = frozenset(
    {
        "VT0903",
        "VT0904",
        "VT0908",
        "VT0913",
        "VT0914",
        "VT0916",
        "VT0917",
        "VT0920",
        "VT0930",
        "VT0943",
        "VT0957",
        "VT0966",
    }
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whose fault it is, in which phase it was found, and what was found."""

    kind: Kind
    phase: str
    findings: tuple[ToldFinding, ...]

    @property
    def exit_code(self) -> int:
        """What the job's body ends with."""
        return BODY_EXIT_CODES[self.kind]


def of_error(error: BaseException, phase: str) -> Verdict:
    """Return the verdict on what ended the preparation of a job in `phase`."""
    if isinstance(error, RefusedError):
        codes = {one.code for one in error.findings if one.severity == "error"}
        if "VT0916" in codes:
            return Verdict("transient", phase, error.findings)
        return Verdict("site" if codes <= _SITE or all(map(_of_site_file, codes)) else "user", phase, error.findings)
    if isinstance(error, Fault):
        told = ToldFinding(error.code, "error", error.message, error.help, error.detail)
        return Verdict(_kind(error.code), phase, (told,))
    told = ToldFinding("VT0914", "error", f"a step on this node failed: {error}", "ask the admin of this node", None)
    broken = isinstance(error, OSError) and error.errno in _BROKEN
    return Verdict("node" if broken else "transient", phase, (told,))


def _kind(code: str) -> Kind:
    for kind, codes in (("site", _SITE), ("node", _NODE), ("transient", _TRANSIENT)):
        if code in codes:
            return kind  # type: ignore[return-value] # mypy takes a loop's text for any text
    return "user"


def _of_site_file(code: str) -> bool:
    """Findings about the site's own files are VT0700 to VT0799."""
    return code.startswith("VT07")


def lines(verdict: Verdict) -> list[str]:
    """Return the verdict for a person, as findings are shown; a terminal obeys nothing of it."""
    shown = []
    for one in verdict.findings:
        shown += _indented(f"{one.severity}[{one.code}]: {one.message}")
        shown += [f"  {line}" for line in (one.detail or "").splitlines()]
        if one.help:
            shown += _indented(f"help: {one.help}")
    return [harmless(line) for line in shown]


def _indented(text: str) -> list[str]:
    """Lines of which none but the first looks like a finding."""
    first, *rest = text.splitlines()
    return [first, *(f"  {line}" for line in rest)]
