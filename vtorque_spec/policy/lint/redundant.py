"""Limits that never decide, because a stricter one always applies: layers and branches can only narrow."""

from vtorque_spec.diagnostics import Code, Note
from vtorque_spec.policy.lint.contradictions import bound, together_in
from vtorque_spec.policy.lint.view import View, conditions_of, field_at, is_own
from vtorque_spec.policy.rules import PolicyRule
from vtorque_spec.policy.values import shown
from vtorque_spec.spec.fields import Field

_WIDENS = "a rule below a condition can only narrow: put the limit of all others below `else`"


def check(view: View) -> None:
    """Compare each bound with the language's own and with the other bounds that apply where it does."""
    for path, rules in view.rules_by_field().items():
        field = field_at(path)
        if field is None or path in view.wrong:
            continue
        for together in together_in(rules):
            newest = conditions_of(together[-1].place)
            for rule in together:
                if conditions_of(rule.place) == newest and is_own(rule.place):
                    _compare(view, field, rule, together, upper=True)
                    _compare(view, field, rule, together, upper=False)
                    _all_words(view, field, rule)


def _compare(view: View, field: Field, rule: PolicyRule, together: list[PolicyRule], *, upper: bool) -> None:
    here = bound(rule, upper=upper)
    if here is None:
        return
    language = field.maximum if upper else field.minimum
    if language is not None and (here >= language if upper else here <= language):
        _tell(view, field, rule, language, None, upper=upper)
        return
    for other in together:
        there = bound(other, upper=upper)
        if there is None or (other.place.uri, other.path) == (rule.place.uri, rule.path) or not _as_strict(other, rule):
            continue
        stricter = there < here if upper else there > here
        if stricter or (there == here and together.index(other) < together.index(rule)):
            _tell(view, field, rule, there, other, upper=upper)
            return


def _as_strict(other: PolicyRule, rule: PolicyRule) -> bool:
    return other.severity == rule.severity or other.severity.value == "error"


def _tell(view: View, field: Field, rule: PolicyRule, limit: int, other: PolicyRule | None, *, upper: bool) -> None:
    words = f"at {'most' if upper else 'least'} {shown(field.path, limit)} is {'allowed' if upper else 'needed'}"
    message = f"`{rule.keyword}: {rule.limit}` has no effect: {words} anyway"
    notes = [Note("by this limit", other.span)] if other else [Note("by the job language itself")]
    wider = other is not None and len(other.place.conditions) < len(rule.place.conditions)
    view.add(Code.POLICY_NO_EFFECT, message, rule.span, _WIDENS if wider else "remove it", notes)


def _all_words(view: View, field: Field, rule: PolicyRule) -> None:
    if rule.keyword == "enum" and field.words and {*field.words} <= {*rule.limit}:
        message = "`enum` has no effect: the language has no other words"
        view.add(Code.POLICY_NO_EFFECT, message, rule.span, "remove it, or leave out what is not allowed")
