"""The stages in order: the one file that shows the data's way.

    text -> Document -> JobSpec -> normal form -> JobPlan -> NodePlan -> Artifacts

Every stage adds its findings to the report; the way ends after a stage that found an error.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vtorque_spec.canonical import DecodeError, canonical_json
from vtorque_spec.carrier import USER_FIELDS, MachinePart, decode_machine_part, encode_machine_part, encode_user_part
from vtorque_spec.diagnostics import Code, Diagnostic, Report
from vtorque_spec.document import Document, read
from vtorque_spec.embed import user_part
from vtorque_spec.fault import Fault
from vtorque_spec.placement import Placement, Shortage, demand_of, node_of_class, place
from vtorque_spec.placement.node_plan import job_plan_digest, plan_node
from vtorque_spec.placement.preview import preview_context
from vtorque_spec.plan import Artifact, JobPlan, NodeBundle, NodeContext, NodePlan, UserPart
from vtorque_spec.policy import Context, Effective, have_limits
from vtorque_spec.policy.check import check_policy
from vtorque_spec.policy.defaults import Holds, fill_defaults
from vtorque_spec.resolve import resolve
from vtorque_spec.site import Site, load_site
from vtorque_spec.spec.honoured import check_honoured
from vtorque_spec.spec.parse import NormalForm, normal_form, parse_job, parse_normal


@dataclass(frozen=True, slots=True)
class Checked:
    """A job that passed every check of a compile: what was said, what it means, and what runs as the user."""

    document: Document
    normal: NormalForm
    effective: Effective
    job: JobPlan
    user: UserPart


def open_site(directory: Path | None, report: Report) -> Site | None:
    """Read a site's facts, catalogue and rules (None: the built-in `local` site)."""
    site = load_site(directory, report)
    if site is not None:
        check_policy(site.policy, report)
    return None if report.failed else site


def check_file(path: Path, site: Site, context: Context, report: Report) -> Checked | None:
    """Take a job file through every check; scripts are read from beside it. None when there is an error."""
    document = read(path, report)
    return None if document is None else check_document(document, path.parent, site, context, report)


def check_document(document: Document, directory: Path, site: Site, context: Context, report: Report) -> Checked | None:
    """Take a parsed file through every check; paths in it are relative to `directory`."""
    spec = parse_job(document, report)
    if spec is None:
        return None
    normal = normal_form(spec, document)
    check_honoured(normal, report)
    user = user_part(spec, document, directory, report)
    if report.failed or user is None:
        return None
    effective = apply_policy(normal, site, context, report)
    job = resolve(effective, normal, site, report) if effective else None
    if effective is None or job is None:
        return None
    _check_fits(job, normal, site, report)
    return None if report.failed else Checked(document, normal, effective, job, user)


def apply_policy(
    normal: NormalForm, site: Site, context: Context, report: Report, unseen: Iterable[str] = ()
) -> Effective | None:
    """Fill the defaults of the site's policy, then check its limits. (jsonschema is loaded where it has rules.)

    Rules about the members `unseen` are left out.
    """

    def conditions_of(job: Effective) -> Holds:
        from vtorque_spec.policy.limits import conditions

        return conditions(site, context, job, unseen)

    effective = fill_defaults(normal, site.policy, conditions_of, report)
    if effective is not None and have_limits(site.policy):
        from vtorque_spec.policy.limits import check_limits

        check_limits(effective, normal, context, site, report, unseen)
    return None if report.failed else effective


def _check_fits(job: JobPlan, normal: NormalForm, site: Site, report: Report) -> None:
    """The job must fit on one class of nodes at least; otherwise every shortage of the largest class is told."""
    classes = sorted(site.node_classes.items(), key=lambda item: (item[1].cpus, item[1].memory), reverse=True)
    results = [place(demand_of(job), node_of_class(name, facts)) for name, facts in classes]
    if not any(isinstance(result, Placement) for result in results):
        _report_shortages([short for result in results[:1] for short in _shortages(result)], normal, report)


