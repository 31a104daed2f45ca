"""Values and limits of the normal form as people write them."""

from collections.abc import Callable
from typing import Any

from vtorque_spec.document import Path
from vtorque_spec.spec.fields import job_field
from vtorque_spec.units import QuantityError, parse_duration, parse_size, print_duration, print_size


def shown(path: Path, value: Any) -> str:
    """Return a value of the field at `path`: sizes and durations with their unit, lists with commas.

    A quantity that the policy writes with another unit is shown as the same number of a job is.
    """
    if isinstance(value, list):
        return ", ".join(shown(path, item) for item in value)
    if isinstance(value, dict):
        return written(value) if isinstance(value.get("name"), str) else "a mapping"
    if isinstance(value, bool):
        return str(value).lower()
    field = job_field(path) if isinstance(value, int | str) and path and path[0] != "context" else None
    if field is not None and field.kind in _QUANTITIES:
        read, printed = _QUANTITIES[field.kind]
        number = _number(read, value)
        return printed(number) if number > 0 else str(value)
    return "nothing" if value is None else str(value)


def written(item: dict[str, Any]) -> str:
    """Return a mapping by its name, an image with its pins."""
    revision, sha256 = (item.get(pin) for pin in ("revision", "sha256"))
    return f"{item['name']}{f':{revision}' if revision else ''}{f'@sha256:{sha256}' if sha256 else ''}"


_QUANTITIES = {"size": (parse_size, print_size), "duration": (parse_duration, print_duration)}


def _number(read: Callable[[str], int], value: int | str) -> int:
    """Return a quantity in bytes or seconds, 0 for a text that is none."""
    try:
        return read(value) if isinstance(value, str) else value
    except QuantityError:
        return 0
