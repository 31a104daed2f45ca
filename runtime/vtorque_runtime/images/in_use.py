"""Who uses an image on this node: the jobs of its registry, and whatever process has one of its files open."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vtorque_runtime.console import harmless
from vtorque_runtime.images.store import ImageRecord
from vtorque_runtime.spool import Spool
from vtorque_spec.canonical import DecodeError, plain_data


def users(store: Path, record: ImageRecord, jobs: Path, proc: Path = Path("/proc")) -> tuple[str, ...]:
    """Return a few words for each who uses an image of `store`; `jobs` is the registry's directory of jobs.

    A job whose plan is not written yet, or cannot be read, may use any. Processes tell of the jobs of ordinary users,
    whose registries root does not read; without root's rights only one's own are seen.
    """
    disk = record.files(store).disk
    files = [store / record.directory / part.file for part in record.parts]
    return (*_jobs(disk, jobs), *_processes(files, proc))


def _jobs(disk: str, jobs: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        for path in sorted(jobs.iterdir()):
            spool = Spool(path)
            if not spool.registration.exists():
                continue
            try:
                if plain_data(spool.plan.read_bytes())["image"]["disk"] == disk:  # an earlier program's plan as well
                    yield f"job {path.name}"
            except FileNotFoundError:
                yield f"job {path.name}, which is being prepared (it may use another)"
            except (DecodeError, KeyError, TypeError):
                yield f"job {path.name}, whose plan cannot be read (it may use another)"


def _processes(files: Iterable[Path], proc: Path) -> Iterator[str]:
    wanted = {(found.st_dev, found.st_ino) for found in map(os.stat, files)}
    for process in sorted((path for path in proc.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError):  # it has just ended, or is another's
            if any(_identity(path) in wanted for path in (process / "fd").iterdir()):
                yield f"process {process.name} ({harmless((process / 'comm').read_text(errors='replace'))})"


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:  # closed meanwhile, or it leads to no file
        return None
    return found.st_dev, found.st_ino
