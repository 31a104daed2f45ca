"""What rules say of themselves: codes, messages, addresses."""

import re
from typing import Any

from vtorque_spec.diagnostics import Code, Note, near_miss
from vtorque_spec.policy.lint.view import View
from vtorque_spec.policy.rules import ABOUT, Place, below, rules_of

PLACEHOLDERS = ("value", "limit")
"""What a `message` may name in braces."""


def check(view: View) -> None:
    """Look at the words of ABOUT wherever they stand."""
    ruling = {(place.uri, place.path) for place in view.own if _rules_below(view, place)}
    told: dict[str, Place] = {}
    for place in view.own:
        said = [word for word in ABOUT if word in place.schema]
        if said and (place.uri, place.path) not in ruling:
            _nothing(view, place, said)
        _placeholders(view, place)
        _address(view, place)
        _suppress(view, place)
        _code_twice(view, place, told)


def _rules_below(view: View, place: Place) -> bool:
    return not place.tested and any(list(rules_of(one)) for one in below(view.site.policy, place))


def _nothing(view: View, place: Place, said: list[str]) -> None:
    words = ", ".join(f"`{word}`" for word in said)
    span = place.document.key_span((*place.path, said[0]))
    if place.tested:
        message, hint = f"{words} inside a test is never told", "write it beside the `not`, `anyOf`, `oneOf` or `then`"
    else:
        message, hint = f"{words} of a schema that holds no rule is never told", "write it beside the rule"
    view.add(Code.POLICY_NEVER_TOLD, message, span, hint)


def _placeholders(view: View, place: Place) -> None:
    for match in re.finditer(r"\{([^{}]*)\}", place.schema.get("message", "")):
        if match[1] not in PLACEHOLDERS:
            span = place.document.text_span((*place.path, "message"), 0, match.start(), len(match[0]))
            meant = near_miss(match[1], PLACEHOLDERS)
            hint = f"write `{{{meant}}}`" if meant else "there are `{value}` and `{limit}`"
            view.add(Code.POLICY_PLACEHOLDER, f"`{match[0]}` in a message stands for nothing", span, hint)


def _address(view: View, place: Place) -> None:
    url = place.schema.get("url")
    if isinstance(url, str) and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
        span = place.document.span((*place.path, "url"))
        hint = (
            f"write `https://{url}`" if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+(/\S*)?", url) else "write https://..."
        )
        view.add(Code.POLICY_URL, f"`{url}` is no address of a page", span, hint)


def _suppress(view: View, place: Place) -> None:
    said = place.schema.get("allowSuppress")
    warning = place.said("severity") == "warning"
    if said is not None and said == warning:
        message = f"`allowSuppress: {str(said).lower()}` has no effect: that is how {_kind(warning)} are anyway"
        view.add(Code.POLICY_NO_EFFECT, message, place.document.span((*place.path, "allowSuppress")), "remove it")


def _kind(warning: bool) -> str:
    return "warnings" if warning else "errors"


def _code_twice(view: View, place: Place, told: dict[str, Place]) -> None:
    """One code, one message: who looks the code up must find what they were told."""
    code: Any = place.schema.get("code")
    if not isinstance(code, str) or place.said("message") is None:
        return
    first = told.setdefault(code, place)
    if first.said("message") != place.said("message"):
        span = place.document.span((*place.path, "code"))
        notes = [Note("the other one is here", first.document.span((*first.path, "code")))]
        message = f"the code {code} stands for two rules with different messages"
        view.add(Code.POLICY_CODE_TWICE, message, span, "give each rule a code of its own", notes)
