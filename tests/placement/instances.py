"""Random machines and demands, half of them near a limit, by seed."""

import random

from vtorque_spec.placement.model import MIB, Cell, Core, Demand, Node


def instance(seed: int) -> tuple[Node, Demand]:
    pick = random.Random(seed)
    node, smt = _node(pick)
    return node, _demand(pick, node, smt)


def _node(pick: random.Random) -> tuple[Node, str]:
    count = pick.choice([1, 2, 2, 3, 3, 4, 4, 5])
    ids = sorted(pick.sample(range(12), count))
    mixed, partial = pick.random() < 0.3, pick.random() < 0.3
    width = pick.choice([1, 2, 2, 4])
    cpus = iter(pick.sample(range(1000), 400) if pick.random() < 0.3 else range(1000))
    asymmetric = pick.random() < 0.4
    steps = {(a, b): pick.choice([11, 12, 21, 31]) for a in ids for b in ids}
    cells = []
    for own in ids:
        cores = []
        for _ in range(0 if pick.random() < 0.12 else pick.randint(1, 7)):
            threads = pick.choice([1, 2, 4, 8]) if mixed else width
            taken = partial and threads > 1 and pick.random() < 0.3
            cores.append(Core(tuple(sorted(next(cpus) for _ in range(threads - taken))), bool(taken)))
        distances = {to: steps[own, to] if asymmetric else steps[min(own, to), max(own, to)] for to in ids}
        memory = 0 if pick.random() < 0.12 else pick.choice([64, 64, 100, pick.randint(8, 128)])
        cells.append(Cell(own, tuple(cores), memory * MIB, {2 * MIB: memory // 4}, {**distances, own: 10}))
    pick.shuffle(cells)
    smt = "threads" if mixed or pick.random() < 0.4 else "cores"
    return Node("n", tuple(cells), tuple(pick.sample(ids, pick.choice([0, 1, 1, min(2, count)])))), smt


def available(node: Node, smt: str) -> int:
    """vCPUs that the node could carry without host and I/O."""
    cores = [core for cell in node.cells for core in cell.cores]
    return sum(map(len, (core.cpus for core in cores))) if smt == "threads" else sum(not c.partial for c in cores)


def memory_of(node: Node, page: int | None) -> int:
    return sum(c.hugepages[page] * page if page else c.memory_bytes for c in node.cells)


def _demand(pick: random.Random, node: Node, smt: str) -> Demand:
    guests, host, io = pick.randint(1, 5), pick.choice([0, 1, 1, 2]), pick.choice([0, 0, 1, 2, 3])
    page = pick.choice([None, None, 2 * MIB])
    unit = page or MIB
    most, memory = available(node, smt), memory_of(node, page)
    per = max(1, (most - (host + io)) // guests)
    kind = pick.random()
    vcpus = max(1, per + pick.choice([0, 0, 0, 0, 1])) if kind < 0.6 else pick.randint(1, per + 1)
    if kind < 0.4 and smt == "cores":
        io = max(0, min(6, most - host - guests * vcpus + pick.choice([0, 0, 0, 1])))
    share = memory // guests if 0.3 < kind < 0.65 else int(memory / guests * pick.uniform(0.1, 1.02))
    size = max(1, share + pick.choice([0, 0, -unit // 2, -unit, unit // 2]))
    mode = pick.choice(["auto"] * 6 + ["compact"] * 3 + ["spread"] * 2 + ["none"])
    return Demand(guests, vcpus, size, host, io, page, mode, smt)


def traits(node: Node, demand: Demand) -> set[str]:
    """What makes an instance hard, for the printed shares."""
    cores = [core for cell in node.cells for core in cell.cores]
    width = max((len(core.cpus) for core in cores), default=1) if demand.smt == "threads" else 1
    total = memory_of(node, demand.page_bytes)
    need = demand.guests * demand.vcpus + (demand.host_cores + demand.io_cores) * width
    there = {(a.id, b): d for a in node.cells for b, d in a.distances.items()}
    found = {
        "near a limit": abs(need - available(node, demand.smt)) <= width
        or abs(demand.guests * demand.memory_bytes - total) * 100 <= total,
        "mixed SMT": len({len(core.cpus) for core in cores}) > 1,
        "asymmetric distances": any(there[a, b] != there[b, a] for a, b in there),
        "partial cores": any(core.partial for core in cores),
        "cell without cores": any(not cell.cores for cell in node.cells),
        "cell without memory": any(not cell.memory_bytes for cell in node.cells),
    }
    return {name for name, is_so in found.items() if is_so}
