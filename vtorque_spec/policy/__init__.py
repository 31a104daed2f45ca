"""The site's rules: JSON Schema layers over the job's normal form. Fills defaults, then checks limits.

Layers are conjoined: each is evaluated by itself, so a later one can only narrow. The last default wins. An object's
inner defaults apply only where the object is.
"""

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from pydantic import ValidationError as ModelError
from referencing import Registry
from referencing.exceptions import Unresolvable

from vtorque_spec.diagnostics import Code, Note, Report, Span
from vtorque_spec.document import Document, Path
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.parse import NormalForm, label, parse_normal
from vtorque_spec.units import print_duration, print_size


@dataclass(frozen=True, slots=True)
class Context:
    """What rules may ask for besides the job: who runs it, and where. A job file can't set it."""

    user: str
    groups: tuple[str, ...]
    queue: str | None
    batch: str
    site: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The policy line that set a default."""

    layer: Document
    path: Path

    @property
    def span(self) -> Span:
        """Where the `default` keyword's value stands."""
        return self.layer.span((*self.path, "default"))


@dataclass(frozen=True, slots=True)
class Effective:
    """A job with every default filled: the model, its normal form, and which values came from which policy line."""

    spec: JobSpec
    data: dict[str, Any]
    origins: Mapping[Path, Origin] = field(default_factory=dict)

    def origin(self, path: Path) -> Origin | None:
        """Return the default that set the value at `path` or one of its ancestors."""
        return _origin(self.origins, path)


def _origin(origins: Mapping[Path, Origin], path: Path) -> Origin | None:
    while path and path not in origins:
        path = path[:-1]
    return origins.get(path)


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


def fill_defaults(normal: NormalForm, layers: tuple[Document, ...], report: Report) -> Effective | None:
    """Return the job with the layers' defaults; None, and findings in the policy, when one is no value for a job."""
    filled = copy.deepcopy(normal.data)
    origins: dict[Path, Origin] = {}
    _fill(filled, [(layer, layer.data, ()) for layer in layers], (), origins)
    try:
        spec = parse_normal(filled)
    except ModelError as error:
        for item in error.errors(include_url=False):
            origin = _origin(origins, tuple(item["loc"]))
            span = origin.span if origin else None
            report.add(Code.POLICY_DEFAULT, f"the default of `{label(tuple(item['loc']))}`: {item['msg']}", span)
        return None
    return Effective(spec, spec.model_dump(mode="json", exclude_unset=True), origins)


_Schemas = list[tuple[Document, Any, Path]]


def _fill(data: dict[str, Any], schemas: _Schemas, path: Path, origins: dict[Path, Origin]) -> None:
    for name in dict.fromkeys(name for _, schema, _ in schemas for name in _properties(schema)):
        inner = [
            (doc, _properties(s)[name], (*at, "properties", name)) for doc, s, at in schemas if name in _properties(s)
        ]
        defaults = [(doc, s["default"], at) for doc, s, at in inner if isinstance(s, dict) and "default" in s]
        if name not in data and defaults:
            layer, value, at = defaults[-1]
            data[name] = copy.deepcopy(value)
            origins[(*path, name)] = Origin(layer, at)
        if isinstance(data.get(name), dict):
            _fill(data[name], inner, (*path, name), origins)


def _properties(schema: object) -> Mapping[str, Any]:
    found = schema.get("properties") if isinstance(schema, dict) else None
    return found if isinstance(found, dict) else {}


# --- limits --------------------------------------------------------------------------------------------------


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
    limit, value = error.validator_value, error.instance
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
    if error.validator == "not" and limit == {}:
        return f"`{label(path)}` is not allowed here"
    return f"`{label(path)}`: {error.message}"


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
            schema, at = _properties(schema).get(str(part)), (*at, "properties", str(part))
        for keyword in keywords:
            if isinstance(schema, dict) and keyword in schema:
                limit = schema[keyword]
                text = ", ".join(shown(path, v) for v in limit) if isinstance(limit, list) else shown(path, limit)
                yield keyword, text, layer.key_span((*at, keyword))
