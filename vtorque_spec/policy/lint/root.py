"""Rules about what root never sees: `run`, `env` and `hooks` stay with the user, so root judges a job without."""

from vtorque_spec.carrier import USER_FIELDS
from vtorque_spec.diagnostics import Code
from vtorque_spec.document import Path
from vtorque_spec.policy.lint.view import View, is_own
from vtorque_spec.policy.rules import Place


def check(view: View) -> None:
    """Tell of each rule or condition about the user's part."""
    above: set[tuple[str, Path]] = set()
    for place in view.places:
        if not is_own(place) or any((place.uri, place.path[:end]) in above for end in range(len(place.path))):
            continue
        names = _user_names(place)
        if names:
            above.add((place.uri, place.path))
            message = f"root does not enforce this: it never sees `{names[0]}`"
            hint = "the rule helps users when they compile; let no protection hang on it"
            span = place.document.key_span(place.path)
            view.add(Code.POLICY_USER_PART, message, span, hint)


def _user_names(place: Place) -> list[str]:
    """What a subschema says of the user's part: it is about it, or asks whether it is there."""
    if place.field and place.field[0] in USER_FIELDS:
        return [str(place.field[0])]
    if place.field == () and isinstance(place.schema, dict):
        return [name for name in place.schema.get("required", ()) if name in USER_FIELDS]
    return []
