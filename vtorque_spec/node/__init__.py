"""The front end as a child of root: what root must not do itself, with the answer as plain JSON bytes.

`check_job` reads a user's files and runs with that user's ids; `plan_job` turns the machine part that travelled into
what one node applies, by the node's own site, and runs as nobody. An ordinary user's `vtorque run` calls them directly.
"""

import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vtorque_spec.canonical import DecodeError, from_data, to_data
from vtorque_spec.carrier import decode_user_part, encode_user_part
from vtorque_spec.diagnostics import Code, Diagnostic, Note, Report, Rule, Severity, Span
from vtorque_spec.driver import check_file, job_from_machine_part, machine_part, plan_for_node
from vtorque_spec.fault import Fault
from vtorque_spec.placement.demand import memory_bytes, used_slots
from vtorque_spec.placement.nodes import HostNode, node_of_context
from vtorque_spec.plan import MIB, JobPlan, NodeContext, NodePlan, UserPart
from vtorque_spec.plan.answer import Needs, WantedImage
from vtorque_spec.policy import Context
from vtorque_spec.site import Site
from vtorque_spec.sources import source_lines


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child told: its findings, the lines of the files that these are in, and a result if there is one."""

    findings: tuple[Diagnostic, ...]
    sources: Mapping[str, list[str]]
    result: Any


def load_everything() -> None:
    """Import all that checking and planning a job may need: some modules are loaded by those who need them alone."""
    for name in ("spec", "site", "policy", "placement"):
        package = importlib.import_module(f"vtorque_spec.{name}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def check_job(path: Path, site: Site, context: Context) -> bytes:
    """Take a job file through every check; the result is `{machine: VT1..., user: VTU1...}`."""
    report = Report()
    checked = check_file(path, site, context, report)
    if checked is None:
        return _encode(report, None)
    return _encode(report, {"machine": machine_part(checked), "user": encode_user_part(checked.user)})


def plan_job(machine: str, site: Site, context: Context, node: NodeContext) -> bytes:
    """Decide everything for one node; the result is a NodePlan.

    A context without slots asks what the job needs before: then the result is `{needs: {...}}`, as `Needs` has it.
    """
    report = Report()
    planned = plan(machine, site, context, node, report)
    return _encode(report, {"needs": to_data(planned)} if isinstance(planned, Needs) else to_data(planned))


def plan(machine: str, site: Site, context: Context, node: NodeContext, report: Report) -> NodePlan | Needs | None:
    """Return what the job needs where the context has no slots yet, else its plan; None when there is an error.

    Raises Fault VT0912 for a machine part that cannot be read.
    """
    try:
        derived = job_from_machine_part(machine, site, context, report)
    except DecodeError as error:
        raise Fault("VT0912", f"the machine part cannot be read: {error}") from None
    if derived is None:
        return None
    job, normal = derived
    if job.image.own is not None and node.lane == "system":
        hint = "run it as yourself, without root: vtorque run JOB"
        raise Fault("VT0556", f"`{job.image.name}` is a user's own image, and root boots none", help=hint)
    if not node.slots:
        return _needs(job, node_of_context(site, class_of(site, node.node), node))
    _check_nodes(job, node)
    return plan_for_node(job, node, site, class_of(site, node.node), normal, report)


def class_of(site: Site, node: str) -> str:
    """Return which class of the site the node of this name is of. Raises Fault VT0926 when the site does not say."""
    if len(site.node_classes) == 1:
        ((name, said),) = site.node_classes.items()
        if said.nodes is None:
            return name
    from vtorque_spec.site.nodes import class_of_node  # ClusterShell is loaded where there are node sets

    found = class_of_node(site.node_classes, node)
    if found is None:
        hint = "add the node's name to the `nodes` of its class in site.yaml"
        raise Fault("VT0926", f"the site `{site.name}` does not say of which class the node {node} is", help=hint)
    return found


def read_answer(raw: bytes) -> Answer:
    """Read what a child answered; raises Fault VT0914, whatever the bytes are."""
    try:
        data = json.loads(raw)
        result = data.pop("result")
        told = from_data(_Told, data)
        assert isinstance(told, _Told)  # noqa: S101 - from_data returns what it was asked for
        return Answer(tuple(map(_read, told.findings)), {one.file: list(one.lines) for one in told.sources}, result)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Fault("VT0914", "the answer of the confined process cannot be read", detail=repr(error)[:200]) from None


def parts_of(answer: Answer) -> tuple[str, UserPart]:
    """Return the machine part and the user part of a checked job; raises Fault VT0914 when the answer has none."""
    try:
        parts = from_data(_Parts, answer.result)
        assert isinstance(parts, _Parts)  # noqa: S101 - from_data returns what it was asked for
        return parts.machine, decode_user_part(parts.user)
    except DecodeError as error:
        raise Fault("VT0914", f"the answer of the confined process is no job: {str(error)[:200]}") from None


def plan_of(answer: Answer) -> NodePlan:
    """Return the NodePlan of an answer; raises Fault VT0914 when it is none."""
    try:
        found = from_data(NodePlan, answer.result)
    except DecodeError as error:
        raise Fault("VT0914", f"the answer of the confined process is no plan: {str(error)[:200]}") from None
    assert isinstance(found, NodePlan)  # noqa: S101 - from_data returns what it was asked for
    return found


def needs_of(answer: Answer) -> Needs:
    """Return what a job needs, from an answer to a context without slots; raises Fault VT0914 when it is none."""
    try:
        needs = from_data(Needs, answer.result["needs"])
    except (DecodeError, TypeError, KeyError):
        needs = None
    if not isinstance(needs, Needs):
        raise Fault("VT0914", "the confined process did not say what the job needs")
    return needs


def _check_nodes(job: JobPlan, context: NodeContext) -> None:
    nodes = len({vm.node for vm in context.vms})
    if nodes != job.batch.nodes:
        message = f"the job asks for {job.batch.nodes} nodes, and has {nodes}"
        hint = f"write `batch: {{nodes: {nodes}}}`; several nodes are the batch system's to give: vtorque compile JOB"
        raise Fault("VT0322", message, help=hint)


def _needs(job: JobPlan, node: HostNode) -> Needs:
    vcpus = memory_mib = None
    if job.pinning.mode == "numad":
        vcpus, memory_mib = used_slots(job, replace(node, slot="thread")), -(-memory_bytes(job, node) // MIB)
    files = job.image.own
    own = None if files is None else WantedImage(job.image.name, files, job.root_disk_bytes)
    return Needs(job.vms_per_node, job.network.name, vcpus, memory_mib, own)


def _encode(report: Report, result: Any) -> bytes:
    items = report.sorted()
    files = sorted({item.span.file for item in items if item.span})
    sources = tuple(_Source(name, tuple(source_lines(name))) for name in files)
    told = _Told(tuple(map(_finding, items)), sources)
    return json.dumps({**to_data(told), "result": result}).encode()


# --- findings as they travel ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """A file that findings are in."""

    file: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Rule:
    """Rule, with the word for its severity."""

    span: Span
    code: str | None
    severity: Literal["error", "warning"]
    url: str | None
    allow_suppress: bool | None


@dataclass(frozen=True)
class _Finding:
    """Diagnostic, with the number of its code and without a fix."""

    code: str
    message: str
    span: Span | None
    notes: tuple[Note, ...]
    help: str | None
    detail: str | None
    rule: _Rule | None


@dataclass(frozen=True)
class _Told:
    """An answer without its result."""

    findings: tuple[_Finding, ...]
    sources: tuple[_Source, ...]


@dataclass(frozen=True)
class _Parts:
    """The result of `check_job`."""

    machine: str
    user: str


def _finding(item: Diagnostic) -> _Finding:
    said = item.rule
    rule = None if said is None else _Rule(said.span, said.code, said.severity.value, said.url, said.allow_suppress)
    return _Finding(item.code.id, item.message, item.span, item.notes, item.help, item.detail, rule)


def _read(told: _Finding) -> Diagnostic:
    """Raises KeyError for a code that is none, ValueError for a place or a site's code that no finding has."""
    said, rule = told.rule, None
    if said is not None:
        rule = Rule(said.span, said.code, Severity(said.severity), said.url, said.allow_suppress)
    spans = (told.span, said and said.span, *(note.span for note in told.notes))
    if any(min(span.line, span.column, span.end_line, span.end_column) < 1 for span in spans if span):
        raise ValueError("a finding stands before the first line or column")
    if said is not None and not (said.code or "").isprintable():
        raise ValueError("a rule's code is not for a terminal")
    return Diagnostic(Code.by_id(told.code), told.message, told.span, told.notes, told.help, told.detail, rule)
