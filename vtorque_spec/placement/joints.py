"""How many guests groups of cells can hold at most, when so many times two of them may be joined: bounds for a search.

Guests and cells that hang together, n and k of them, have n + k - 1 cells spanned at least: k - 1 more than there are
guests. So a number of cells spanned is a number of joints that may be made.
"""

from functools import cache, lru_cache
from itertools import accumulate

from vtorque_spec.placement.room import Room

MOST_PARTED = 8
"""So many groups are parted in all ways, more of them are only estimated."""


def most_joined(room: Room, parts: list[int], joints: int) -> int:
    """Return a bound: no way to join these groups of cells, so many times, holds more guests.

    A group holds `Room.most` and has something left over. Joining k groups gains no more guests than the k largest
    leftovers of cores and of memory serve.
    """
    over = list(zip(*map(room.leftover, parts), strict=True))
    threads, pages = (list(accumulate(sorted(own, reverse=True))) for own in over)
    gains = tuple(room.serves(*pair) for pair in zip(threads, pages, strict=True))
    most = sum(map(room.most, parts)) + _most_gained(gains, joints)
    if most < room.demand.guests or len(parts) > MOST_PARTED:
        return most
    held = _held(room, tuple(sorted(parts)))
    return held[min(joints, len(held) - 1)]


@lru_cache(maxsize=2**16)
def _most_gained(gains: tuple[int, ...], joints: int) -> int:
    """Split so many things into groups: what they gain at most, with `gains[k - 1]` for each group of k and for all."""

    @cache
    def best(things: int, joints: int) -> int:
        groups = (gains[k - 1] + best(things - k, joints - k + 1) for k in range(2, min(joints + 1, things) + 1))
        return min(gains[things - 1], max(groups, default=0)) if things else 0

    return best(len(gains), joints)


def _held(room: Room, parts: tuple[int, ...]) -> tuple[int, ...]:
    """How many guests the groups hold at most, by the number of joints: the first with some others, and the rest."""
    if not parts:
        return (0,)
    if parts not in room.held:
        first, others = parts[0], parts[1:]
        room.steps.spend(2 ** len(others) // 4)
        best = [0] * len(parts)
        for choice in range(2 ** len(others)):
            group, rest = first, []
            for at, part in enumerate(others):
                if choice >> at & 1:
                    group |= part
                else:
                    rest.append(part)
            own = room.most(group)
            for joints, most in enumerate(_held(room, tuple(rest)), start=choice.bit_count()):
                best[joints] = max(best[joints], own + most)
        room.held[parts] = tuple(accumulate(best, max))
    return room.held[parts]
