"""The kernel's lists of CPUs and of NUMA cells, as in `0-3,8` (cpuset(7), "List format")."""

import re
from collections.abc import Iterable
from itertools import groupby

HIGHEST = 8191
"""No kernel counts more CPUs or cells (CONFIG_NR_CPUS)."""
_TEXT_LIMIT = 5 * (HIGHEST + 1)
_LIST = re.compile(r"([0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*)?")


def read_list(text: str) -> tuple[int, ...]:
    """Return the numbers, which ascend; raises ValueError when it is no list as the kernel writes it."""
    text = text.strip()
    if len(text) > _TEXT_LIMIT or not _LIST.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a list of numbers")
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        first, last = int(part.partition("-")[0]), int(part.rpartition("-")[2])
        if not (numbers[-1] if numbers else -1) < first <= last <= HIGHEST:
            raise ValueError(f"{text[:40]!r} is not a list of numbers that ascend to at most {HIGHEST}")
        numbers += range(first, last + 1)
    return tuple(numbers)


def list_text(numbers: Iterable[int]) -> str:
    """Return the numbers as a list: ascending, neighbours as a range."""
    runs = [list(run) for _, run in groupby(enumerate(sorted(set(numbers))), key=lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)
