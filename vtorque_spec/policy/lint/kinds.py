"""Keywords that say nothing about the kind of value that a field has, and numbers where a unit is meant."""

from typing import Any

from vtorque_spec.diagnostics import Code
from vtorque_spec.policy.images import image_word
from vtorque_spec.policy.lint.view import View, field_at, name_of
from vtorque_spec.policy.rules import Place
from vtorque_spec.policy.values import shown
from vtorque_spec.spec.base import Shorthand
from vtorque_spec.spec.fields import Field, Kind
from vtorque_spec.spec.parse import shorten

NUMBERS: tuple[Kind, ...] = ("size", "duration", "integer")
_TEXT: tuple[Kind, ...] = ("text",)
_LIST: tuple[Kind, ...] = ("list",)
_MAPPING: tuple[Kind, ...] = ("mapping", "names")

_GOES_WITH: dict[str, tuple[Kind, ...]] = {
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), NUMBERS),
    **dict.fromkeys(("minQuantity", "maxQuantity"), ("size",)),
    **dict.fromkeys(("minDuration", "maxDuration"), ("duration",)),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "nodeSetIn"), _TEXT),
    **dict.fromkeys(("minItems", "maxItems", "uniqueItems", "contains", "items"), _LIST),
    **dict.fromkeys(("required", "dependentRequired", "minProperties", "maxProperties", "propertyNames"), _MAPPING),
    **dict.fromkeys(("patternProperties", "additionalProperties", "dependentSchemas", "properties"), _MAPPING),
}
"""Keyword -> the kinds of values that it says something about; of any other value it always holds."""

KIND_WORDS: dict[Kind, str] = {
    "size": "a number of bytes in the normal form",
    "duration": "a number of seconds in the normal form",
    "integer": "a whole number",
    "boolean": "true or false",
    "text": "a text",
    "list": "a list",
    "names": "a mapping",
    "mapping": "a mapping",
}
"""What a value of the normal form is."""


def kind_words(field: Field) -> str:
    """Return what the values of a field are."""
    short = field.model is not None and issubclass(field.model, Shorthand)
    return KIND_WORDS[field.kind] + (" in the normal form" if short else "")


_LIMITS: dict[Kind, str] = {
    "size": "limits of a size are minQuantity and maxQuantity",
    "duration": "limits of a time are minDuration and maxDuration",
    "integer": "limits of a number are minimum and maximum",
    "boolean": "write `const: true` or `const: false`",
    "text": "limits of a text are enum, pattern, minLength and maxLength",
    "list": "limits of a list are minItems and maxItems; those of its items stand below `items`",
    "names": "limits of its members stand below `additionalProperties`, those of their names below `propertyNames`",
    "mapping": "limits of its members stand below `properties`",
}

TYPES: dict[Kind, tuple[str, ...]] = {
    **dict.fromkeys(NUMBERS, ("integer", "number")),
    "boolean": ("boolean",),
    "text": ("string",),
    "list": ("array",),
    "names": ("object",),
    "mapping": ("object",),
}
"""JSON Schema's words for the kinds."""

_WITH_UNIT: dict[tuple[Kind, str], str] = {
    ("size", "minimum"): "minQuantity",
    ("size", "maximum"): "maxQuantity",
    ("duration", "minimum"): "minDuration",
    ("duration", "maximum"): "maxDuration",
}


def check(view: View) -> None:
    """Look at each keyword of each field."""
    for place in view.own:
        field = field_at(place.field)
        if field is not None:
            for keyword, value in place.schema.items():
                _check_keyword(view, place, field, keyword, value)


def _check_keyword(view: View, place: Place, field: Field, keyword: str, value: Any) -> None:
    kinds = _GOES_WITH.get(keyword, ())
    key = place.document.key_span((*place.path, keyword))
    name = name_of(field.path)
    if kinds and field.kind not in kinds:
        view.wrong.add(field.path)
        message = f"`{keyword}` says nothing about `{name}`, which is {kind_words(field)}"
        view.add(Code.POLICY_KIND, message, key, inside(field, keyword, value, kinds) or _LIMITS[field.kind])
    elif keyword == "imageIn" and field.path not in (("image",), ("image", "name")):
        message = f"`imageIn` says nothing about `{name}`, which is no image"
        view.add(Code.POLICY_KIND, message, key, "it stands at `image`")
    elif keyword == "imageIn" and field.path == ("image", "name") and any(image_word(word).pins for word in value):
        message = "a name alone pins nothing: no image is any of these"
        view.add(Code.POLICY_KIND, message, key, "write `imageIn` at `image`, where pins are seen")
    elif keyword == "type" and not {value if isinstance(value, str) else "", *_all(value)} & {*TYPES[field.kind]}:
        view.wrong.add(field.path)
        message = f"`{name}` never has this type: it is {kind_words(field)}"
        view.add(Code.POLICY_KIND, message, key, f"write `type: {TYPES[field.kind][0]}`, or leave it out")
    elif (field.kind, keyword) in _WITH_UNIT:
        unit = "bytes" if field.kind == "size" else "seconds"
        hint = f"write it with its unit: `{_WITH_UNIT[field.kind, keyword]}: {with_unit(field, value)}`"
        span = place.document.span((*place.path, keyword))
        view.add(Code.POLICY_NO_UNIT, f"`{keyword}: {value}` of `{name}` means {value} {unit}", span, hint)


def with_unit(field: Field, value: Any) -> str:
    """The limit as it was most probably meant: small figures are GiB and hours, larger ones MiB."""
    if field.kind == "size" and value < 2**20:
        return f"{value}GiB" if value < 256 else f"{value}MiB"
    if field.kind == "size":
        return shown(field.path, value) if isinstance(value, int) else "24GiB"
    return f'"{shown(field.path, value)}"' if isinstance(value, int) and value >= 60 else f"{value}h"


def _all(value: Any) -> list[str]:
    return value if isinstance(value, list) else []


def inside(field: Field, keyword: str, value: Any, kinds: tuple[Kind, ...]) -> str | None:
    """Tell where a keyword of `kinds` belongs: at the member that a short form stands for, or at a list's items."""
    each = field.each()
    if field.kind in ("list", "names") and each is not None:
        within = "items" if field.kind == "list" else "additionalProperties"
        within = "contains" if field.path[0] == "context" else within  # one of the groups is meant, not each
        if each.kind in kinds:
            return f"write `{within}: {{{keyword}: {_short(value)}}}`"
        deeper = inside(each, keyword, value, kinds) if each.kind == "mapping" else None
        return f"write `{within}: {{{deeper.removeprefix('write ').strip('`')}}}`" if deeper else None
    if field.model is None or not issubclass(field.model, Shorthand):
        return None
    if field.path == ("image",) and keyword in ("enum", "const"):
        words = value if isinstance(value, list) else [value]
        return f"write `imageIn: [{', '.join(map(str, words))}]`"
    member = field.members()[field.model.shorthand]
    if member.kind not in kinds:
        return None
    return f"write `properties: {{{member.path[-1]}: {{{keyword}: {_short(value)}}}}}`"


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) <= 4 and all(not isinstance(item, dict | list) for item in value):
        return f"[{', '.join(map(_short, value))}]"
    return "..." if isinstance(value, dict | list) else shorten(value).strip("`")
