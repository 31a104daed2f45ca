"""`vtorque policy lint`: what is a valid policy and yet wrong, contradictory or useless.

Needs no job. Each module looks for one kind of mistake; `view` is what all of them look at. What makes a policy invalid
is found before (vtorque_spec.policy.check).
"""

from vtorque_spec.diagnostics import Report
from vtorque_spec.policy.lint import (
    about,
    absence,
    branches,
    contradictions,
    defaults,
    kinds,
    patterns,
    redundant,
    root,
    site_names,
    values,
)
from vtorque_spec.policy.lint.view import View
from vtorque_spec.site import Site

_CHECKS = (kinds, values, contradictions, redundant, defaults, branches, absence, about, site_names, patterns, root)


def lint_policy(site: Site, report: Report) -> None:
    """Add what is wrong or useless in the rules of a site that has been opened; each finding once."""
    view = View(site)
    for check in _CHECKS:
        check.check(view)
    report.items += dict.fromkeys(view.report.items)
