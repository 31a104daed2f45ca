"""How long a placement takes by size of machine and guests, and how often a naive first-fit refuses or does worse.

Run: python benchmarks/placement.py [--plot docs/placement-cost.svg]
"""

import argparse
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from placement_plot import Series, plot

from vtorque_spec.placement.engine import solve
from vtorque_spec.placement.model import Cell, Core, Demand, Node, Placement, Smt

GIB = 2**30
MACHINES = {32: (1, 16), 64: (2, 16), 128: (4, 16), 256: (8, 16), 512: (8, 32)}
"""Cells and cores of each, by threads."""
OTHERS = {256: (4, 32), 512: (4, 64)}
GUESTS = (2, 4, 8, 16)
DEMANDS = 60


def machine(cells: int, cores: int) -> Node:
    """Two threads a core; cells in pairs (a socket with two sub-NUMA clusters), the adapter in the first."""
    every, found = cells * cores, []
    for at in range(cells):
        own = tuple(Core((cpu, cpu + every)) for cpu in range(at * cores, at * cores + cores))
        distances = {to: 10 if to == at else 12 if to // 2 == at // 2 else 21 for to in range(cells)}
        found.append(Cell(at, own, 64 * GIB, {}, distances))
    return Node(f"{every * 2} threads", tuple(found), (0,))


def in_use(node: Node, pick: random.Random) -> Node:
    """The node when other jobs hold a tenth of its cores, one thread of some others, and some of its memory."""
    cells = []
    for cell in node.cells:
        kept = (core for core in cell.cores if pick.random() < 0.9)
        cores = tuple(Core(core.cpus[:1], partial=True) if pick.random() < 0.1 else core for core in kept)
        cells.append(replace(cell, cores=cores, memory_bytes=int(cell.memory_bytes * pick.uniform(0.7, 1))))
    return replace(node, cells=tuple(cells))


def instances(node: Node, guests: int) -> Iterator[tuple[Node, Demand]]:
    """On the empty node and on one in use; vCPUs as cores or threads; of any size, or nearly as large as can be."""
    pick = random.Random(1)
    for index in range(DEMANDS):
        here = in_use(node, pick) if index % 2 else node
        smt: Smt = "threads" if index % 3 == 2 else "cores"
        most = (sum(sum(widths(cell, smt)) for cell in here.cells) - 8) // guests
        if most < 1:
            continue
        vcpus = max(1, most - pick.randint(0, 2)) if index % 4 < 2 else pick.randint(1, most)
        memory = sum(cell.memory_bytes for cell in here.cells) / guests * pick.uniform(0.1, 0.99)
        yield here, Demand(guests, vcpus, int(memory), 4, smt=smt)


def widths(cell: Cell, smt: Smt) -> list[int]:
    """How many vCPUs each core of a cell can carry."""
    return [len(core.cpus) if smt == "threads" else 1 for core in cell.cores if smt == "threads" or not core.partial]


def first_fit(node: Node, demand: Demand) -> int | None:
    """I/O takes the first cores, each guest the next ones, memory from their cells and then any: the cells spanned."""
    cores = [(cell.id, width) for cell in node.cells for width in widths(cell, demand.smt)][demand.io_cores :]
    memory = {cell.id: cell.memory_bytes for cell in node.cells}
    total = 0
    for _ in range(demand.guests):
        spanned, vcpus, left = set(), demand.vcpus, demand.memory_bytes
        while cores and vcpus > 0:
            cell, width = cores.pop(0)
            vcpus -= width
            spanned.add(cell)
        if vcpus > 0:
            return None
        for cell in sorted(memory, key=lambda cell: (cell not in spanned, cell)):
            got = min(left, memory[cell])
            memory[cell] -= got
            left -= got
            spanned |= {cell} if got else set()
        if left:
            return None
        total += len(spanned)
    return total


def first_fit_within_cells(node: Node, demand: Demand) -> bool:
    """Whether each guest finds a cell if it takes the first that has room, as schedulers do that never split."""
    rooms = [(widths(cell, demand.smt), cell.memory_bytes) for cell in node.cells]
    rooms[0] = rooms[0][0][demand.io_cores :], rooms[0][1]
    for _ in range(demand.guests):
        for at, (cores, memory) in enumerate(rooms):
            count = next((n for n in range(len(cores) + 1) if sum(cores[:n]) >= demand.vcpus), None)
            if count is not None and memory >= demand.memory_bytes:
                rooms[at] = cores[count:], memory - demand.memory_bytes
                break
        else:
            return False
    return True


def measured(node: Node, guests: int) -> float | None:
    """Print a row; return the longest time in milliseconds."""
    times, worse, refused, placed, split, unproven = [], 0, 0, 0, 0, 0
    for here, demand in instances(node, guests):
        begin = time.process_time()
        found = solve(here, demand)
        times.append((time.process_time() - begin) * 1000)
        if isinstance(found, Placement):
            naive, own = first_fit(here, demand), sum(len(guest.cells) for guest in found.guests)
            placed += 1
            split += own > guests
            unproven += any("not proven" in reason for reason in found.reasons)
            refused += not first_fit_within_cells(here, demand)
            worse += naive is None or naive > own
    if not placed:
        return None
    shares = "".join(f"{count / placed:>11.0%}" for count in (split, unproven, refused, worse))
    figures = f"{statistics.median(times):>8.1f}{max(times):>8.1f}"
    print(f"{node.name:>12}{len(node.cells):>7}{guests:>8}{figures}{shares}", flush=True)
    return max(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, help="write the longest times as an SVG")
    chosen = parser.parse_args()
    print("machine, cells, guests, ms of CPU (median, longest); of what was placed: guests are split, the best is not")
    print("proven, first-fit within single cells refuses, first-fit across cells refuses or spans more cells")
    series: list[Series] = []
    for guests in GUESTS:
        rows = {threads: measured(machine(*size), guests) for threads, size in MACHINES.items()}
        series.append((f"{guests} guests", {threads: ms for threads, ms in rows.items() if ms is not None}))
        for size in OTHERS.values():
            measured(machine(*size), guests)
    if chosen.plot:
        chosen.plot.write_text(plot(series, {(256, 50): "8 guests", (512, 250): "16 guests"}))


if __name__ == "__main__":
    main()
