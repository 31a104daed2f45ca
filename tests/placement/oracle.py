"""The rules of a placement once more, for CP-SAT. Shares nothing with the engine but the words of the question."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from ortools.sat.python import cp_model

from vtorque_spec.placement.model import Cell, Core, Demand, Node

MIB = 2**20


@dataclass(frozen=True)
class Optimum:
    """What no placement can do better; in this order. `level`: the most cores of guests in one cell (`spread`).

    `squares`: the sum over the cells of (free cores) squared, where no guest spans several cells and cores are alike.
    """

    spanned: int = 0
    distance: int = 0
    io: int = 0
    level: int = 0
    squares: int | None = None


class _Model:
    """`guests` may be one that stands for all, and `need_pages` 0."""

    def __init__(self, node: Node, demand: Demand, guests: int, vcpus: int, need_pages: int) -> None:
        self.node, self.demand, self.need_pages = node, demand, need_pages
        self.model = cp_model.CpModel()
        self.groups = _groups(node, demand)
        self.own = [{g: self.model.new_int_var(0, n, "") for g, n in self.groups.items()} for _ in range(guests)]
        self.kept = {g: self.model.new_int_var(0, 0 if g[2] else n, "") for g, n in self.groups.items()}
        for g, n in self.groups.items():
            self.model.add(self.kept[g] + sum(own[g] for own in self.own) <= n)
        self.model.add(sum(self.kept.values()) == demand.io_cores)
        for own in self.own:
            self.model.add(sum(g[1] * n for g, n in own.items()) >= vcpus)
        self.io = sum(n * near(node, g[0]) for g, n in self.kept.items())
        self._memory()

    def _memory(self) -> None:
        room = _pages(self.node, self.demand)
        self.pages = [{c: self.model.new_int_var(0, n, "") for c, n in room.items()} for _ in self.own]
        for own in self.pages:
            self.model.add(sum(own.values()) == self.need_pages)
        for c, n in room.items():
            self.model.add(sum(own[c] for own in self.pages) <= n)

    def spans(self) -> tuple[object, object]:
        """Cells spanned and distance; as guests are alike, they are in the order of their cells."""
        total, distance, codes = [], [], []
        for own, pages in zip(self.own, self.pages, strict=True):
            spanned = {cell.id: self.model.new_bool_var("") for cell in self.node.cells}
            for g, n in own.items():
                self.model.add(n == 0).only_enforce_if(~spanned[g[0]])
            for c, n in pages.items():
                self.model.add(n == 0).only_enforce_if(~spanned[c])
            if self.demand.mode == "compact":
                self.model.add(sum(spanned.values()) == 1)
            total += spanned.values()
            codes.append(sum(there * 2**at for at, there in enumerate(spanned.values())))
            for a in self.node.cells:
                for b in self.node.cells:
                    if a.id < b.id:
                        both = self.model.new_bool_var("")
                        self.model.add(both >= spanned[a.id] + spanned[b.id] - 1)
                        distance.append(both * (a.distances[b.id] + b.distances[a.id]))
        for one, other in pairwise(codes):
            self.model.add(one <= other)
        return sum(total), sum(distance)

    def level(self) -> object:
        most = self.model.new_int_var(0, 10_000, "")
        for cell in self.node.cells:
            self.model.add(most >= sum(n for own in self.own for g, n in own.items() if g[0] == cell.id))
        return most

    def squares(self) -> object:
        """Less the squares of the free cores, where each guest takes no core more than it needs."""
        found = []
        for cell in self.node.cells:
            mine = [g for g in self.groups if g[0] == cell.id]
            most = sum(self.groups[g] for g in mine)
            free, square = self.model.new_int_var(0, most, ""), self.model.new_int_var(0, most * most, "")
            self.model.add(free == most - sum(self.kept[g] + sum(own[g] for own in self.own) for g in mine))
            self.model.add_multiplication_equality(square, [free, free])
            found.append(square)
        return -sum(found)

    def least(self, *terms: object) -> list[int] | None:
        """Minimise the terms one after the other; None if nothing fits."""
        found = []
        for term in terms:
            solver = cp_model.CpSolver()
            solver.parameters.num_workers = 1
            self.model.minimize(term)
            status = solver.solve(self.model)
            if status == cp_model.INFEASIBLE:
                return None
            assert status == cp_model.OPTIMAL, solver.status_name(status)
            found.append(round(solver.objective_value))
            self.model.add(term == found[-1])
        return found


def optimum(node: Node, demand: Demand) -> Optimum | None:
    """What is best, or None if nothing fits."""
    need = -(-demand.memory_bytes // (demand.page_bytes or MIB))
    if demand.mode in ("none", "map"):
        if demand.guests * need > sum(_pages(node, demand).values()):
            return None
        if demand.mode == "map":
            return _mapped(node, demand)
        best = _spans(_Model(node, demand, 1, demand.guests * demand.vcpus, 0))
        return None if best is None else Optimum(*best)
    asked = _Model(node, demand, demand.guests, demand.vcpus, need)
    if demand.mode == "spread":
        best = asked.least(asked.level(), asked.io)
        return None if best is None else Optimum(level=best[0], io=best[1])
    best = _spans(asked)
    if best is None or best[0] > demand.guests or len({g[1:] for g in asked.groups}) > 1:
        return None if best is None else Optimum(*best)
    squares = asked.least(asked.squares())
    assert squares is not None
    return Optimum(*best, squares=-squares[0])


def fits(node: Node, demand: Demand) -> bool:
    """Whether there is a placement, none of them being sought that is best."""
    need = -(-demand.memory_bytes // (demand.page_bytes or MIB))
    return _Model(node, demand, demand.guests, demand.vcpus, need).least(0) is not None


def _spans(asked: _Model) -> list[int] | None:
    return asked.least(*asked.spans(), asked.io)


def _mapped(node: Node, demand: Demand) -> Optimum | None:
    """No search is needed: the guests' cores are given, and I/O takes the nearest whole ones of the others."""
    usable = {cpu: core for cell in node.cells for core in cell.cores if _usable(core, demand) for cpu in core.cpus}
    if any(cpu not in usable for cpu in demand.mapped) or len(set(demand.mapped)) < len(demand.mapped):
        return None
    owners: dict[tuple[int, ...], set[int]] = {}
    for at, cpu in enumerate(demand.mapped):
        owners.setdefault(usable[cpu].cpus, set()).add(at // demand.vcpus)
    if any(len(guests) > 1 for guests in owners.values()):
        return None
    if demand.smt == "cores" and len(owners) < len(demand.mapped):
        return None
    costs = [
        near(node, cell.id)
        for cell in node.cells
        for core in cell.cores
        if _usable(core, demand) and not core.partial and core.cpus not in owners
    ]
    return Optimum(io=sum(sorted(costs)[: demand.io_cores])) if len(costs) >= demand.io_cores else None


def _usable(core: Core, demand: Demand) -> bool:
    return bool(core.cpus) and not (core.partial and demand.smt == "cores")


def _groups(node: Node, demand: Demand) -> Counter[tuple[int, int, bool]]:
    """Cores that are alike: the cell, how many vCPUs one carries, whether it is partial."""
    return Counter(
        (cell.id, len(core.cpus) if demand.smt == "threads" else 1, core.partial)
        for cell in node.cells
        for core in cell.cores
        if _usable(core, demand)
    )


def _pages(node: Node, demand: Demand) -> dict[int, int]:
    def of(cell: Cell) -> int:
        return cell.hugepages.get(demand.page_bytes, 0) if demand.page_bytes else cell.memory_bytes // MIB

    return {cell.id: of(cell) for cell in node.cells}


def near(node: Node, cell_id: int) -> int:
    """How far a cell is from the adapter that is nearest to it."""
    cell = next(cell for cell in node.cells if cell.id == cell_id)
    return min((cell.distances[nic] for nic in node.nic_cells), default=0)
