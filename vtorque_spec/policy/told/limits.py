"""The limits that a policy, the nodes and the language set for each field, in words, and the tightest of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from vtorque_spec.diagnostics import Severity, Span
from vtorque_spec.document import Path
from vtorque_spec.policy.images import AllowedImages, image_word, spellings
from vtorque_spec.policy.rules import Place, PolicyRule, rules
from vtorque_spec.policy.told.wording import (
    Known,
    condition_words,
    either,
    fits,
    limit_words,
    named,
    schema_words,
    uri_of,
)
from vtorque_spec.policy.values import shown
from vtorque_spec.site import Site
from vtorque_spec.site.policy_files import PolicyFiles
from vtorque_spec.spec.fields import ANY, Field
from vtorque_spec.spec.honoured import HONOURED
from vtorque_spec.units import parse_duration, parse_size, print_size

OFF = "switched off"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a field (`path` as in Field; ``()``: the job as a whole).

    `when` says when it applies, None is always. `number` compares limits of the same `side`, in the unit of the normal
    form. `message`, `help`, `url` and `code` are the policy's own.
    """

    path: Path
    keyword: str
    text: str
    at: str
    when: str | None = None
    severity: Severity = Severity.ERROR
    code: str | None = None
    message: str | None = None
    help: str | None = None
    url: str | None = None
    may_be_suppressed: bool = False
    side: Literal["min", "max"] | None = None
    number: float | None = None
    values: tuple[Any, ...] | None = None

    @property
    def binds(self) -> bool:
        """Whether every job is refused that breaks it."""
        return self.when is None and self.severity is Severity.ERROR


def place_of(span: Span) -> str:
    """Return a place in a file as ``policy.yaml:12``."""
    return f"{span.file}:{span.line}"


def applies(files: PolicyFiles, place: Place, known: Known) -> tuple[bool, str | None]:
    """Return whether a subschema can apply in this context, and when in words where that is not decided."""
    words = []
    for condition in place.conditions:
        fitting = fits(files, uri_of(files, condition), condition.schema, known, condition.field)
        if fitting is None:
            words.append(condition_words(files, condition))
        elif fitting is not condition.holds:
            return False, None
    return True, ", ".join(dict.fromkeys(words)) or None


def policy_limits(site: Site, known: Known) -> Iterator[Limit]:
    """Yield the limits of the policy that can apply in this context, in the order of its files."""
    for rule in rules(site.policy):
        here, when = applies(site.policy, rule.place, known)
        if here and rule.keyword != "type":
            yield from (replace(limit, when=_both(when, limit.when)) for limit in limits_of(rule, site))


def limits_of(rule: PolicyRule, site: Site) -> Iterator[Limit]:
    """Yield what one rule says, without its conditions; `required` speaks of several fields."""
    path = rule.place.field or ()
    if rule.keyword == "required":
        yield from (_limit(rule, (*path, name), "must be said") for name in rule.limit)
    elif rule.keyword == "dependentRequired":
        for name, others in rule.limit.items():
            when = f"where `{named((*path, name))}` is said"
            yield from (replace(_limit(rule, (*path, other), "must be said"), when=when) for other in others)
    elif rule.keyword == "false":
        yield _limit(rule, path, OFF)
    elif rule.keyword == "imageIn":
        yield _limit(rule, path[:1], *_images(rule.limit, site))
    elif path == ("image", "name") and rule.keyword in ("enum", "const", "pattern"):
        yield _limit(rule, ("image",), _text(rule, path), _values(rule))
    else:
        yield _numbered(_limit(rule, path, _text(rule, path) or cases(rule, site.policy), _values(rule)), rule)


def _limit(rule: PolicyRule, path: Path, text: str, values: tuple[Any, ...] | None = None) -> Limit:
    if path[-1:] == (ANY,):
        path, text, values = path[:-1], f"each: {text}", None
    said = rule.place.said
    message = said("message")
    if message is not None:
        message = message.replace("{limit}", shown(rule.place.field or (), rule.limit)).replace("{value}", "...")
    warning = rule.severity is Severity.WARNING
    may = warning if said("allowSuppress") is None else bool(said("allowSuppress"))
    return Limit(
        path, rule.keyword, text, place_of(rule.span), None, rule.severity, said("code"), message, said("help"),
        said("url"), may, values=values,
    )  # fmt: skip


def _text(rule: PolicyRule, path: Path) -> str:
    text = limit_words(path, rule.keyword, rule.limit) or ""
    return f"only {text}" if rule.keyword in ("enum", "const") else text


def _values(rule: PolicyRule) -> tuple[Any, ...] | None:
    return tuple(rule.limit) if rule.keyword == "enum" else (rule.limit,) if rule.keyword == "const" else None


def _numbered(limit: Limit, rule: PolicyRule) -> Limit:
    """Give the limit its number where it is about the value itself (not a length, nor each item)."""
    if rule.keyword not in _SIDES or (rule.place.field or ())[-1:] == (ANY,):
        return limit
    side, measure = _SIDES[rule.keyword]
    return replace(limit, side=side, number=measure(rule.limit))


_SIDES: dict[str, tuple[Literal["min", "max"], Any]] = {
    "minimum": ("min", float), "exclusiveMinimum": ("min", lambda limit: limit + 0.5),
    "maximum": ("max", float), "exclusiveMaximum": ("max", lambda limit: limit - 0.5),
    "minQuantity": ("min", parse_size), "maxQuantity": ("max", parse_size),
    "minDuration": ("min", parse_duration), "maxDuration": ("max", parse_duration),
}  # fmt: skip


