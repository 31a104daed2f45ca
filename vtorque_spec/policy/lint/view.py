"""What the checks of a policy look at: its subschemas, its rules by field, and what a field's values are."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from jsonschema.exceptions import ValidationError

from vtorque_spec.diagnostics import Code, Note, Report, Span
from vtorque_spec.document import Path
from vtorque_spec.policy.evaluate import Evaluator, evaluator
from vtorque_spec.policy.rules import Condition, Place, PolicyRule, rules_of, walk
from vtorque_spec.policy.vocabulary import CONTEXT
from vtorque_spec.site import Site
from vtorque_spec.site.policy_files import ROOT_URI
from vtorque_spec.spec.fields import ANY, Field, job_field
from vtorque_spec.spec.parse import label, value_at

Conditions = frozenset[str]
"""The conditions that a rule stands under, each as text: the same condition written twice is one."""

NO_CONDITION: Conditions = frozenset()


class View:
    """A site's policy, seen as one; findings go to `report`. Of fields that are `wrong` nothing more is said."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.report = Report()
        self.wrong: set[Path] = set()
        self.places = tuple(walk(site.policy))
        self.rules = tuple(rule for place in self.places for rule in rules_of(place))

    @cached_property
    def own(self) -> tuple[Place, ...]:
        """The subschemas that stand in the site's own files; true and false are none."""
        return tuple(place for place in self.places if is_own(place) and isinstance(place.schema, dict))

    @cached_property
    def evaluator(self) -> Evaluator:
        """What evaluates single rules."""
        return evaluator(self.site, frozenset())

    def rules_by_field(self) -> dict[Path, list[PolicyRule]]:
        """Return the rules that refuse, by the field that they are about, in the order of the files."""
        found: dict[Path, list[PolicyRule]] = {}
        for rule in self.rules:
            if rule.place.field is not None:
                found.setdefault(rule.place.field, []).append(rule)
        return found

    def broken(self, rule: PolicyRule, field: Path, value: Any) -> ValidationError | None:
        """Return how a value of the field at `field` breaks a rule, None if it does not."""
        for error in self.evaluator.errors_of(rule, value):
            error.path.extendleft(reversed(field))
            return error
        return None

    def add(
        self,
        code: Code,
        message: str,
        span: Span,
        hint: str | None = None,
        notes: Iterable[Note] = (),
    ) -> None:
        """Add a finding."""
        self.report.add(code, message, span, help=hint, notes=notes)


def is_own(place: Place) -> bool:
    """Whether a subschema stands in a file of the site, not in a shipped one."""
    return place.uri.startswith(ROOT_URI)


def conditions_of(place: Place) -> Conditions:
    """Return what must hold for the subschema to apply."""
    return frozenset(_text(condition) for condition in place.conditions)


def _text(condition: Condition) -> str:
    return json.dumps([condition.schema, condition.field, condition.holds], sort_keys=True)


def condition_notes(place: Place) -> list[Note]:
    """Return a note for each condition that the subschema stands under."""
    return [Note("it stands under this condition", one.document.key_span(one.path)) for one in place.conditions]


def field_at(path: Path | None) -> Field | None:
    """Return the field of a job or of `context`; None where there is none, or it cannot be told."""
    if not path or path[0] != "context":
        return job_field(path) if path else None
    if len(path) == 1:
        return Field(path, "mapping", "", required=True)
    if path[1] == "groups":
        groups = Field(path[:2], "list", "", required=True, inner=str)
        return groups if len(path) == 2 else groups.each()
    return Field(path, "text", "", required=True) if len(path) == 2 and path[1] in CONTEXT else None


def name_of(path: Path) -> str:
    """Return a field's path as messages show it: ``mounts.*.name``."""
    return label(path) or "the job"


def members_at(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield each value below `value` that `path` (with stars for any item) leads to, with its own path."""
    if not path:
        yield (), value
    elif path[0] == ANY:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in inner:
            yield from (((key, *rest), found) for rest, found in members_at(item, path[1:]))
    elif isinstance(value, dict) and path[0] in value:
        yield from (((path[0], *rest), found) for rest, found in members_at(value[path[0]], path[1:]))


def target_of(view: View, place: Place) -> Place | None:
    """Return the subschema that a `$ref` of `place` leads to, about the same value."""
    reference = place.schema.get("$ref") if isinstance(place.schema, dict) else None
    target = view.site.policy.target(place.uri, reference) if isinstance(reference, str) else None
    if target is None:
        return None
    document = view.site.policy.files[target[0]]
    schema = value_at(document.data, target[1])
    return replace(place, uri=target[0], document=document, path=target[1], schema=schema)
