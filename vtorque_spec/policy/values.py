"""Values and limits of the normal form as people write them."""

from typing import Any

from vtorque_spec.document import Path
from vtorque_spec.spec.fields import job_field
from vtorque_spec.units import print_duration, print_size


def shown(path: Path, value: Any) -> str:
    """Return a value of the field at `path`: sizes and durations with their unit, lists with commas."""
    if isinstance(value, list):
        return ", ".join(shown(path, item) for item in value)
    if isinstance(value, dict):
        return str(value["name"]) if isinstance(value.get("name"), str) else "a mapping"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and path and path[0] != "context":
        field = job_field(path)
        if field is not None and field.kind == "size" and value > 0:
            return print_size(value)
        if field is not None and field.kind == "duration" and value > 0:
            return print_duration(value)
    return "nothing" if value is None else str(value)
