"""The confined child of root: `python -I -m vtorque_spec.node SITE NODE UID GID`, lines of JSON on standard streams.

It starts as root and, before it reads a byte, loads all that it may need, tells the facts of root's own site, and then
becomes UID for good: root looks at that in /proc before it asks the first question, whose bytes are a user's.
"""

import sys
from pathlib import Path

from vtorque_spec.canonical import DecodeError, from_json
from vtorque_spec.confined import become, tell
from vtorque_spec.diagnostics import Code, Diagnostic, Report
from vtorque_spec.driver import of_fault, open_site
from vtorque_spec.fault import Fault
from vtorque_spec.node import load_everything, plan
from vtorque_spec.node.facts import node_site
from vtorque_spec.plan import NodePlan, NodeSite
from vtorque_spec.plan.answer import Needs, NodeAnswer, Question, ToldFinding
from vtorque_spec.policy import Context
from vtorque_spec.site import Site
from vtorque_spec.site.host import changeable


def main(argv: list[str]) -> int:
    """Answer questions until there are no more; 1 when the site's files cannot be used."""
    directory, node, uid, gid = Path(argv[0]), argv[1], int(argv[2]), int(argv[3])
    report = Report()
    site: Site | None = None
    facts: NodeSite | None = None
    try:
        site = _site(directory, report)
        facts = node_site(site, node) if site is not None else None
    except Fault as fault:
        report.items.append(of_fault(fault))
    if site is not None:
        load_everything()
        become(uid, gid)
    _tell(report, site=facts)
    if site is None or facts is None:
        return 1
    for line in sys.stdin.buffer:
        _answer(line, site)
    return 0


def _site(directory: Path, report: Report) -> Site | None:
    """Root's own files, or nothing: whoever could change them could tell root what to do."""
    for message, hint in changeable(directory) if directory.exists() else ():
        report.add(Code.SITE_OWNER, message, help=hint)
    return None if report.failed else open_site(directory, report)


def _answer(line: bytes, site: Site) -> None:
    report = Report()
    found: NodePlan | Needs | None = None
    try:
        asked = from_json(Question, line)
        context = Context(asked.user, asked.groups, asked.queue, site.batch, site.name)
        found = plan(asked.machine, site, context, asked.node, report)
    except DecodeError as error:
        report.items.append(of_fault(Fault("VT0914", f"the question cannot be read: {error}")))
    except Fault as fault:
        report.items.append(of_fault(fault))
    _tell(report, found=found)


def _tell(report: Report, site: NodeSite | None = None, found: NodePlan | Needs | None = None) -> None:
    findings = tuple(map(_finding, report.sorted()))
    needs = found if isinstance(found, Needs) else None
    tell(NodeAnswer(findings, site, needs, found if isinstance(found, NodePlan) else None))


def _finding(item: Diagnostic) -> ToldFinding:
    """The machine part has no lines: a finding names the member. Of the site's own files it names the place."""
    place = f"{item.span.file}:{item.span.line}: " if item.span else ""
    notes = [note.message for note in item.notes]
    detail = "\n".join([*([item.detail] if item.detail else []), *notes]) or None
    return ToldFinding(item.id, item.severity.value, place + item.message, item.help, detail)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
