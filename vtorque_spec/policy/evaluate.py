"""The policy as the jsonschema library evaluates it: a copy of its files in standard terms, and our own keywords.

In the copy quantities are numbers, lists of images know the catalogue, references are absolute, and `false` is a
keyword of its own, because the library does not say where a false schema was met. This and `limits` alone import
jsonschema.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from vtorque_spec.canonical import canonical_json
from vtorque_spec.document import Path
from vtorque_spec.policy.images import AllowedImages
from vtorque_spec.policy.rules import Place, PolicyRule, below, rules, walk
from vtorque_spec.policy.vocabulary import KEYWORDS, NOTHING
from vtorque_spec.site import Site
from vtorque_spec.site.policy_files import BASE_URI, PolicyFiles
from vtorque_spec.units import parse_duration, parse_size

OFF = "false"
"""The keyword that a schema `false` becomes."""

PATTERN_LIMIT = 4096
"""Longer texts are refused before a pattern sees them: some patterns take time that grows without bound."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A rule that asks for what is not known: a member such as ("context", "queue"), and where the rule stands."""

    member: Path
    place: Place
    path: Path


class Evaluator:
    """The rules of a site, ready to be evaluated where the members `unknown` of a job are not known."""

    def __init__(self, site: Site, unknown: frozenset[Path]) -> None:
        self.policy = site.policy
        self.places: dict[int, tuple[str, Path]] = {}
        self.dropped = {(one.place.uri, one.path): one for one in _unknown_rules(site.policy, unknown)}
        self.rules: dict[tuple[str, Path], list[PolicyRule]] = {}
        for rule in rules(site.policy):
            self.rules.setdefault((rule.place.uri, rule.path), []).append(rule)
        copier = _Copier(self, site)
        copies = {uri: copier.schema(uri, (), file.data) for uri, file in site.policy.files.items()}
        registry = Registry().with_resources((uri, DRAFT202012.create_resource(copy)) for uri, copy in copies.items())
        used = {rule.place.uri for found in self.rules.values() for rule in found}
        self.validators = [
            VALIDATOR(copies[uri], registry=registry) for uri in site.policy.layers if uri != BASE_URI or uri in used
        ]
        self._any = VALIDATOR({}, registry=registry)
        self._copies = copier.copies

    def errors(self, instance: Mapping[str, Any]) -> Iterator[ValidationError]:
        """Evaluate every layer."""
        for validator in self.validators:
            yield from validator.iter_errors(instance)

    def holds(self, uri: str, path: Path, value: Any) -> bool | None:
        """Return whether the `if` at that place fits; None where it asks for what is not known."""
        schema = self._copies.get((uri, path))
        return None if schema is None else bool(self._any.evolve(schema=schema).is_valid(value))

    def errors_of(self, rule: PolicyRule, value: Any) -> Iterator[ValidationError]:
        """Evaluate one rule alone; `value` is what it is about."""
        copy = self._copies[rule.place.uri, rule.place.path]
        words = (OFF if rule.keyword == "false" else rule.keyword, "minContains", "maxContains")
        yield from self._any.evolve(schema={word: copy[word] for word in words if word in copy}).iter_errors(value)

    def rule_of(self, error: ValidationError) -> PolicyRule | None:
        """Return the rule that an error breaks: the keyword that failed, or the one above that tested it."""
        uri, path = self.places[id(error.schema)]
        keyword = "contains" if error.validator in ("minContains", "maxContains") else str(error.validator)
        keyed = path if keyword == OFF else (*path, keyword)
        while keyed and (uri, keyed) not in self.rules:
            keyed = keyed[:-1]
        found = self.rules.get((uri, keyed), [])
        return next((rule for rule in found if rule.is_about(tuple(error.absolute_path))), found[0] if found else None)


@lru_cache(maxsize=8)
def evaluator(site: Site, unknown: frozenset[Path]) -> Evaluator:
    """Return the evaluator of a site; made once."""
    return Evaluator(site, unknown)


def _unknown_rules(policy: PolicyFiles, unknown: frozenset[Path]) -> Iterator[Unknown]:
    """Yield each rule or condition that cannot be evaluated; what stands inside it goes with it."""
    for place in walk(policy) if unknown else ():
        if place.field in unknown and not place.tested:
            yield Unknown(place.field or (), place, place.path)
        elif place.field == () and isinstance(place.schema, dict):
            for keyword in ("if", "not", "anyOf", "oneOf", "required"):
                member = _asks_for(policy, place, keyword, unknown)
                if member is not None and not place.tested:
                    yield Unknown(member, place, (*place.path, keyword))


