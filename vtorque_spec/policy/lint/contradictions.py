"""Limits of one field that exclude each other: within a file, across layers, references and `allOf`, in a branch."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from vtorque_spec.diagnostics import Code, Note, Severity, Span
from vtorque_spec.document import Path
from vtorque_spec.policy.images import spellings
from vtorque_spec.policy.lint.values import never
from vtorque_spec.policy.lint.view import (
    NO_CONDITION,
    Conditions,
    View,
    condition_notes,
    conditions_of,
    field_at,
    is_own,
    name_of,
)
from vtorque_spec.policy.rules import Place, PolicyRule
from vtorque_spec.policy.values import shown, written
from vtorque_spec.policy.vocabulary import NOTHING
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.fields import ANY, Field, job_field, members_of_model
from vtorque_spec.units import parse_duration, parse_size

_LOWER: dict[str, Callable[[Any], int]] = {
    "minimum": math.ceil,
    "exclusiveMinimum": lambda limit: math.floor(limit) + 1,
    "minQuantity": parse_size,
    "minDuration": parse_duration,
}
_UPPER: dict[str, Callable[[Any], int]] = {
    "maximum": math.floor,
    "exclusiveMaximum": lambda limit: math.ceil(limit) - 1,
    "maxQuantity": parse_size,
    "maxDuration": parse_duration,
}
_LENGTHS = (("minItems", "maxItems"), ("minLength", "maxLength"), ("minProperties", "maxProperties"))
_APART = "change one of them, or let conditions keep them apart"
_NARROWS = "a branch can only narrow what holds for all: put the limit of all others below `else`"


def check(view: View) -> None:
    """Look at the rules of each field, once without condition and once under each set of conditions."""
    told = view.rules_by_field()  # a warning refuses no value
    by_field = {path: [rule for rule in rules if rule.severity is Severity.ERROR] for path, rules in told.items()}
    for path, rules in by_field.items():
        field = field_at(path)
        for together in together_in(rules) if field is not None else ():
            if field is not None and not _bounds(view, field, together):
                _lengths(view, field, together)
                _words(view, field, together)
                _images(view, field, together)
    _members(view, by_field)


def together_in(rules: list[PolicyRule]) -> Iterator[list[PolicyRule]]:
    """Yield the rules that apply together, for each set of conditions that a rule stands under.

    Rules under no more than those conditions are in it; the last one is always a rule under exactly them.
    """
    for conditions in dict.fromkeys([NO_CONDITION, *(conditions_of(rule.place) for rule in rules)]):
        exactly = [rule for rule in rules if conditions_of(rule.place) == conditions]
        others = [rule for rule in rules if conditions_of(rule.place) < conditions]
        if any(is_own(rule.place) for rule in exactly):
            yield [*others, *exactly]


def bound(rule: PolicyRule, *, upper: bool) -> int | None:
    """Return the largest (or smallest) whole number that a rule allows; None for a rule that is no such bound."""
    reader = (_UPPER if upper else _LOWER).get(rule.keyword)
    return reader(rule.limit) if reader and (isinstance(rule.limit, str) or math.isfinite(rule.limit)) else None


def _bounds(view: View, field: Field, rules: list[PolicyRule]) -> bool:
    """Find a lower bound above an upper one, or above the language's; return whether there is one."""
    last = conditions_of(rules[-1].place)
    lows: list[tuple[int, PolicyRule | None]] = [(b, r) for r in rules if (b := bound(r, upper=False)) is not None]
    highs: list[tuple[int, PolicyRule | None]] = [(b, r) for r in rules if (b := bound(r, upper=True)) is not None]
    lows += [(field.minimum, None)] if field.minimum is not None else []
    highs += [(field.maximum, None)] if field.maximum is not None else []
    if not lows or not highs:
        return False
    (low, lower), (high, upper) = max(lows, key=lambda item: item[0]), min(highs, key=lambda item: item[0])
    said = [rule for rule in (lower, upper) if rule is not None]
    if low <= high or not any(conditions_of(rule.place) == last for rule in said):
        return low > high
    low_shown, high_shown = shown(field.path, low), shown(field.path, high)
    words = f"at least {low_shown} is needed, at most {high_shown} is allowed"
    if not lower or not upper:
        words += f" (the {'lower' if not lower else 'upper'} limit is the language's own)"
    message = f"no value of `{name_of(field.path)}` fits: {words}"
    _tell(view, message, said, "write `false` to switch the member off" if upper and not lower else _APART)
    return True


def _tell(view: View, message: str, rules: list[PolicyRule], hint: str | None, span: Span | None = None) -> None:
    """Place the finding at the last of the rules, and note the others and the conditions."""
    ordered = sorted(rules, key=lambda rule: (len(rule.place.conditions), is_own(rule.place), rule.span))
    last = ordered.pop()
    notes = [Note("the other limit is here", rule.span) for rule in ordered]
    if last.place.field is not None:
        view.wrong.add(last.place.field)
    if hint == _APART and any(len(rule.place.conditions) < len(last.place.conditions) for rule in ordered):
        hint = _NARROWS
    view.add(Code.POLICY_CONTRADICTION, message, span or last.span, hint, [*notes, *condition_notes(last.place)])


