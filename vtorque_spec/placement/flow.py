"""A flow from askers to cells: who takes how much from which cell, when each may use some of the cells."""

from collections.abc import Sequence


class Flow:
    """Pushes amounts into cells of limited room; what was pushed may move among the cells of its asker."""

    def __init__(self, room: list[int]) -> None:
        self.free = list(room)
        self.masks: list[int] = []
        self.given: list[list[int]] = []

    def push(self, mask: int, amount: int) -> int:
        """Add an asker that may use the cells of `mask`; returns how much of `amount` it got: the most possible."""
        return self.top_up(self.add(mask, [0] * len(self.free)), amount)

    def add(self, mask: int, wanted: Sequence[int]) -> int:
        """Add an asker and give it what it would like best, as far as there is room; returns its number."""
        self.masks.append(mask)
        self.given.append([min(own, free) for own, free in zip(wanted, self.free, strict=True)])
        self.free = [free - own for own, free in zip(self.given[-1], self.free, strict=True)]
        return len(self.masks) - 1

    def top_up(self, asker: int, amount: int) -> int:
        """Give an asker so much more, moving others where they have a choice; returns how much it got."""
        pushed = 0
        while pushed < amount:
            step = self._augment(asker, amount - pushed)
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
