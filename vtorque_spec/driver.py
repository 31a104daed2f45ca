"""The stages in order: the one file that shows the data's way.

    text -> Document -> JobSpec -> normal form -> JobPlan -> NodePlan -> Artifacts

Every stage adds its findings to the report; the way ends after a stage that found an error.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vtorque_spec.canonical import DecodeError, canonical_json
from vtorque_spec.carrier import (
    MachinePart,
    decode_machine_part,
    encode_machine_part,
    encode_user_part,
    job_plan_digest,
    user_fields,
)
from vtorque_spec.diagnostics import Code, Diagnostic, Report
from vtorque_spec.document import Document, read
from vtorque_spec.embed import embed_map, user_part, with_own_image
from vtorque_spec.fault import Fault
from vtorque_spec.placement.nodes import node_of_class, node_of_context
from vtorque_spec.placement.request import Choice, choose, report_shortages
from vtorque_spec.plan import Artifact, Flavour, JobPlan, NodeContext, NodePlan, UserPart
from vtorque_spec.policy import Context, Effective, have_limits
from vtorque_spec.policy.check import check_policy
from vtorque_spec.policy.defaults import Holds, fill_defaults
from vtorque_spec.resolve import resolve
from vtorque_spec.resolve.words import check_words
from vtorque_spec.site import Site, load_site
from vtorque_spec.spec.honoured import check_honoured
from vtorque_spec.spec.parse import NormalForm, normal_form, parse_job, parse_normal, paths_of, value_at

if TYPE_CHECKING:  # a compile to a script draws nothing
    from vtorque_spec.placement.picture import Picture


@dataclass(frozen=True, slots=True)
class Checked:
    """A job that passed every check: what was said, what it means, where it goes, and what runs as the user."""

    document: Document
    normal: NormalForm
    effective: Effective
    job: JobPlan
    choice: Choice
    user: UserPart


def open_site(directory: Path | None, report: Report, today: date | None = None) -> Site | None:
    """Read a site's facts, catalogue and rules (None: the built-in `local` site).

    `today` decides whether the last day of a deprecated image is over; without it none is.
    """
    site = load_site(directory, report, today)
    if site is not None:
        check_policy(site.policy, report)
    return None if report.failed else site


def check_file(
    path: Path, site: Site, context: Context, report: Report, node_class: str | None = None
) -> Checked | None:
    """Take a job file through every check; scripts are read from beside it. None when there is an error.

    `node_class` is one of the site's, None: the first that the job reaches and fits on.
    """
    document = read(path, report)
    return None if document is None else check_document(document, path.parent, site, context, report, node_class)


def check_document(
    document: Document, directory: Path, site: Site, context: Context, report: Report, node_class: str | None = None
) -> Checked | None:
    """Take a parsed file through every check; paths in it are relative to `directory`."""
    spec = parse_job(document, report)
    if spec is None:
        return None
    normal = normal_form(spec, document)
    check_honoured(normal, report)
    user = user_part(spec, document, directory, report)
    embedded = embed_map(normal, directory, report)
    if report.failed or user is None or embedded is None:
        return None
    embedded = with_own_image(embedded, directory)
    effective = apply_policy(embedded, site, context, report)
    job = resolve(effective, embedded, site, report) if effective else None
    if job is not None:
        check_words(job.batch, context.batch, embedded, report)
    queue = context.queue or (job.batch.queue if job else None)
    choice = choose(job, site, queue, node_class, embedded, report) if job else None
    if effective is None or job is None or choice is None or report.failed:
        return None
    return Checked(document, embedded, effective, job, choice, user)


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
    if effective is not None and have_limits(site.policy, effective.data):
        from vtorque_spec.policy.limits import check_limits

        check_limits(effective, normal, context, site, report, unseen)
    return None if report.failed else effective


# --- what is compiled from a checked job ----------------------------------------------------------------------------


def machine_part(checked: Checked) -> str:
    """Return what goes to root: the job as said, without the user's own members, and two digests.

    Raises Fault VT0601.
    """
    left = user_fields(checked.normal.data)
    said = {name: value for name, value in checked.normal.data.items() if name not in left}
    return encode_machine_part(MachinePart(said, checked.job.policy_digest, job_plan_digest(checked.job)))


def compile_script(checked: Checked, flavour: Flavour, report: Report) -> Artifact | None:
    """Return the batch script."""
    from vtorque_compilers.script import compile_script  # jinja2 is loaded by those who print a script only

    with faults(report):
        parts = machine_part(checked), encode_user_part(checked.user), checked.document.text
        return compile_script(flavour, checked.job, checked.choice.request, *parts)
    return None


def compile_bundle(checked: Checked, site: Site, script: Artifact, report: Report) -> tuple[Artifact, ...]:
    """Return the script, the JobPlan, and the guests' files as they would be on a node of the chosen class."""
    from vtorque_compilers.guests import compile_guests
    from vtorque_compilers.osv import show_command_line
    from vtorque_spec.placement.preview import preview_context

    name = checked.choice.node_class
    context = preview_context(checked.job, name, node_of_class(site, name))
    plan = plan_for_node(checked.job, context, site, name, checked.normal, report)
    if plan is None:
        return ()
    files = [script, Artifact("job-plan.json", _pretty(checked.job))]
    with faults(report):
        files += compile_guests(plan.guests, context.vms)
        files += [show_command_line(guest) for guest in plan.guests if guest.kind == "osv"]
        return (*files, manifest(files))
    return ()


