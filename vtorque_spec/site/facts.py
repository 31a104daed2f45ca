"""What the facts of a site must fulfil before a job is checked by them; pure and cheap: every command pays for it."""

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Document
from vtorque_spec.site.model import GUEST_OWNS, SiteFile


def check_facts(facts: SiteFile, document: Document, report: Report) -> None:
    """Check `site.yaml` by itself; `document` is its text."""
    if not facts.node_classes:
        hint = "describe one class at least, as in `thin: {cpus: 8, memory: 16GiB}`"
        report.add(Code.SITE_FILE, "the site has no node class", document.key_span(("node_classes",)), help=hint)
    for name, said in facts.node_classes.items():
        if said.topology or said.cells or said.devices:
            from vtorque_spec.site.topology import check_class  # most sites' commands do without

            check_class(name, said, document, report)
    for name, mount in facts.mounts.items():
        own = next((own for own in GUEST_OWNS if f"{mount.target}/".startswith(f"{own}/")), None)
        if own is not None:
            message = f"the mount `{name}` at {mount.target} would hide the guest's own {own}"
            place = document.span(("mounts", name, "target"))
            report.add(Code.SITE_TARGET, message, place, help="mount it elsewhere, as in /data")
