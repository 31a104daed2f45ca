"""CPU lists as Linux writes them: ``0-15,32-47``."""

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from vtorque_spec.spec.base import form_error

HIGHEST_CPU = 65535

_RANGE = r"(0|[1-9][0-9]{0,4})(-(0|[1-9][0-9]{0,4}))?"
_WANTED = "a list of CPUs: numbers and ranges, as in 0-15,32-47, or within braces [0-15, 32-47]"


def _cpus(value: Any) -> tuple[int, ...]:
    """Return the CPUs of a list in ascending order; within braces it is a list of YAML, for the commas' sake."""
    found: set[int] = set()
    for part in value if isinstance(value, list) else str(value).replace(" ", "").split(","):
        match = re.fullmatch(_RANGE, str(part))
        cpus = range(int(match[1]), int(match[3] or match[1]) + 1) if match else ()
        if not cpus or cpus[-1] > HIGHEST_CPU:
            raise form_error(str(part), _WANTED)
        twice = found.intersection(cpus)
        if twice:
            message = f"the list has the CPU {min(twice)} twice"
            raise PydanticCustomError("form", "{message}", {"message": message, "help": "name each CPU once"})
        found.update(cpus)
    if not found:
        raise PydanticCustomError("form", "the list is empty", {"help": "name a CPU, or remove the line"})
    return tuple(sorted(found))


def print_cpus(cpus: Iterable[int]) -> str:
    """Return CPUs as a list: ``0-15,32``."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


_ONE = {"type": "integer", "minimum": 0, "maximum": HIGHEST_CPU}
_TEXT = {"type": "string", "pattern": f"^{_RANGE}(, ?{_RANGE})*$", "examples": ["0-15,32-47"]}
_ITEM = {"anyOf": [{"type": "string", "pattern": f"^{_RANGE}$"}, _ONE]}

CpuList = Annotated[
    tuple[int, ...],
    BeforeValidator(_cpus),
    WithJsonSchema({"anyOf": [_TEXT, _ONE, {"type": "array", "items": _ITEM, "minItems": 1}]}),
]
"""CPUs in ascending order; written as text or as a list of numbers and ranges."""