def _shortages(result: Placement | tuple[Shortage, ...]) -> tuple[Shortage, ...]:
    return () if isinstance(result, Placement) else result


def _report_shortages(shortages: list[Shortage], normal: NormalForm, report: Report) -> None:
    for short in shortages:
        report.add(short.code, short.message, normal.at(short.field), help=short.help)


# --- what is compiled from a checked job ----------------------------------------------------------------------------


def machine_part(checked: Checked) -> str:
    """Return what goes to root: the job as said, without the user's own members, and two digests."""
    said = {name: value for name, value in checked.normal.data.items() if name not in USER_FIELDS}
    return encode_machine_part(MachinePart(said, checked.job.policy_digest, job_plan_digest(checked.job)))


def compile_script(checked: Checked, report: Report) -> Artifact | None:
    """Return the batch script."""
    from vtorque_compilers.script import compile_torque  # jinja2 is loaded by those who print a script only

    with faults(report):
        return compile_torque(checked.job, machine_part(checked), encode_user_part(checked.user), checked.document.text)
    return None


def compile_bundle(checked: Checked, site: Site, script: Artifact, report: Report) -> tuple[Artifact, ...]:
    """Return the script, the JobPlan, and the guests' files as they would be on a node of the site's first class."""
    name, facts = next(iter(site.node_classes.items()))
    bundle = plan_for_node(checked.job, preview_context(checked.job, name, facts), checked.normal, report)
    if bundle is None:
        return ()
    files = [script, Artifact("job-plan.json", _pretty(checked.job)), *bundle.files]
    return (*files, manifest(files))


def manifest(files: list[Artifact]) -> Artifact:
    """Return the list of a bundle's files with their SHA-256."""
    digests = {file.path: hashlib.sha256(file.text.encode()).hexdigest() for file in files}
    return Artifact("manifest.json", json.dumps({"version": 1, "sha256": digests}, indent=2, sort_keys=True) + "\n")


def plan_for_node(job: JobPlan, context: NodeContext, normal: NormalForm, report: Report) -> NodeBundle | None:
    """Decide everything that one node needs, and compile its guests' files."""
    from vtorque_compilers.domain import compile_domain
    from vtorque_compilers.seed import compile_seed

    with faults(report):
        plan = plan_node(job, context)
        if not isinstance(plan, NodePlan):
            _report_shortages(list(plan), normal, report)
            return None
        files = [file for guest in plan.guests for file in (compile_domain(guest), *compile_seed(guest))]
        return NodeBundle(plan, tuple(files))
    return None


def job_from_machine_part(text: str, site: Site, context: Context, report: Report) -> tuple[JobPlan, NormalForm] | None:
    """Derive the JobPlan again from what travelled, by this node's own site and policy.

    The user's part does not travel: a stand-in takes the place of `run` for the language's check, and rules about that
    part were judged where the job was compiled. Raises DecodeError.
    """
    part = decode_machine_part(text)
    normal = NormalForm({**part.job, "run": {"text": ":"}}, {})
    try:
        parse_normal(normal.data)
    except ValidationError as error:
        raise DecodeError(f"the machine part is no job: {error.error_count()} members do not fit") from None
    check_honoured(normal, report)
    effective = None if report.failed else apply_policy(normal, site, context, report, unseen=USER_FIELDS)
    job = resolve(effective, normal, site, report) if effective else None
    return None if job is None else (job, normal)


@contextmanager
def faults(report: Report) -> Iterator[None]:
    """Turn a compiler's Fault into a finding."""
    try:
        yield
    except Fault as fault:
        report.items.append(of_fault(fault))


def of_fault(fault: Fault) -> Diagnostic:
    """Return a Fault of the compilers or the runtime as a finding."""
    return Diagnostic(Code.by_id(fault.code), fault.message, help=fault.help, detail=fault.detail)


def _pretty(value: Any) -> str:
    return json.dumps(json.loads(canonical_json(value)), indent=2, sort_keys=True) + "\n"
