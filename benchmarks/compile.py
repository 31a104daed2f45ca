#!/usr/bin/env python3
"""Compare `vtorque compile` with the programs that do a part of its work: ratios from one run, in one table.

    make bench        or        .venv/bin/python benchmarks/compile.py [--runs 15]

Each program is a fresh process, and the programs take turns, so that a change of the machine's speed meets all of
them. Figures are medians of CPU time (user and system) and of wall time; a ratio is vtorque's over the peer's.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from jobs import write_site
from measure import BIN, ROOT, Peer, table

JOB = ROOT / "examples/hello.vjob.yaml"
COMPILE = [str(BIN / "vtorque"), "compile", str(JOB)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15, help="counted runs of each program")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        others = peers(work)
        table("one job, cold process, the built-in site", [Peer("vtorque compile", COMPILE)], others, runs)
        site = write_site(work / "site", "properties: {vcpus: {maximum: 64}}\n")
        table(
            "one job, cold process, a site with rules",
            [Peer("vtorque compile", [*COMPILE, "--site", str(site)])],
            others,
            runs,
        )


def peers(work: Path) -> list[Peer]:
    """What each of the others does a part of."""
    subprocess.run([*COMPILE, "-o", work / "bundle"], check=True, capture_output=True)
    seed, schema = work / "bundle/vm0/seed/user-data", ROOT / "schemas/vjob-1.schema.json"
    domain = ["--name", "hello", "--memory", "1024", "--vcpus", "1", "--import", "--disk", "none", "--network", "none"]
    osinfo = ["--osinfo", "detect=off,require=off", "--connect", "test:///default"]
    return [
        Peer("check-jsonschema", [str(BIN / "check-jsonschema"), "--schemafile", str(schema), str(JOB)]),
        Peer("cloud-init schema", ["cloud-init", "schema", "--config-file", str(seed)]),
        Peer("virt-install --print-xml", ["virt-install", "--print-xml", "--dry-run", *domain, *osinfo]),
    ]


if __name__ == "__main__":
    main()
