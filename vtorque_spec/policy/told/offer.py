"""What a site's users may ask for, as data: fields with defaults and limits, images, node classes, mounts, networks.

The offer is for a context of which any part may be unknown: what hangs on an unknown part is told with its condition.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from vtorque_spec.diagnostics import Report, Span
from vtorque_spec.document import Path
from vtorque_spec.policy import Effective
from vtorque_spec.policy.defaults import Holds, fill_defaults
from vtorque_spec.policy.images import spellings
from vtorque_spec.policy.rules import Place, walk
from vtorque_spec.policy.told.limits import (
    Limit,
    applies,
    language_limits,
    node_limits,
    place_of,
    policy_limits,
    tightest,
)
from vtorque_spec.policy.told.wording import Known, either, fits, named
from vtorque_spec.policy.values import shown, written
from vtorque_spec.site import Site
from vtorque_spec.site.catalogue import State, state_of
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.site.model import NodeClass, SiteMount
from vtorque_spec.site.network import SiteNetwork
from vtorque_spec.spec.examples import flow
from vtorque_spec.spec.fields import ANY, Field, all_fields, job_field
from vtorque_spec.spec.honoured import HONOURED
from vtorque_spec.spec.parse import NormalForm, value_at


@dataclass(frozen=True, slots=True)
class Default:
    """What a job gets that says nothing, as people write it; `when` as in Limit."""

    text: str
    at: str
    when: str | None = None


@dataclass(frozen=True, slots=True)
class OfferedField:
    """One field. `name` is as people write it, ``mounts[].mode``; `limits` are the tightest, always and conditional."""

    path: Path
    name: str
    kind: str
    description: str
    required: bool
    honoured: bool
    defaults: tuple[Default, ...]
    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class OfferedImage:
    """One image, as jobs without a pin get it; `refused` are the limits that it breaks.

    Those that apply always make it not allowed. `revisions` are what jobs may pin, that of `image` first.
    """

    image: CatalogueImage
    state: State
    revisions: tuple[str, ...]
    refused: tuple[Limit, ...]

    @property
    def allowed(self) -> bool:
        """Whether some jobs may use it."""
        return self.state != "withdrawn" and not any(limit.binds for limit in self.refused)


@dataclass(frozen=True, slots=True)
class Offer:
    """The whole of it. `context` is what was known of who asks; `rules` are about the job as a whole."""

    site: str
    batch: str
    context: Known
    fields: tuple[OfferedField, ...]
    rules: tuple[Limit, ...]
    images: tuple[OfferedImage, ...]
    node_classes: Mapping[str, NodeClass]
    mounts: Mapping[str, SiteMount]
    networks: Mapping[str, SiteNetwork]


def make_offer(site: Site, known: Known, report: Report) -> Offer | None:
    """Return what may be asked for where the members `known` of the context are known; None with findings."""
    known = {"batch": site.batch, "site": site.name, **known}
    effective = defaults_of(site, known, report)
    if effective is None:
        return None
    found: dict[Path, list[Limit]] = {}
    for limit in (*policy_limits(site, known), *node_limits(site)):
        found.setdefault(limit.path, []).append(limit)
    places = default_places(site)
    fields = [
        _offered(field, found.get(field.path, []), tuple(_defaults(field, effective, places, site, known)))
        for field in _shown_fields()
    ]
    off = {field.path for field in fields if field.limits[:1] and field.limits[0].keyword == "false"}
    kept = [field for field in fields if not any(field.path[:end] in off for end in range(1, len(field.path)))]
    paths = {field.path for field in fields}
    elsewhere = [limit for path, limits in found.items() if path not in paths for limit in limits]
    images = [_image(name, site, found.get(("image",), [])) for name in sorted(site.images)]
    return Offer(
        site.name, site.batch, known, tuple(kept), tuple(elsewhere),
        tuple(sorted(images, key=lambda one: (not one.allowed, one.state != "current"))),
        site.node_classes, site.mounts, site.networks,
    )  # fmt: skip


def _shown_fields() -> Iterator[Field]:
    """Items of lists are told with the list."""
    return (field for field in all_fields() if field.path[-1] != ANY)


def _offered(field: Field, limits: list[Limit], defaults: tuple[Default, ...]) -> OfferedField:
    said = [limit for limit in limits if limit.text != "must be said"]
    must = [limit for limit in limits if limit.text == "must be said"]
    kept = tightest([*said, *language_limits(field)])
    return OfferedField(
        field.path, named(field.path), type_words(field), field.description,
        field.required or any(limit.binds for limit in must), is_honoured(field.path),
        defaults, (*kept, *(limit for limit in must if not limit.binds)),
    )  # fmt: skip


def is_honoured(path: Path) -> bool:
    """Whether this version acts on a field, or on something in it."""
    name = ".".join(map(str, path))
    above = (".".join(map(str, path[:end])) for end in range(1, len(path)))
    inside = any(known == name or known.startswith(f"{name}.") for known in HONOURED)
    return inside or any(one in HONOURED for one in above)


def type_words(field: Field) -> str:
    """Return what a field's values are."""
    words = {
        "size": "size with a unit, as in 24GiB",
        "duration": "time, as in 02:00:00 or 30s",
        "integer": "whole number",
        "boolean": "true or false",
        "names": "mapping of names to values",
    }
    each = field.each()
    if field.kind == "list" and each is not None:
        kinds = {"integer": "numbers", "list": "lists"}
        return f"list of {'mappings' if each.model else kinds.get(each.kind, 'texts')}"
    if field.kind == "text":
        return "a word" if field.words else field.form or "text"
    short = short_form(field)
    return f"{field.kind}, or its `{short}` alone" if short else words.get(field.kind, field.kind)


