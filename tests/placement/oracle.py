"""The rules of a placement once more, for CP-SAT. Shares nothing with the engine but the words of the question."""

from dataclasses import dataclass

from ortools.sat.python import cp_model

from vtorque_spec.placement.model import Demand, Node

MIB = 2**20


@dataclass(frozen=True)
class Optimum:
    """What no placement can do better; in this order. `level`: the most cores of guests in one cell (`spread`)."""

    spanned: int = 0
    distance: int = 0
    io: int = 0
    level: int = 0


class _Model:
    def __init__(self, node: Node, demand: Demand) -> None:
        self.node, self.demand = node, demand
        self.model = cp_model.CpModel()
        self.loads: list[object] = []
        self.io_terms: list[object] = []
        groups = self._groups()
        self.own = [{g: self.model.new_int_var(0, n, "") for g, n in groups.items()} for _ in range(demand.guests)]
        host = {g: self.model.new_int_var(0, 0 if g[2] else n, "") for g, n in groups.items()}
        io = {g: self.model.new_int_var(0, 0 if g[2] else n, "") for g, n in groups.items()}
        for g, n in groups.items():
            self.model.add(host[g] + io[g] + sum(own[g] for own in self.own) <= n)
        self.model.add(sum(host.values()) == demand.host_cores)
        self.model.add(sum(io.values()) == demand.io_cores)
        self.counted = demand.mode in ("none", "map")
        threads = [sum(g[1] * n for g, n in own.items()) for own in self.own]
        if self.counted:  # without pins, guests float over what is left, so only the sum of its threads counts
            left = sum(g[1] * (n - host[g] - io[g]) for g, n in groups.items())
            self.model.add(left >= demand.guests * demand.vcpus)
        else:
            for carried in threads:
                self.model.add(carried >= demand.vcpus)
        self.io = sum(n * self._near(g[0]) for g, n in io.items())
        self._memory()

    def _groups(self) -> dict[tuple[int, int, bool], int]:
        found: dict[tuple[int, int, bool], int] = {}
        for cell in self.node.cells:
            for core in cell.cores:
                if core.cpus and not (core.partial and self.demand.smt == "cores"):
                    key = (cell.id, len(core.cpus) if self.demand.smt == "threads" else 1, core.partial)
                    found[key] = found.get(key, 0) + 1
        return found

    def _near(self, cell_id: int) -> int:
        cell = next(cell for cell in self.node.cells if cell.id == cell_id)
        return min((cell.distances[nic] for nic in self.node.nic_cells), default=0)

    def _memory(self) -> None:
        page = self.demand.page_bytes
        room = {c.id: c.hugepages.get(page, 0) if page else c.memory_bytes // MIB for c in self.node.cells}
        need = -(-self.demand.memory_bytes // (page or MIB))
        self.pages = [{c: self.model.new_int_var(0, n, "") for c, n in room.items()} for _ in self.own]
        for own in self.pages:
            self.model.add(sum(own.values()) == need)
        for c, n in room.items():
            self.model.add(sum(own[c] for own in self.pages) <= n)

    def spans(self) -> tuple[object, object]:
        total, distance = [], []
        for own, pages in zip(self.own, self.pages, strict=True):
            spanned = {cell.id: self.model.new_bool_var("") for cell in self.node.cells}
            for g, n in own.items():
                self.model.add(n == 0).only_enforce_if(~spanned[g[0]])
            for c, n in pages.items():
                self.model.add(n == 0).only_enforce_if(~spanned[c])
            if self.demand.mode == "compact":
                self.model.add(sum(spanned.values()) == 1)
            total += spanned.values()
            for a in self.node.cells:
                for b in self.node.cells:
                    if a.id < b.id:
                        both = self.model.new_bool_var("")
                        self.model.add(both >= spanned[a.id] + spanned[b.id] - 1)
                        distance.append(both * (a.distances[b.id] + b.distances[a.id]))
        return sum(total), sum(distance)

    def level(self) -> object:
        most = self.model.new_int_var(0, 10_000, "")
        for cell in self.node.cells:
            self.model.add(most >= sum(n for own in self.own for g, n in own.items() if g[0] == cell.id))
        return most

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
    asked = _Model(node, demand)
    if asked.counted:
        return None if asked.least(asked.io) is None else Optimum()
    if demand.mode == "spread":
        best = asked.least(asked.level(), asked.io)
        return None if best is None else Optimum(level=best[0], io=best[1])
    best = asked.least(*asked.spans(), asked.io)
    return None if best is None else Optimum(*best)
