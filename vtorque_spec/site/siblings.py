"""Which CPUs are threads of one core: ``0-11+24-35`` for (0, 24), (1, 25), ..., (11, 35).

A list's item joins ranges of one length with ``+``: their first CPUs are one core, their second ones the next. A range
may have a step as for taskset(1): ``0-6:2+1-7:2`` is (0, 1), (2, 3), (4, 5), (6, 7).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from vtorque_spec.site.cpus import HIGHEST_CPU
from vtorque_spec.spec.base import form_error

Core = tuple[int, ...]
"""The CPUs of a core, in ascending order."""

_RANGE = r"(0|[1-9][0-9]{0,4})(-(0|[1-9][0-9]{0,4})(:[1-9][0-9]{0,4})?)?"
_ITEM = rf"{_RANGE}(\+{_RANGE})+"
_WANTED = "a list of siblings: ranges joined by +, as in 0-11+24-35, or within braces [0-11+24-35, 12+36]"


def _siblings(value: Any) -> tuple[Core, ...]:
    """Return cores in the order of their first CPUs; within braces they are a list of YAML, for the commas' sake."""
    cores: list[Core] = []
    seen: set[int] = set()
    for item in value if isinstance(value, list) else str(value).replace(" ", "").split(","):
        for core in _cores(str(item)):
            twice = [cpu for cpu in core if cpu in seen or core.count(cpu) > 1]
            if twice:
                raise _error(f"`{item}` has the CPU {min(twice)} twice", "name each CPU once")
            seen.update(core)
            cores.append(tuple(sorted(core)))
    if not cores:
        raise _error("the list is empty", "name siblings, or remove the line")
    return tuple(sorted(cores))


def _cores(item: str) -> list[Core]:
    if len(item) > 1000 or not re.fullmatch(_ITEM, item):
        raise form_error(item, _WANTED)
    ranges = [_range(text) for text in item.split("+")]
    if any(not cpus or cpus[-1] > HIGHEST_CPU for cpus in ranges):
        raise form_error(item, _WANTED)
    if len({len(cpus) for cpus in ranges}) > 1:
        lengths = ", ".join(str(len(cpus)) for cpus in ranges)
        raise _error(f"the ranges of `{item}` have {lengths} CPUs", "join ranges of one length: the k-th of each")
    return list(zip(*ranges, strict=True))


def _range(text: str) -> range:
    first, last, step = re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+))?", text).groups()  # type: ignore[union-attr]  # has the form
    return range(int(first), int(last or first) + 1, int(step or 1))


def _error(message: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("form", "{message}", {"message": message, "help": hint})


def print_siblings(cores: Iterable[Core]) -> str:
    """Return the shortest list of cores that runs of alike steps give; cores of one thread are left out."""
    runs: list[list[Core]] = []
    for core in sorted(core for core in cores if len(core) > 1):
        if runs and _goes_on(runs[-1], core):
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join("+".join(_print_range(threads) for threads in zip(*run, strict=True)) for run in runs)


def _goes_on(run: list[Core], core: Core) -> bool:
    """Whether `core` lies as far from the run's last core, thread by thread, as that from the one before it."""
    last = run[-1]
    if len(core) != len(last):
        return False
    steps = {mine - its for mine, its in zip(core, last, strict=True)}
    return len(steps) == 1 and (len(run) == 1 or steps == {last[0] - run[-2][0]})


def _print_range(cpus: Sequence[int]) -> str:
    if len(cpus) == 1:
        return str(cpus[0])
    step = cpus[1] - cpus[0]
    return f"{cpus[0]}-{cpus[-1]}" + (f":{step}" if step > 1 else "")


_TEXT = {"type": "string", "pattern": f"^{_ITEM}(, ?{_ITEM})*$", "examples": ["0-11+24-35"]}

Siblings = Annotated[
    tuple[Core, ...],
    BeforeValidator(_siblings),
    WithJsonSchema(
        {"anyOf": [_TEXT, {"type": "array", "items": {"type": "string", "pattern": f"^{_ITEM}$"}, "minItems": 1}]}
    ),
]
"""Cores of more than one thread, in the order of their first CPUs; written as text or as a list of texts."""
