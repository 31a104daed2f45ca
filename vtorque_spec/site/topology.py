"""What a node class says of its nodes' CPUs, cells and memory must add up: placement goes by it."""

from collections.abc import Callable
from itertools import accumulate

from vtorque_spec.diagnostics import Code, Note, Report
from vtorque_spec.document import Document, Path
from vtorque_spec.site.cpus import print_cpus
from vtorque_spec.site.model import NodeClass, NumaCell, cores_of
from vtorque_spec.units import SIZE_UNITS, parse_size, print_size

_TOLD_BY = "`numactl --hardware` on such a node tells them"
_SIBLINGS_TOLD_BY = "`vtorque site node-class` on such a node tells them"


def check_class(name: str, said: NodeClass, document: Document, report: Report) -> None:
    """Check one node class; `document` is `site.yaml`."""
    at: Path = ("node_classes", name)
    cells = said.cells or ()
    before = len(report.items)
    _check_cells(cells, (*at, "cells"), document, report)
    _check_distances(cells, (*at, "cells"), document, report)
    _check_cores(said, at, document, report)
    _check_devices(said, at, document, report)
    if len(report.items) == before:  # otherwise the sums only repeat it
        _check_cpus(name, said, at, document, report)
        _check_memory(name, said, at, document, report)
    if len(report.items) == before:
        _check_slots(said, at, document, report)


def core_widths(said: NodeClass) -> list[int]:
    """Return how many threads each core has, in the order of their first CPUs; empty where the class does not tell.

    The first of them are the host's, as many as `host_reserve.cores` says.
    """
    threads = said.topology.threads if said.topology else 1
    cores = sorted(core for cell in said.cells or () for core in cores_of(cell, threads))
    if not cores and said.topology:
        return [threads] * (said.topology.sockets * said.topology.cores)
    return [len(core) for core in cores]


def _check_cells(cells: tuple[NumaCell, ...], at: Path, document: Document, report: Report) -> None:
    for index, cell in enumerate(cells):
        for earlier, other in enumerate(cells[:index]):
            if other.id == cell.id:
                first = [Note(f"the first cell {cell.id} is here", document.span((*at, earlier, "id")))]
                message = f"two cells have the id {cell.id}"
                place, hint = document.span((*at, index, "id")), f"give each cell the kernel's number; {_TOLD_BY}"
                report.add(Code.CELLS_OVERLAP, message, place, notes=first, help=hint)
            both = sorted(set(cell.cpus or ()).intersection(other.cpus or ()))
            if both:
                first = [Note(f"the cell {other.id} is here", document.span((*at, earlier, "cpus")))]
                cpus = f"the CPU {both[0]} is" if len(both) == 1 else f"the CPUs {print_cpus(both)} are"
                message = f"{cpus} in cell {other.id} and in cell {cell.id}"
                place, hint = document.span((*at, index, "cpus")), f"name each CPU in one cell; {_TOLD_BY}"
                report.add(Code.CELLS_OVERLAP, message, place, notes=first, help=hint)


def _check_distances(cells: tuple[NumaCell, ...], at: Path, document: Document, report: Report) -> None:
    with_distances = [index for index, cell in enumerate(cells) if cell.distances]
    for index, cell in enumerate(cells):
        if cell.distances is None:
            if with_distances:
                notes = [Note("the distances of another", document.span((*at, with_distances[0], "distances")))]
                message = f"cell {cell.id} has no distances, other cells of the class have"
                place, hint = document.span((*at, index)), f"add its `distances`, or remove all; {_TOLD_BY}"
                report.add(Code.DISTANCES, message, place, notes=notes, help=hint)
            continue
        place = document.span((*at, index, "distances"))
        if len(cell.distances) != len(cells):
            message = (
                f"the list of cell {cell.id} has length {len(cell.distances)}, but the class has {len(cells)} cells"
            )
            hint = f"write one distance for each cell, in the order of `cells`; {_TOLD_BY}"
            report.add(Code.DISTANCES, message, place, help=hint)
            continue
        nearest = cell.distances.index(min(cell.distances))
        if cell.distances[nearest] < cell.distances[index]:
            message = (
                f"cell {cell.id} is farther from itself ({cell.distances[index]}) "
                f"than from cell {cells[nearest].id} ({cell.distances[nearest]})"
            )
            hint = f"write the distances in the order of `cells`; that to itself, usually 10, is number {index + 1}"
            report.add(Code.DISTANCES, message, place, help=hint)


