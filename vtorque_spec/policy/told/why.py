"""Where a job's value comes from, and between which limits it may move: language, policy layer by layer, nodes, job."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from vtorque_spec.document import Path
from vtorque_spec.policy import Effective
from vtorque_spec.policy.defaults import Holds
from vtorque_spec.policy.rules import Condition, Place, rules_of, walk
from vtorque_spec.policy.told.limits import Limit, language_limits, limits_of, node_limits, place_of, tightest
from vtorque_spec.policy.told.wording import condition_words, named, uri_of
from vtorque_spec.policy.values import shown
from vtorque_spec.site import Site
from vtorque_spec.site.policy_files import ROOT_URI
from vtorque_spec.spec.fields import ANY, job_field
from vtorque_spec.spec.parse import NormalForm, value_at

Layer = Literal["language", "base policy", "site policy", "nodes", "job"]


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain. `applies` is None where that is not known; `why` are its conditions in words."""

    layer: Layer
    what: str
    at: str
    applies: bool | None = True
    why: str | None = None
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The value of a field (None: nobody says it), where that was set, every link, and what the value may be."""

    value: Any
    set_by: str
    links: tuple[Link, ...]
    may_be: tuple[Limit, ...]


def chain(path: Path, normal: NormalForm, job: Effective, site: Site, holds: Holds) -> Chain:
    """Return the chain of the field at `path`, a path that a job can have, with indices for items."""
    links = [
        *_language(path),
        *_policy(path, job.data, site, holds),
        *(Link("nodes", limit.text, limit.at, limit=limit) for limit in node_limits(site) if limit.path == path),
    ]
    value = _value(job.data, path)
    said = _value(normal.data, path)
    place = normal.at(path)
    if said is not None and place is not None:
        what = shown(path, said) if not isinstance(said, dict | list) else "said"
        links.append(Link("job", what, place_of(place)))
    origin = job.origin(path)
    if value is None:
        set_by = ""
    elif origin is not None and said is None:
        set_by = f"a default of the policy, {place_of(origin.span)}"
    else:
        set_by = f"set by the job, {place_of(place)}" if place else "set by the job"
    bounds = [link.limit for link in links if link.limit is not None and link.applies]
    return Chain(value, set_by, tuple(links), tuple(tightest([replace(limit, when=None) for limit in bounds])))


def _language(path: Path) -> Iterator[Link]:
    field = job_field(path)
    for limit in language_limits(field) if field else ():
        yield Link("language", limit.text, limit.at, limit=limit)


def _policy(path: Path, data: Mapping[str, Any], site: Site, holds: Holds) -> Iterator[Link]:
    """Yield the defaults and limits of each layer, in the order of the files."""
    for uri in site.policy.layers:
        layer: Layer = "site policy" if uri.startswith(ROOT_URI) else "base policy"
        for place in walk(replace(site.policy, layers=(uri,))):
            yield from _links(layer, place, path, data, site, holds)


def _links(layer: Layer, place: Place, path: Path, data: Mapping[str, Any], site: Site, holds: Holds) -> Iterator[Link]:
    found = [limit for rule in rules_of(place) if rule.keyword != "type" for limit in limits_of(rule, site)]
    limits = [limit for limit in found if _about(limit, path)]
    fills = not place.tested and all(condition.path[-1] == "if" for condition in place.conditions)
    has_default = fills and place.field == path and isinstance(place.schema, dict) and "default" in place.schema
    if not limits and not has_default:
        return
    applies, why = _applies(place, path, data, site, holds)
    if has_default:
        at = place_of(place.document.span((*place.path, "default")))
        default = place.schema["default"]
        yield Link(layer, f"default {'{}' if default == {} else shown(path, default)}", at, applies, why)
    for limit in limits:
        whole = ", ".join(filter(None, [why, limit.when]))
        yield Link(layer, limit.text, limit.at, None if limit.when and applies else applies, whole or None, limit)


def _about(limit: Limit, path: Path) -> bool:
    """Whether a limit is about `path`. A rule on a whole mapping may be; what an image must be, its name must be."""
    path = path[:1] if path == ("image", "name") and limit.path == ("image",) else path
    above = all(a in (ANY, b) for a, b in zip(limit.path, path, strict=False))
    return above and (len(limit.path) == len(path) or (len(limit.path) < len(path) and speaks_of(limit, path)))


def speaks_of(limit: Limit, path: Path) -> bool:
    """Whether a limit's words name a field, as those of several cases do."""
    return f"`{named(path)}`" in limit.text


def _applies(
    place: Place, path: Path, data: Mapping[str, Any], site: Site, holds: Holds
) -> tuple[bool | None, str | None]:
    results, words = [], []
    for condition in place.conditions:
        fitting = _fits(condition, path, data, site, holds)
        results.append(None if fitting is None else fitting is condition.holds)
        words.append(condition_words(site.policy, condition))
    applies = False if False in results else None if None in results else True
    return applies, ", ".join(dict.fromkeys(words)) or None


def _fits(condition: Condition, path: Path, data: Mapping[str, Any], site: Site, holds: Holds) -> bool | None:
    if condition.field is None:
        return None
    at = tuple(path[index] if part == ANY and index < len(path) else part for index, part in enumerate(condition.field))
    value = _value(data, at)
    if value is None:
        return None
    if condition.path[-2:-1] == ("dependentSchemas",):
        return condition.path[-1] in value
    return holds(uri_of(site.policy, condition), condition.path, at, value)


def _value(data: Any, path: Path) -> Any:
    try:
        return value_at(data, path)
    except (KeyError, IndexError, TypeError):
        return None
