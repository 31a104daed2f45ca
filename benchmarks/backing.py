#!/usr/bin/env python3
"""What a root disk costs before its guest starts, by the image's size; and an image's copy, by who wants it at once.

    python benchmarks/backing.py [--runs 5] [--image-mib 512]

"Overlay" is `qemu-img` above images of 1 and of 50 GiB. A "prologue" is a process that needs the node's copy of one
image; the store is taken to be on another file system than the spool, so that the copy is a real one. "Copies" are the
bytes that all of them wrote together, over those of the image. Budget: constant in the image's size, and one copy.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT

from vtorque_runtime import disks
from vtorque_spec.plan import MIB, Disk

GIB = 1024 * MIB
PROLOGUES = (1, 8)
PROLOGUE = """
import errno, os, sys
from pathlib import Path
from vtorque_runtime.images.prefetch import prefetch
from vtorque_runtime.spool import open_registry
from vtorque_spec.plan import ImageFiles

def link(*_paths, **_options):
    raise OSError(errno.EXDEV, "the store is on another file system")

os.link = link
disk, sha256, base = sys.argv[1:]
prefetch(open_registry("system", Path(base)), ImageFiles("bench", sha256, disk, "raw", None, None), lambda *_: None)
print(next(line.split()[1] for line in open("/proc/self/io") if line.startswith("wchar")))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each")
    parser.add_argument("--image-mib", type=int, default=512, help="size of the image that is copied")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vtorque-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        print(f"\nan overlay ({options.runs} runs each, medians)\n{'image GiB':>10}{'wall ms':>9}{'over 1 GiB':>12}")
        first = 0.0
        for size in (1, 50):
            wall_s = statistics.median([overlay(directory, size * GIB) for _ in range(options.runs + 1)][1:])
            first = first or wall_s
            print(f"{size:>10}{1000 * wall_s:>9.1f}{wall_s / first:>12.2f}")
        image = directory / "image.raw"
        image.write_bytes(os.urandom(MIB) * options.image_mib)
        print(f"\nan image of {options.image_mib} MiB\n{'prologues':>10}{'wall s':>9}{'over one':>10}{'copies':>8}")
        alone = 0.0
        for count in PROLOGUES:
            runs = [prefetched(image, directory / f"base-{count}-{run}", count) for run in range(options.runs)]
            wall_s, copies = statistics.median(wall for wall, _ in runs), max(copied for _, copied in runs)
            alone = alone or wall_s
            print(f"{count:>10}{wall_s:>9.2f}{wall_s / alone:>10.2f}{copies:>8.2f}")


def overlay(directory: Path, size_bytes: int) -> float:
    """Return the seconds that an overlay of that size takes above an image as large, which is all holes."""
    below, above = directory / "below.raw", directory / "above.qcow2"
    with below.open("wb") as file:
        file.truncate(size_bytes)
    began = time.perf_counter()
    disks.make_overlay(Disk("vda", str(above), "qcow2", False, str(below), "raw", None, None), size_bytes)
    took = time.perf_counter() - began
    above.unlink()
    return took


def prefetched(image: Path, base: Path, count: int) -> tuple[float, float]:
    """Return the seconds until so many processes have their copy, and how many they wrote together."""
    with image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    environment = {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "compilers", "runtime"))}
    command = [sys.executable, "-c", PROLOGUE, str(image), digest, str(base)]
    began = time.perf_counter()
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(count)]
    written = [int(one.communicate()[0]) for one in started]
    took = time.perf_counter() - began
    for copy in (base / "bases").glob("*@*"):
        copy.unlink()
    return took, sum(written) / image.stat().st_size


if __name__ == "__main__":
    main()
