"""The lines of the files that findings point into, read again for the excerpts."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from vtorque_spec import data
from vtorque_spec.document import SIZE_LIMIT_BYTES


def source_lines(name: str) -> list[str]:
    """Return the lines of the file that findings call `name`; none when it cannot be read any more."""
    path = data.schemas().parent / name if name.startswith("schemas/") else Path(name)
    try:
        if not path.is_file():  # a pipe was read once, and would be waited for
            return []
        with path.open("rb") as stream:
            raw = stream.read(SIZE_LIMIT_BYTES)
    except OSError:
        return []
    return raw.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")


class Sources(Mapping[str, list[str]]):
    """The lines of any file, by the name that findings use; read when asked for, and only the last file is kept."""

    def __init__(self) -> None:
        self._name, self._lines = "", [""]

    def __getitem__(self, name: str) -> list[str]:
        if name != self._name:
            self._name, self._lines = name, source_lines(name)
        return self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
