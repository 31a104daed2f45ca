"""Which files `vtorque lint` is to check."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

ENDING = ".vjob.yaml"


def job_files(paths: Iterable[Path]) -> list[str]:
    """Return the files that are named, and all *.vjob.yaml below directories that are named, each once, in order."""
    return list(dict.fromkeys(name for path in paths for name in (_below(path) if path.is_dir() else [str(path)])))


def _below(directory: Path) -> Iterator[str]:
    """Follow no symbolic links to directories.

    What has the ending and is no file is told of when it is read, and so is a directory that can't be listed.
    """
    unlisted: list[str] = []
    for folder, folders, files in os.walk(directory, onerror=lambda error: unlisted.append(str(error.filename))):
        folders.sort()
        inside = sorted(name for name in (*folders, *files) if name.endswith(ENDING))
        yield from (os.path.normpath(os.path.join(folder, name)) for name in inside)
    yield from sorted(unlisted)
