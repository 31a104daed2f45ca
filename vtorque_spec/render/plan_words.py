"""What the pictures of a node say in words, on a terminal and in an SVG alike."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vtorque_spec.placement.picture import Owner, Picture, PictureCell, PictureCore, PicturePages
from vtorque_spec.render import printable
from vtorque_spec.site.cpus import print_cpus

GLYPHS: dict[Owner, str] = {"host": "H", "io": "I", "io-idle": "i", "free": ".", "other": "x"}
"""The letter of each owner but guests: these have their numbers, or G where nothing is pinned."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One who has a part of the node: the sign in the picture, the name, and what they have."""

    owner: Owner
    guest: int | None
    sign: str
    name: str
    has: str


def label(core: PictureCore, place: int) -> str:
    """Return what stands on a core's thread: ``H``, ``2.5`` (guest 2, vCPU 5), ``2.-`` (guest 2's, idle)."""
    if core.owner != "guest":
        return GLYPHS[core.owner]
    if core.guest is None:
        return "G"
    vcpu = core.vcpus[place]
    return f"{core.guest}.{'-' if vcpu is None else vcpu}"


def idle(core: PictureCore, place: int) -> bool:
    """Whether somebody has a thread and runs nothing on it."""
    return core.owner == "io-idle" or (core.guest is not None and core.vcpus[place] is None)


def title(picture: Picture) -> str:
    """Return the heading."""
    return printable(f"{picture.job} on {picture.node}")


def counts(picture: Picture) -> str:
    """Return how large the node is, in one line."""
    cores = list(_cores(picture))
    huge = sum(found.page_bytes * found.there for found in _pages(picture))
    found = [
        _count(len({cell.socket for cell in picture.cells} - {None}), "socket"),
        _count(len(picture.cells), "NUMA cell"),
        _count(len(cores), "core"),
        _count(sum(len(core.cpus) for core in cores), "CPU"),
        f"{size(sum(cell.memory_bytes for cell in picture.cells) + huge)} of memory",
        f"{size(huge)} of it in huge pages",
    ]
    return ", ".join(one for one in found if not one.startswith("0 "))


def of_cell(cell: PictureCell) -> str:
    """Return how large a cell is."""
    cpus = sum(len(core.cpus) for core in cell.cores)
    return f"{_count(len(cell.cores), 'core')}, {_count(cpus, 'CPU')}" if cpus else "no CPUs"


def memory(cell: PictureCell) -> str:
    """Return how much of a cell's memory is used."""
    if not cell.memory_bytes:
        return "none"
    host = f", {size(cell.host_memory_bytes)} the host's" if cell.host_memory_bytes else ""
    return f"{size(sum(part for _, part in cell.used))} of {size(cell.memory_bytes)}{host}"


def pages(found: PicturePages) -> str:
    """Return how many huge pages are used."""
    return f"{sum(part for _, part in found.used)} of {found.there} pages of {size(found.page_bytes)}"


def devices(found: Iterable[tuple[str, str]]) -> str:
    """Return devices as `nic eth0, hca mlx5_0`."""
    return printable(", ".join(f"{kind} {name}" for kind, name in found))


def entries(picture: Picture) -> list[Entry]:
    """Return the legend: all who have a part of the node, in the order host, I/O, guests, free, others."""
    has = {owner: _cpus(core for core in _cores(picture) if core.owner == owner) for owner in GLYPHS}
    host = [has["host"]] if has["host"] else []
    if picture.host_memory_bytes:
        host.append(f"{size(picture.host_memory_bytes)} of memory")
    return [
        *([Entry("host", None, "H", "host", "; ".join(host))] if host else []),
        *_others(has, ("io", "I/O"), ("io-idle", "I/O set aside, not active at start")),
        *_guests(picture),
        *_others(has, ("free", "free"), ("other", "not this job's")),
    ]


