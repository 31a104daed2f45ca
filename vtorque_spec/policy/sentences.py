"""What a violation says, in words, and which case of an `anyOf` or `oneOf` it is about."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from jsonschema.exceptions import ValidationError

from vtorque_spec.document import Path
from vtorque_spec.policy.values import shown
from vtorque_spec.spec.parse import label, shorten

_DECIDING = {"const", "enum", "type", "required", "false", "pattern", "imageIn", "not"}
"""Rules by which people tell cases apart: a case whose deciding rules hold is the one that was meant."""


def best_case(error: ValidationError) -> ValidationError:
    """Return the error to tell: of several cases the one that the value comes closest to."""
    while error.validator in ("anyOf", "oneOf") and error.context:
        cases = list(_cases(error).values())
        best = min(cases, key=lambda found: (sum(one.validator in _DECIDING for one in found), len(found)))
        error = best[0]
    return error


def other_cases(error: ValidationError, told: ValidationError) -> Iterator[ValidationError]:
    """Yield the first error of each case of `error` but the one that `told` is about."""
    for found in _cases(error).values():
        if not any(told is one or told in (one.context or ()) for one in found):
            yield found[0]


def case_sentence(error: ValidationError, told: ValidationError) -> str:
    """Return the violation `told` of the case of `error` that it belongs to; words that other cases allow are named."""
    told_path, words = told.absolute_path, _words(told)
    if told is error or not words:
        return sentence(told)
    others = [one for found in _cases(error).values() for one in found if one.absolute_path == told_path]
    allowed = list(dict.fromkeys(shown(tuple(told_path), word) for one in (told, *others) for word in _words(one)))
    return f"`{label(tuple(told_path))}` is {_value(tuple(told_path), told.instance)}, allowed is {', '.join(allowed)}"


def _words(error: ValidationError) -> list[Any]:
    limit: Any = error.validator_value
    return list(limit) if error.validator == "enum" else [limit] if error.validator == "const" else []


def _cases(error: ValidationError) -> dict[object, list[ValidationError]]:
    cases: dict[object, list[ValidationError]] = defaultdict(list)
    for inner in error.context or ():
        cases[inner.schema_path[0]].append(inner)
    return cases


_BOUNDS = {
    "maximum": "at most {} is allowed",
    "maxQuantity": "at most {} is allowed",
    "maxDuration": "at most {} is allowed",
    "minimum": "at least {} is needed",
    "minQuantity": "at least {} is needed",
    "minDuration": "at least {} is needed",
    "exclusiveMaximum": "less than {} is allowed",
    "exclusiveMinimum": "more than {} is needed",
    "multipleOf": "a multiple of {} is needed",
    "enum": "allowed is {}",
    "const": "allowed is {}",
    "imageIn": "allowed is {}",
    "nodeSetIn": "allowed is {}",
    "type": "the type {} is needed",
}
_LENGTHS = {
    "minItems": "has length {}, at least {} is needed",
    "maxItems": "has length {}, at most {} is allowed",
    "minLength": "has {} characters, at least {} are needed",
    "maxLength": "has {} characters, at most {} are allowed",
    "minProperties": "has {} members, at least {} are needed",
    "maxProperties": "has {} members, at most {} are allowed",
}


def sentence(error: ValidationError) -> str:
    """Return one violation as a sentence."""
    path: Path = tuple(error.absolute_path)
    rule = str(error.validator)
    limit: Any = error.validator_value
    if rule == "imageIn":
        limit = limit.told()
    value: Any = error.instance
    what = f"`{label(path)}`" if path else "the job"
    if rule in _BOUNDS:
        return f"{what} is {_value(path, value)}, {_BOUNDS[rule].format(shown(path, limit) or 'nothing')}"
    if rule in _LENGTHS:
        return f"{what} {_LENGTHS[rule].format(len(_sized(value)), limit)}"
    if rule == "false" or (rule == "not" and limit == {}):
        return f"{what} is not allowed here"
    if rule == "required":
        missing = next(name for name in limit if error.message.startswith(repr(name)))
        return f"the key `{label((*path, missing))}` is required here"
    if rule == "dependentRequired":
        return _dependent(path, limit, value)
    if rule == "pattern":
        too_long = error.message == "is too long for a pattern"
        why = (
            "is too long for the rule's pattern" if too_long else f"is {shorten(value)}, which does not match `{limit}`"
        )
        return f"{what} {why}"
    plain = {
        "uniqueItems": f"{what} has an item twice",
        "contains": f"{what} lacks an item that the rule asks for",
        "minContains": f"{what} has too few items that the rule asks for, at least {limit} are needed",
        "maxContains": f"{what} has too many items that the rule counts, at most {limit} are allowed",
        "not": f"{what} is {_value(path, value)}, which is not allowed" if path else "the combination is not allowed",
        "oneOf": f"{what} fits several cases of the rule, of which only one may",
        "propertyNames": f"{what} is a name that is not allowed",
    }
    return plain.get(rule, f"{what} breaks the rule `{rule}`")


def _value(path: Path, value: Any) -> str:
    return shown(path, value) if not isinstance(value, str) else value if len(value) <= 50 else value[:47] + "..."


def _sized(value: Any) -> Any:
    return value if isinstance(value, str | list | dict) else ()


def _dependent(path: Path, limit: dict[str, list[str]], value: dict[str, Any]) -> str:
    for name, needed in limit.items():
        missing = [other for other in needed if other not in value] if name in value else []
        if missing:
            keys = ", ".join(f"`{label((*path, other))}`" for other in missing)
            return f"`{label((*path, name))}` needs {keys} beside it"
    return f"`{label(path)}` lacks a key"
