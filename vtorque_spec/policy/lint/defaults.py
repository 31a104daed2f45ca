"""Defaults that no job could have, that a limit refuses, that nothing uses, and that lack a unit."""

from collections.abc import Iterator
from typing import Any

from vtorque_spec.diagnostics import Code, Note, Rule
from vtorque_spec.document import Path
from vtorque_spec.policy.limits import ABSENCE
from vtorque_spec.policy.lint.kinds import with_unit
from vtorque_spec.policy.lint.values import in_a_job
from vtorque_spec.policy.lint.view import (
    View,
    condition_notes,
    conditions_of,
    is_own,
    members_at,
    name_of,
)
from vtorque_spec.policy.rules import Condition, Place, PolicyRule, below
from vtorque_spec.policy.sentences import best_case, sentence
from vtorque_spec.spec.fields import ANY, job_field

_UNFILLED = ("items", "contains", "patternProperties", "additionalProperties", "dependentSchemas", "propertyNames")


def check(view: View) -> None:
    """Look at each default by itself, then at those that are used together with the limits."""
    used = []
    for place in view.places:
        if isinstance(place.schema, dict) and "default" in place.schema:
            why = unused(place)
            if why is None:
                used.append(place)
            elif is_own(place):
                view.add(Code.POLICY_NO_EFFECT, f"this default is never used: {why[0]}", _key(place), why[1])
    for place in used:
        if is_own(place):
            _value(view, place, used)
    for rule in view.rules:
        _limit(view, rule, used)


def unused(place: Place) -> tuple[str, str] | None:
    """Return why the default of a subschema can fill nothing, and what to do; None if it may."""
    field = job_field(place.field) if place.field else None
    if place.tested:
        return "it stands inside a test", "move it out of `if`, `not`, `anyOf` or `oneOf`"
    if place.field and place.field[0] == "context":
        return "a policy does not set the context", "remove it"
    if any(word in place.path for word in _UNFILLED) or (place.field and ANY in place.field):
        return "the items of a list and members of any name are not filled", "remove it"
    if not place.field:
        return "the job as a whole has none", "write defaults below `properties`"
    if field is not None and field.required:
        return f"every job says `{name_of(place.field)}`", "remove it"
    return None


def _key(place: Place) -> Any:
    return place.document.key_span((*place.path, "default"))


def _value(view: View, place: Place, used: list[Place]) -> None:
    field, value = job_field(place.field or ()), place.schema["default"]
    span = place.document.span((*place.path, "default"))
    wrong = in_a_job(place.field or (), value)[1]
    if field is None or wrong is not None:
        why, hint = wrong or ("a job has no such member", None)
        view.add(Code.POLICY_DEFAULT, f"the default of `{name_of(place.field or ())}`: {why}", span, hint)
        return
    if field.kind in ("size", "duration") and isinstance(value, int):
        unit = "bytes" if field.kind == "size" else "seconds"
        message = f"`default: {value}` of `{name_of(field.path)}` means {value} {unit}"
        view.add(Code.POLICY_NO_UNIT, message, span, f"write it with its unit: `default: {with_unit(field, value)}`")
    same = [other for other in used if other.field == place.field and conditions_of(other) == conditions_of(place)]
    last = same[-1]
    if (last.uri, last.path) != (place.uri, place.path) and (not place.conditions or last.schema["default"] == value):
        message = "this default is never used: a later one wins"
        view.add(Code.POLICY_NO_EFFECT, message, _key(place), "remove one of them", [Note("the later one", _key(last))])


def _limit(view: View, rule: PolicyRule, used: list[Place]) -> None:
    """Tell when what a job gets where the rule applies breaks the rule."""
    field = rule.place.field
    if not field or field in view.wrong or not is_own(rule.place) or rule.keyword in ABSENCE:
        return
    for place in _in_force(view, rule, used):
        path = place.field or ()
        value, wrong = in_a_job(path, place.schema["default"])
        for at, inner in members_at(value, field[len(path) :]) if wrong is None else ():
            error = view.broken(rule, (*path, *at), inner)
            if error is not None:
                _refused(view, rule, place, sentence(best_case(error)))


def _in_force(view: View, rule: PolicyRule, used: list[Place]) -> Iterator[Place]:
    """Yield the defaults of the rule's field, and of each mapping around it, that jobs get where the rule applies.

    That is the default of the rule's own conditions, and that of each branch further in. A rule under a condition about
    its own field says what jobs are meant: those are not the ones that got the default.
    """
    field, conditions = rule.place.field or (), conditions_of(rule.place)
    if any(field in tests(view, condition) for condition in rule.place.conditions):
        return
    for end in range(len(field), 0, -1):
        inner = [one for one in used if one.field == field[:end] and conditions_of(one) > conditions]
        yield from {conditions_of(one): one for one in inner}.values()
        found = [one for one in used if one.field == field[:end] and conditions_of(one) <= conditions]
        deepest = max((len(conditions_of(one)) for one in found), default=0)
        found = [one for one in found if len(conditions_of(one)) == deepest]
        yield from found[-1:]


def tests(view: View, condition: Condition) -> set[Path]:
    """Return the fields that a condition asks about."""
    uri = next(uri for uri, document in view.site.policy.files.items() if document is condition.document)
    root = Place(uri, condition.document, condition.path, condition.schema, condition.field)
    asked: set[Path] = set()
    for place in below(view.site.policy, root):
        if place.field is not None and isinstance(place.schema, dict):
            asked.add(place.field)
            asked |= {(*place.field, name) for name in place.schema.get("required", ())}
    return asked


def _refused(view: View, rule: PolicyRule, place: Place, why: str) -> None:
    """Place it at the default, or, where the default is a shipped one, at the rule."""
    default = place.document.span((*place.path, "default"))
    notes = condition_notes(rule.place)
    about = Rule(rule.span, severity=rule.severity)
    if is_own(place):
        hint = "let the default fit the limit"
        if len(rule.place.conditions) > len(place.conditions):
            hint = "give the branch a default of its own that fits"
        notes.insert(0, Note("the site's rule is here", rule.span))
        view.report.add(Code.POLICY_DEFAULT, f"the default of {why}", default, notes=notes, help=hint, rule=about)
    else:
        notes.insert(0, Note("the default is here", default))
        hint = "set a `default` that fits beside the limit"
        view.report.add(Code.POLICY_DEFAULT, f"the default of {why}", rule.span, notes=notes, help=hint, rule=about)