def picture_of(checked: Checked, site: Site) -> "Picture":
    """Return who gets what on a node of the class that was chosen."""
    from vtorque_spec.placement.drawn import picture
    from vtorque_spec.placement.fit import Placed, place

    node = node_of_class(site, checked.choice.node_class)
    placed = place(checked.job, node)
    assert isinstance(placed, Placed)  # noqa: S101 - the class was chosen because the job fits there
    return picture(checked.job, node, placed, checked.choice.request, site.batch)


def manifest(files: list[Artifact]) -> Artifact:
    """Return the list of a bundle's files with their SHA-256."""
    digests = {file.path: hashlib.sha256(file.text.encode()).hexdigest() for file in files}
    return Artifact("manifest.json", json.dumps({"version": 1, "sha256": digests}, indent=2, sort_keys=True) + "\n")


def plan_for_node(
    job: JobPlan, context: NodeContext, site: Site, node_class: str, normal: NormalForm, report: Report
) -> NodePlan | None:
    """Decide everything that one node of a class needs."""
    from vtorque_spec.placement.node_plan import plan_node

    with faults(report):
        plan = plan_node(job, context, node_of_context(site, node_class, context))
        if isinstance(plan, NodePlan):
            return plan
        report_shortages(plan, normal, report)
    return None


def job_from_machine_part(text: str, site: Site, context: Context, report: Report) -> tuple[JobPlan, NormalForm] | None:
    """Derive the JobPlan again from what travelled, by this node's own site and policy.

    The user's part does not travel: a stand-in takes the place of `run` for the language's check, and rules about that
    part were judged where the job was compiled. (Of an OSv guest only the hooks stay behind.) Raises DecodeError.
    """
    part = decode_machine_part(text)
    normal = NormalForm({"run": {"text": ":"}, **part.job}, {})
    if any(value_at(normal.data, path) is None for path in paths_of(normal.data)):
        raise DecodeError("the machine part is no job: a member has no value")  # to the models it were not said
    try:
        parse_normal(normal.data)
    except ValidationError as error:
        raise DecodeError(f"the machine part is no job: {error.error_count()} members do not fit") from None
    check_honoured(normal, report)
    effective = None if report.failed else apply_policy(normal, site, context, report, unseen=user_fields(part.job))
    job = resolve(effective, normal, site, report) if effective else None
    if job is not None and job_plan_digest(job) != part.job_plan_digest:
        code = Code.CHANGED_REFUSED if site.when_changed == "refuse" else Code.CHANGED
        message = f"the site `{site.name}` says other things on this node than where the job was compiled"
        report.add(code, message, help="compile it again" if code is Code.CHANGED_REFUSED else _THIS_NODES)
    return None if job is None or report.failed else (job, normal)


_THIS_NODES = "what this node says counts; to see what that is, compile it again"


@contextmanager
def faults(report: Report) -> Iterator[None]:
    """Turn a compiler's Fault into a finding."""
    try:
        yield
    except Fault as fault:
        report.items.append(of_fault(fault))


def of_fault(fault: Fault) -> Diagnostic:
    """Return a Fault of the compilers or the runtime as a finding; the code of a confined child's may be none."""
    code = next((code for code in Code if code.id == fault.code), Code.NOT_SAFE)
    return Diagnostic(code, fault.message, help=fault.help, detail=fault.detail)


def _pretty(value: Any) -> str:
    return json.dumps(json.loads(canonical_json(value)), indent=2, sort_keys=True) + "\n"
