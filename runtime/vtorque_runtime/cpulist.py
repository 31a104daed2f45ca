"""The kernel's lists of CPUs and of NUMA cells, as in `0-3,8` (cpuset(7), "List format")."""

import re
from collections.abc import Iterable
from itertools import groupby

_LIST = re.compile(r"([0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*)?")


def read_list(text: str) -> tuple[int, ...]:
    """Return the numbers, in the order of the text; raises ValueError when it is no list."""
    text = text.strip()
    if not _LIST.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a list of numbers")
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def list_text(numbers: Iterable[int]) -> str:
    """Return the numbers as a list: ascending, neighbours as a range."""
    runs = [list(run) for _, run in groupby(enumerate(sorted(set(numbers))), key=lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)