def _check_cores(said: NodeClass, at: Path, document: Document, report: Report) -> None:
    """Siblings are CPUs of their cell, and cores and sockets are those of the topology."""
    built = said.topology
    for index, cell in enumerate(said.cells or ()):
        place = document.span((*at, "cells", index, "siblings"))
        named = {cpu for core in cell.siblings or () for cpu in core}
        foreign = sorted(named.difference(cell.cpus or ()))
        if foreign:
            message = f"the siblings of cell {cell.id} have {_cpus(foreign)}, its `cpus` {_has_not(foreign)}"
            report.add(Code.CORES, message, place, help=f"name CPUs of the cell alone; {_SIBLINGS_TOLD_BY}")
            continue
        odd = [core for core in cores_of(cell, 1) if built and len(core) != built.threads]
        if built and cell.siblings and odd:
            counts = f"{len(odd[0])} thread{'' if len(odd[0]) == 1 else 's'}"
            message = f"the core {'+'.join(map(str, odd[0]))} of cell {cell.id} has {counts}"
            notes = [Note(f"the topology gives each core {built.threads}", document.span((*at, "topology", "threads")))]
            hint = f"name the siblings of each core, or leave out `topology` where cores differ; {_SIBLINGS_TOLD_BY}"
            report.add(Code.CORES, message, place, notes=notes, help=hint)
    sockets = {cell.socket for cell in said.cells or () if cell.cpus}
    if built and sockets and None not in sockets and len(sockets) != built.sockets:
        notes = [Note("the cells are here", document.key_span((*at, "cells")))]
        message = f"the topology has {built.sockets} sockets, but the cells are in {len(sockets)}"
        place, hint = document.span((*at, "topology", "sockets")), "correct one of them; `lscpu -e` tells both"
        report.add(Code.CORES, message, place, notes=notes, help=hint)


def _cpus(cpus: list[int]) -> str:
    return f"the CPU {cpus[0]}" if len(cpus) == 1 else f"the CPUs {print_cpus(cpus)}"


def _has_not(cpus: list[int]) -> str:
    return "do not have it" if len(cpus) == 1 else "do not have them"


def _check_devices(said: NodeClass, at: Path, document: Document, report: Report) -> None:
    cells = {cell.id for cell in said.cells or ()}
    first: dict[tuple[str, str], int] = {}
    for index, device in enumerate(said.devices or ()):
        where: Path = (*at, "devices", index)
        if device.cell is not None and device.cell not in cells:
            has = f"the cells of `{at[1]}` are {print_cpus(cells)}" if cells else f"`{at[1]}` has no cells"
            message = f"`{device.name}` hangs on cell {device.cell}, but {has}"
            hint = "correct it, or remove it where the cell is not known; the device's `numa_node` in /sys tells it"
            report.add(Code.DEVICE_PLACE, message, document.span((*where, "cell")), help=hint)
        earlier = first.setdefault((device.kind, device.name), index)
        if earlier != index:
            notes = [Note("it is here first", document.span((*at, "devices", earlier)))]
            message = f"the {device.kind} `{device.name}` is named twice"
            report.add(Code.DEVICE_PLACE, message, document.span(where), notes=notes, help="remove one of them")


