"""The text of a node class for `site.yaml`: what a machine is, and a suggestion of what jobs can be given of it."""

import json
import re
from collections.abc import Iterator

from vtorque_spec.diagnostics import Report
from vtorque_spec.document import load
from vtorque_spec.site.cpus import print_cpus
from vtorque_spec.site.facts import check_facts
from vtorque_spec.site.model import SiteFile
from vtorque_spec.site.probe.machine import Cell, Device, Machine, ProbeError
from vtorque_spec.site.siblings import print_siblings
from vtorque_spec.spec.parse import parse_as
from vtorque_spec.units import SIZE_UNITS, parse_size, print_size

_RESERVE_BYTES = parse_size("2GiB")
_NO_TEXT = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
_REST = "apiVersion: vtorque-site/v1\nname: x\nbatch: torque\nhypervisor: any\nmin_uid: 1\nmounts: {}\nnetworks: {}\n"


def class_text(found: Machine, name: str, source: str) -> str:
    """Return `node_classes:` with the class `name` for a machine; `source` is who told of it.

    What is returned passes `vtorque site check`; raises ProbeError where that is not so (a cell of number 5000).
    """
    text = "".join(f"{line}\n" for line in _lines(found.rounded(), name))
    report = Report()
    document = load(source, (text + _REST).encode(), report)
    facts = parse_as(SiteFile, document, report) if document else None
    if document and facts:
        check_facts(facts, document, report)
    if report.items:
        first = report.sorted()[0]
        raise ProbeError(f"no node class can be written of {source}: {first.message}", first.help or "write it by hand")
    return text


def _lines(found: Machine, name: str) -> Iterator[str]:
    cores, memory_bytes = _reserve(found)
    kept = sum(len(core) for core in found.cores[:cores])
    built = found.built
    yield "node_classes:"
    yield f"  {_word(name)}:"
    yield f"    cpus: {sum(map(len, found.cores)) - kept}"
    yield f"    memory: {print_size(found.memory_bytes - memory_bytes)}"
    yield "    # A suggestion: what the host keeps is not in `cpus` and `memory` above, so change them together."
    yield f"    host_reserve: {{cores: {cores}, memory: {print_size(memory_bytes)}}}"
    if any(len(core) > 1 for core in found.cores):
        yield "    # slot: core      # if the batch system counts cores; `cpus` counts threads even then"
        yield "    # vcpu: thread    # if the threads of a core may be vCPUs of a guest; otherwise each has a core"
    if built:
        yield "    topology: {sockets: %d, cores: %d, threads: %d}" % built  # noqa: UP031 - braces
    yield "    cells:"
    for cell in found.cells:
        yield from _cell(cell)
    if found.devices:
        yield "    devices:"
        yield from map(_device, found.devices)


def _reserve(found: Machine) -> tuple[int, int]:
    """Return the cores and the bytes that the host keeps: a core unless it is the only one, 2 GiB or an eighth."""
    unit = SIZE_UNITS["MiB"]
    eighth = max(found.memory_bytes // 8 // unit, 1) * unit
    return min(1, len(found.cores) - 1), min(_RESERVE_BYTES, eighth)


def _cell(cell: Cell) -> Iterator[str]:
    yield f"      - id: {cell.id}"
    if cell.socket is not None:
        yield f"        socket: {cell.socket}"
    if cell.cores:
        yield f"        cpus: {print_cpus(cell.cpus)}"
    siblings = print_siblings(cell.cores)
    if siblings:
        yield f"        siblings: {siblings}"
    if cell.memory_bytes:
        yield f"        memory: {print_size(cell.memory_bytes)}"
    if cell.hugepages:
        pages = ", ".join(f"{size}: {count}" for size, count in cell.hugepages.items())
        yield f"        hugepages: {{{pages}}}"
    if cell.distances:
        yield f"        distances: [{', '.join(map(str, cell.distances))}]"


def _device(device: Device) -> str:
    cell = "" if device.cell is None else f", cell: {device.cell}"
    return f"      - {{name: {_word(device.name)}, kind: {device.kind}{cell}}}"


def _word(text: str) -> str:
    """Return a text as YAML: in quotes where one reader or another would see a number or a truth value."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", text) and text.lower() not in _NO_TEXT
    return text if plain else json.dumps(text)
