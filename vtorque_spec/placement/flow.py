"""A flow from askers to cells: who takes how much from which cell, when each may use some of the cells."""


class Flow:
    """Pushes amounts into cells of limited room; what was pushed may move among the cells of its asker."""

    def __init__(self, room: list[int]) -> None:
        self.free = list(room)
        self.masks: list[int] = []
        self.given: list[list[int]] = []

    def push(self, mask: int, amount: int) -> int:
        """Add an asker that may use the cells of `mask`; returns how much of `amount` it got: the most possible."""
        self.masks.append(mask)
        self.given.append([0] * len(self.free))
        pushed = 0
        while pushed < amount:
            step = self._augment(len(self.masks) - 1, amount - pushed)
            if not step:
                break
            pushed += step
        return pushed

    def _augment(self, asker: int, amount: int) -> int:
        """Find by breadth first a way to a cell with room, through cells that another asker can leave."""
        came: dict[int, tuple[int, int | None]] = dict.fromkeys(self._cells(asker), (asker, None))
        queue = list(came)
        for cell in queue:
            if self.free[cell]:
                return self._shift(came, cell, amount)
            for other, given in enumerate(self.given):
                if given[cell]:
                    for to in self._cells(other):
                        if to not in came:
                            came[to] = (other, cell)
                            queue.append(to)
        return 0

    def _shift(self, came: dict[int, tuple[int, int | None]], cell: int, amount: int) -> int:
        path, at = [], cell
        amount = min(amount, self.free[cell])
        while True:
            asker, before = came[at]
            path.append((asker, before, at))
            if before is None:
                break
            amount = min(amount, self.given[asker][before])
            at = before
        for asker, before, to in path:
            self.given[asker][to] += amount
            if before is not None:
                self.given[asker][before] -= amount
        self.free[cell] -= amount
        return amount

    def _cells(self, asker: int) -> list[int]:
        return [cell for cell in range(len(self.free)) if self.masks[asker] >> cell & 1]
