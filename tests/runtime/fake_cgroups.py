"""Directories that look like a node's cgroups, of either version or both: plain files instead of the kernel's."""

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from vtorque_runtime import partition

V1 = ("cpu,cpuacct", "cpuset", "memory", "devices", "pids", "name=systemd")
V2 = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma")


def cgroups(root: Path, v1: tuple[str, ...] = (), v2: tuple[str, ...] | None = None, own: str = "/") -> Path:
    """Mount trees of these controllers below `root`; `own` is the cgroup of this process in all of them."""
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    mounts = [_line(1, "/proc", "proc", "rw")]
    places = []
    for number, names in enumerate(v1, 1):
        where = f"/sys/fs/cgroup/{names.removeprefix('name=')}"
        mounts.append(_line(30 + number, where, "cgroup", f"rw,seclabel,xattr,{names}"))
        places.append(f"{number}:{names}:{own}")
        _make(root, where, own, {"cpuset.cpus": "0-31", "cpuset.mems": "0-1"} if names == "cpuset" else {})
    if v2 is not None:
        where = "/sys/fs/cgroup/unified" if v1 else "/sys/fs/cgroup"
        mounts.append(_line(30, where, "cgroup2", "rw,nsdelegate,memory_recursiveprot"))
        places.append(f"0::{own}")
        _make(root, where, own, {"cgroup.controllers": " ".join(v2)})
    (root / "proc/self/mountinfo").write_text("".join(mounts))
    (root / "proc/self/cgroup").write_text("".join(f"{place}\n" for place in places))
    return root


def removable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files of a directory go with it, as the kernel does, but not what is below it. The kernel's stay so."""
    kernels = partition.rmdir

    def rmdir(path: Path) -> None:
        if path.is_relative_to("/sys"):
            kernels(path)
            return
        if any(entry.is_dir() for entry in path.iterdir()) or (path / "cgroup.procs").exists():
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        shutil.rmtree(path)

    monkeypatch.setattr(partition, "rmdir", rmdir)


def written(root: Path, directory: str) -> dict[str, str]:
    """What the files of a cgroup say."""
    return {path.name: path.read_text() for path in (root / "sys/fs/cgroup" / directory).iterdir() if path.is_file()}


def _line(number: int, where: str, kind: str, options: str) -> str:
    return f"{number} 20 0:{number} / {where} rw,nosuid shared:9 - {kind} {kind} {options}\n"


def _make(root: Path, where: str, own: str, files: Mapping[str, str]) -> None:
    top = root / where.lstrip("/")
    (top / own.strip("/")).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (top / name).write_text(f"{text}\n")
