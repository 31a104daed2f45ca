#!/usr/bin/env python3
"""Compare vtorque with the programs that do a part of its work: ratios from one run, in one table.

    make bench        or        .venv/bin/python benchmarks/run.py [--runs 15] [--jobs 1000]

Each program is a fresh process, and the programs take turns, so that a change of the machine's speed meets all of
them. Figures are medians of CPU time (user and system) and of wall time; a ratio is vtorque's over the peer's.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Peer:
    """A program and what it does of what vtorque does."""

    name: str
    command: list[str]


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        peers = compile_peers(work)
        table("one job, cold process, the built-in site", peers, options.runs)
        table("one job, cold process, a site with rules", [with_rules(work), *peers[1:]], options.runs)
        table(f"{options.jobs} distinct job files, one process", lint_peers(work, options.jobs), 3)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15, help="counted runs of each cold command")
    parser.add_argument("--jobs", type=int, default=1000, help="distinct job files for lint")
    return parser.parse_args()


def compile_peers(work: Path) -> list[Peer]:
    """vtorque first; then what each of the others does a part of."""
    job = ROOT / "examples/hello.vjob.yaml"
    subprocess.run([BIN / "vtorque", "compile", job, "-o", work / "bundle"], check=True, capture_output=True)
    seed, schema = work / "bundle/vm0/seed/user-data", ROOT / "schemas/vjob-1.schema.json"
    domain = ["--name", "hello", "--memory", "1024", "--vcpus", "1", "--import", "--disk", "none", "--network", "none"]
    osinfo = ["--osinfo", "detect=off,require=off", "--connect", "test:///default"]
    peers = [
        Peer("vtorque compile", [str(BIN / "vtorque"), "compile", str(job)]),
        Peer("check-jsonschema", [str(BIN / "check-jsonschema"), "--schemafile", str(schema), str(job)]),
        Peer("cloud-init schema", ["cloud-init", "schema", "--config-file", str(seed)]),
        Peer("virt-install --print-xml", ["virt-install", "--print-xml", "--dry-run", *domain, *osinfo]),
    ]
    return [peer for peer in peers if available(peer)]


def with_rules(work: Path) -> Peer:
    """The same job at a site whose policy sets a limit, so that the jsonschema library evaluates it."""
    site = work / "site"
    (site / "images").mkdir(parents=True)
    (site / "policy.yaml").write_text("properties: {vcpus: {maximum: 64}}\n")
    (site / "site.yaml").write_text((ROOT / "schemas/local/site.yaml").read_text())
    image = (ROOT / "schemas/local/images/debian-12.yaml").read_text()
    (site / "images/debian-12.yaml").write_text(f"{image}sha256: {'a' * 64}\n")
    job = ROOT / "examples/hello.vjob.yaml"
    return Peer("vtorque compile --site", [str(BIN / "vtorque"), "compile", str(job), "--site", str(site)])


def lint_peers(work: Path, count: int) -> list[Peer]:
    """The same distinct files for both; vtorque also checks policy, names, times and placement."""
    jobs = work / "jobs"
    jobs.mkdir()
    for number in range(count):
        (jobs / f"job{number:04}.vjob.yaml").write_text(job_text(number))
    schema = ROOT / "schemas/vjob-1.schema.json"
    files = [str(path) for path in sorted(jobs.iterdir())]
    peers = [
        Peer("vtorque lint", [str(BIN / "vtorque"), "lint", str(jobs)]),
        Peer("check-jsonschema", [str(BIN / "check-jsonschema"), "--schemafile", str(schema), *files]),
    ]
    return [peer for peer in peers if available(peer)]


def job_text(number: int) -> str:
    hours, vcpus = 1 + number % 23, 1 + number % 32
    return f"""\
apiVersion: vtorque/v1
name: job{number:04}
batch: {{walltime: "{hours:02}:00:00", queue: batch, output: out/{number}.log, join: {str(number % 2 == 0).lower()}}}
image: debian-12
vcpus: {vcpus}
memory: {1 + number % 128}GiB
pinning: {{map: {list(range(vcpus))}}}
root_disk: {{size: {8 + number}GiB}}
mounts: [home]
hooks: {{prologue: {{inline: "mkdir -p out/{number}"}}}}
env: {{OMP_NUM_THREADS: "{vcpus}", CASE: "case {number}"}}
timeouts: {{boot: {60 + number % 60}s, grace: 60s}}
run: |
  ./solver --case {number} \\
    --threads "$OMP_NUM_THREADS"
"""


def available(peer: Peer) -> bool:
    """A peer that is not here is left out of the table, and that is said."""
    if shutil.which(peer.command[0]) is None:
        print(f"left out: {peer.name} is not installed", file=sys.stderr)
        return False
    return True


def table(title: str, peers: list[Peer], runs: int) -> None:
    """Run each peer `runs` times in turn, after one warm-up, and print medians and ratios."""
    cpu: dict[str, list[float]] = {peer.name: [] for peer in peers}
    wall: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for run in range(runs + 1):
        for peer in peers:
            cpu_s, wall_s = measure(peer)
            if run:
                cpu[peer.name].append(cpu_s)
                wall[peer.name].append(wall_s)
    own = peers[0].name
    print(f"\n{title} ({runs} runs each, medians)")
    print(f"{'':<26}{'CPU s':>8}{'wall s':>8}{'CPU ratio':>11}{'wall ratio':>12}")
    for peer in peers:
        ratios = [pairwise(figures[own], figures[peer.name]) for figures in (cpu, wall)]
        shown = "" if peer.name == own else f"{ratios[0]:>11.2f}{ratios[1]:>12.2f}"
        print(
            f"{peer.name:<26}{statistics.median(cpu[peer.name]):>8.3f}{statistics.median(wall[peer.name]):>8.3f}{shown}"
        )


def pairwise(own: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(own, other, strict=True))


def measure(peer: Peer) -> tuple[float, float]:
    """CPU and wall seconds of one run; a peer that fails ends the benchmark."""
    begin = time.monotonic()
    process = subprocess.Popen(peer.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{peer.name} failed with {process.returncode}: {' '.join(peer.command[:6])}")
    return usage.ru_utime + usage.ru_stime, wall_s


if __name__ == "__main__":
    main()
