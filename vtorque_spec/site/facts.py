"""What the facts of a site must fulfil before a job is checked by them; pure and cheap: every command pays for it."""

import re

from vtorque_spec.diagnostics import Code, Note, Report, near_miss
from vtorque_spec.document import Document
from vtorque_spec.site.model import GUEST_OWNS, SiteFile

_PROPERTY = {
    "torque": (r"[A-Za-z][A-Za-z0-9._-]*", "a node property: a letter, then letters, digits and . _ -"),
    "openpbs": (
        r"[A-Za-z][A-Za-z0-9_-]*(=[A-Za-z0-9_][A-Za-z0-9_.@/-]*)?",
        "a resource: NAME=VALUE as in class=fat, or the NAME of one that is true or false",
    ),
    "slurm": (r"[A-Za-z_][A-Za-z0-9._-]*", "a feature: a letter or _, then letters, digits and . _ -"),
}
"""Batch system -> what its request can carry for a kind of node: `nodes=1:ppn=8:WORD`, `select=1:WORD`, `-C WORD`."""


def check_facts(facts: SiteFile, document: Document, report: Report) -> None:
    """Check `site.yaml` by itself; `document` is its text."""
    if not facts.node_classes:
        hint = "describe one class at least, as in `thin: {cpus: 8, memory: 16GiB}`"
        report.add(Code.SITE_FILE, "the site has no node class", document.key_span(("node_classes",)), help=hint)
    for name, said in facts.node_classes.items():
        if said.topology or said.cells or said.devices:
            from vtorque_spec.site.topology import check_class  # most sites' commands do without

            check_class(name, said, document, report)
    _check_properties(facts, document, report)
    _check_queues(facts, document, report)
    _check_nics(facts, document, report)
    _check_targets(facts, document, report)


def _check_properties(facts: SiteFile, document: Document, report: Report) -> None:
    pattern, form = _PROPERTY[facts.batch]
    for name, said in facts.node_classes.items():
        if said.property is not None and not re.fullmatch(pattern, said.property):
            message = f"a request to {facts.batch} cannot carry the property `{said.property}`"
            place = document.span(("node_classes", name, "property"))
            report.add(Code.PROPERTY_FORM, message, place, help=f"write {form}")


def _check_queues(facts: SiteFile, document: Document, report: Report) -> None:
    default: str | None = None
    for name, said in (facts.queues or {}).items():
        for index, wanted in enumerate(said.node_classes):
            if wanted not in facts.node_classes:
                meant = near_miss(wanted, facts.node_classes)
                hint = f"write `{meant}`" if meant else f"the classes are {', '.join(facts.node_classes)}"
                place = document.span(("queues", name, "node_classes", index))
                report.add(Code.QUEUE_CLASS, f"there is no node class `{wanted}`", place, help=hint)
        if said.default and default is not None:
            notes = [Note(f"`{default}` is the first", document.span(("queues", default, "default")))]
            message = f"the queues `{default}` and `{name}` are both the default"
            place, hint = document.span(("queues", name, "default")), "keep the one that the batch system has"
            report.add(Code.DEFAULT_QUEUE, message, place, notes=notes, help=hint)
        elif said.default:
            default = name


def _check_nics(facts: SiteFile, document: Document, report: Report) -> None:
    """Only where devices are told: a site may leave all of them out."""
    devices = [device for said in facts.node_classes.values() for device in said.devices or ()]
    nics = {device.name for device in devices if device.kind in ("nic", "hca")}
    for index, wanted in enumerate(facts.iocm.nics or () if facts.iocm and devices else ()):
        if wanted not in nics:
            meant = near_miss(wanted, nics)
            hint = f"write `{meant}`" if meant else "correct it, or list it in `devices` of a class, as nic or hca"
            place = document.span(("iocm", "nics", index))
            report.add(Code.IOCM_NIC, f"no node class has a network adapter `{wanted}`", place, help=hint)


def _check_targets(facts: SiteFile, document: Document, report: Report) -> None:
    for name, mount in facts.mounts.items():
        own = next((own for own in GUEST_OWNS if f"{mount.target}/".startswith(f"{own}/")), None)
        if own is not None:
            message = f"the mount `{name}` at {mount.target} would hide the guest's own {own}"
            place = document.span(("mounts", name, "target"))
            report.add(Code.SITE_TARGET, message, place, help="mount it elsewhere, as in /data")