def _asks_for(policy: PolicyFiles, place: Place, keyword: str, unknown: frozenset[Path]) -> Path | None:
    """Return the first of `unknown` that one keyword of a subschema is about."""
    if keyword not in place.schema:
        return None
    alone = Place(place.uri, place.document, place.path, {keyword: place.schema[keyword]}, ())
    asked: set[Path] = set()
    for inner in below(policy, alone):
        if inner.field is not None:
            needed = inner.schema.get("required", ()) if isinstance(inner.schema, dict) else ()
            asked |= {inner.field, *((*inner.field, name) for name in needed)}
    return min(asked & unknown, default=None)


class _Copier:
    """Copies schemas, remembering where each part of the copy stands in the file."""

    def __init__(self, owner: Evaluator, site: Site) -> None:
        self.owner, self.site = owner, site
        self.copies: dict[tuple[str, Path], dict[str, Any]] = {}

    def schema(self, uri: str, path: Path, schema: Any) -> dict[str, Any]:
        """Return the copy; an empty one where there is nothing to evaluate."""
        copy: dict[str, Any] = {}
        self.copies[uri, path] = copy
        self.owner.places[id(copy)] = (uri, path)
        if (uri, path) in self.owner.dropped or schema is True:
            return copy
        if schema is False:
            copy[OFF] = True
            return copy
        skipped = {word for word in KEYWORDS if (uri, (*path, word)) in self.owner.dropped}
        for keyword, value in schema.items():
            if keyword in skipped or ("if" in skipped and keyword in ("then", "else")):
                continue
            self._keyword(copy, uri, (*path, keyword), keyword, value)
        return copy

    def _keyword(self, copy: dict[str, Any], uri: str, path: Path, keyword: str, value: Any) -> None:
        word = KEYWORDS[keyword]
        if word.role == "about" and keyword not in ("$defs", "minContains", "maxContains"):
            return
        if word.shape == "schema":
            copy[keyword] = self.schema(uri, path, value)
        elif word.shape == "schemas":
            copy[keyword] = [self.schema(uri, (*path, index), item) for index, item in enumerate(value)]
        elif word.shape == "members":
            copy[keyword] = {name: self.schema(uri, (*path, name), item) for name, item in value.items()}
        else:
            copy[keyword] = self._value(uri, keyword, value)

    def _value(self, uri: str, keyword: str, value: Any) -> Any:
        shape = KEYWORDS[keyword].shape
        if shape == "size":
            return parse_size(value)
        if shape == "duration":
            return parse_duration(value)
        if shape == "reference":
            target = self.owner.policy.target(uri, value)
            pointer = "".join(f"/{_escaped(part)}" for part in target[1]) if target else ""
            return f"{target[0]}#{pointer}" if target else value
        if shape == "images":
            return AllowedImages(tuple(value), self.site)
        return value


def _escaped(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1").replace("%", "%25")


# --- our own keywords -------------------------------------------------------------------------------------------------


def _off(validator: Any, limit: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not any(instance == nothing and type(instance) is type(nothing) for nothing in NOTHING):
        yield ValidationError("is switched off")


def _at_least(validator: Any, limit: int, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if _is_number(instance) and instance < limit:
        yield ValidationError("is less")


def _at_most(validator: Any, limit: int, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if _is_number(instance) and instance > limit:
        yield ValidationError("is more")


def _image_in(validator: Any, allowed: AllowedImages, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """The image as a whole or its name alone."""
    image = instance if isinstance(instance, dict) else {"name": instance}
    if isinstance(image.get("name"), str) and not allowed.allow(image):
        yield ValidationError("is another image")


def _node_set_in(validator: Any, allowed: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    from vtorque_spec.site.nodes import read_nodes

    nodes, others = read_nodes(instance), read_nodes(allowed)
    if isinstance(nodes, str) or isinstance(others, str) or not nodes.issubset(others):
        yield ValidationError("is another host")


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and len(instance) > PATTERN_LIMIT:
        yield ValidationError("is too long for a pattern")
        return
    yield from Draft202012Validator.VALIDATORS["pattern"](validator, pattern, instance, schema)


def _unique(validator: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """As the standard has it, but not comparing each item with each other one: a hostile job may have thousands."""
    if wanted and isinstance(instance, list) and len({canonical_json(item) for item in instance}) < len(instance):
        yield ValidationError("has an item twice")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


VALIDATOR: Any = extend(  # type: ignore[no-untyped-call] # the library leaves it untyped
    Draft202012Validator,
    {
        OFF: _off,
        "minQuantity": _at_least,
        "minDuration": _at_least,
        "maxQuantity": _at_most,
        "maxDuration": _at_most,
        "imageIn": _image_in,
        "nodeSetIn": _node_set_in,
        "pattern": _pattern,
        "uniqueItems": _unique,
    },
)
