"""Conditions that a job fits by what it does not say: `properties` asks only members that are there."""

from collections.abc import Iterator

from vtorque_spec.diagnostics import Code
from vtorque_spec.document import Path
from vtorque_spec.policy.lint.branches import restricts
from vtorque_spec.policy.lint.defaults import unused
from vtorque_spec.policy.lint.view import View, field_at, name_of, target_of
from vtorque_spec.policy.rules import Place
from vtorque_spec.policy.vocabulary import INSIDE, subschemas

_TESTS = {
    "if": "the condition holds for a job that does not say `{}`",
    "not": "`not` refuses a job that does not say `{}`",
    "oneOf": "a job that does not say `{}` fits this case",
}


def check(view: View) -> None:
    """Look into every `if`, `not` and `oneOf`."""
    always = frozenset(_always_there(view))
    for place in view.own:
        known = always | _required_above(place)
        for word, sentence in _TESTS.items():
            for below, schema in subschemas(place.schema):
                if below[0] == word and place.field is not None and not (word != "if" and place.tested):
                    inner = Place(place.uri, place.document, (*place.path, *below), schema, place.field)
                    _look(view, inner, known, sentence)


def _always_there(view: View) -> Iterator[Path]:
    """Yield the fields that every job has once its defaults are filled."""
    for place in view.places:
        said = isinstance(place.schema, dict) and "default" in place.schema and not place.conditions
        if said and place.field is not None and unused(place) is None:
            yield place.field


def _required_above(place: Place) -> frozenset[Path]:
    """What the conditions require that the subschema stands under."""
    found = set()
    for condition in place.conditions:
        if condition.holds and isinstance(condition.schema, dict) and condition.field is not None:
            found |= {(*condition.field, name) for name in condition.schema.get("required", ())}
    return frozenset(found)


def _look(view: View, place: Place, known: frozenset[Path], sentence: str) -> None:
    """Tell of members below `properties` that restrict something and may be absent."""
    same = list(_same_value(view, place))
    field = place.field or ()
    known |= {(*field, name) for one in same for name in one.schema.get("required", ())}
    for one in same:
        for below, schema in subschemas(one.schema):
            inner = Place(one.uri, one.document, (*one.path, *below), schema, field)
            if below[0] == "properties":
                path = (*field, str(below[1]))
                _member(view, Place(inner.uri, inner.document, inner.path, schema, path), known, sentence)
            elif below[0] not in INSIDE and below[0] not in ("allOf", "then", "else"):
                _look(view, inner, known, sentence)


def _member(view: View, place: Place, known: frozenset[Path], sentence: str) -> None:
    path, name = place.field or (), str(place.path[-1])
    if place.schema is False or not restricts(view, place):  # false asks for absence
        return
    if not _there(path, known):
        message = sentence.format(name_of(path))
        hint = f"add `required: [{name}]` beside `properties`, or ask for `context.{name}`"
        hint = hint if name == "queue" else hint.partition(",")[0]
        view.add(Code.POLICY_BY_ABSENCE, message, place.document.key_span(place.path), hint)
    _look(view, place, known, sentence)


def _there(path: Path, known: frozenset[Path]) -> bool:
    field = field_at(path)
    return path[0] == "context" or path in known or (field is not None and field.required)


def _same_value(view: View, place: Place) -> Iterator[Place]:
    """Yield a schema and what `allOf` and `$ref` add to it."""
    if not isinstance(place.schema, dict):
        return
    yield place
    for index, schema in enumerate(place.schema.get("allOf", ())):
        part = Place(place.uri, place.document, (*place.path, "allOf", index), schema, place.field)
        yield from _same_value(view, part)
    target = target_of(view, place)
    if target is not None:
        yield from _same_value(view, target)
