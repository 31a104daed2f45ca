"""A bundle on disk: all files or none, and nothing overwritten that a compile did not write."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from vtorque_spec.fault import Fault
from vtorque_spec.plan import Artifact


def write_bundle(directory: Path, files: Iterable[Artifact]) -> None:
    """Write `files` to a new directory beside `directory`, then put it in its place.

    An earlier bundle there is replaced. Raises Fault for a directory that holds anything else.
    """
    _check_replaceable(directory)
    try:
        directory.absolute().parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.absolute().parent))
    except OSError as error:
        raise Fault("VT0606", f"{directory} cannot be written: {(error.strerror or str(error)).lower()}") from None
    try:
        for file in files:
            _write(temporary, file)
        temporary.chmod(0o755)
        _replace(temporary, directory)
    except OSError as error:
        raise Fault("VT0606", f"{directory} cannot be written: {(error.strerror or str(error)).lower()}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(root: Path, file: Artifact) -> None:
    relative = PurePosixPath(file.path)
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"an artifact's path leaves its bundle: {file.path}")
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.text, encoding="utf-8", newline="\n")
    path.chmod(file.mode)


def _replace(new: Path, directory: Path) -> None:
    if directory.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.absolute().parent))
        os.rename(directory, old)  # onto an empty directory: one step
        with contextlib.suppress(OSError):
            os.rename(new, directory)
            shutil.rmtree(old)
            return
        os.rename(old, directory)
    else:
        os.rename(new, directory)


def _check_replaceable(directory: Path) -> None:
    if not directory.exists():
        return
    hint = "name a new directory, or one that an earlier compile wrote"
    if not directory.is_dir():
        raise Fault("VT0606", f"{directory} is a file", help=hint)
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}
    try:
        ours = {"manifest.json", *json.loads((directory / "manifest.json").read_text())["sha256"]}
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    strange = sorted(there - ours)
    if strange:
        raise Fault("VT0606", f"{directory} holds files that are not of a bundle: {', '.join(strange[:3])}", help=hint)
