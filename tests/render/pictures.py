"""Pictures of nodes that tests draw: from two cores to 512 threads. Numbering as x86 firmware does it."""

from collections.abc import Iterator

from vtorque_spec.placement.picture import Owner, Picture, PictureCell, PictureCore, PicturePages

GIB = 2**30
Owned = tuple[Owner, int | None]
"""Who has a core: an owner, and which guest."""


def cores(owners: list[Owned], *, first: int = 0, threads: int = 2, stride: int | None = None) -> list[PictureCore]:
    """Cores with consecutive first threads; the others are `stride` apart. vCPUs are on first threads, per guest."""
    apart = len(owners) if stride is None else stride
    next_vcpu: dict[int, int] = {}
    found = []
    for place, (owner, guest) in enumerate(owners):
        cpus = tuple(first + place + thread * apart for thread in range(threads))
        vcpus: tuple[int | None, ...] = (None,) * threads
        if guest is not None:
            vcpus = (next_vcpu.get(guest, 0), *vcpus[1:])
            next_vcpu[guest] = next_vcpu.get(guest, 0) + 1
        found.append(PictureCore(cpus, owner, guest, vcpus))
    return found


def cell(number: int, has: list[PictureCore], socket: int | None = 0, **more: object) -> PictureCell:
    """A cell of 64 GiB with nothing in it, if nothing else is said."""
    facts = {"memory_bytes": 64 * GIB, "host_memory_bytes": 0, "used": (), "hugepages": (), "devices": (), **more}
    return PictureCell(number, socket, tuple(has), **facts)  # type: ignore[arg-type] # members by name, for brevity


def picture(cells: list[PictureCell], *, floating: bool = False, **more: object) -> Picture:
    """A picture of job `cavity` on class `thin`, with a request and two reasons."""
    facts = {
        "job": "cavity",
        "node": "a node of class `thin`",
        "host_memory_bytes": 2 * GIB,
        "reasons": ("host: core 0, which no job is given", "guest 1: within cell 0"),
        "devices_elsewhere": (),
        "asked": (("nodes", "1:ppn=16:thin"), ("mem", "27GiB")),
        **more,
    }
    return Picture(cells=tuple(cells), floating=floating, **facts)  # type: ignore[arg-type] # members by name


def two_cores() -> Picture:
    """The smallest: one core for the host, one for a guest, no sockets, one thread each."""
    both = cores([("host", None), ("guest", 1)], threads=1)
    only = cell(0, both, socket=None, memory_bytes=4 * GIB, used=((1, 2 * GIB),))
    return picture([only], host_memory_bytes=0, asked=(), reasons=("guest 1: within cell 0",))


def sixty_four_threads() -> Picture:
    """One guest on one of two sockets, I/O cores beside the card, huge pages."""
    near: list[Owned] = [("host", None), ("io", None), ("io-idle", None), *[("guest", 1)] * 12, ("free", None)]
    far: list[Owned] = [("free", None)] * 16
    pages = (PicturePages(2 * 2**20, 8192, ()), PicturePages(GIB, 32, ((1, 24),)))
    return picture([
        cell(0, cores(near, stride=32), 0, hugepages=pages, devices=(("nic", "eth0"), ("hca", "mlx5_0"))),
        cell(1, cores(far, first=16, stride=32), 1, hugepages=pages, devices=(("nvme", "nvme0"),)),
    ])  # fmt: skip


def four_cells() -> Picture:
    """Two guests that span cells, I/O, the host, another job, a cell with memory alone, one wider core."""
    own: list[list[Owned]] = [
        [("host", None), ("io", None), *[("guest", 1)] * 6],
        [*[("guest", 1)] * 4, *[("guest", 2)] * 4],
        [*[("guest", 2)] * 6, ("free", None), ("free", None)],
    ]
    found = [cores(owners, first=8 * number, stride=24) for number, owners in enumerate(own)]
    found[2][7] = PictureCore((23,), "other", None, (None,))
    used = [((1, 24 * GIB),), ((1, 16 * GIB), (2, 16 * GIB)), ((2, 24 * GIB),)]
    cells = [cell(n, has, n // 2, used=used[n]) for n, has in enumerate(found)]
    cells[1] = cell(1, found[1], 0, used=used[1], devices=(("gpu", "0000:3b:00.0"),))
    return picture([*cells, cell(3, [], None, memory_bytes=128 * GIB)], devices_elsewhere=(("nvme", "nvme0"),))


def many_threads(guests: int = 16) -> Picture:
    """16 cells with 16 cores of 2 threads: 512 CPUs; each guest has most of a cell."""
    return picture(list(_many(guests)))


def _many(guests: int) -> Iterator[PictureCell]:
    for number in range(16):
        guest = number + 1
        owner: Owned = ("guest", guest) if guest <= guests else ("free", None)
        owners: list[Owned] = [("host", None), ("io", None), *[owner] * 13, ("free", None)]
        used = ((guest, 48 * GIB),) if guest <= guests else ()
        yield cell(number, cores(owners, first=16 * number, stride=256), number // 4, used=used,
                   devices=(("nic", f"eth{number}"),) if number % 4 == 0 else ())  # fmt: skip


def crowded() -> Picture:
    """16 guests of two vCPUs, each vCPU a thread, on 64 threads."""
    host = PictureCore((0, 32), "host", None, (None, None))
    rest = [PictureCore((n, n + 32), "guest", n, (0, 1)) for n in range(1, 17)]
    free = [PictureCore((n, n + 32), "free", None, (None, None)) for n in range(17, 32)]
    used = tuple((guest, 3 * GIB) for guest in range(1, 17))
    return picture([cell(0, [host, *rest[:15]], used=used[:15]), cell(1, [rest[15], *free], 1, used=used[15:])])


def unpinned() -> Picture:
    """Two guests that float over what is not the host's."""
    owners: list[Owned] = [("host", None), *[("guest", None)] * 7]
    floating = [PictureCore(core.cpus, core.owner, None, (None, None)) for core in cores(owners)]
    return picture([cell(0, floating, used=((1, 8 * GIB), (2, 8 * GIB)))], floating=True)


PICTURES = {
    "two-cores": two_cores(),
    "64-threads": sixty_four_threads(),
    "four-cells": four_cells(),
    "512-threads": many_threads(),
    "16-guests": crowded(),
    "unpinned": unpinned(),
}
