"""Which class of nodes a job asks for, and with what numbers: the same that its placement will use."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vtorque_spec.diagnostics import Code, Note, Report
from vtorque_spec.placement.demand import memory_bytes, slots
from vtorque_spec.placement.fit import lacks, shortages
from vtorque_spec.placement.nodes import HostNode, node_of_class
from vtorque_spec.placement.shortage import Shortage
from vtorque_spec.plan import JobPlan, NodeRequest
from vtorque_spec.site import Site
from vtorque_spec.spec.parse import NormalForm


@dataclass(frozen=True, slots=True)
class Choice:
    """A node class on which the job fits, and what is asked for there."""

    node_class: str
    request: NodeRequest


def choose(
    job: JobPlan, site: Site, queue: str | None, wanted: str | None, normal: NormalForm, report: Report
) -> Choice | None:
    """Return the class `wanted`; without, the first in the order of site.yaml that the queue reaches and the job fits.

    Where it does not fit on each class that it can reach, or not with the same numbers, it is the first that the script
    can ask for by the batch system's own word. None when there is a finding.
    """
    names = site.reachable(queue)
    if wanted and wanted not in names:
        message = f"the queue `{queue}` does not reach nodes of class `{wanted}`"
        hint = f"it reaches {' and '.join(names)}; name {'it' if len(names) == 1 else 'one of them'}, or another queue"
        report.add(Code.CLASS_UNASKABLE, message, normal.at(("batch", "queue")), help=hint)
        return None
    names = (wanted,) if wanted else names
    nodes = {name: node_of_class(site, name) for name in names}
    short = {name: lacks(job, node) for name, node in nodes.items()}
    asked = {name: _request(job, node) for name, node in nodes.items() if not short[name]}
    if not asked:
        words = {name: site.node_classes[name].property for name in nodes}
        _tell(job, nodes, short, words, _elsewhere(job, site, tuple(nodes)), normal, report)
        return None
    words = {name: _word(name, site, asked) for name in asked}
    name = next((name for name, word in words.items() if word is not None), next(iter(asked)))
    if not wanted and len(asked) == len(nodes) and len(set(asked.values())) == 1:
        name, words = next(iter(asked)), {}  # any node of the queue will do
    elif words[name] is None and not wanted:
        _tell_unaskable(name, job, nodes, short, normal, report)
        return None
    return Choice(name, replace(asked[name], property=words.get(name)))


def report_shortages(short: tuple[Shortage, ...], normal: NormalForm, report: Report, *notes: Note) -> None:
    """Add a finding for each, at the first of its fields that the job file has."""
    for one in short:
        said = next((field for field in one.fields if field in normal.spans), one.fields[0])
        report.add(one.code, one.message, normal.at(said), notes=notes, help=one.help)
        notes = ()


def _word(name: str, site: Site, asked: Mapping[str, NodeRequest]) -> str | None:
    """What asks for a class and for no other on which the job would not do with the same numbers."""
    word = site.node_classes[name].property
    alike = [other for other, said in site.node_classes.items() if said.property == word]
    return word if all(asked.get(other) == asked[name] for other in alike) else None


def _request(job: JobPlan, node: HostNode) -> NodeRequest:
    reserve = node.host_memory_bytes if job.batch.exclusive and node.host_in_slots else 0
    return NodeRequest(slots(job, node), memory_bytes(job, node) + reserve, None)


def _elsewhere(job: JobPlan, site: Site, reached: tuple[str, ...]) -> list[Note]:
    """The classes on which the job would fit if its queue reached them."""
    others = [name for name in site.node_classes if name not in reached]
    found = [name for name in others if not lacks(job, node_of_class(site, name))]
    queues = [name for name, queue in site.queues.items() if not set(found).isdisjoint(queue.node_classes)]
    classes = " or ".join(f"`{name}`" for name in found)
    return (
        [Note(f"it fits on nodes of class {classes}, which the queue {' or '.join(queues)} reaches")] if queues else []
    )


def _tell(
    job: JobPlan, nodes: dict[str, HostNode], short: dict[str, tuple[Shortage, ...]], words: Mapping[str, str | None],
    elsewhere: list[Note], normal: NormalForm, report: Report,
) -> None:  # fmt: skip
    """What is short on the largest class that can be asked for is the finding; a note for each other one."""
    askable = [name for name in nodes if words[name] is not None] or list(nodes)
    largest = max(askable, key=lambda name: (nodes[name].all_slots, nodes[name].memory_bytes))
    others = [Note(one.message) for name, found in short.items() if name != largest for one in found[:1]]
    report_shortages(shortages(job, nodes[largest]), normal, report, *others, *elsewhere)


def _tell_unaskable(
    name: str, job: JobPlan, nodes: dict[str, HostNode], short: dict[str, tuple[Shortage, ...]], normal: NormalForm,
    report: Report,
) -> None:  # fmt: skip
    unfit = [other for other in nodes if short[other]]
    if unfit:
        why = f"does not fit on {unfit[0]}"
        notes = [Note(one.message) for one in short[unfit[0]]]
        place = next((one.fields for one in short[unfit[0]]), (("vcpus",),))
    else:
        why, notes, place = "needs other numbers on the others", [], (("batch", "exclusive"), ("vcpus",))
    message = f"the job fits on nodes of class `{name}`, {why}, and the site has no word to ask for `{name}` by"
    said = next((field for field in place if field in normal.spans), place[0])
    hint = f"{_alike(job, nodes, unfit)}; or an admin gives the class a `property` in site.yaml"
    report.add(Code.CLASS_UNASKABLE, message, normal.at(said), notes=notes, help=hint)


def _alike(job: JobPlan, nodes: dict[str, HostNode], unfit: list[str]) -> str:
    """What makes the job ask for the same on all classes."""
    if unfit:
        helps = [one.help or "" for other in unfit for one in shortages(job, nodes[other])]
        fits = helps[0].removeprefix("it fits") if len(helps) == 1 and helps[0].startswith("it fits") else ""
        return "make it fit on all classes" + (f", as{fits}" if fits else "")
    shared = replace(job, batch=replace(job.batch, exclusive=False))
    same = len({_request(shared, node) for node in nodes.values()}) == 1
    return "leave out `exclusive`" if same else "choose a queue that reaches one class"
