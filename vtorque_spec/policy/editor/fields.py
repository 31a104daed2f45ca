"""What a site's policy says of each field, whoever asks: rules that always hold, defaults, and all of it in words."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from vtorque_spec.diagnostics import Severity
from vtorque_spec.document import Path
from vtorque_spec.policy.rules import PolicyRule, rules_of, walk
from vtorque_spec.policy.told.limits import Limit, applies, policy_limits
from vtorque_spec.policy.values import shown
from vtorque_spec.site import Site

_ALWAYS = "here"


class FieldRules:
    """The policy by fields of the normal form, as far as no user, group, queue or host is asked for.

    `firm` are the rules that refuse every job that breaks them, `defaults` those that hold for every job; `filled` are
    the fields that get a default in whatever case.
    """

    def __init__(self, site: Site) -> None:
        self.firm: dict[Path, list[PolicyRule]] = defaultdict(list)
        self.defaults: dict[Path, Any] = {}
        self.filled: set[Path] = set()
        self._default_of: dict[Path, dict[str | None, Any]] = defaultdict(dict)
        self._limits: dict[Path, list[Limit]] = defaultdict(list)
        known = {"batch": site.batch, "site": site.name}
        for place in walk(site.policy):
            applying, when = applies(site.policy, place, known)
            if not applying or place.tested or place.field is None:
                continue
            if when is None:
                self.firm[place.field] += (rule for rule in rules_of(place) if rule.severity is Severity.ERROR)
            if isinstance(place.schema, dict) and "default" in place.schema:
                self._default_of[place.field][when] = place.schema["default"]
        for limit in policy_limits(site, known):
            self._limits[limit.path].append(limit)
        self.filled = set(self._default_of)
        self.defaults = {path: cases[None] for path, cases in self._default_of.items() if None in cases}

    def sentences(self, path: Path) -> Iterator[str]:
        """Yield what holds for a field, in words: a sentence for each case, that of every job first."""
        cases: dict[str | None, list[str]] = {None: []}
        for when, default in self._default_of.get(path, {}).items():
            if not isinstance(default, dict):
                cases.setdefault(when, []).append(f"{shown(path, default)} unless said")
        for limit in self._limits.get(path, ()):
            cases.setdefault(limit.when, []).append(_words(limit))
        for when, phrases in cases.items():
            if phrases:
                text = f"{when or _ALWAYS}: {'; '.join(dict.fromkeys(phrases))}"
                yield text[:1].upper() + text[1:]


def _words(limit: Limit) -> str:
    warning = "a warning" if limit.severity is Severity.WARNING else None
    more = ", ".join(part for part in (warning, limit.code, limit.message) if part)
    return f"{limit.text} ({more})" if more else limit.text
