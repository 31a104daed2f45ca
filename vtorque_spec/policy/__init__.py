"""The site's rules: JSON Schema layers over the job's normal form.

`defaults` fills what the job leaves open, `limits` checks the result. Layers are conjoined: a later one only narrows;
the last default wins.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vtorque_spec.diagnostics import Span
from vtorque_spec.document import Document, Path
from vtorque_spec.spec import JobSpec


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
        return origin_of(self.origins, path)


def origin_of(origins: Mapping[Path, Origin], path: Path) -> Origin | None:
    """Return the default of `path` or of its nearest ancestor that has one."""
    while path and path not in origins:
        path = path[:-1]
    return origins.get(path)


def have_limits(layers: Iterable[Document]) -> bool:
    """Whether there is anything to evaluate: a layer of nothing but defaults needs no JSON Schema validator."""
    return not all(_only_defaults(layer.data) for layer in layers)


def _only_defaults(schema: object) -> bool:
    if not isinstance(schema, dict) or not set(schema) <= {"$schema", "$id", "description", "properties", "default"}:
        return False
    members = schema.get("properties", {})
    return isinstance(members, dict) and all(_only_defaults(member) for member in members.values())
