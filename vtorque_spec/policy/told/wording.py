"""Rules and conditions of a policy in words, and whether a condition fits when only some of the context is known."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from vtorque_spec.document import Path
from vtorque_spec.policy.rules import Condition, walk
from vtorque_spec.policy.values import shown
from vtorque_spec.policy.vocabulary import KEYWORDS
from vtorque_spec.site.policy_files import PolicyFiles, references
from vtorque_spec.spec.fields import ANY, all_fields, job_field

LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minQuantity": "at least {}",
    "maxQuantity": "at most {}",
    "minDuration": "at least {}",
    "maxDuration": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} members",
    "maxProperties": "at most {} members",
    "const": "{}",
    "enum": "{}",
    "imageIn": "{}",
    "nodeSetIn": "within {}",
    "pattern": "a text that matches {}",
}
"""What may be said of a value, by keyword; ``{}`` is the limit."""

_CONTEXT = {
    "user": "for user {}", "groups": "for group {}", "queue": "in queue {}", "batch": "with {}", "site": "at site {}",
    "host": "on host {}",
}  # fmt: skip


def named(path: Path) -> str:
    """Return a field as people write it: ``mounts[].mode`` for any item, ``env.NAME.value`` for any name."""
    text = ""
    for index, part in enumerate(path):
        above = job_field(path[:index]) if part == ANY else None
        if isinstance(part, int) or (above and above.kind == "list"):
            text += f"[{part if isinstance(part, int) else ''}]"
        else:
            text += f".{'NAME' if part == ANY else part}"
    return text.removeprefix(".")


def either(words: list[str]) -> str:
    """Return `a`, `a or b`, `a, b or c`."""
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def limit_words(path: Path, keyword: str, limit: Any) -> str | None:
    """Return a rule's limit in words; None for a keyword that has subschemas or other members in it."""
    if keyword == "uniqueItems":
        return "no item twice" if limit else None
    if keyword == "multipleOf" and limit == 1:
        return "a whole number"
    if keyword not in LIMITS:
        return None
    many = keyword in ("enum", "imageIn") and isinstance(limit, list)
    words = either([shown(path, item) for item in limit]) if many else shown(path, limit)
    text = LIMITS[keyword].format(words or "nothing")
    return text.removesuffix("s") if limit == 1 and text.endswith(("items", "characters", "members")) else text


# --- conditions in words ----------------------------------------------------------------------------------------------


def condition_words(files: PolicyFiles, condition: Condition) -> str:
    """Return when a branch applies: ``for group students``, ``where `vcpus` is at least 4``, or where to read it."""
    said = schema_words(files, uri_of(files, condition), condition.schema, condition.field or ())
    if said is None or condition.field is None:
        place = condition.document.key_span(condition.path)
        said = [f"when the condition at {place.file}:{place.line} fits"]
    return joined(said) if condition.holds else _denied(said)


def uri_of(files: PolicyFiles, condition: Condition) -> str:
    """Return the URI of the file that a condition stands in."""
    return next(uri for uri, document in files.files.items() if document is condition.document)


def joined(said: list[str]) -> str:
    """Put what is said of the context first, then what is said of the job."""
    context = [one for one in said if not one.startswith("`")]
    job = [one for one in said if one.startswith("`")]
    return ", ".join(filter(None, [" and ".join(context), f"where {' and '.join(job)}" if job else ""]))


def _denied(said: list[str]) -> str:
    if len(said) == 1 and said[0].endswith(_OR_NOT):
        return f"where {said[0].removesuffix(_OR_NOT).replace(' is ', ' is said and not ', 1)}"
    if len(said) == 1:
        only = said[0]
        return f"where {only.replace(' is ', ' is not ', 1)}" if only.startswith("`") else f"not {only}"
    return f"unless ({joined(said)})"


def schema_words(files: PolicyFiles, uri: str, schema: Any, field: Path, depth: int = 0) -> list[str] | None:
    """Return what a schema asks for, in parts that all must hold; None where it takes more than a few words."""
    if schema is True or schema == {}:
        return []
    if not isinstance(schema, dict) or depth > 8:
        return None if schema is not False else [f"`{named(field)}` is not used"]
    parts: list[str] = []
    for keyword, value in schema.items():
        found = _keyword_words(files, uri, (keyword, value), schema, field, depth + 1)
        if found is None:
            return None
        parts += found
    return list(dict.fromkeys(parts))


