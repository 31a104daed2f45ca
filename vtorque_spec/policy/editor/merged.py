"""Rules of a policy, which speak of the normal form, put into the schema of a field of the job file.

Only rules that mean the same of both are: a wrong finding in an editor is worse than none.
"""

import re
from collections.abc import Callable
from math import ceil, floor
from typing import Any

from pydantic import ValidationError

from vtorque_spec.document import Path
from vtorque_spec.policy.editor.fields import FieldRules
from vtorque_spec.policy.editor.quantities import duration_pattern, size_pattern
from vtorque_spec.policy.rules import PolicyRule
from vtorque_spec.policy.told.limits import limits_of
from vtorque_spec.policy.told.wording import limit_words, named
from vtorque_spec.policy.values import shown
from vtorque_spec.policy.vocabulary import NOTHING
from vtorque_spec.site import Site
from vtorque_spec.spec.base import Shorthand
from vtorque_spec.spec.fields import Field
from vtorque_spec.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    parse_duration,
    parse_size,
    print_duration,
    print_size,
)

_BOUNDS = {
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "text": ("minLength", "maxLength"),
    "list": ("minItems", "maxItems"),
    "names": ("maxProperties",),  # defaults may add to a mapping, so that `minProperties` cannot be told
}
"""By kind of field, the bounds of which the tightest one counts."""


def merge_rules(schema: dict[str, Any], path: Path, field: Field | None, rules: FieldRules, site: Site) -> None:
    """Put the rules about a field that always hold into its schema; `field` is None for the job as a whole."""
    kind = field.kind if field else "mapping"
    found = rules.firm.get(path, ())
    for rule in found:
        if rule.keyword in _BOUNDS.get(kind, ()):
            tighter = max if rule.keyword.lower().startswith(("min", "exclusivemin")) else min
            schema[rule.keyword] = tighter(rule.limit, schema.get(rule.keyword, rule.limit))
        elif rule.keyword in ("enum", "const") and kind in ("integer", "text", "boolean"):
            _narrow(schema, rule.limit if rule.keyword == "enum" else [rule.limit], rule)
        elif rule.keyword == "multipleOf" and kind == "integer":
            schema.setdefault("allOf", []).append({"multipleOf": rule.limit})
        elif rule.keyword == "uniqueItems" and kind == "list":
            schema["uniqueItems"] = rule.limit or schema.get("uniqueItems", False)
        elif rule.keyword == "pattern" and kind == "text" and _is_everywhere_the_same(rule.limit):
            schema.setdefault("allOf", []).append({"pattern": rule.limit, **_error("patternErrorMessage", rule)})
        elif rule.keyword in (*_LOW, *_HIGH) and kind in ("size", "duration"):
            _bound_quantity(schema, path, kind, rule)
        elif rule.keyword in ("required", "dependentRequired") and kind == "mapping":
            _require(schema, path, field, rule, rules)
    if path == ("image", "name"):
        for rule in [*rules.firm.get(("image",), ()), *found]:
            if rule.keyword == "imageIn":
                _narrow(schema, [name for limit in limits_of(rule, site) for name in limit.values or ()], rule)


def forbidden(path: Path, field: Field | None, rules: FieldRules) -> dict[str, Any] | None:
    """Return the schema of a field that is switched off, which may ask for nothing all the same; None if it is not."""
    rule = next((rule for rule in rules.firm.get(path, ()) if rule.keyword == "false"), None)
    if rule is None:
        return None
    message = own_words(rule) or f"`{named(path)}` is switched off at this site"
    return {"enum": _nothings(field), "errorMessage": message, "doNotSuggest": True}


def own_words(rule: PolicyRule) -> str | None:
    """Return the message that the policy gives a rule, with the code; None where it gives none. No value is known."""
    message, code = rule.place.said("message"), rule.place.said("code")
    if message is None:
        return None
    text = message.replace("{value}", "…").replace("{limit}", shown(rule.place.field or (), rule.limit))
    return f"{text} ({code})" if code else str(text)


def _error(keyword: str, rule: PolicyRule) -> dict[str, str]:
    message = own_words(rule)
    return {keyword: message} if message else {}


def _narrow(schema: dict[str, Any], allowed: list[Any], rule: PolicyRule) -> None:
    schema["enum"] = [value for value in schema.get("enum", allowed) if value in allowed]
    schema |= _error("errorMessage", rule)


def _require(schema: dict[str, Any], path: Path, field: Field | None, rule: PolicyRule, rules: FieldRules) -> None:
    """A member that has a default need not be said. (Reading a short form may add members too.)"""
    if field and (field.model is None or issubclass(field.model, Shorthand)):
        return
    named_here = schema.get("properties", {})

    def left(names: list[str]) -> list[str]:
        return [name for name in names if name in named_here and (*path, name) not in rules.filled]

    if rule.keyword == "required":
        schema["required"] = list(dict.fromkeys([*schema.get("required", ()), *left(rule.limit)]))
        return
    needed = schema.setdefault("dependentRequired", {})
    for name, others in rule.limit.items():
        needed[name] = list(dict.fromkeys([*needed.get(name, ()), *left(others)]))


def _bound_quantity(schema: dict[str, Any], path: Path, kind: str, rule: PolicyRule) -> None:
    """Only a text of the right form can be too small or too large: any other has a finding already."""
    bound = (_LOW | _HIGH)[rule.keyword](_number(rule))
    low, high = (bound, None) if rule.keyword in _LOW else (1, bound)
    form, pattern_of, write = (
        (SIZE_PATTERN, size_pattern, print_size)
        if kind == "size"
        else (DURATION_PATTERN, duration_pattern, print_duration)
    )
    message = own_words(rule) or f"`{named(path)}` is to be {limit_words(path, rule.keyword, rule.limit)}"
    pattern = f"^(?!{form}$)|{pattern_of(low, high)}"
    schema.setdefault("allOf", []).append({"pattern": pattern, "patternErrorMessage": message})
    said = [example for example in schema["examples"] if re.search(pattern, example)]
    schema["examples"] = list(dict.fromkeys([*said, write(bound)]))


def _number(rule: PolicyRule) -> float:
    if isinstance(rule.limit, str):
        return (parse_duration if "Duration" in rule.keyword else parse_size)(rule.limit)
    return float(rule.limit)


_LOW: dict[str, Callable[[float], int]] = {
    "minQuantity": ceil, "minDuration": ceil, "minimum": ceil, "exclusiveMinimum": lambda limit: floor(limit) + 1,
}  # fmt: skip
_HIGH: dict[str, Callable[[float], int]] = {
    "maxQuantity": floor, "maxDuration": floor, "maximum": floor, "exclusiveMaximum": lambda limit: ceil(limit) - 1,
}  # fmt: skip
"""By keyword, the least or greatest whole number that a limit allows."""


def _is_everywhere_the_same(pattern: str) -> bool:
    """Whether JavaScript reads a regular expression of Python as Python does."""
    return not re.search(r"\(\?(?![:=!]|<[=!])|\\[AZabNuUx0-9]|\[\[|[*+?}]\+", pattern)


def _nothings(field: Field | None) -> list[Any]:
    if field is None:
        return []
    if field.model is not None:
        return [value for value in (False, "none", *NOTHING) if _means_nothing(field.model, value)]
    plain: dict[str, list[Any]] = {"boolean": [False], "list": [[]], "names": [{}]}
    return plain.get(field.kind, [word for word in field.words if word == "none"])


def _means_nothing(model: Any, value: Any) -> bool:
    try:
        return model.model_validate(value).model_dump(mode="json", exclude_unset=True) in NOTHING
    except ValidationError:
        return False
