"""The node's cgroups: the trees that are mounted, and the way out of those that a batch system made for a job.

Version 1 and 2 may be mounted at once, each controller in one of them (the kernel's admin-guide/cgroup-v2.rst and
admin-guide/cgroup-v1/). Every function takes the directory that /proc and /sys lie in.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vtorque_runtime.sysfs import ROOT


@dataclass(frozen=True, slots=True)
class Tree:
    """A mounted tree: its controllers (of v1 also a name, `name=systemd`), and the cgroup of this process in it.

    `own` is below the root that the mount shows, with a slash in front.
    """

    version: Literal[1, 2]
    path: Path
    controllers: frozenset[str]
    own: str


def trees(root: Path = ROOT) -> tuple[Tree, ...]:
    """Return all trees (proc(5): /proc/PID/mountinfo; cgroups(7): /proc/PID/cgroup)."""
    places: dict[frozenset[str], str] = {}
    for line in text(root / "proc/self/cgroup").splitlines():
        _, names, place = line.split(":", 2)
        places[frozenset(filter(None, names.split(",")))] = place
    found: dict[frozenset[str], Tree] = {}
    for line in text(root / "proc/self/mountinfo").splitlines():
        _, _, _, top, mount, *_, kind, _, options = line.split(" ")
        path, shown = root / mount.lstrip("/"), "" if top == "/" else top
        if kind == "cgroup2":
            held = frozenset(text(path / "cgroup.controllers").split())
            found[frozenset({"2"})] = Tree(2, path, held, places.get(frozenset(), "/").removeprefix(shown))
        elif kind == "cgroup":
            held = next((known for known in places if known and known.issubset(options.split(","))), frozenset[str]())
            found[held] = Tree(1, path, held, places.get(held, "/").removeprefix(shown))
    return tuple(found.values())


def leave_job_cgroup(job_id: str, root: Path = ROOT) -> list[str]:
    """Move this process out of the cgroups that a batch system made for the job; return those that it could not leave.

    A batch system kills what is in them when the job ends. They have the job's number in their names (`torque/12.srv`,
    `pbs_jobs.service/jobid/12.srv`, `uid_1000/job_12`); the process goes to the nearest cgroup above that takes it.
    A job id that begins with no number is no batch system's.
    """
    number = re.match(r"[0-9]+", job_id)
    if number is None:
        return []
    named = re.compile(rf"(?<![0-9A-Za-z]){number[0]}(?![0-9A-Za-z])")
    kept = []
    for tree in trees(root):
        parts = tree.own.strip("/").split("/")
        first = next((depth for depth, part in enumerate(parts) if named.search(part)), None)
        if first is not None and not any(_enter(tree, parts[:depth]) for depth in range(first, -1, -1)):
            kept.append(f"{tree.path}{tree.own}")
    return kept


def _enter(tree: Tree, parts: Sequence[str]) -> bool:
    try:
        (tree.path.joinpath(*parts) / "cgroup.procs").write_text("0", encoding="ascii")  # 0 is who writes
    except OSError:
        return False
    return True


def numbers(directories: Sequence[Path], file: str) -> list[int]:
    """Return what the file says in those cgroups that have it."""
    return [int(found) for path in directories if (found := text(path / file))]


def fields(directories: Sequence[Path], file: str, field: str) -> Iterator[int]:
    """Yield what `field` is in the files of lines `FIELD NUMBER` of those cgroups that have them."""
    for line in (line.split() for path in directories for line in text(path / file).splitlines()):
        if line[0] == field:
            yield int(line[1])


def text(path: Path) -> str:
    """Return the file's text without blanks around it; nothing where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
