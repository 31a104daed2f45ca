#!/usr/bin/env python3
"""Compare `vtorque lint` with programs that check YAML files: ratios from one run.

    make bench        or        .venv/bin/python benchmarks/lint.py [--runs 3] [--jobs 1000 10000]

The files are distinct, in 256 combinations of fields, every tenth with a defect. vtorque finds positions and checks
policy, names, times and placement; check-jsonschema checks the published schema alone; yamllint looks at layout alone.
"""

import argparse
import tempfile
from pathlib import Path

from jobs import POLICY, write_jobs, write_site
from measure import BIN, ROOT, Peer, table

FOUND = (0, 1)
"""Exit codes: these files have findings."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each program")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 10000], help="numbers of job files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        site = write_site(work / "site", POLICY)
        for count in options.jobs:
            jobs = work / f"jobs-{count}"
            write_jobs(jobs, count)
            table(f"{count} distinct job files, a site with rules", own(jobs, site), others(jobs), options.runs)


def own(jobs: Path, site: Path) -> list[Peer]:
    lint = [str(BIN / "vtorque"), "lint", "--site", str(site)]
    return [
        Peer("one process", [*lint, "--jobs", "1", str(jobs)], FOUND),
        Peer("all cores", [*lint, str(jobs)], FOUND),
    ]


def others(jobs: Path) -> list[Peer]:
    files = [str(path) for path in sorted(jobs.iterdir())]
    schema = ROOT / "schemas/vjob-1.schema.json"
    return [
        Peer("check-jsonschema", [str(BIN / "check-jsonschema"), "--schemafile", str(schema), *files], FOUND),
        Peer("yamllint", [str(BIN / "yamllint"), "-d", "relaxed", str(jobs)], FOUND),
    ]


if __name__ == "__main__":
    main()
