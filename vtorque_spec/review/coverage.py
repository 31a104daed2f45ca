"""Coverage of a policy by its cases: which rules none has fired, which defaults none has got."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from vtorque_spec.diagnostics import Span
from vtorque_spec.document import Path
from vtorque_spec.policy.rules import Place, rules, walk
from vtorque_spec.policy.values import shown
from vtorque_spec.review.cases import Result
from vtorque_spec.site.policy_files import ROOT_URI, PolicyFiles
from vtorque_spec.spec.parse import label


@dataclass(frozen=True, slots=True)
class Line:
    """One rule or default of the site's own files: where it stands, and what it says. `code` is the rule's own."""

    span: Span
    text: str
    covered: bool
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Every rule and default, in the order of the files; one that several references lead to stands here once."""

    rules: tuple[Line, ...]
    defaults: tuple[Line, ...]

    @property
    def missing(self) -> tuple[Line, ...]:
        """The rules that no case has fired and the defaults that none has got."""
        return tuple(line for line in (*self.rules, *self.defaults) if not line.covered)


def coverage(policy: PolicyFiles, results: Collection[Result]) -> Coverage:
    """Tell what of the policy the cases have met. What rules only test (inside `if`, `anyOf` ...) has no part in it."""
    fired = {item.rule.span for result in results for item in result.items if item.rule}
    got = frozenset[Span]().union(*(result.defaults for result in results))
    return Coverage(_once(_rules(policy, fired)), _once(_defaults(policy, got)))


def _once(lines: Iterator[Line]) -> tuple[Line, ...]:
    first: dict[Span, Line] = {}
    for line in lines:
        first.setdefault(line.span, line)
    return tuple(sorted(first.values(), key=lambda line: line.span))


def _rules(policy: PolicyFiles, fired: Collection[Span]) -> Iterator[Line]:
    for rule in rules(policy):
        if rule.place.uri.startswith(ROOT_URI):
            text = _text(rule.place, rule.keyword, rule.limit)
            yield Line(rule.span, text, rule.span in fired, rule.place.said("code"))


def _defaults(policy: PolicyFiles, got: Collection[Span]) -> Iterator[Line]:
    for place in walk(policy):
        if place.tested or not place.uri.startswith(ROOT_URI):
            continue
        if isinstance(place.schema, dict) and "default" in place.schema:
            span = place.document.span((*place.path, "default"))
            yield Line(span, _text(place, "default", place.schema["default"]), span in got)


def _text(place: Place, keyword: str, value: object) -> str:
    """Say a rule in a few words; of values that hold schemas the keyword alone."""
    field: Path = place.field or ()
    parts = value if isinstance(value, list) else [value]
    plain = "" if value is None or any(isinstance(part, dict | list) for part in parts) else f" {shown(field, value)}"
    return (f"{label(field)}: " if field else "") + keyword + plain