def _check_cpus(name: str, said: NodeClass, at: Path, document: Document, report: Report) -> None:
    in_cells = sum(len(cell.cpus or ()) for cell in said.cells or ())
    built = said.topology.cpus if said.topology else 0
    if said.topology and in_cells and built != in_cells:
        product = f"{said.topology.sockets} x {said.topology.cores} x {said.topology.threads} = {built}"
        notes = [Note(f"the cells have {in_cells}", document.key_span((*at, "cells")))]
        message = f"the topology of `{name}` gives {product} CPUs, its cells have {in_cells}"
        place = document.span((*at, "topology"))
        report.add(
            Code.CPU_COUNT, message, place, notes=notes, help="correct one of them; `lscpu` on such a node tells both"
        )
        return
    if said.cells and not in_cells:
        message, place = f"no cell of `{name}` has CPUs", document.key_span((*at, "cells"))
        report.add(Code.CPU_COUNT, message, place, help=f"give the cells their `cpus`; {_TOLD_BY}")
        return
    whole = in_cells or built
    if not whole:
        return
    reserved = sum(core_widths(said)[: said.host_reserve.cores]) if said.host_reserve else 0
    _check_given(
        Code.CPU_COUNT, ("cpus", said.cpus), whole, reserved, at, document, report, lambda number: f"{number} CPUs"
    )


def _check_slots(said: NodeClass, at: Path, document: Document, report: Report) -> None:
    """Where a slot is a core, the CPUs that jobs can be given are those of the first so many cores."""
    left = core_widths(said)[said.host_reserve.cores if said.host_reserve else 0 :]
    whole = list(accumulate(left))
    if said.slot != "core" or not left or said.cpus in whole:
        return
    widths = sorted(set(left))
    have = f"{widths[0]} threads each" if len(widths) == 1 else f"{' or '.join(map(str, widths))} threads"
    notes = [Note("a slot is a core", document.span((*at, "slot")))]
    message = f"{said.cpus} CPUs are no number of whole cores: the cores of `{at[1]}` have {have}"
    near = [str(cpus) for cpus in whole if abs(cpus - said.cpus) < max(widths)]
    hint = f"write `cpus: {' or '.join(near)}`: `cpus` counts threads, whatever a slot is"
    report.add(Code.SLOTS, message, document.span((*at, "cpus")), notes=notes, help=hint)


def _check_memory(name: str, said: NodeClass, at: Path, document: Document, report: Report) -> None:
    for index, cell in enumerate(said.cells or ()):
        pages = sum(parse_size(size) * count for size, count in (cell.hugepages or {}).items())
        if cell.hugepages and pages > (cell.memory or 0):
            has = f"of its {print_size(cell.memory)}" if cell.memory else "and it has no memory"
            message = f"the huge pages of cell {cell.id} take {print_size(pages)} {has}"
            place = document.span((*at, "cells", index, "hugepages"))
            hint = "lower their number, or correct the cell's `memory`"
            report.add(Code.CELL_MEMORY, message, place, help=hint)
    whole = sum(cell.memory or 0 for cell in said.cells or ())
    if said.cells and all((cell.memory or 0) < SIZE_UNITS["MiB"] for cell in said.cells):
        message, place = f"no cell of `{name}` has memory", document.key_span((*at, "cells"))
        report.add(Code.CELL_MEMORY, message, place, help=f"give the cells their `memory`; {_TOLD_BY}")
    elif whole:
        reserved = (said.host_reserve.memory or 0) if said.host_reserve else 0
        _check_given(Code.CELL_MEMORY, ("memory", said.memory), whole, reserved, at, document, report, print_size)


def _check_given(
    code: Code, given: tuple[str, int], whole: int, reserved: int, at: Path, document: Document, report: Report,
    shown: Callable[[int], str],
) -> None:  # fmt: skip
    """What jobs are given and what the host keeps must be there."""
    field, amount = given
    if amount + reserved <= whole:
        return
    notes = [Note("the host's reserve is here", document.span((*at, "host_reserve")))] if reserved else []
    kept = f", of which the host keeps {shown(reserved).removesuffix(' CPUs')}" if reserved else ""
    message = f"jobs can be given {shown(amount)}, but a node of `{at[1]}` has {shown(whole)}{kept}"
    left = shown(whole - reserved).removesuffix(" CPUs")
    hint = f"write `{field}: {left}` or less" if whole > reserved else "lower `host_reserve`: it leaves nothing"
    report.add(code, message, document.span((*at, field)), notes=notes, help=hint)
