"""Conditions that decide nothing, branches that hold nothing, and schemas that nothing refers to."""

from vtorque_spec.diagnostics import Code
from vtorque_spec.policy.lint.view import View, is_own
from vtorque_spec.policy.rules import Place, below, rules_of
from vtorque_spec.policy.vocabulary import KEYWORDS
from vtorque_spec.site.policy_files import ROOT_URI, references


def check(view: View) -> None:
    """Look at every `if` with its branches, and at `$defs`."""
    for place in view.own:
        if "if" in place.schema:
            _condition(view, place)
        for word in ("then", "else"):
            if word in place.schema:
                _branch(view, place, word)
        _idle_case(view, place)
        _uncounted(view, place)
    _definitions(view)


def _condition(view: View, place: Place) -> None:
    span, tested = place.document.key_span((*place.path, "if")), place.schema["if"]
    if "then" not in place.schema and "else" not in place.schema:
        view.add(Code.POLICY_NO_EFFECT, "`if` has neither `then` nor `else` beside it", span, "add `then`")
    elif tested is False:
        view.add(Code.POLICY_NO_EFFECT, "the condition never holds", span, "write what stands in `else` without `if`")
    elif not restricts(view, _inner(place, "if")):
        view.add(Code.POLICY_NO_EFFECT, "the condition always holds", span, "write what stands in `then` without `if`")


def restricts(view: View, place: Place) -> bool:
    """Whether a subschema refuses anything at all."""
    return any(_restricts(one) for one in below(view.site.policy, place))


def _restricts(place: Place) -> bool:
    if not isinstance(place.schema, dict):
        return place.schema is False
    return any(word in KEYWORDS and KEYWORDS[word].role in ("rule", "condition") for word in place.schema)


def _branch(view: View, place: Place, word: str) -> None:
    found = list(below(view.site.policy, _inner(place, word)))
    said = any(isinstance(one.schema, dict) and "default" in one.schema for one in found)
    if not said and not any(list(rules_of(one)) for one in found):
        span = place.document.key_span((*place.path, word))
        view.add(Code.POLICY_NO_EFFECT, f"`{word}` holds neither a rule nor a default", span, "fill it, or remove it")


def _idle_case(view: View, place: Place) -> None:
    """A case that lets everything through makes `anyOf` idle."""
    for index, schema in enumerate(place.schema.get("anyOf", ())):
        inner = Place(place.uri, place.document, (*place.path, "anyOf", index), schema, place.field)
        if not restricts(view, inner):
            message = "`anyOf` has no effect: everything fits this case"
            view.add(Code.POLICY_NO_EFFECT, message, place.document.span(inner.path), "remove the case, or fill it")


def _uncounted(view: View, place: Place) -> None:
    for word in ("minContains", "maxContains"):
        if word in place.schema and "contains" not in place.schema:
            span = place.document.key_span((*place.path, word))
            view.add(Code.POLICY_NO_EFFECT, f"`{word}` has no `contains` beside it", span, "add `contains`")


def _inner(place: Place, word: str) -> Place:
    return Place(place.uri, place.document, (*place.path, word), place.schema[word], place.field)


def _definitions(view: View) -> None:
    policy = view.site.policy
    targets = {policy.target(uri, said) for uri, file in policy.files.items() for _, said in references(file.data)}
    used = {(target[0], *target[1][:2]) for target in targets if target}
    for uri, document in policy.files.items():
        for name in document.data.get("$defs", {}) if uri.startswith(ROOT_URI) else ():
            if (uri, "$defs", name) not in used and not _in_walk(view, uri, name):
                span = document.key_span(("$defs", name))
                hint = f'refer to it: `$ref: "#/$defs/{name}"`, or remove it'
                view.add(Code.POLICY_UNUSED, f"nothing refers to `{name}`", span, hint)


def _in_walk(view: View, uri: str, name: str) -> bool:
    return any(place.uri == uri and place.path[:2] == ("$defs", name) for place in view.places if is_own(place))
