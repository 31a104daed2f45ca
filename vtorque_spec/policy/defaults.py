"""Fill what a job leaves open from the layers' `default` keywords, remembering which line set what."""

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Document, Path
from vtorque_spec.policy import Effective, Origin, origin_of
from vtorque_spec.spec.parse import NormalForm, label, parse_normal, reason


def fill_defaults(normal: NormalForm, layers: tuple[Document, ...], report: Report) -> Effective | None:
    """Return the job with the layers' defaults; None, and findings in the policy, when one is no value for a job."""
    filled = copy.deepcopy(normal.data)
    origins: dict[Path, Origin] = {}
    _fill(filled, [(layer, layer.data, ()) for layer in layers], (), origins)
    try:
        spec = parse_normal(filled)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            origin = origin_of(origins, tuple(item["loc"]))
            span = origin.span if origin else None
            report.add(Code.POLICY_DEFAULT, f"the default of `{label(tuple(item['loc']))}`: {reason(item)}", span)
        return None
    return Effective(spec, spec.model_dump(mode="json", exclude_unset=True), origins)


_Schemas = list[tuple[Document, Any, Path]]


def _fill(data: dict[str, Any], schemas: _Schemas, path: Path, origins: dict[Path, Origin]) -> None:
    for name in dict.fromkeys(name for _, schema, _ in schemas for name in members_of(schema)):
        inner = [
            (doc, members_of(s)[name], (*at, "properties", name)) for doc, s, at in schemas if name in members_of(s)
        ]
        defaults = [(doc, s["default"], at) for doc, s, at in inner if isinstance(s, dict) and "default" in s]
        if name not in data and defaults:
            layer, value, at = defaults[-1]
            data[name] = copy.deepcopy(value)
            origins[(*path, name)] = Origin(layer, at)
        if isinstance(data.get(name), dict):
            _fill(data[name], inner, (*path, name), origins)


def members_of(schema: object) -> Mapping[str, Any]:
    """Return the schemas of an object's members; none where the schema has no `properties`."""
    found = schema.get("properties") if isinstance(schema, dict) else None
    return found if isinstance(found, dict) else {}
