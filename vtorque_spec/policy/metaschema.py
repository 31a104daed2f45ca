"""The published JSON Schema of the policy language, made from its vocabulary: for editors, and for other tools."""

import json
from collections.abc import Mapping
from typing import Any

from vtorque_spec.policy.vocabulary import CODE_PATTERN, IMAGE_PATTERN, KEYWORDS, TYPES, Shape
from vtorque_spec.units import DURATION_PATTERN, SIZE_PATTERN

SCHEMA_ID = "urn:vtorque:schema:policy:1"

_SCHEMA = {"$ref": "#/$defs/schema"}
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_TYPE = {"enum": list(TYPES)}

_SHAPES: Mapping[Shape, dict[str, Any]] = {
    "schema": _SCHEMA,
    "schemas": {"type": "array", "items": _SCHEMA, "minItems": 1},
    "members": {"type": "object", "additionalProperties": _SCHEMA},
    "any": {},
    "values": {"type": "array", "minItems": 1},
    "text": _TEXT,
    "texts": _TEXTS,
    "requirements": {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}},
    "number": {"type": "number"},
    "step": {"type": "number", "exclusiveMinimum": 0},
    "count": {"type": "integer", "minimum": 0},
    "flag": {"type": "boolean"},
    "pattern": {"type": "string", "format": "regex"},
    "types": {"anyOf": [_TYPE, {"type": "array", "items": _TYPE, "minItems": 1}]},
    "size": {"type": "string", "pattern": f"^{SIZE_PATTERN}$", "examples": ["24GiB"]},
    "duration": {"type": "string", "pattern": f"^{DURATION_PATTERN}$", "examples": ["24:00:00", "60s"]},
    "images": {**_TEXTS, "items": {"type": "string", "pattern": f"^{IMAGE_PATTERN}$"}},
    "nodes": {**_TEXT, "examples": ["n[001-128]"]},
    "code": {"type": "string", "pattern": f"^{CODE_PATTERN}$", "examples": ["HLRS012"]},
    "severity": {"enum": ["error", "warning"]},
    "url": _TEXT,
    "reference": {**_TEXT, "examples": ["#/$defs/NAME", "FILE.yaml#/$defs/NAME"]},
}


def policy_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a policy's files; a schema inside one is `#/$defs/schema`."""
    members = {word: {**_SHAPES[one.shape], "description": one.meaning} for word, one in KEYWORDS.items()}
    members["patternProperties"]["propertyNames"] = {"format": "regex"}
    one = {
        "type": "object",
        "properties": members,
        "additionalProperties": False,
        "dependentRequired": {"then": ["if"], "else": ["if"]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "vtorque policy",
        "$ref": "#/$defs/keywords",
        "$defs": {"schema": {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/keywords"}]}, "keywords": one},
    }


def policy_schema_text() -> str:
    """Return the schema as the text of `schemas/policy-1.schema.json`."""
    return json.dumps(policy_schema(), indent=2) + "\n"