def _others(has: dict[Owner, str], *owners: tuple[Owner, str]) -> Iterator[Entry]:
    for owner, name in owners:
        if has[owner]:
            yield Entry(owner, None, GLYPHS[owner], name, has[owner])


def _guests(picture: Picture) -> Iterator[Entry]:
    owned = [core for core in _cores(picture) if core.owner == "guest"]
    floating = [core for core in owned if core.guest is None]
    if floating:
        yield Entry("guest", None, "G", "any guest, none is pinned", _cpus(floating))
    used = [*(cell.used for cell in picture.cells), *(found.used for found in _pages(picture))]
    numbers = {core.guest for core in owned} | {guest for parts in used for guest, _ in parts}
    for guest in sorted(number for number in numbers if number is not None):
        cores = [core for core in owned if core.guest == guest]
        has = [*_threads(cores), *_memory_of(guest, picture)]
        yield Entry("guest", guest, str(guest), f"guest {guest}", "; ".join(has))


def _threads(cores: Sequence[PictureCore]) -> Iterator[str]:
    places = [(cpu, vcpu) for core in cores for cpu, vcpu in zip(core.cpus, core.vcpus, strict=True)]
    used = [cpu for cpu, vcpu in places if vcpu is not None]
    rest = [cpu for cpu, vcpu in places if vcpu is None]
    if used:
        yield f"{_count(len(used), 'vCPU')} on {_cpu_list(used)}"
    if rest:
        yield f"idle {_cpu_list(rest)}"


def _memory_of(guest: int, picture: Picture) -> Iterator[str]:
    cells = picture.cells
    parts = [f"{size(part)} in cell {cell.id}" for cell in cells for number, part in cell.used if number == guest]
    parts += [
        f"{_count(part, 'page')} of {size(found.page_bytes)} in cell {cell.id}"
        for cell in cells for found in cell.hugepages for number, part in found.used if number == guest
    ]  # fmt: skip
    if parts:
        yield "memory " + ", ".join(parts)


def how_to_read(picture: Picture) -> str | None:
    """Return what the signs of pinned guests mean, by the first of them."""
    cores = [core for core in _cores(picture) if core.guest is not None]
    if not cores:
        return None
    guest = cores[0].guest
    rest = f"; {guest}.- is a thread of guest {guest} that stays idle"
    return f"{guest}.0 is vCPU 0 of guest {guest}" + rest * any(None in core.vcpus for core in cores)


def in_words(picture: Picture) -> str:
    """Return all that the picture shows, for those who do not see it."""
    cells = (
        f"cell {cell.id}: {of_cell(cell)}, memory {memory(cell)}"
        + "".join(f", {pages(found)}" for found in cell.hugepages)
        + (f", {devices(cell.devices)}" if cell.devices else "")
        for cell in picture.cells
    )
    who = (f"{entry.name}: {entry.has}" for entry in entries(picture))
    return ". ".join([counts(picture), *cells, *who])


def size(size_bytes: int) -> str:
    """Return a size for the eye: ``240GiB``, ``15.5GiB``, ``512MiB``, rounded down to a tenth of the unit."""
    if not size_bytes:
        return "0"
    unit, factor = ("GiB", 2**30) if size_bytes >= 2**30 else ("MiB", 2**20)
    whole, tenth = divmod(size_bytes * 10 // factor, 10)
    return f"{whole}.{tenth}{unit}" if tenth else f"{whole}{unit}"


def _pages(picture: Picture) -> Iterator[PicturePages]:
    return (found for cell in picture.cells for found in cell.hugepages)


def _cores(picture: Picture) -> Iterator[PictureCore]:
    return (core for cell in picture.cells for core in cell.cores)


def _cpus(cores: Iterable[PictureCore]) -> str:
    found = [cpu for core in cores for cpu in core.cpus]
    return _cpu_list(found) if found else ""


def _cpu_list(cpus: Sequence[int]) -> str:
    return f"{'CPUs' if len(cpus) > 1 else 'CPU'} {print_cpus(cpus).replace(',', ', ')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
