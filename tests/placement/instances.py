"""Random machines and demands, half of them near a limit, by seed."""

import random
from collections.abc import Iterator
from itertools import count

from vtorque_spec.placement.model import MIB, Cell, Core, Demand, Node


def instance(seed: int) -> tuple[Node, Demand]:
    """A machine of up to 8 cells, and up to 5 guests."""
    pick = random.Random(seed)
    cells = pick.choice([1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 8])
    node, smt = _node(pick, cells, 7 if cells < 6 else 4)
    return node, _demand(pick, node, smt, 5)


def large(seed: int) -> tuple[Node, Demand]:
    """A machine of 8 to 16 cells, and up to 12 guests, any of whom may be split."""
    pick = random.Random(seed)
    node, smt = _node(pick, pick.choice([8, 8, 12, 16]), 12)
    node, demand = node, _demand(pick, node, smt, 12)
    return node, Demand(**{**{f: getattr(demand, f) for f in demand.__slots__}, "mode": "auto", "mapped": ()})


def _node(pick: random.Random, cells: int, cores: int) -> tuple[Node, str]:
    ids = sorted(pick.sample(range(2 * cells + 4), cells))
    mixed, partial, offline = pick.random() < 0.3, pick.random() < 0.3, pick.random() < 0.2
    width = pick.choice([1, 2, 2, 4])
    cpus = iter(pick.sample(range(4000), 2000)) if pick.random() < 0.3 else count()
    distances = _distances(pick, ids)
    found = []
    for own in ids:
        mine = []
        for _ in range(0 if pick.random() < 0.1 else pick.randint(1, cores)):
            threads = pick.choice([1, 2, 4, 8]) if mixed else width
            taken = partial and threads > 1 and pick.random() < 0.3
            off = pick.randint(0, threads) if offline and pick.random() < 0.2 else 0
            mine.append(Core(tuple(sorted(next(cpus) for _ in range(max(0, threads - taken - off)))), bool(taken)))
        memory = 0 if pick.random() < 0.1 else pick.choice([64, 64, 100, pick.randint(8, 128)])
        found.append(Cell(own, tuple(mine), memory * MIB, {2 * MIB: memory // 4}, distances[own]))
    pick.shuffle(found)
    smt = "threads" if mixed or pick.random() < 0.4 else "cores"
    nics = tuple(pick.sample(ids, pick.choice([0, 1, 1, min(2, cells)])))
    return Node("n", tuple(found), nics), smt


def _distances(pick: random.Random, ids: list[int]) -> dict[int, dict[int, int]]:
    """Sub-NUMA clusters, glueless sockets in two steps, or any numbers, in both directions the same or not."""
    kind = pick.choice(["clusters", "clusters", "steps", "any", "asymmetric", "asymmetric"])
    size = pick.choice([2, 4])
    found: dict[int, dict[int, int]] = {own: {own: 10} for own in ids}
    for a, one in enumerate(ids):
        for b, other in enumerate(ids):
            if kind == "clusters":
                there = 12 if a // size == b // size else 21
            elif kind == "steps":
                there = 16 if (a ^ b) < 4 else 22
            else:
                there = pick.choice([11, 12, 21, 31])
            if a < b or (a > b and kind == "asymmetric"):
                found[one][other] = there
                found[other].setdefault(one, there)
    return found


def available(node: Node, smt: str) -> int:
    """vCPUs that the node could carry without I/O."""
    cores = [core for cell in node.cells for core in cell.cores if core.cpus]
    return sum(map(len, (core.cpus for core in cores))) if smt == "threads" else sum(not c.partial for c in cores)


def memory_of(node: Node, page: int | None) -> int:
    return sum(c.hugepages[page] * page if page else c.memory_bytes for c in node.cells)


def _demand(pick: random.Random, node: Node, smt: str, most_guests: int) -> Demand:
    guests, io = pick.randint(1, most_guests), pick.choice([0, 0, 1, 2, 3])
    page = pick.choice([None, None, 2 * MIB])
    unit = page or MIB
    most, memory = available(node, smt), memory_of(node, page)
    per = max(1, (most - io) // guests)
    kind = pick.random()
    vcpus = max(1, per + pick.choice([0, 0, 0, 0, 1])) if kind < 0.6 else pick.randint(1, per + 1)
    if kind < 0.4 and smt == "cores":
        io = max(0, min(6, most - guests * vcpus + pick.choice([0, 0, 0, 1])))
    share = memory // guests if 0.3 < kind < 0.65 else int(memory / guests * pick.uniform(0.1, 1.02))
    size = max(1, share + pick.choice([0, 0, -unit // 2, -unit, unit // 2]))
    mode = pick.choice(["auto"] * 6 + ["compact"] * 3 + ["spread"] * 2 + ["none"] * 2 + ["map"])
    if mode != "map":
        return Demand(guests, vcpus, size, io, page, mode, smt)
    vcpus = pick.randint(1, max(1, per // 2))
    return Demand(guests, vcpus, size, io, page, "map", smt, tuple(_map(pick, node, smt, guests * vcpus)))


def _map(pick: random.Random, node: Node, smt: str, entries: int) -> Iterator[int]:
    """Core by core, the cells in any order; now and then an entry that is not there, or is there twice."""
    cells = pick.sample(node.cells, len(node.cells))
    cores = [core for cell in cells for core in cell.cores if core.cpus and (smt == "threads" or not core.partial)]
    cpus = [cpu for core in cores for cpu in (core.cpus if smt == "threads" else core.cpus[:1])]
    for at in range(entries):
        wrong = pick.random() < 0.02 or at >= len(cpus)
        yield pick.choice([5000, *cpus[:1]]) if wrong else cpus[at]


def traits(node: Node, demand: Demand) -> set[str]:
    """What makes an instance hard, for the printed shares."""
    cores = [core for cell in node.cells for core in cell.cores]
    width = max((len(core.cpus) for core in cores), default=1) if demand.smt == "threads" else 1
    total = memory_of(node, demand.page_bytes)
    need = demand.guests * demand.vcpus + demand.io_cores * width
    there = {(a.id, b): d for a in node.cells for b, d in a.distances.items()}
    found = {
        "near a limit": abs(need - available(node, demand.smt)) <= width
        or abs(demand.guests * demand.memory_bytes - total) * 100 <= total,
        "mixed SMT": len({len(core.cpus) for core in cores}) > 1,
        "asymmetric distances": any(there[a, b] != there[b, a] for a, b in there),
        "sub-NUMA clusters": {10, 12, 21} == set(there.values()),
        "8 cells": len(node.cells) == 8,
        "partial cores": any(core.partial for core in cores),
        "offline cores": any(not core.cpus for core in cores),
        "cell without cores": any(not cell.cores for cell in node.cells),
        "cell without memory": any(not cell.memory_bytes for cell in node.cells),
    }
    return {name for name, is_so in found.items() if is_so}
