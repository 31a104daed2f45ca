"""The published JSON Schema of the job language, generated from the models."""

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from vtorque_spec.spec import JobSpec

SCHEMA_ID = "urn:vtorque:schema:vjob:1"


def vjob_schema_text() -> str:
    """Return the schema as the text of `schemas/vjob-1.schema.json`."""
    return json.dumps(vjob_schema(), indent=2) + "\n"


def vjob_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12)."""
    return published(JobSpec, SCHEMA_ID, "vtorque job")


def published(model: type[BaseModel], schema_id: str, title: str) -> dict[str, Any]:
    """Return the schema of a model (draft 2020-12). What pydantic adds for "not said" (null, titles) is taken out."""
    cleaned: dict[str, Any] = _cleaned(model.model_json_schema(schema_generator=GenerateJsonSchema))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": schema_id, "title": title, **cleaned}


def _cleaned(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_cleaned(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _cleaned(value) for key, value in schema.items() if not _is_noise(key, value)}
    if "patternProperties" in kept:
        kept["additionalProperties"] = False  # pydantic publishes the pattern of the keys, but lets others through
    choices = kept.get("anyOf")
    if choices is not None:
        choices = [choice for choice in choices if choice != {"type": "null"}]
        if len(choices) == 1:
            del kept["anyOf"]
            kept = {**choices[0], **kept}
        else:
            kept["anyOf"] = choices
    return kept


def _is_noise(key: str, value: object) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)


def field_schema(path: tuple[str | int, ...]) -> dict[str, Any]:
    """Return the schema of one field of the job, its short form where it has two; empty for a path that has none."""
    schema = vjob_schema()
    found = schema
    for part in path:
        found = _long_form(schema, found)
        if isinstance(part, int):
            found = found.get("items", {})
        else:
            others = [*found.get("patternProperties", {}).values(), {}]
            found = found.get("properties", {}).get(part, others[0])
    found = _resolved(schema, found)
    return dict(found["anyOf"][0]) if "anyOf" in found else found


def _resolved(schema: dict[str, Any], member: dict[str, Any]) -> dict[str, Any]:
    reference = member.get("$ref")
    return dict(schema["$defs"][reference.rpartition("/")[2]]) if reference else member


def _long_form(schema: dict[str, Any], member: dict[str, Any]) -> dict[str, Any]:
    resolved = _resolved(schema, member)
    return dict(resolved["anyOf"][-1]) if "anyOf" in resolved else resolved
