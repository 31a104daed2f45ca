"""The lines of the files that findings point into, read again for the excerpts."""

from pathlib import Path

from vtorque_spec import data
from vtorque_spec.document import SIZE_LIMIT_BYTES


def source_lines(name: str) -> list[str]:
    """Return the lines of the file that findings call `name`; none when it cannot be read any more."""
    path = data.schemas().parent / name if name.startswith("schemas/") else Path(name)
    try:
        with path.open("rb") as stream:
            raw = stream.read(SIZE_LIMIT_BYTES)
    except OSError:
        return []
    return raw.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