def _keyword_words(
    files: PolicyFiles, uri: str, rule: tuple[str, Any], schema: Any, field: Path, depth: int
) -> list[str] | None:
    keyword, value = rule
    if KEYWORDS[keyword].role == "about" or keyword == "type":
        return []
    if keyword == "properties":
        needed = schema.get("required", ())
        members = [_member_words(files, uri, one, (*field, name), depth, name in needed) for name, one in value.items()]
        return None if None in members else [word for words in members for word in words or ()]
    if keyword == "allOf":
        parts = [schema_words(files, uri, one, field, depth) for one in value]
        return None if None in parts else [word for words in parts for word in words or ()]
    if keyword == "required":
        told = schema.get("properties", {})
        names = [name for name in value if (*field, name)[:1] != ("context",) and told.get(name, True) in (True, {})]
        return [f"`{named((*field, name))}` is said" for name in names]
    if keyword == "anyOf":
        cases = [schema_words(files, uri, one, field, depth) for one in value]
        return None if None in cases or [] in cases else [either([" and ".join(case or ()) for case in cases])]
    if keyword == "not":
        denied = schema_words(files, uri, value, field, depth)
        return [_denied(denied).removeprefix("where ")] if denied and len(denied) == 1 else None
    if keyword == "$ref":
        target = files.target(uri, value)
        return schema_words(files, target[0], _at(files, *target), field, depth) if target else None
    return _atom(field, keyword, value)


def _member_words(files: PolicyFiles, uri: str, schema: Any, field: Path, depth: int, needed: bool) -> list[str] | None:
    """What a member must be: where it may be absent the words say so, because a schema fits what is not there."""
    found = schema_words(files, uri, schema, field, depth)
    if found is None or needed or field[:1] == ("context",) or field in _always_there(files):
        return found
    own = f"`{named(field)}` is "
    return [f"{words}{_OR_NOT}" if words.startswith(own) and words != f"{own}said" else words for words in found]


_OR_NOT = " or not said"


@lru_cache(maxsize=8)
def _always_there(files: PolicyFiles) -> frozenset[Path]:
    """The fields that every job has: what must be said, and what has a default where its mapping has one."""
    required = {field.path for field in all_fields() if field.required and len(field.path) == 1}
    found = {("image", "name"), *required}
    for place in walk(files):
        default = isinstance(place.schema, dict) and "default" in place.schema
        if default and place.field and not place.conditions and not place.tested:
            found.add(place.field)
    return frozenset(path for path in found if all(path[:end] in found for end in range(1, len(path))))


def _atom(field: Path, keyword: str, limit: Any) -> list[str] | None:
    if field[:1] != ("context",):
        words = limit_words(field, keyword, limit) if field else None
        return None if words is None else [f"`{named(field)}` is {words}"]
    member = str(field[1]) if len(field) == 2 else ""
    if keyword == "contains" and member == "groups" and isinstance(limit, dict):
        keyword, limit = next(iter(limit.items())) if len(limit) == 1 else ("", None)
    if keyword == "nodeSetIn" and member == "host":
        keyword = "const"
    if keyword == "const":
        return [_CONTEXT[member].format(limit)]
    if keyword == "enum":
        return [_CONTEXT[member].format(either([str(item) for item in limit]))]
    if keyword == "pattern":
        return [_CONTEXT[member].format(f"names that match {limit}")]
    return None


def _at(files: PolicyFiles, uri: str, path: Path) -> Any:
    found: Any = files.files[uri].data
    for part in path:
        found = found[part]
    return found


# --- whether a condition fits -----------------------------------------------------------------------------------------

Known = Mapping[str, Any]
"""The members of `context` that are known; what the job says is not."""


def fits(files: PolicyFiles, uri: str, schema: Any, known: Known, field: Path | None = ()) -> bool | None:
    """Return whether a schema fits every job in this context; None where that hangs on what is not known."""
    if isinstance(schema, bool):
        return schema
    if field is None or field[:1] not in ((), ("context",)):
        return True if schema == {} else None
    if len(field) == 2:
        return _value_fits(schema, known, str(field[1]))
    return all_of(_keyword_fits(files, uri, keyword, value, known, field) for keyword, value in schema.items())


def _keyword_fits(files: PolicyFiles, uri: str, keyword: str, value: Any, known: Known, field: Path) -> bool | None:
    if KEYWORDS[keyword].role == "about":
        return True
    match keyword:
        case "type":
            return "object" in value
        case "properties":
            return all_of(fits(files, uri, one, known, (*field, name)) for name, one in value.items())
        case "required":
            there = {"context"} if not field else set(known)
            return True if set(value) <= there else None
        case "allOf":
            return all_of(fits(files, uri, one, known, field) for one in value)
        case "anyOf":
            return _negated(all_of(_negated(fits(files, uri, one, known, field)) for one in value))
        case "not":
            return _negated(fits(files, uri, value, known, field))
        case "$ref":
            target = files.target(uri, value)
            found = _at(files, *target) if target else None
            return fits(files, target[0], found, known, field) if target and not any(references(found)) else None
    return None


def _value_fits(schema: Any, known: Known, member: str) -> bool | None:
    if member not in known or any(references(schema)):
        return None
    from vtorque_spec.policy.evaluate import VALIDATOR

    return bool(VALIDATOR(schema).is_valid(known[member]))


def all_of(results: Iterator[bool | None]) -> bool | None:
    """Return False if one is False, True if all are True, else None."""
    found = list(results)
    return False if False in found else None if None in found else True


def _negated(result: bool | None) -> bool | None:
    return None if result is None else not result
