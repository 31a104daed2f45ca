"""Canonical JSON, digests over it, and frozen dataclasses to and from it. Standard library only.

Canonical JSON has one definition: sorted keys, ``,`` and ``:`` without spaces, ASCII, integers only (no float, no
NaN). A digest is SHA-256 over it, prefixed with a type name and a version, so that equal bytes of two types differ.
"""

import dataclasses
import functools
import hashlib
import json
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")

LARGEST_INTEGER = 2**53 - 1
"""Beyond this, readers that keep numbers as IEEE doubles lose digits."""

DEPTH_LIMIT = 32
"""So deep may values be nested, as in a job file."""


class DecodeError(ValueError):
    """The JSON is not of the shape that the type asks for; the text names the member."""


def canonical_json(value: object) -> str:
    """Return `value` (dataclasses, mappings, sequences, text, integers, booleans, None) as canonical JSON.

    Raises TypeError for anything else, floats included.
    """
    return json.dumps(to_data(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(kind: str, version: int, value: object) -> str:
    """Return ``sha256:HEX`` over ``KIND-VERSION`` and the canonical JSON of `value`."""
    return "sha256:" + hashlib.sha256(f"{kind}-{version}\n{canonical_json(value)}".encode("ascii")).hexdigest()


def to_data(value: object) -> Any:
    """Return `value` as plain JSON data; dataclasses become mappings and tuples become lists."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("canonical JSON has text keys only")
        return {key: to_data(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [to_data(item) for item in value]
    raise TypeError(f"canonical JSON carries no {type(value).__name__}")


def from_json(kind: type[T], text: str | bytes) -> T:
    """Read `text` as the frozen dataclass `kind`; every member must be there, none may be left over.

    Raises DecodeError, whatever the bytes are.
    """
    return typing.cast(T, from_data(kind, plain_data(text)))


def plain_data(text: str | bytes) -> Any:
    """Read `text` as JSON data such as canonical JSON can hold; raises DecodeError, whatever the bytes are."""
    try:
        data = json.loads(text, parse_float=_refuse, parse_constant=_refuse, object_pairs_hook=_unique)
        _check_bounds(data, DEPTH_LIMIT)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from None
    return data


def _check_bounds(data: object, depth: int) -> None:
    if depth < 0:
        raise ValueError(f"values are nested more than {DEPTH_LIMIT} deep")
    if type(data) is int and abs(data) > LARGEST_INTEGER:
        raise ValueError("a number is not below 2^53")
    if isinstance(data, str):
        data.encode()  # a lone surrogate is a UnicodeEncodeError
    members = [*data, *data.values()] if isinstance(data, dict) else data if isinstance(data, list) else ()
    for member in members:
        _check_bounds(member, depth - 1)


def from_data(kind: Any, data: object, where: str = "") -> object:
    """Check `data` against the type `kind` and return it as an instance; `where` names the member in errors."""
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return _check(data in typing.get_args(kind), data, where, f"one of {typing.get_args(kind)}")
    if origin in (typing.Union, types.UnionType):
        return _from_union(typing.get_args(kind), data, where)
    if origin is tuple:
        _check(isinstance(data, list), data, where, "a list")
        (item_kind, _) = typing.get_args(kind)
        return tuple(from_data(item_kind, item, f"{where}[{n}]") for n, item in enumerate(typing.cast(Any, data)))
    if dataclasses.is_dataclass(kind):
        return _from_mapping(kind, data, where)
    if kind is int:
        return _check(type(data) is int and abs(data) <= LARGEST_INTEGER, data, where, "an integer below 2^53")
    if kind in (str, bool):
        return _check(type(data) is kind, data, where, "text" if kind is str else "true or false")
    raise TypeError(f"no JSON form is known for {kind}")


def _from_mapping(kind: Any, data: object, where: str) -> object:
    if not isinstance(data, dict):
        raise DecodeError(f"{where or 'the whole'}: expected a mapping, found {_shown(data)}")
    kinds = _members(kind)
    if kinds.keys() != data.keys():
        odd = ", ".join(sorted(map(str, kinds.keys() ^ data.keys())))
        raise DecodeError(f"{where or 'the whole'}: members missing or unknown: {odd}")
    return kind(**{name: from_data(of, data[name], f"{where}.{name}".lstrip(".")) for name, of in kinds.items()})


@functools.cache
def _members(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's members: a table of thousands asks for them thousands of times."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _from_union(kinds: tuple[Any, ...], data: object, where: str) -> object:
    """`X | None`, or a union of dataclasses told apart by their literal member `kind`."""
    if data is None:
        return _check(type(None) in kinds, data, where, "a value")
    rest = [kind for kind in kinds if kind is not type(None)]
    if len(rest) == 1:
        return from_data(rest[0], data, where)
    tag = data.get("kind") if isinstance(data, dict) else None
    for kind in rest:
        if tag in typing.get_args(typing.get_type_hints(kind)["kind"]):
            return from_data(kind, data, where)
    raise DecodeError(f"{where or 'the whole'}: unknown kind {_shown(tag)}")


def _check(fine: bool, data: object, where: str, wanted: str) -> object:
    if not fine:
        raise DecodeError(f"{where or 'the whole'}: expected {wanted}, found {_shown(data)}")
    return data


def _shown(data: object) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse(token: str) -> typing.NoReturn:
    raise ValueError(f"canonical JSON has no {token}")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a mapping has the same key twice")
    return found
