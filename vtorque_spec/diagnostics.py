"""Findings: what is wrong, where, why, and what to do about it, each apart."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from vtorque_spec.codes import Code, Severity

__all__ = ["Code", "Diagnostic", "Fix", "Note", "Report", "Rule", "Severity", "Span", "near_miss"]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open region of a source file; lines and columns (in characters) count from 1."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Note:
    """A remark that belongs to a finding, with a place of its own where it has one."""

    message: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule of the site's policy says of its findings. `code` is the site's own, such as HLRS012."""

    span: Span
    code: str | None = None
    severity: Severity = Severity.ERROR
    url: str | None = None
    allow_suppress: bool | None = None


@dataclass(frozen=True, slots=True)
class Fix:
    """The one safe way to mend a finding: exactly the text at `span` becomes `text`."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `message` never says how to mend it; only `help` does. `detail` is evidence to show below.

    A finding of the site's policy names the `rule`, which may give it a code and a severity of its own.
    """

    code: Code
    message: str
    span: Span | None = None
    notes: tuple[Note, ...] = ()
    help: str | None = None
    detail: str | None = None
    rule: Rule | None = None
    fix: Fix | None = None

    @property
    def id(self) -> str:
        """The code that people see: the site's own where its rule has one."""
        return self.rule.code if self.rule and self.rule.code else self.code.id

    @property
    def severity(self) -> Severity:
        """The rule's severity, else the code's."""
        return self.rule.severity if self.rule else self.code.severity

    @property
    def may_be_suppressed(self) -> bool:
        """Whether a comment in the job file may hide it from a report: warnings, and what the rule says itself."""
        said = self.rule.allow_suppress if self.rule else None
        return self.severity is Severity.WARNING if said is None else said


@dataclass(slots=True)
class Report:
    """Collects the findings of a run; every stage adds to it, and the driver stops between stages only."""

    items: list[Diagnostic] = field(default_factory=list)

    def add(
        self,
        code: Code,
        message: str,
        span: Span | None = None,
        *,
        notes: Iterable[Note] = (),
        help: str | None = None,  # noqa: A002 - as in Diagnostic
        rule: Rule | None = None,
        fix: Fix | None = None,
    ) -> None:
        """Add one finding."""
        self.items.append(Diagnostic(code, message, span, tuple(notes), help, None, rule, fix))

    @property
    def failed(self) -> bool:
        """Whether there is an error among the findings."""
        return any(item.severity is Severity.ERROR for item in self.items)

    def sorted(self) -> list[Diagnostic]:
        """Return the findings in the order of the files' text; those without a place come last."""
        last = Span("\U0010ffff", 0, 0, 0, 0)
        return sorted(self.items, key=lambda item: (item.span or last, item.id, item.message))


def near_miss(word: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `word` most probably was meant to be."""
    spelled = {name.lower(): name for name in sorted(known)}
    from difflib import get_close_matches  # a file without errors does not pay for it

    matches = get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    return spelled[matches[0]] if matches else None
