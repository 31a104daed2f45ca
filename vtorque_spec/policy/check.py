"""Check that a policy is one: known words, values of the right shape, fields that a job has. Every command asks this.

What is valid but can hardly be meant is told by `vtorque policy lint` (vtorque_spec.policy.lint).
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from vtorque_spec.diagnostics import Code, Report, near_miss
from vtorque_spec.document import Document, Path
from vtorque_spec.policy.rules import DEPTH_LIMIT, TooDeepError, walk
from vtorque_spec.policy.vocabulary import (
    CODE_PATTERN,
    CONTEXT,
    IMAGE_PATTERN,
    INSIDE,
    KEYWORDS,
    TYPES,
    Shape,
    subschemas,
)
from vtorque_spec.site.policy_files import ROOT_URI, PolicyFiles
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.fields import ANY, all_fields, job_field, members_of_model
from vtorque_spec.spec.parse import label, shorten
from vtorque_spec.units import QuantityError, parse_duration, parse_size

At = tuple[str, Path]
"""A file's URI, and a place in it."""


def check_policy(files: PolicyFiles, report: Report) -> None:
    """Add every finding of the site's own files; the shipped ones are right."""
    before = len(report.items)
    leads = {
        (uri, path): _leads(files, uri, path, schema)
        for uri, document in files.files.items()
        for path, schema in _everywhere(document.data, ())
    }
    for uri, document in files.files.items():
        if uri.startswith(ROOT_URI):
            for path, schema in _everywhere(document.data, ()):
                _check_schema(files, uri, path, schema, report)
                _check_reference(files, uri, path, schema, leads, report)
    if len(report.items) == before and not _too_large(files, report):
        _check_fields(files, report)


PLACES_LIMIT = 10_000
"""More subschemas than a policy has, each counted as often as it is referred to."""


def _too_large(files: PolicyFiles, report: Report) -> bool:
    """References can multiply: a few lines that refer to one another twice each would take forever."""
    try:
        place = next(islice(walk(files), PLACES_LIMIT, None), None)
        message = f"the references lead to more than {PLACES_LIMIT} schemas"
    except TooDeepError as error:
        place, message = error.place, f"the references lead through more than {DEPTH_LIMIT} schemas"
    if place is not None:
        hint = "let fewer schemas refer to one another"
        report.add(Code.POLICY_SCHEMA, message, place.document.span(place.path), help=hint)
    return place is not None


