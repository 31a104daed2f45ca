"""Rules about what root never sees: `run`, `env` and `hooks` stay with the user, so root judges a job without."""

from typing import Any

from vtorque_spec.carrier import USER_FIELDS
from vtorque_spec.diagnostics import Code, Note
from vtorque_spec.document import Path
from vtorque_spec.policy.lint.view import View, is_own, members_at
from vtorque_spec.policy.rules import Place, PolicyRule, rules_of

STAND_IN: dict[str, Any] = {"run": {"text": ":"}}
"""What root checks in place of the user's part (vtorque_spec.driver.job_from_machine_part)."""


def check(view: View) -> None:
    """Tell of each rule or condition about the user's part, and of those that root's stand-in breaks."""
    for rule in view.rules:
        if is_own(rule.place):
            _refused_by_root(view, rule)
    told = {item.span for item in view.report.items if item.code is Code.POLICY_ROOT_REFUSES}
    above: set[tuple[str, Path]] = set()
    for place in view.places:
        if not is_own(place) or any((place.uri, place.path[:end]) in above for end in range(len(place.path))):
            continue
        names = _user_names(place)
        if names:
            above.add((place.uri, place.path))
            if any(rule.span in told for rule in rules_of(place)):
                continue
            message = f"root does not enforce this: it never sees `{names[0]}`"
            hint = "the rule helps users when they compile; let no protection hang on it"
            span = place.document.key_span(place.path)
            view.add(Code.POLICY_USER_PART, message, span, hint)


def _user_names(place: Place) -> list[str]:
    """What a subschema says of the user's part: it is about it, or tests whether it is there."""
    if place.field and place.field[0] in USER_FIELDS:
        return [str(place.field[0])]
    if place.field == () and place.tested and isinstance(place.schema, dict):
        return [name for name in place.schema.get("required", ()) if name in USER_FIELDS]
    return []


def _refused_by_root(view: View, rule: PolicyRule) -> None:
    field = rule.place.field
    if field == () and rule.keyword == "required":
        names = [name for name in rule.limit if name in USER_FIELDS and name not in STAND_IN]
        broken = bool(names)
    else:
        names = [str(field[0])] if field else []
        values = members_at(STAND_IN, field) if field and field[0] in USER_FIELDS else ()
        broken = any(view.broken(rule, path, value) for path, value in values)
    if broken:
        message = f"root refuses every job by this rule: it does not see `{names[0]}`"
        note = Note("`run`, `env` and `hooks` stay with the user; root takes `run: ':'` in their place")
        hint = "remove it; the job's own script can check it"
        view.add(Code.POLICY_ROOT_REFUSES, message, rule.span, hint, [note])