def short_form(field: Field) -> str | None:
    """Return the member that may be written instead of the mapping."""
    return getattr(field.model, "shorthand", None)


# --- defaults ---------------------------------------------------------------------------------------------------------


def defaults_of(site: Site, known: Known, report: Report) -> Effective | None:
    """Return what a job gets that says no more than it must, as far as the context decides."""
    files = site.policy
    image = next(iter(sorted(site.images)), "image")
    data = {"apiVersion": "vtorque/v1", "name": "job", "image": {"name": image}, "run": {"text": ":"}}

    def holds_for(job: Effective) -> Holds:
        return lambda uri, place, path, value: fits(
            files, uri, value_at(files.files[uri].data, place), known, path or ()
        )

    return fill_defaults(NormalForm(data, {}), files, holds_for, report)


def default_places(site: Site) -> list[Place]:
    """Return the subschemas whose default a job can get. Those of items and of `dependentSchemas` fill nothing."""
    return [
        place for place in walk(site.policy)
        if isinstance(place.schema, dict) and "default" in place.schema and not place.tested
        and place.field and ANY not in place.field and all(condition.path[-1] == "if" for condition in place.conditions)
    ]  # fmt: skip


def _defaults(field: Field, effective: Effective, places: list[Place], site: Site, known: Known) -> Iterator[Default]:
    """Yield the default, then those that hang on a condition; of a mapping only what its short form says."""
    here = [place for place in places if place.field == field.path]
    always = [place for place in here if not place.conditions]
    origin, value = effective.origin(field.path), _value(effective.data, field.path)
    if origin is not None and value is not None:
        yield from _default(field, value, origin.span, None)
    elif always and field.path[:-1]:
        where = f"where `{named(field.path[:-1])}` is said"
        yield from _default(field, always[-1].schema["default"], _span(always[-1]), where)
    for place in here:
        applying, when = applies(site.policy, place, known)
        if applying and when:
            yield from _default(field, place.schema["default"], _span(place), when)


def _default(field: Field, value: Any, span: Span, when: str | None) -> Iterator[Default]:
    text = _short(field, value)
    if text is not None:
        yield Default(text, place_of(span), when)


def _span(place: Place) -> Span:
    return place.document.span((*place.path, "default"))


def _value(data: Any, path: Path) -> Any:
    try:
        return value_at(data, path)
    except (KeyError, IndexError, TypeError):
        return None


