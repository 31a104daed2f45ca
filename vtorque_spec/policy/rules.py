"""What a policy's files hold, seen as one tree: every subschema with the field of the job that it is about."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vtorque_spec.diagnostics import Severity, Span
from vtorque_spec.document import Document, Path
from vtorque_spec.policy.vocabulary import KEYWORDS, subschemas
from vtorque_spec.site.policy_files import PolicyFiles
from vtorque_spec.spec.fields import ANY

ABOUT = ("code", "message", "help", "severity", "url", "allowSuppress")
"""What a subschema may say of the findings of all rules in it, unless one further in says otherwise."""


@dataclass(frozen=True, slots=True)
class Condition:
    """An `if` that stands above a subschema, and which of its branches that subschema is in.

    Of `dependentSchemas` the `if` is that the member is there; `path` is then that of the subschema.
    """

    document: Document
    path: Path
    schema: Any
    field: Path | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Place:
    """One subschema. `field` is a path of the normal form, ``*`` for any item; None where it cannot be told.

    `tested` says that its rules only decide (inside `if`, `not`, `anyOf`, `oneOf` and the like), not refuse.
    """

    uri: str
    document: Document
    path: Path
    schema: Any
    field: Path | None = ()
    conditions: tuple[Condition, ...] = ()
    tested: bool = False
    about: Mapping[str, Any] | None = None

    def said(self, word: str) -> Any:
        """Return what the policy says here, or nearest above, under one of the words of `ABOUT`."""
        return (self.about or {}).get(word)


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule: a keyword that can be broken, or a subschema `false` (keyword `false`)."""

    place: Place
    keyword: str
    limit: Any

    @property
    def path(self) -> Path:
        """Where the keyword stands in its file."""
        return self.place.path if self.keyword == "false" else (*self.place.path, self.keyword)

    @property
    def span(self) -> Span:
        """The limit; of a limit that takes several lines, the keyword alone."""
        limit = self.place.document.span(self.path)
        return limit if limit.line == limit.end_line else self.place.document.key_span(self.path)

    def is_about(self, path: Path) -> bool:
        """Whether the value at `path` of a job's normal form is what this rule is about."""
        field = self.place.field
        same = field is not None and len(field) == len(path)
        return same and all(a in (ANY, b) for a, b in zip(field or (), path, strict=True))

    @property
    def severity(self) -> Severity:
        """Error unless the policy says warning."""
        return Severity.WARNING if self.place.said("severity") == "warning" else Severity.ERROR


DEPTH_LIMIT = 100
"""So many schemas lead to one another at most; what walks or evaluates them is recursive."""


class TooDeepError(Exception):
    """The schemas at `place` lead through more others than DEPTH_LIMIT. None of a policy that was checked do."""

    def __init__(self, place: Place) -> None:
        self.place = place


def walk(files: PolicyFiles) -> Iterator[Place]:
    """Yield every subschema that applies, layer by layer, through references, in the order of the files.

    Raises TooDeepError.
    """
    for uri in files.layers:
        document = files.files[uri]
        yield from below(files, Place(uri, document, (), document.data, about=_about({}, document.data)))


def below(files: PolicyFiles, place: Place) -> Iterator[Place]:
    """Yield a subschema and all that it leads to."""
    yield from _walk(files, place, frozenset())


def rules(files: PolicyFiles) -> Iterator[PolicyRule]:
    """Yield every rule that can refuse a job or warn of it."""
    for place in walk(files):
        yield from rules_of(place)


def rules_of(place: Place) -> Iterator[PolicyRule]:
    """Yield the rules that stand directly in a subschema."""
    if place.tested:
        return
    if place.schema is False:
        yield PolicyRule(place, "false", None)
    if isinstance(place.schema, dict):
        for keyword, limit in place.schema.items():
            if keyword in KEYWORDS and KEYWORDS[keyword].role == "rule":
                yield PolicyRule(place, keyword, limit)


def _walk(files: PolicyFiles, place: Place, seen: frozenset[tuple[str, Path]]) -> Iterator[Place]:
    yield place
    if not isinstance(place.schema, dict):
        return
    here = (place.uri, place.path)
    if len(seen) >= DEPTH_LIMIT:
        raise TooDeepError(place)
    if here in seen:  # a schema of trees, which refers to itself: its rules are listed once
        return
    for below, schema in subschemas(place.schema):
        if below[0] != "$defs":
            yield from _walk(files, _inner(place, below, schema), seen | {here})
    reference = place.schema.get("$ref")
    target = files.target(place.uri, reference) if isinstance(reference, str) else None
    if target is not None:
        uri, path = target
        schema = _at(files.files[uri].data, path)
        inner = replace(place, uri=uri, document=files.files[uri], path=path, schema=schema)
        yield from _walk(files, replace(inner, about=_about(place.about or {}, schema)), seen | {here})


def _inner(place: Place, below: Path, schema: Any) -> Place:
    keyword = str(below[0])
    inner = replace(place, path=(*place.path, *below), schema=schema, about=_about(place.about or {}, schema))
    if keyword in ("then", "else"):
        tested = place.schema.get("if", True)
        path, holds = (*place.path, "if"), keyword == "then"
        condition = Condition(place.document, path, tested, place.field, holds)
        return replace(inner, conditions=(*place.conditions, condition))
    if keyword == "dependentSchemas":
        said = Condition(place.document, inner.path, {"required": [below[1]]}, place.field, True)
        return replace(inner, conditions=(*place.conditions, said))
    if keyword in ("if", "not", "anyOf", "oneOf", "contains", "propertyNames"):
        inner = replace(inner, tested=True)
    return replace(inner, field=_field(place.field, below))


def _field(field: Path | None, below: Path) -> Path | None:
    keyword = below[0]
    if field is None or keyword in ("propertyNames", "patternProperties", "additionalProperties"):
        return None
    if keyword == "properties":
        return (*field, below[1])
    return (*field, ANY) if keyword in ("items", "contains") else field


def _about(above: Mapping[str, Any], schema: Any) -> Mapping[str, Any]:
    said = {word: schema[word] for word in ABOUT if word in schema} if isinstance(schema, dict) else {}
    return {**above, **said}


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data
