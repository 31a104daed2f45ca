"""How long a placement takes by size of machine, and how often a naive first-fit refuses or does worse.

Run from the top of the tree: python -m benchmarks.placement
"""

import random
import statistics
import time

from vtorque_spec.placement.engine import solve
from vtorque_spec.placement.model import Cell, Core, Demand, Node, Placement

GIB = 2**30


def machine(cells: int, cores: int) -> Node:
    """Two threads a core; cells in pairs (a socket with two sub-NUMA clusters), the adapter in the first."""
    every = cells * cores
    return Node(
        f"{every * 2} threads",
        tuple(
            Cell(
                at,
                tuple(Core((cpu, cpu + every)) for cpu in range(at * cores, at * cores + cores)),
                64 * GIB,
                {},
                {to: 10 if to == at else 12 if to // 2 == at // 2 else 21 for to in range(cells)},
            )
            for at in range(cells)
        ),
        (0,),
    )


def first_fit(node: Node, demand: Demand) -> int | None:
    """Host and I/O take the first cores, each guest the next ones, memory from the first cell on: the cells spanned."""
    cores = [cell.id for cell in node.cells for _ in cell.cores][demand.host_cores + demand.io_cores :]
    memory = {cell.id: cell.memory_bytes for cell in node.cells}
    total = 0
    for _ in range(demand.guests):
        own, cores = cores[: demand.vcpus], cores[demand.vcpus :]
        if len(own) < demand.vcpus:
            return None
        spanned, left = set(own), demand.memory_bytes
        for cell in sorted(memory, key=lambda cell: (cell not in own, cell)):
            got = min(left, memory[cell])
            memory[cell] -= got
            left -= got
            spanned |= {cell} if got else set()
        if left:
            return None
        total += len(spanned)
    return total


def main() -> None:
    print(f"{'machine':>14}{'cells':>7}{'guests':>8}{'median ms':>11}{'worst ms':>10}  first-fit: refuses, worse")
    for cells, cores, guests in ((1, 16, 2), (2, 32, 4), (2, 64, 8), (4, 32, 8), (8, 16, 8), (4, 64, 16), (8, 32, 16)):
        measured(machine(cells, cores), guests)


def measured(node: Node, guests: int) -> None:
    pick, times, worse, refused, placed = random.Random(1), [], 0, 0, 0
    cores = sum(len(cell.cores) for cell in node.cells)
    for _ in range(40):
        vcpus = pick.randint(1, (cores - 5) // guests)
        memory = int(len(node.cells) * 64 * GIB / guests * pick.uniform(0.1, 0.95))
        demand = Demand(guests, vcpus, memory, 1, 4)
        begin = time.perf_counter()
        found = solve(node, demand)
        times.append((time.perf_counter() - begin) * 1000)
        if isinstance(found, Placement):
            naive = first_fit(node, demand)
            placed += 1
            refused += naive is None
            worse += naive is not None and naive > sum(len(guest.cells) for guest in found.guests)
    shares = f"{refused / placed:.0%}, {worse / placed:.0%}"
    figures = f"{statistics.median(times):>11.1f}{max(times):>10.1f}  {shares}"
    print(f"{node.name:>14}{len(node.cells):>7}{guests:>8}{figures}", flush=True)


if __name__ == "__main__":
    main()
