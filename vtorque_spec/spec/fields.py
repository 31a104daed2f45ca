"""The fields of the normal form, for those who speak about jobs in general: policies, explanations, schemas."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vtorque_spec.document import Path
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.base import Duration, Form, Size

ANY = "*"
"""In a path: any item of a list, or any name of a free mapping such as `env`."""

Kind = Literal["size", "duration", "integer", "boolean", "text", "list", "names", "mapping"]
"""`mapping` has members of its own, `names` is a mapping of free names."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: what its values are in the normal form (sizes in bytes, durations in seconds).

    `form` says in words what a text must look like.
    """

    path: Path
    kind: Kind
    description: str
    required: bool
    words: tuple[str | int, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    model: type[BaseModel] | None = None
    inner: Any = None
    form: str | None = None

    def members(self) -> dict[str, "Field"]:
        """Return the fields of a mapping by name; none where the names are free."""
        return members_of_model(self.model, self.path) if self.model else {}

    def each(self) -> "Field | None":
        """Return what each item or each named value is; None where there is nothing below."""
        return None if self.inner is None else _field((*self.path, ANY), self.inner, "", (), required=False)


def members_of_model(model: type[BaseModel], path: Path = ()) -> dict[str, Field]:
    """Return the fields of a model, by name."""
    return {name: _of_info((*path, name), info) for name, info in model.model_fields.items()}


@lru_cache(maxsize=1024)
def job_field(path: Path) -> Field | None:
    """Return the field at a path of the normal form; None when a job has no such field. ``()`` is no field."""
    known: dict[str, Field] = members_of_model(JobSpec)
    found: Field | None = None
    for part in path:
        found = (found.each() if found and found.inner is not None else None) or known.get(str(part))
        if found is None:
            return None
        known = found.members()
    return found


def all_fields() -> Iterator[Field]:
    """Yield every field of a job, parents first."""
    waiting = list(members_of_model(JobSpec).values())
    while waiting:
        field = waiting.pop(0)
        yield field
        below = field.each()
        waiting[:0] = [*field.members().values(), *([below] if below is not None else [])]


def _of_info(path: Path, info: FieldInfo) -> Field:
    return _field(path, info.annotation, info.description or "", tuple(info.metadata), required=info.is_required())


def _field(path: Path, annotation: Any, description: str, metadata: tuple[Any, ...], *, required: bool) -> Field:
    annotation, metadata = _unwrapped(annotation, metadata)
    minimum: Any = next((m.ge if isinstance(m, Ge) else m.gt + 1 for m in _those(metadata, Ge, Gt)), None)
    maximum: Any = next((m.le if isinstance(m, Le) else m.lt - 1 for m in _those(metadata, Le, Lt)), None)
    origin = get_origin(annotation)
    words = get_args(annotation) if origin is Literal else ()
    described = next((m.description for m in metadata if isinstance(m, FieldInfo) and m.description), description)
    model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    inner = get_args(annotation)[0 if origin is tuple else 1] if origin in (tuple, dict) else None
    form = next((found.wanted for found in _those(metadata, Form)), None)
    return Field(path, _kind(annotation, metadata), described, required, words, minimum, maximum, model, inner, form)


_SIZE, _DURATION = get_args(Size)[2], get_args(Duration)[2]  # each one's own validator tells them apart


def _kind(annotation: Any, metadata: tuple[Any, ...]) -> Kind:
    if _SIZE in metadata:
        return "size"
    if _DURATION in metadata:
        return "duration"
    kinds: dict[Any, Kind] = {bool: "boolean", int: "integer", tuple: "list", dict: "names"}
    kind = kinds.get(get_origin(annotation) or annotation)
    if kind is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return kind or "text"


def _unwrapped(annotation: Any, metadata: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Look through Annotated and `X | None`; what was annotated on the way is kept."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            metadata = (*metadata, *(part for one in more for part in _spread(one)))
        elif get_origin(annotation) in (Union, types.UnionType):
            annotation = next(one for one in get_args(annotation) if one is not type(None))
        else:
            return annotation, metadata


def _spread(one: Any) -> tuple[Any, ...]:
    return (one, *one.metadata) if isinstance(one, FieldInfo) else (one,)


def _those(metadata: tuple[Any, ...], *kinds: type) -> Iterator[Any]:
    return (one for one in metadata if isinstance(one, kinds))
