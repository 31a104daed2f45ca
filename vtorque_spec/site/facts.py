"""What the facts of a site must fulfil before a job is checked by them; pure and cheap: every command pays for it."""

import re

from vtorque_spec.diagnostics import Code, Note, Report, near_miss
from vtorque_spec.document import Document
from vtorque_spec.plan import GUEST_OWNS
from vtorque_spec.site.model import SiteFile

_PROPERTY = {
    "torque": (r"[A-Za-z][A-Za-z0-9._-]*", "a node property: a letter, then letters, digits and . _ -"),
    "openpbs": (
        r"[A-Za-z][A-Za-z0-9_-]*(=[A-Za-z0-9_][A-Za-z0-9_.@/-]*)?",
        "a resource: NAME=VALUE as in class=fat, or the NAME of one that is true or false",
    ),
    "slurm": (r"[A-Za-z_][A-Za-z0-9._-]*", "a feature: a letter or _, then letters, digits and . _ -"),
}
"""Batch system -> what its request can carry for a kind of node: `nodes=1:ppn=8:WORD`, `select=1:WORD`, `-C WORD`."""


_NUMBER = "[1-9][0-9]{0,9}"
_NFS_OPTION = (
    r"(nfs)?vers=(3|4|4\.[0-2])|proto=(tcp|rdma)|sec=(sys|krb5|krb5i|krb5p)|lookupcache=(all|none|positive)"
    rf"|(port|rsize|wsize|timeo|retrans|nconnect|actimeo)={_NUMBER}"
    r"|hard|soft|softerr|(no)?ac|(no)?cto|(no)?lock|(no)?resvport|(no)?(rel)?atime|nodiratime|noexec"
)
"""Those of nfs(5) that neither undo nosuid and nodev nor name another file, server or user."""
_NFS_HINT = (
    "leave it out; allowed are vers, proto, sec, port, rsize, wsize, timeo, retrans, hard, soft, noatime and others"
)


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
    _check_sources(facts, document, report)


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


def _check_sources(facts: SiteFile, document: Document, report: Report) -> None:
    for name, mount in facts.mounts.items():
        kind, place = mount.type or "virtiofs", document.span(("mounts", name, "source"))
        if (":" in mount.source) != (kind == "nfs"):
            found = f"names a server: {mount.source}" if kind != "nfs" else f"names no server: {mount.source}"
            hint = "write `type: nfs`, or a directory of the nodes" if kind != "nfs" else "write SERVER:/PATH"
            report.add(Code.MOUNT_SOURCE, f"the {kind} mount `{name}` {found}", place, help=hint)
        if kind == "9p" and mount.mode == "rw":
            message = f"jobs may write to `{name}` by 9p, where what they write would not be theirs"
            place = document.span(("mounts", name, "mode"))
            report.add(Code.WRITABLE_9P, message, place, help="write `mode: ro`, or `type: virtiofs`")
        for index, option in enumerate(mount.options or ()):
            if kind != "nfs" or not re.fullmatch(_NFS_OPTION, option):
                why = "is not one that a site may set" if kind == "nfs" else f"is for nfs, and this is {kind}"
                place = document.span(("mounts", name, "options", index))
                hint = _NFS_HINT if kind == "nfs" else "leave `options` out"
                report.add(Code.MOUNT_OPTION, f"the option {option} of the mount `{name}` {why}", place, help=hint)
