"""Evaluate the layers by the jsonschema library; violations stand in the job file and note the policy's own line."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from vtorque_spec.diagnostics import Code, Note, Report, Span
from vtorque_spec.document import Document, Path
from vtorque_spec.policy import Context, Effective
from vtorque_spec.policy.defaults import members_of
from vtorque_spec.spec.parse import NormalForm, label, shorten
from vtorque_spec.units import print_duration, print_size


def check_layers(layers: Iterable[Document], report: Report) -> None:
    """Check that each layer is a JSON Schema."""
    for layer in layers:
        try:
            Draft202012Validator.check_schema(layer.data)
        except SchemaError as error:
            path = tuple(error.absolute_path)
            report.add(
                Code.POLICY_SCHEMA, f"`{label(path)}`: {error.message}" if path else error.message, layer.span(path)
            )


def check_limits(
    job: Effective, normal: NormalForm, context: Context, layers: Iterable[Document], report: Report
) -> None:
    """Evaluate every layer; a violation is placed in the job file and notes the policy's own line."""
    instance = {**job.data, "context": {**asdict(context), "groups": list(context.groups)}}
    for layer in layers:
        try:
            for error in Draft202012Validator(_spelled_out(layer.data), registry=Registry()).iter_errors(instance):
                _violation(error, layer, job, normal, report)
        except (Unresolvable, re.error) as error:
            report.add(Code.POLICY_SCHEMA, f"the policy cannot be evaluated: {error}", layer.span(()))


def _violation(error: ValidationError, layer: Document, job: Effective, normal: NormalForm, report: Report) -> None:
    path = tuple(error.absolute_path)
    rule = layer.span(tuple(error.absolute_schema_path))
    origin = job.origin(path)
    if origin is not None and path not in normal.spans:
        message = f"the default of {_sentence(error, path)}"
        report.add(Code.POLICY_DEFAULT, message, origin.span, notes=[Note("the rule is here", rule)])
        return
    report.add(Code.POLICY, _sentence(error, path), normal.at(path), notes=[Note("the site's rule is here", rule)])


def _spelled_out(schema: Any) -> Any:
    """`NAME: false` becomes `NAME: {not: {}}`, because jsonschema does not say where a false schema was met."""
    if isinstance(schema, list):
        return [_spelled_out(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    spelled = {key: _spelled_out(value) for key, value in schema.items()}
    members = spelled.get("properties")
    if isinstance(members, dict):
        spelled["properties"] = {name: {"not": {}} if value is False else value for name, value in members.items()}
    return spelled


def _sentence(error: ValidationError, path: Path) -> str:
    limit: Any = error.validator_value
    value: Any = error.instance
    bounds = {
        "maximum": "at most",
        "minimum": "at least",
        "exclusiveMaximum": "less than",
        "exclusiveMinimum": "more than",
    }
    if error.validator in bounds:
        return f"`{label(path)}` is {shown(path, value)}, {bounds[error.validator]} {shown(path, limit)} is allowed"
    if error.validator in ("enum", "const"):
        choices = limit if isinstance(limit, list) and error.validator == "enum" else [limit]
        allowed = ", ".join(shown(path, choice) for choice in choices)
        return f"`{label(path)}` is {shown(path, value)}, allowed is {allowed}"
    if error.validator is None or (error.validator == "not" and limit == {}):
        return f"`{label(path)}` is not allowed here"
    if error.validator == "required":
        missing = next(name for name in limit if error.message.startswith(repr(name)))
        return f"the key `{label((*path, missing))}` is required here"
    if error.validator in ("minItems", "maxItems"):
        bound = "at least" if error.validator == "minItems" else "at most"
        return f"`{label(path)}` has length {len(value)}, {bound} {limit} is allowed"
    if error.validator == "multipleOf":
        return f"`{label(path)}` is {shown(path, value)}, a multiple of {shown(path, limit)} is needed"
    rule = f"{error.validator}: {limit}" if isinstance(limit, str | int) else error.validator
    return f"`{label(path) or 'the job'}`: {shorten(value)} breaks the rule `{rule}`"


def shown(path: Path, value: object) -> str:
    """Return a value of the normal form as people write it: sizes and durations with their unit."""
    if isinstance(value, int) and not isinstance(value, bool) and path:
        if path[-1] in ("memory", "size", "shared_memory"):
            return print_size(value)
        if path[-1] in ("walltime", "boot", "grace", "interval"):
            return print_duration(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def limits_of(path: Path, layers: Iterable[Document]) -> Iterator[tuple[str, str, Span]]:
    """Yield (keyword, limit, place) for each plain limit on the field at `path`, layer by layer."""
    keywords = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const", "multipleOf", "pattern")
    for layer in layers:
        schema: Any = layer.data
        at: Path = ()
        for part in path:
            schema, at = members_of(schema).get(str(part)), (*at, "properties", str(part))
        for keyword in keywords:
            if isinstance(schema, dict) and keyword in schema:
                limit = schema[keyword]
                text = ", ".join(shown(path, v) for v in limit) if isinstance(limit, list) else shown(path, limit)
                yield keyword, text, layer.key_span((*at, keyword))