def _images(words: list[str], site: Site) -> tuple[str, tuple[str, ...]]:
    allowed = AllowedImages(tuple(words), site)
    names = tuple(name for name in sorted(site.images) if any(map(allowed.allow, spellings(name, site))))
    pinned = ", pinned" if all(image_word(word).pins for word in words) else ""
    text = f"only {either(list(names))}{pinned}" if names else "no image"
    rough = [word for word in words if word not in site.images]
    return text + (f" ({', '.join(rough)})" if rough else ""), names


def cases(rule: PolicyRule, files: PolicyFiles) -> str:
    """Return a rule made of subschemas in words, or where to read it."""
    path, limit = rule.place.field or (), rule.limit
    schemas = limit if isinstance(limit, list) else [limit]
    elsewhere = f"the rule `{rule.keyword}` at {place_of(rule.place.document.key_span(rule.path))}"
    if rule.place.field is None:
        return elsewhere
    inner = (*path, ANY) if rule.keyword == "contains" else path
    said = [schema_words(files, rule.place.uri, schema, inner) for schema in schemas]
    words = [" and ".join(case) for case in said if case]
    if rule.keyword == "not" and limit in ({}, True):
        return "not allowed"
    if len(words) != len(schemas):
        return elsewhere
    match rule.keyword:
        case "oneOf" | "anyOf":
            return f"{'exactly one of' if rule.keyword == 'oneOf' else 'one of'} these cases: {'; or '.join(words)}"
        case "not":
            return f"not that {words[0]}"
        case "contains":
            return f"an item where {words[0]}"
    return elsewhere


def _both(first: str | None, second: str | None) -> str | None:
    return ", ".join(filter(None, [first, second])) or None


# --- facts and the language -------------------------------------------------------------------------------------------


def node_limits(site: Site) -> Iterator[Limit]:
    """Yield what the largest nodes have."""
    name, cpus = max(((name, said.cpus) for name, said in site.node_classes.items()), key=lambda one: one[1])
    yield Limit(("vcpus",), "node", f"at most {cpus}", f"node class {name}", side="max", number=cpus)
    name, size = max(((name, said.memory) for name, said in site.node_classes.items()), key=lambda one: one[1])
    yield Limit(("memory",), "node", f"at most {print_size(size)}", f"node class {name}", side="max", number=size)


def language_limits(field: Field) -> Iterator[Limit]:
    """Yield what the language says of a field's values. (Sizes and times are bounded by what a computer can count.)"""
    if field.kind == "integer":
        for side, number, words in (("min", field.minimum, "at least {}"), ("max", field.maximum, "at most {}")):
            if number is not None:
                text = words.format(number)
                yield Limit(field.path, side, text, "the language", side=side, number=number)  # type: ignore[arg-type] # one of two
    each = field.each() if field.kind == "list" else None
    if each is not None and each.words:
        yield Limit(field.path, "enum", f"each: {either(_shown(field.path, each.words))}", "the language")
    if field.words:
        words = either(_shown(field.path, field.words))
        yield Limit(field.path, "enum", words, "the language", values=field.words)
    honoured = HONOURED.get(".".join(map(str, field.path)), ())
    if honoured:
        text = f"only {either(_shown(field.path, honoured))}"
        yield Limit(field.path, "enum", text, "this version of vtorque", values=honoured)


def _shown(path: Path, values: Iterable[Any]) -> list[str]:
    return [shown(path, value) for value in values]


# --- the tightest -----------------------------------------------------------------------------------------------------


def tightest(found: list[Limit]) -> list[Limit]:
    """Return the limits of one field that matter: a looser one of the same kind is left out."""
    off = [limit for limit in found if limit.keyword == "false" and limit.binds]
    if off:
        return off[:1]
    allowed = _allowed([limit for limit in found if limit.values is not None and limit.binds])
    bounds = {side: _first([limit for limit in found if limit.side == side and limit.binds]) for side in ("min", "max")}
    if allowed and isinstance((allowed.values or ("",))[0], int):  # nothing is left to bound
        found, bounds = [limit for limit in found if limit.side is None], {}
    kept = [limit for limit in found if _matters(limit, bounds)]
    return [limit for limit in (*bounds.values(), allowed, *kept) if limit is not None]


def _matters(limit: Limit, bounds: dict[str, Limit | None]) -> bool:
    if limit.side is None:
        return not (limit.values is not None and limit.binds)
    bound = bounds.get(limit.side)
    return not limit.binds and (bound is None or _tighter(limit, bound))


def _tighter(one: Limit, other: Limit) -> bool:
    return (one.number or 0) < (other.number or 0) if one.side == "max" else (one.number or 0) > (other.number or 0)


def _first(found: list[Limit]) -> Limit | None:
    best = found[0] if found else None
    for limit in found[1:]:
        if best is not None and (_tighter(limit, best) or (limit.number == best.number and best.code is None)):
            best = limit
    return best


def _allowed(found: list[Limit]) -> Limit | None:
    """The values that every list of allowed values has."""
    if not found:
        return None
    narrowest = min(found, key=lambda limit: len(limit.values or ()))
    values = tuple(value for value in narrowest.values or () if all(value in (one.values or ()) for one in found))
    if values == narrowest.values:
        return narrowest
    text = f"only {either(_shown(narrowest.path, values)) or 'nothing'}"
    return replace(narrowest, text=text, values=values, at=", ".join(dict.fromkeys(one.at for one in found)))
