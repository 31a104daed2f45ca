"""The words of a policy, as data: the JSON Schema keywords that it may use, and what this project adds.

Standard keywords mean what JSON Schema draft 2020-12 says (https://json-schema.org/draft/2020-12). A keyword that is
not here is a finding, never ignored: a misspelt limit would be no limit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vtorque_spec.document import Path

Shape = Literal[
    "schema", "schemas", "members", "any", "values", "text", "texts", "requirements", "number", "step", "count", "flag",
    "pattern", "types", "size", "duration", "images", "nodes", "code", "severity", "url", "reference",
]  # fmt: skip
Role = Literal["rule", "condition", "structure", "about"]
"""`rule` can be broken, `condition` decides what applies, `structure` leads to subschemas, `about` is the rest."""


@dataclass(frozen=True, slots=True)
class Keyword:
    """One keyword: the shape of its value, its role, and what it means in one line."""

    shape: Shape
    role: Role
    meaning: str


KEYWORDS: Mapping[str, Keyword] = {
    "type": Keyword("types", "rule", "the value has this type, or one of these"),
    "enum": Keyword("values", "rule", "the value is one of these"),
    "const": Keyword("any", "rule", "the value is this"),
    "minimum": Keyword("number", "rule", "the number is at least this"),
    "maximum": Keyword("number", "rule", "the number is at most this"),
    "exclusiveMinimum": Keyword("number", "rule", "the number is more than this"),
    "exclusiveMaximum": Keyword("number", "rule", "the number is less than this"),
    "multipleOf": Keyword("step", "rule", "the number is a multiple of this"),
    "minQuantity": Keyword("size", "rule", "the size is at least this, as in 512MiB"),
    "maxQuantity": Keyword("size", "rule", "the size is at most this, as in 24GiB"),
    "minDuration": Keyword("duration", "rule", "the time is at least this, as in 60s"),
    "maxDuration": Keyword("duration", "rule", 'the time is at most this, as in "24:00:00"'),
    "minLength": Keyword("count", "rule", "the text has at least so many characters"),
    "maxLength": Keyword("count", "rule", "the text has at most so many characters"),
    "pattern": Keyword("pattern", "rule", "the text holds a match of this regular expression"),
    "imageIn": Keyword(
        "images",
        "rule",
        "the image is one of these: names, patterns (debian-*), tags (tag=cfd), pins (*:2026-*, *@sha256:*)",
    ),
    "nodeSetIn": Keyword("nodes", "rule", "the host, or set of hosts, lies within this node set, as in login[1-4]"),
    "minItems": Keyword("count", "rule", "the list has at least so many items"),
    "maxItems": Keyword("count", "rule", "the list has at most so many items"),
    "uniqueItems": Keyword("flag", "rule", "the list has no item twice"),
    "minProperties": Keyword("count", "rule", "the mapping has at least so many members"),
    "maxProperties": Keyword("count", "rule", "the mapping has at most so many members"),
    "required": Keyword("texts", "rule", "the mapping has these members"),
    "dependentRequired": Keyword("requirements", "rule", "where the mapping has a member, it has these too"),
    "not": Keyword("schema", "rule", "the value does not fit this schema"),
    "anyOf": Keyword("schemas", "rule", "the value fits one of these schemas at least"),
    "oneOf": Keyword("schemas", "rule", "the value fits exactly one of these schemas"),
    "contains": Keyword("schema", "rule", "an item of the list fits this schema"),
    "minContains": Keyword("count", "about", "so many items at least, where `contains` is"),
    "maxContains": Keyword("count", "about", "so many items at most, where `contains` is"),
    "propertyNames": Keyword("schema", "rule", "every name in the mapping fits this schema"),
    "if": Keyword("schema", "condition", "where the value fits this schema, `then` applies, else `else`"),
    "then": Keyword("schema", "structure", "applies where `if` fits"),
    "else": Keyword("schema", "structure", "applies where `if` does not fit"),
    "dependentSchemas": Keyword("members", "structure", "where the mapping has a member, this schema applies"),
    "allOf": Keyword("schemas", "structure", "the value fits all of these schemas"),
    "properties": Keyword("members", "structure", "schemas of members by name; `false` switches the member off"),
    "patternProperties": Keyword("members", "structure", "schemas of members by a pattern of their name"),
    "additionalProperties": Keyword("schema", "structure", "schema of the members that are not named beside it"),
    "items": Keyword("schema", "structure", "schema of every item of the list"),
    "$ref": Keyword("reference", "structure", "the schema at that place: #/$defs/NAME, or FILE.yaml#/$defs/NAME"),
    "$defs": Keyword("members", "about", "schemas to refer to"),
    "default": Keyword("any", "about", "what a job gets that says nothing"),
    "code": Keyword("code", "about", "the site's own code of these rules, as in HLRS012"),
    "message": Keyword("text", "about", "what a finding says instead; may hold {value} and {limit}"),
    "help": Keyword("text", "about", "how to mend it"),
    "severity": Keyword("severity", "about", "error (the job is refused) or warning"),
    "url": Keyword("url", "about", "a page that says more"),
    "allowSuppress": Keyword("flag", "about", "whether a comment in the job file may hide the finding from lint"),
    "title": Keyword("text", "about", "a name for people"),
    "description": Keyword("text", "about", "a text for people"),
    "examples": Keyword("values", "about", "values that fit"),
    "deprecated": Keyword("flag", "about", "whether the member should no longer be used"),
    "$comment": Keyword("text", "about", "a note for those who edit the policy"),
    "$schema": Keyword("url", "about", "the language that the file is written in"),
    "$id": Keyword("url", "about", "a name for the file; references do not follow it"),
}

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
CODE_PATTERN = r"(?!VT[0-9])[A-Z][A-Z0-9_-]{1,31}"
_NAMES = r"[A-Za-z0-9*?\[][A-Za-z0-9._*?\[\]!-]*"
IMAGE_PATTERN = rf"(tag={_NAMES}|(?!tag:){_NAMES}(:{_NAMES}|@sha256:[0-9a-f*?\[\]!-]+)?)"
CONTEXT = ("user", "groups", "queue", "batch", "site", "host")
"""The members of `context`; what a job file cannot set."""

INSIDE = ("properties", "patternProperties", "additionalProperties", "items", "contains", "propertyNames", "$defs")
"""Keywords whose subschemas are about something inside the value, not about the value itself."""


NOTHING: tuple[object, ...] = ([], {}, False, "none", {"enabled": False}, {"mode": "none"})
"""What a job says to ask for nothing; a feature that is switched off may be declined."""


def subschemas(schema: Any) -> Iterator[tuple[Path, Any]]:
    """Yield the place (below `schema`) and the content of each subschema that stands directly in it."""
    if not isinstance(schema, dict):
        return
    for name, value in schema.items():
        shape = KEYWORDS[name].shape if name in KEYWORDS else None
        if shape == "schema":
            yield (name,), value
        elif shape == "schemas" and isinstance(value, list):
            yield from (((name, index), item) for index, item in enumerate(value))
        elif shape == "members" and isinstance(value, dict):
            yield from (((name, key), item) for key, item in value.items())
