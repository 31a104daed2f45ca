"""The front end as a child of root: what root must not do itself, with the answer as plain JSON bytes.

`check_job` reads a user's files and runs with that user's ids; `plan_job` turns the machine part that travelled into
what one node applies, by the node's own site, and runs as nobody. An ordinary user's `vtorque run` calls them directly.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vtorque_spec.canonical import DecodeError, from_data, to_data
from vtorque_spec.carrier import encode_user_part
from vtorque_spec.diagnostics import Code, Diagnostic, Note, Report, Rule, Severity, Span
from vtorque_spec.driver import check_file, job_from_machine_part, machine_part, plan_for_node
from vtorque_spec.fault import Fault
from vtorque_spec.placement.demand import memory_bytes
from vtorque_spec.plan import MIB, JobPlan, NodeBundle, NodeContext
from vtorque_spec.policy import Context
from vtorque_spec.site import Site
from vtorque_spec.sources import source_lines


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child told: its findings, the lines of the files that these are in, and a result if there is one."""

    findings: tuple[Diagnostic, ...]
    sources: Mapping[str, list[str]]
    result: Any


@dataclass(frozen=True, slots=True)
class Needs:
    """What root must know of a job before it can be planned: how many VMs it has on a node, and what numad is asked.

    `numad_vcpus` and `numad_memory_mib` are those of all VMs together; None where numad is not asked.
    """

    vms: int
    numad_vcpus: int | None
    numad_memory_mib: int | None


LARGEST_NEEDS = Needs(256, 2**16, 2**40 // 2**10)
"""What root accepts of a child: 256 VMs, 65,536 vCPUs, 1 PiB."""


def check_job(path: Path, site: Site, context: Context) -> bytes:
    """Take a job file through every check; the result is `{machine: VT1..., user: VTU1...}`."""
    report = Report()
    checked = check_file(path, site, context, report)
    if checked is None:
        return _encode(report, None)
    return _encode(report, {"machine": machine_part(checked), "user": encode_user_part(checked.user)})


def plan_job(machine: str, site: Site, context: Context, node: NodeContext) -> bytes:
    """Decide everything for one node; the result is a NodeBundle.

    A context without slots asks what the job needs before: then the result is `{needs: {...}}`, as `Needs` has it.
    """
    report = Report()
    try:
        derived = job_from_machine_part(machine, site, context, report)
    except DecodeError as error:
        raise Fault("VT0912", f"the machine part cannot be read: {error}") from None
    if derived and not node.slots:
        return _encode(report, {"needs": to_data(_needs(derived[0]))})
    bundle = plan_for_node(derived[0], node, site, _class_of(site, node), derived[1], report) if derived else None
    return _encode(report, None if bundle is None else to_data(bundle))


def _class_of(site: Site, node: NodeContext) -> str:
    """Which class of the site this node is of. Raises Fault VT0926 when the site does not say."""
    if len(site.node_classes) == 1:
        ((name, said),) = site.node_classes.items()
        if said.nodes is None:
            return name
    from vtorque_spec.site.nodes import class_of_node  # ClusterShell is loaded where there are node sets

    found = class_of_node(site.node_classes, node.node)
    if found is None:
        hint = "add the node's name to the `nodes` of its class in site.yaml"
        raise Fault("VT0926", f"the site `{site.name}` does not say of which class the node {node.node} is", help=hint)
    return found


def read_answer(raw: bytes) -> Answer:
    """Read what a child answered; raises Fault VT0914, whatever the bytes are."""
    try:
        data = json.loads(raw)
        findings = tuple(_finding(item) for item in data["findings"])
        sources = {str(name): [str(line) for line in lines] for name, lines in data["sources"].items()}
        return Answer(findings, sources, data["result"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Fault("VT0914", "the answer of the confined process cannot be read", detail=repr(error)[:200]) from None


def bundle_of(answer: Answer) -> NodeBundle:
    """Return the NodeBundle of an answer; raises Fault VT0914 when it is none."""
    try:
        bundle = from_data(NodeBundle, answer.result)
    except DecodeError as error:
        raise Fault("VT0914", f"the answer of the confined process is no plan: {error}") from None
    assert isinstance(bundle, NodeBundle)  # noqa: S101 - from_data returns what it was asked for
    return bundle


def needs_of(answer: Answer) -> Needs:
    """Return what a job needs, from an answer to a context without slots; raises Fault VT0914 when it is none."""
    try:
        needs = from_data(Needs, answer.result["needs"])
    except (DecodeError, TypeError, KeyError):
        needs = None
    if not isinstance(needs, Needs) or not _bounded(needs):
        raise Fault("VT0914", "the confined process did not say what the job needs")
    return needs


def _needs(job: JobPlan) -> Needs:
    if job.pinning.mode != "numad":
        return Needs(job.vms_per_node, None, None)
    return Needs(job.vms_per_node, job.vcpus * job.vms_per_node, -(-memory_bytes(job) // MIB))


def _bounded(needs: Needs) -> bool:
    pairs = [
        (getattr(needs, name), getattr(LARGEST_NEEDS, name)) for name in ("vms", "numad_vcpus", "numad_memory_mib")
    ]
    together = (needs.numad_vcpus is None) == (needs.numad_memory_mib is None)
    return together and all(value is None or 1 <= value <= most for value, most in pairs)


def _encode(report: Report, result: Any) -> bytes:
    items = report.sorted()
    files = {item.span.file for item in items if item.span}
    told = {
        "findings": [_data(item) for item in items],
        "sources": {name: source_lines(name) for name in sorted(files)},
        "result": result,
    }
    return json.dumps(told).encode()


def _data(item: Diagnostic) -> dict[str, Any]:
    return {
        "code": item.code.id,
        "message": item.message,
        "span": to_data(item.span),
        "notes": [to_data(note) for note in item.notes],
        "help": item.help,
        "detail": item.detail,
        "rule": None if item.rule is None else {**asdict(item.rule), "severity": item.rule.severity.value},
    }


def _finding(data: Any) -> Diagnostic:
    span = None if data["span"] is None else Span(**data["span"])
    notes = tuple(
        Note(note["message"], None if note["span"] is None else Span(**note["span"])) for note in data["notes"]
    )
    said, rule = data["rule"], None
    if said is not None:
        rule = Rule(**{**said, "span": Span(**said["span"]), "severity": Severity(said["severity"])})
    return Diagnostic(Code.by_id(data["code"]), data["message"], span, notes, data["help"], data["detail"], rule)
