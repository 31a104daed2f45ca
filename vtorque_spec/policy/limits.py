"""Evaluate the policy; violations stand in the job file and note the policy's own line."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema.exceptions import ValidationError

from vtorque_spec.diagnostics import Code, Note, Report, Rule, Span
from vtorque_spec.document import Path
from vtorque_spec.policy import Context, Effective
from vtorque_spec.policy.defaults import Holds
from vtorque_spec.policy.evaluate import OFF, Evaluator, Unknown, evaluator
from vtorque_spec.policy.images import spellings
from vtorque_spec.policy.rules import Place, PolicyRule, below
from vtorque_spec.policy.sentences import best_case, case_sentence, other_cases
from vtorque_spec.policy.values import shown, written
from vtorque_spec.policy.vocabulary import CONTEXT
from vtorque_spec.site import Site
from vtorque_spec.spec.machine import OWN_MEMBERS
from vtorque_spec.spec.parse import NormalForm, label


def conditions(site: Site, context: Context, job: Effective, unseen: Iterable[str] = ()) -> Holds:
    """Return what tells whether an `if` of the policy fits the job; arguments as in `check_limits`."""
    instance, rules = _instance(site, context, job, unseen)

    def holds(uri: str, place: Path, path: Path, value: Any) -> bool | None:
        return rules.holds(uri, place, value if path else {**value, "context": instance["context"]})

    return holds


def check_limits(
    job: Effective, normal: NormalForm, context: Context, site: Site, report: Report, unseen: Iterable[str] = ()
) -> None:
    """Evaluate every layer; a violation is placed in the job file and notes the policy's own line.

    `unseen` are members of the job that are not there to be judged: rules about them are left out.
    """
    instance, rules = _instance(site, context, job, unseen)
    for unknown in rules.dropped.values():
        if unknown.member[0] == "context":
            _not_evaluated(unknown, report)
    for error in rules.errors(instance):
        _violation(error, rules, job, normal, report)


def _instance(site: Site, context: Context, job: Effective, unseen: Iterable[str]) -> tuple[dict[str, Any], Evaluator]:
    known = context.known(job.data)
    unknown = {("context", name) for name in CONTEXT if name not in known} | {(name,) for name in unseen}
    return {**job.data, "context": known}, evaluator(site, frozenset(unknown))


def _not_evaluated(unknown: Unknown, report: Report) -> None:
    message = f"a rule of the site was not evaluated: `{label(unknown.member)}` is not known here"
    says = {
        "queue": "say it: `batch: {queue: ...}` in the job, or --queue",
        "host": "it is known where jobs are submitted",
    }
    span = unknown.place.document.key_span(unknown.path)
    report.add(Code.NOT_EVALUATED, message, span, help=says.get(str(unknown.member[-1])))


def _violation(error: ValidationError, rules: Evaluator, job: Effective, normal: NormalForm, report: Report) -> None:
    rule = rules.rule_of(error)
    inner = best_case(error)
    path = tuple(inner.absolute_path)
    own = _own_words(rule, inner, path)
    message = own or case_sentence(error, inner)
    notes = list(_notes(error, inner, rule, rules))
    about = _rule_facts(rule) if rule else None
    hint = (rule.place.said("help") if rule else None) or _image_help(inner, path)
    origin = job.origin(path)
    if origin is None or path in normal.spans or inner.validator in ABSENCE:
        span = normal.at(path or _meant(rule, rules, normal))
        report.add(Code.POLICY, message, span, notes=notes, help=hint, rule=about)
    else:
        message = own or f"the default of {message}"
        report.add(Code.POLICY_DEFAULT, message, origin.span, notes=notes, help=hint, rule=about)


def _image_help(error: ValidationError, path: Path) -> str | None:
    """Another way to name the job's image, where the rule allows one; for a user's own, one of the site's."""
    if error.validator == OFF and path in {("image", member) for member in OWN_MEMBERS}:
        return _OF_THE_SITE
    if error.validator != "imageIn" or not isinstance(error.instance, dict):
        return None
    if "disk" in error.instance:
        return _OF_THE_SITE
    allowed: Any = error.validator_value
    fine = (image for image in spellings(error.instance["name"], allowed.site) if allowed.allow(image))
    return next((f"write `image: {written(image)}`" for image in fine), None)


_OF_THE_SITE = "take an image of the site: vtorque policy show"


def _meant(rule: PolicyRule | None, rules: Evaluator, normal: NormalForm) -> Path:
    """Of a `not` about the job as a whole, the first member that it speaks of and the job says."""
    if rule is None or rule.keyword != "not":
        return ()
    place = rule.place
    alone = Place(place.uri, place.document, place.path, {"not": rule.limit}, ())
    spoken_of = [inner.field for inner in below(rules.policy, alone) if inner.field]
    return next((field for field in reversed(spoken_of) if field in normal.spans), ())


ABSENCE = ("required", "dependentRequired", "minItems", "minProperties", "contains")
"""Rules that a default breaks by what it lacks, which the job may say: the finding is the job's."""


def _own_words(rule: PolicyRule | None, error: ValidationError, path: Path) -> str | None:
    """The policy's `message`, with the value and the limit in their places."""
    said = rule.place.said("message") if rule else None
    if said is None or rule is None:
        return None
    words = {"value": shown(path, error.instance), "limit": shown(path, rule.limit)}
    return re.sub(r"\{(value|limit)\}", lambda match: words[match[1]], said)


def _rule_facts(rule: PolicyRule) -> Rule:
    said = rule.place.said
    return Rule(rule.span, said("code"), rule.severity, said("url"), said("allowSuppress"))


def _notes(error: ValidationError, inner: ValidationError, rule: PolicyRule | None, rules: Evaluator) -> Iterator[Note]:
    """Where the rule stands, the case of it that the job comes closest to, the other cases, and why it applies."""
    if rule is None:
        return
    if inner is not error:
        yield Note("the job comes closest to this case of the rule", _span(inner, rules))
        for other in other_cases(error, inner):
            yield Note("another case that is allowed", _span(other, rules))
    yield Note("the site's rule is here", rule.span)
    for condition in rule.place.conditions:
        fits = "fits" if condition.holds else "does not fit"
        yield Note(f"it applies because the job {fits} this condition", condition.document.key_span(condition.path))


def _span(error: ValidationError, rules: Evaluator) -> Span:
    uri, path = rules.places[id(error.schema)]
    return rules.policy.files[uri].key_span((*path, str(error.validator)))