def _lengths(view: View, field: Field, rules: list[PolicyRule]) -> None:
    for least, most in _LENGTHS:
        lows = [rule for rule in rules if rule.keyword == least]
        highs = [rule for rule in rules if rule.keyword == most]
        if not lows or not highs:
            continue
        lower, upper = max(lows, key=lambda rule: rule.limit), min(highs, key=lambda rule: rule.limit)
        newest = conditions_of(rules[-1].place)
        if lower.limit > upper.limit and newest in (conditions_of(lower.place), conditions_of(upper.place)):
            message = f"no value of `{name_of(field.path)}` fits: `{least}` is {lower.limit}, `{most}` is {upper.limit}"
            _tell(view, message, [lower, upper], _APART)


def _images(view: View, field: Field, rules: list[PolicyRule]) -> None:
    """Find lists of images that each allow some, and together none of the catalogue."""
    newest = conditions_of(rules[-1].place)
    lists = [rule for rule in rules if rule.keyword == "imageIn"]
    images = [image for name in view.site.images for image in spellings(name, view.site)]
    allowed = [{written(image) for image in images if not _refused(view, rule, field, image)} for rule in lists]
    if len(lists) < 2 or not all(allowed) or set.intersection(*allowed):
        return
    if newest in [conditions_of(rule.place) for rule in lists]:
        _tell(view, "no image is in all of these lists", lists, _APART)


def _refused(view: View, rule: PolicyRule, field: Field, image: dict[str, str]) -> bool:
    value = image if field.path == ("image",) else image["name"]
    return view.broken(rule, field.path, value) is not None


def _words(view: View, field: Field, rules: list[PolicyRule]) -> None:
    """Compare the words of `enum` and `const` with every other rule."""
    newest = conditions_of(rules[-1].place)
    for rule in rules:
        words = {"enum": rule.limit, "const": [rule.limit]}.get(rule.keyword)
        others = [other for other in rules if other is not rule and newest in _pair(rule, other)]
        if words is None or not is_own(rule.place) or not others:
            continue
        said = [(index, word) for index, word in enumerate(words) if never(field, word) is None]
        broken = [(index, word, found) for index, word in said if (found := _breaks(view, field.path, word, others))]
        if not broken:
            continue
        if len(broken) == len(said):
            other = broken[0][2]
            if other.keyword not in ("enum", "const") or other.span < rule.span:  # else it is told there
                allowed = ", ".join(f"`{shown(field.path, word)}`" for word in words)
                allowed += " is" if len(words) == 1 else " are"
                message = f"`{name_of(field.path)}` can have no value: {allowed} allowed here, and refused elsewhere"
                _tell(view, message, [rule, other], _APART)
            continue
        for index, word, other in broken if rule.keyword == "enum" else ():
            span = rule.place.document.span((*rule.path, index))
            message = f"`{name_of(field.path)}` can never be {shown(field.path, word)}: another limit refuses it"
            notes = [Note("the other limit is here", other.span), *condition_notes(other.place)]
            view.add(Code.POLICY_NO_EFFECT, message, span, "remove it, or widen the other limit", notes)


def _pair(rule: PolicyRule, other: PolicyRule) -> tuple[Conditions, Conditions]:
    return conditions_of(rule.place), conditions_of(other.place)


def _breaks(view: View, path: Path, word: Any, others: list[PolicyRule]) -> PolicyRule | None:
    return next((other for other in others if view.broken(other, path, word) is not None), None)


# --- members that are needed and refused ------------------------------------------------------------------------------


def _members(view: View, by_field: dict[Path, list[PolicyRule]]) -> None:
    for path, rules in by_field.items():
        for rule in rules:
            if rule.keyword == "required":
                _needed_and_off(view, rule, path, by_field)
            elif rule.keyword == "false" and is_own(rule.place) and not rule.place.conditions:
                field = job_field(path)
                if field is not None and field.required and (len(path) == 1 or ANY in path):
                    message = f"every job is refused: the language itself requires `{name_of(path)}`"
                    _tell(view, message, [rule], "a member that is required cannot be switched off")
    for place in view.own:
        refuses = not place.tested and place.said("severity") != "warning"
        if refuses and place.schema.get("additionalProperties") is False:
            _closed(view, place)


def _needed_and_off(view: View, rule: PolicyRule, path: Path, by_field: dict[Path, list[PolicyRule]]) -> None:
    for name in rule.limit:
        for off in by_field.get((*path, name), ()):
            needed, refused = _pair(rule, off)
            if off.keyword == "false" and (needed <= refused or refused <= needed) and not _declinable((*path, name)):
                message = f"`{name_of((*path, name))}` is required and switched off"
                _tell(view, message, [rule, off], "keep one of them")


def _declinable(path: Path) -> bool:
    """Whether a member can be said to ask for nothing, as in `hugepages: none`; one that is off may say that."""
    field = job_field(path)
    return field is not None and any(never(field, nothing) is None for nothing in NOTHING)


def _closed(view: View, place: Place) -> None:
    """`additionalProperties: false` refuses each member that is not named beside it, `context` too."""
    if place.field is None or "patternProperties" in place.schema:
        return
    field = job_field(place.field)
    members = members_of_model(JobSpec) if not place.field else field.members() if field else {}
    needed = [name for name, member in members.items() if member.required] + ([] if place.field else ["context"])
    refused = [f"`{name}`" for name in needed if name not in place.schema.get("properties", {})]
    if refused:
        always = not place.conditions and (not place.field or (field is not None and field.required))
        jobs = "every job is" if always else "all jobs that this applies to are"
        message = f"{jobs} refused: `additionalProperties: false` does not let {', '.join(refused)} through"
        span = place.document.key_span((*place.path, "additionalProperties"))
        view.add(Code.POLICY_CONTRADICTION, message, span, "switch single members off: `properties: {NAME: false}`")
