#!/usr/bin/env python3
"""What it costs a job that its image is checked: the first time on a node, and every later time.

    python benchmarks/images.py [--runs 5] [--image-mib 64 1024]

"Cold" reads the disk whole, compares its digest and inspects it; "warm" finds it in the node's record. `sha256sum`
reads the same file: both have it in the page cache. "Inspection" is that alone, of disks whose tables are full. Budget:
warm costs the same whatever the size, and next to nothing.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vtorque_runtime.images.digests import FILE, Digests
from vtorque_runtime.images.inspect import inspect
from vtorque_runtime.images.opened import OpenFiles
from vtorque_spec.plan import MIB

SETTLED_S = 2.1
"""A file that was changed a moment ago is not recorded."""
INSPECTED_GIB = (1, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each")
    parser.add_argument("--image-mib", type=int, nargs="+", default=[64, 1024], help="sizes of the images' data")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vtorque-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        print(f"\n{'image MiB':>10}{'cold s':>9}{'over sha256sum':>16}{'warm ms':>9}{'cold over warm':>16}")
        for size in options.image_mib:
            disk = filled(directory, size)
            sha256 = hashlib.sha256(disk.read_bytes()).hexdigest()
            time.sleep(SETTLED_S)
            cold_s = median(options.runs, lambda: cold(disk, sha256))  # noqa: B023 - called before the next size
            sum_s = median(options.runs, lambda: taken(lambda: subprocess.check_output(["sha256sum", disk])))  # noqa: B023
            warm_s = median(options.runs, lambda: taken(lambda: check(disk, sha256)))  # noqa: B023
            ratios = f"{cold_s / sum_s:>16.2f}{1000 * warm_s:>9.2f}{cold_s / warm_s:>16.0f}"
            print(f"{size:>10}{cold_s:>9.2f}{ratios}")
            disk.unlink()
        print(f"\n{'disk GiB':>10}{'inspection s':>14}")
        for size in INSPECTED_GIB:
            disk = directory / "tables.qcow2"
            tables = ("-o", "preallocation=metadata", disk, f"{size}G")
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *tables], check=True)
            print(f"{size:>10}{median(options.runs, lambda: taken(lambda: inspected(disk))):>14.2f}")  # noqa: B023


def filled(directory: Path, size_mib: int) -> Path:
    """Return a qcow2 disk with so much data, of which nothing can be guessed."""
    data, disk = directory / "data", directory / "disk.qcow2"
    with data.open("wb") as file:
        for _ in range(size_mib):
            file.write(os.urandom(MIB))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", data, disk], check=True)
    data.unlink()
    return disk


def cold(disk: Path, sha256: str) -> float:
    (disk.parent / FILE).unlink(missing_ok=True)
    return taken(lambda: check(disk, sha256))


def check(disk: Path, sha256: str) -> None:
    """What a job's supervisor does with the disk before it makes anything of it."""
    with OpenFiles(Digests(disk.parent), lambda: None) as files:
        files.check(disk, sha256, "qcow2")


def inspected(disk: Path) -> None:
    with disk.open("rb") as file:
        inspect(file.fileno(), "qcow2", str(disk))


def taken(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def median(runs: int, measure: Callable[[], float]) -> float:
    """Of so many runs, after one that does not count."""
    return statistics.median([measure() for _ in range(runs + 1)][1:])


if __name__ == "__main__":
    main()
