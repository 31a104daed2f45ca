"""A policy's cases: job files in `policy.test/pass` that it must accept, and in `policy.test/fail` that it must find.

`fail/CODE-anything.vjob.yaml` must have a finding of that code, an error or a warning, and no error of another code.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath

from vtorque_spec.diagnostics import Code, Diagnostic, Report, Severity, Span, near_miss
from vtorque_spec.document import read
from vtorque_spec.driver import check_document
from vtorque_spec.policy.rules import rules
from vtorque_spec.review.context import JOB_ENDING, SIDE_ENDING, neutral, said_by, side_file
from vtorque_spec.site import Site
from vtorque_spec.site.policy_files import PolicyFiles

FOLDER = "policy.test"
_ENDINGS = (".yaml", ".yml")
_FORM = "cases are pass/NAME.vjob.yaml and fail/CODE-NAME.vjob.yaml"


@dataclass(frozen=True, slots=True)
class Case:
    """One file of `policy.test`. `expected` is the code that it must be found with; None: it must pass.

    `broken` tells why a file is no case at all.
    """

    name: str
    path: FilePath
    expected: str | None = None
    broken: Diagnostic | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a case. `surprise` says what differs from what was expected; None: nothing does.

    `defaults` are the places of the policy's defaults that the job got; they are known of accepted jobs only.
    """

    case: Case
    items: tuple[Diagnostic, ...]
    surprise: str | None
    defaults: frozenset[Span] = frozenset()


def find_cases(root: FilePath, site: Site) -> Iterator[Case]:
    """Yield every case of the site's directory in the order of their names, and every file that was meant to be one."""
    base, own = root / FOLDER, site_codes(site.policy)
    for path in sorted(base.rglob("*")):
        if path.suffix in _ENDINGS and not _is_side_file(path):
            yield _case(path, path.relative_to(base), own)


def site_codes(policy: PolicyFiles) -> frozenset[str]:
    """Return the codes that the site's own rules say."""
    return frozenset(code for rule in rules(policy) if (code := rule.place.said("code")))


def _is_side_file(path: FilePath) -> bool:
    """Whether it says the context of a job file that is there."""
    job = path.with_name(path.name.removesuffix(SIDE_ENDING) + JOB_ENDING)
    return path.name.endswith(SIDE_ENDING) and job.is_file() and side_file(job) == path


def _case(path: FilePath, relative: FilePath, own: Collection[str]) -> Case:
    name, folder = relative.as_posix(), relative.parent.as_posix()
    if folder not in ("pass", "fail") or not path.name.endswith(JOB_ENDING) or not path.is_file():
        return Case(name, path, broken=_no_case(path, f"`{name}` is no case of the policy", _hint(relative)))
    if folder == "pass":
        return Case(name, path)
    stem = path.name.removesuffix(JOB_ENDING)
    known = {*own, *(code.id for code in Code)}
    codes = [code for code in known if f"{stem}-".startswith(f"{code}-")]
    if codes:
        return Case(name, path, max(codes, key=len))
    word = re.split("[-_.]", stem)[0]
    meant = near_miss(word, own) or near_miss(word, known)
    rename = f"rename it to `{meant}-NAME{JOB_ENDING}`, or give the rule that it is for this code"
    hint = rename if meant else _codes_hint(own)
    return Case(name, path, broken=_no_case(path, f"`{word}` is no code of this policy or of vtorque", hint))


def _no_case(path: FilePath, message: str, hint: str) -> Diagnostic:
    return Diagnostic(Code.NO_CASE, message, Span(str(path), 1, 1, 1, 1), help=hint)


def _hint(relative: FilePath) -> str:
    folder = relative.parent.as_posix()
    if relative.name.endswith(SIDE_ENDING):
        return f"it needs `{relative.name.removesuffix(SIDE_ENDING)}{JOB_ENDING}` beside it"
    meant = near_miss(folder, ("pass", "fail"))
    if meant not in (None, folder):
        return f"rename the directory to `{meant}`"
    return _FORM


def _codes_hint(own: Collection[str]) -> str:
    shown = ", ".join(sorted(own)[:8])
    return (
        f"{_FORM}; this policy's codes are {shown}"
        if own
        else f"{_FORM}; rules without a code of their own have VT0201"
    )


def run(case: Case, site: Site) -> Result:
    """Check a case as `vtorque lint` would, for the user that it names."""
    if case.broken is not None:
        return Result(case, (case.broken,), "is no case")
    report = Report()
    document = read(case.path, report)
    said = said_by(document, report) if document is not None else None
    if any(item.code is Code.CASE_CONTEXT for item in report.items):
        return Result(case, tuple(report.sorted()), "its context is not understood")
    checked = None
    if document is not None:
        context = said.context(site) if said else neutral(site)
        checked = check_document(document, case.path.parent, site, context, report)
    used = frozenset(origin.span for origin in checked.effective.origins.values()) if checked else frozenset()
    return Result(case, tuple(report.sorted()), _surprise(case.expected, report), used)


def _surprise(expected: str | None, report: Report) -> str | None:
    errors = {item.id for item in report.items if item.severity is Severity.ERROR}
    found = {item.id for item in report.items}
    if expected is None:
        return f"expected no error, found {_list(errors)}" if errors else None
    if expected not in found:
        return f"expected {expected}, found {_list(found)}"
    return f"expected {expected} alone, found {_list(errors | {expected})}" if errors - {expected} else None


def _list(codes: Collection[str]) -> str:
    return ", ".join(sorted(codes)) or "nothing"