def _everywhere(schema: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    yield path, schema
    for below, inner in subschemas(schema):
        yield from _everywhere(inner, (*path, *below))


def _check_schema(files: PolicyFiles, uri: str, path: Path, schema: Any, report: Report) -> None:
    document = files.files[uri]
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        message = f"{_where(path)}: {shorten(schema)} is no schema"
        hint = "a schema is a mapping of keywords, or false to switch the member off"
        report.add(Code.POLICY_SCHEMA, message, document.span(path), help=hint)
        return
    for keyword, value in schema.items():
        if keyword not in KEYWORDS:
            _unknown(keyword, (*path, keyword), document, report)
            continue
        wrong = _wrong(KEYWORDS[keyword].shape, value)
        if wrong is not None:
            report.add(Code.POLICY_SCHEMA, f"`{keyword}`: {wrong[0]}", document.span((*path, keyword)), help=wrong[1])
        elif keyword == "patternProperties":
            _check_patterns(value, (*path, keyword), document, report)
        elif keyword in ("then", "else") and "if" not in schema:
            message = f"`{keyword}` has no `if` beside it, so it never applies"
            report.add(Code.POLICY_SCHEMA, message, document.key_span((*path, keyword)), help="add `if`")


_OTHER_WORDS = {"definitions": "$defs", "elif": "else: {if: ...}", "elseif": "else: {if: ...}"}


def _unknown(keyword: str, path: Path, document: Document, report: Report) -> None:
    meant = _OTHER_WORDS.get(keyword) or near_miss(keyword, KEYWORDS)
    hint = f"write `{meant}`" if meant else "docs/policy.md lists the keywords of a policy"
    names = [path[index + 1] for index, part in enumerate(path[:-2]) if part == "properties"]
    field = job_field((*names, keyword))
    if field is not None:
        hint = f"a member of the job stands below `properties`: write `properties: {{{keyword}: ...}}`"
    report.add(Code.POLICY_KEYWORD, f"the keyword `{keyword}` is not known", document.key_span(path), help=hint)


def _check_patterns(members: dict[str, Any], path: Path, document: Document, report: Report) -> None:
    for name in members:
        wrong = _wrong("pattern", name)
        if wrong is not None:
            message = f"`patternProperties`: {wrong[0]}"
            report.add(Code.POLICY_SCHEMA, message, document.key_span((*path, name)), help=wrong[1])


def _check_reference(
    files: PolicyFiles, uri: str, path: Path, schema: Any, leads: Mapping[At, list[At]], report: Report
) -> None:
    """A `$ref` must lead to a schema, and not back to itself."""
    reference = schema.get("$ref") if isinstance(schema, dict) else None
    if not isinstance(reference, str):
        return
    if files.target(uri, reference) not in leads:
        _nowhere(files, uri, reference, (*path, "$ref"), report)
    elif _returns(leads, (uri, path)):
        message = f"`{reference}` leads back to here without looking into the value: nothing could be decided"
        report.add(Code.POLICY_SCHEMA, message, files.files[uri].span((*path, "$ref")), help="break the circle")


def _leads(files: PolicyFiles, uri: str, path: Path, schema: Any) -> list[At]:
    """Return the schemas that a schema leads to while still being about the same value."""
    found = [(uri, (*path, *below)) for below, _ in subschemas(schema) if below[0] not in INSIDE]
    reference = schema.get("$ref") if isinstance(schema, dict) else None
    target = files.target(uri, reference) if isinstance(reference, str) else None
    return [*found, target] if target else found


def _returns(leads: Mapping[At, list[At]], start: At) -> bool:
    """Whether a schema leads back to itself."""
    seen: set[At] = set()
    waiting = [start]
    while waiting:
        found = leads.get(waiting.pop(), [])
        waiting += [one for one in found if one not in seen]
        seen.update(found)
    return start in seen


def _nowhere(files: PolicyFiles, uri: str, reference: str, path: Path, report: Report) -> None:
    document = files.files[uri]
    named = document.data.get("$defs")
    defined = [f"#/$defs/{name}" for name in named] if isinstance(named, dict) else []
    meant = near_miss(reference, defined)
    hint = f"write `{meant}`" if meant else "the schemas to refer to stand below `$defs`"
    report.add(Code.POLICY_SCHEMA, f"`{reference}` leads to no schema", document.span(path), help=hint)


def _where(path: Path) -> str:
    return f"`{label(path)}`" if path else "the file"


# --- the shape of a keyword's value -----------------------------------------------------------------------------------

Wrong = tuple[str, str | None] | None
"""What is wrong and how to mend it; None for nothing."""


def _wrong(shape: Shape, value: Any) -> Wrong:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    texts = _is_texts(value) and bool(value)
    match shape:
        case "schema":
            return None if isinstance(value, dict | bool) else _needs("a schema", value)
        case "schemas" | "values":
            return None if isinstance(value, list) and value else _needs("a list of one item at least", value)
        case "members":
            return None if isinstance(value, dict) else _needs("a mapping", value)
        case "requirements":
            lists = isinstance(value, dict) and all(_is_texts(names) for names in value.values())
            return None if lists else _needs("a mapping of lists of members", value, "write {MEMBER: [MEMBER, ...]}")
        case "text" | "url" | "reference":
            return None if isinstance(value, str) else _needs("a text", value)
        case "texts":
            return None if texts else _needs("a list of texts", value)
        case "images":
            return _wrong_images(value) if texts else _needs("a list of names, patterns or tags", value)
        case "number":
            return None if number else _needs("a number", value, _unit_hint(value))
        case "step":
            return None if number and value > 0 else _needs("a number above zero", value)
        case "count":
            whole = number and isinstance(value, int) and value >= 0
            return None if whole else _needs("a whole number", value)
        case "flag":
            return None if isinstance(value, bool) else _needs("true or false", value)
        case "severity":
            return None if value in ("error", "warning") else _needs("error or warning", value)
        case "types":
            return _wrong_types(value)
        case _:
            return _wrong_text(shape, value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _wrong_text(shape: Shape, value: Any) -> Wrong:
    """Texts with a form of their own; anything is fine for `any`."""
    if shape == "any":
        return None
    if not isinstance(value, str):
        example = {"size": "24GiB", "duration": '"24:00:00"', "nodes": "n[001-128]"}.get(shape)
        return _needs("a text", value, f"write it as in {example}" if example else None)
    try:
        if shape == "size":
            parse_size(value)
        elif shape == "duration":
            parse_duration(value)
        elif shape == "pattern":
            re.compile(value)
        elif shape == "nodes":
            from vtorque_spec.site.nodes import read_nodes  # ClusterShell is loaded where node sets are

            found = read_nodes(value)
            if isinstance(found, str):
                return f"{shorten(value)} is no node set: {found}", "write it as in n[001-128]"
    except QuantityError as error:
        return str(error), error.help
    except (re.error, OverflowError) as error:
        return f"{shorten(value)} is no regular expression: {error}", None
    except RecursionError:
        return f"{shorten(value)} is no regular expression: too deeply nested", None
    if shape == "code" and not re.fullmatch(CODE_PATTERN, value):
        return f"{shorten(value)} is no code of a site", "write it as in HLRS012: capital letters, digits, - and _"
    return None


def _wrong_types(value: Any) -> Wrong:
    found = value if isinstance(value, list) and value else [value]
    for word in found:
        if word not in TYPES:
            meant = near_miss(word, TYPES) if isinstance(word, str) else None
            return f"{shorten(word)} is no type", f"write `{meant}`" if meant else f"the types are {', '.join(TYPES)}"
    return None


_IMAGE_HINT = "write debian-12, debian-* or tag=cfd; of pinned images debian-12:2026-* or debian-12@sha256:*"


def _wrong_images(value: list[str]) -> Wrong:
    for word in value:
        if not re.fullmatch(IMAGE_PATTERN, word):
            return f"{shorten(word)} is no image's name, pattern or tag", _IMAGE_HINT
    return None


def _unit_hint(value: Any) -> str | None:
    """A limit with a unit has keywords of its own."""
    if isinstance(value, str):
        for word, parse in (("minQuantity or maxQuantity", parse_size), ("minDuration or maxDuration", parse_duration)):
            try:
                parse(value)
            except QuantityError:
                continue
            return f"limits with a unit are {word}"
    return None


def _needs(what: str, value: Any, hint: str | None = None) -> Wrong:
    if value == []:
        return f"the list is empty, {what} is needed", hint or "name one at least, or remove the line"
    if what.startswith("a list") and isinstance(value, str | int):
        hint = hint or f"write [{value}]"
    if what.startswith(("a number", "a whole number")) and isinstance(value, str) and value.isdecimal():
        hint = hint or f"write {value} without quotes"
    if what == "a schema" and not isinstance(value, list):
        hint = hint or f"write {{const: {value}}}"
    return f"{shorten(value)} is given, {what} is needed", hint


# --- fields -----------------------------------------------------------------------------------------------------------


def _check_fields(files: PolicyFiles, report: Report) -> None:
    """Each name below `properties`, and in `required` and the like, must be one of the job's, or of `context`."""
    told: set[tuple[str, Path]] = set()
    for place in walk(files):
        if not place.uri.startswith(ROOT_URI) or place.field is None or not _known(place.field):
            continue
        for path, name in _named(place.schema):
            here, field = (*place.path, *path), (*place.field, name)
            if not _known(field) and (place.uri, here) not in told:
                told.add((place.uri, here))
                _no_field(place.document, here, field, report)


def _named(schema: Any) -> Iterator[tuple[Path, str]]:
    """Yield the members that a schema names, with their places in it."""
    if not isinstance(schema, dict):
        return
    for keyword in ("properties", "dependentSchemas", "dependentRequired"):
        yield from (((keyword, name), name) for name in schema.get(keyword, ()))
    lists: dict[Path, list[str]] = {("required",): schema.get("required", [])}
    lists |= {("dependentRequired", name): names for name, names in schema.get("dependentRequired", {}).items()}
    for path, names in lists.items():
        yield from (((*path, index), name) for index, name in enumerate(names))


def _known(field: Path) -> bool:
    if field[:1] == ("context",):
        return len(field) < 2 or field[1] in CONTEXT
    return not field or job_field(field) is not None


def _no_field(document: Document, path: Path, field: Path, report: Report) -> None:
    if field[0] == "context":
        known = list(CONTEXT)
    else:
        above = job_field(field[:-1])
        known = list(above.members() if above else members_of_model(JobSpec)) + ([] if above else ["context"])
    meant = near_miss(str(field[-1]), known)
    hint = f"write `{meant}`" if meant else f"there are {', '.join(known)}" if known else _scalar_hint(field[:-1])
    hint = _elsewhere(str(field[-1])) or hint
    message = f"a job has no member `{label(tuple('*' if part == ANY else part for part in field))}`"
    report.add(Code.POLICY_FIELD, message, document.key_span(path), help=hint)


def _elsewhere(name: str) -> str | None:
    """Tell where a member of that name is, if there is just one."""
    found = [field.path for field in all_fields() if field.path[-1] == name and ANY not in field.path]
    found += [("context", name)] if name in CONTEXT and not found else []
    return f"it is `{label(found[0])}`" if len(found) == 1 else None


def _scalar_hint(field: Path) -> str | None:
    above = job_field(field)
    return f"`{label(field)}` has no members" if above else None