def _short(field: Field, value: Any) -> str | None:
    if isinstance(value, dict):
        short = short_form(field)
        return shown(field.path, value[short]) if short and set(value) == {short} else None
    return shown(field.path, value) if value not in (None, []) else None


# --- images and an example --------------------------------------------------------------------------------------------


def _image(name: str, site: Site, limits: list[Limit]) -> OfferedImage:
    image, entries = site.images[name], site.revisions(name)
    offered = [one.revision for one in entries if one.revision and state_of(one, site.today) != "withdrawn"]
    refused = tuple(limit for limit in limits if limit.values is not None and _breaks(image, limit))
    return OfferedImage(image, state_of(image, site.today), tuple(offered), refused)


def _breaks(image: CatalogueImage, limit: Limit) -> bool:
    return limit.severity.value == "error" and image.name not in (limit.values or ())


def example_jobs(offer: Offer, site: Site) -> Iterator[str]:
    """Yield small jobs, of which the caller shows the first that passes every check at this site."""
    images = sorted((one for one in offer.images if one.allowed), key=lambda one: bool(one.refused))
    names = [written(image) for one in images for image in spellings(one.image.name, site)]
    must = {field.path: _sample(field, site) for field in offer.fields if _to_be_said(field)}
    for extra in (must, *({**must, **case} for case in _cases(site))):
        for name in names:
            image = f"image: {flow(name)}"
            lines = ["apiVersion: vtorque/v1", "name: hello", image, *_lines(extra), "run: hostname"]
            yield "\n".join(lines) + "\n"


def _to_be_said(field: OfferedField) -> bool:
    """What the language requires of a mapping is needed only where the mapping is said, as in `batch.mail`."""
    known = job_field(field.path)
    of_its_mapping = known is not None and known.required and len(field.path) > 1
    in_every_job = field.path[0] in ("apiVersion", "name", "image", "run")
    return field.required and field.honoured and not (in_every_job or of_its_mapping or ANY in field.path)


def _sample(field: OfferedField, site: Site) -> Any:
    """A value of a field that must be said: the policy's own example, else what its limits name."""
    for place in walk(site.policy):
        if place.field == field.path and isinstance(place.schema, dict) and place.schema.get("examples"):
            return place.schema["examples"][0]
    allowed = next((limit.values for limit in field.limits if limit.values), None)
    least = next((limit for limit in field.limits if limit.side == "min" and limit.binds), None)
    if allowed:
        return allowed[0]
    return least.text.removeprefix("at least ") if least else "my-project"


def _cases(site: Site) -> Iterator[dict[Path, Any]]:
    """Yield what each case of an `oneOf` or `anyOf` asks for, as far as it names values."""
    for place in walk(site.policy):
        if place.path[-2:-1] in (("oneOf",), ("anyOf",)) and place.field is not None and isinstance(place.schema, dict):
            yield dict(_asked(place.schema, place.field))


def _asked(schema: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    words = ("const", "enum", "minimum", "minQuantity", "minDuration")
    for word in words:
        if word in schema:
            yield path, schema[word][0] if word == "enum" else schema[word]
            return
    for name, inner in schema.get("properties", {}).items():
        if isinstance(inner, dict):
            yield from _asked(inner, (*path, name))


def _lines(said: dict[Path, Any]) -> Iterator[str]:
    """Yield the members as lines of YAML; mappings of mappings in braces."""
    for name, members in groupby(sorted(said.items(), key=lambda one: str(one[0][0])), key=lambda one: one[0][0]):
        tree: Any = {}
        for path, value in members:
            below = tree
            for part in path[:-1]:
                below = below.setdefault(part, {})
            below[path[-1]] = value
        yield f"{name}: {flow(tree[name])}"


def refusals(one: OfferedImage) -> str:
    """Return for whom, or until when, an image is allowed; empty where it is for all and without an end."""
    if one.state == "withdrawn":
        return "withdrawn"
    if not one.allowed:
        return "not allowed"
    whens = [limit.when for limit in one.refused if limit.when]
    until = [f"until {one.image.deprecated_until}"] if one.state == "deprecated" else []
    return ", ".join([*until, *([f"not allowed {either(whens)}"] if whens else [])])
