"""What the I/O manager of an sKVM kernel can serve: a node class beyond it gets no job with I/O cores."""

from collections.abc import Iterator

from vtorque_spec.diagnostics import Code, Note, Report
from vtorque_spec.document import Document
from vtorque_spec.site.model import NodeClass, SiteFile
from vtorque_spec.site.topology import core_widths

CPUS_LIMIT = 32
"""Its sets of CPUs have no more bits."""
LEAST_CORES = 5
"""It refuses to start on fewer."""
NICS_LIMIT = 2
"""With more of them it gives one a core that has no worker."""


def check_skvm(facts: SiteFile, document: Document, report: Report) -> None:
    """Warn of the classes on which no job with I/O cores compiles."""
    nics = facts.iocm.nics if facts.iocm else None
    for name, said in facts.node_classes.items():
        beyond = list(_beyond(said, nics))
        if beyond:
            notes = [Note("I/O cores are served by skvm", document.span(("iocm", "mode")))]
            message = f"no job with I/O cores compiles for `{name}` under sKVM: {'; '.join(beyond)}"
            hint = "write `mode: libvirt`, or keep such jobs off the class by queues or rules"
            place = document.key_span(("node_classes", name))
            report.add(Code.SKVM_LIMITS, message, place, notes=notes, help=hint)


def _beyond(said: NodeClass, nics: tuple[str, ...] | None) -> Iterator[str]:
    widths = core_widths(said)
    if not widths:  # a class that tells no cores has one to each CPU
        widths = [1] * (said.cpus + (said.host_reserve.cores if said.host_reserve else 0))
    highest = max((cpu for cell in said.cells or () for cpu in cell.cpus or ()), default=sum(widths) - 1)
    if highest >= CPUS_LIMIT:
        yield f"it has the CPU {highest}, the I/O manager knows 0 to {CPUS_LIMIT - 1}"
    if len(widths) < LEAST_CORES:
        yield f"it has {len(widths)} core{'' if len(widths) == 1 else 's'}, at least {LEAST_CORES} are needed"
    served = [d.name for d in said.devices or () if d.kind in ("nic", "hca") and (nics is None or d.name in nics)]
    if len(served) > NICS_LIMIT:
        yield f"{len(served)} adapters are to be served, at most {NICS_LIMIT} can be"
