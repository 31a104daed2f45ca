"""Run programs in turn and print medians and ratios: what every benchmark here shares."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Peer:
    """A program, and the exit codes with which it may end."""

    name: str
    command: list[str]
    codes: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Figures:
    """What one run of a program took; `rss_mib` is the largest of its processes."""

    cpu_s: float
    wall_s: float
    rss_mib: float


def available(peer: Peer) -> bool:
    """A peer that is not here is left out of the table, and that is said."""
    if shutil.which(peer.command[0]) is None:
        print(f"left out: {peer.name} is not installed", file=sys.stderr)
        return False
    return True


def table(title: str, own: list[Peer], others: list[Peer], runs: int) -> None:
    """Run each peer `runs` times in turn, after one warm-up; a ratio is that of each of `own` over the other."""
    peers = [*own, *(peer for peer in others if available(peer))]
    taken: dict[str, list[Figures]] = {peer.name: [] for peer in peers}
    for run in range(runs + 1):
        for peer in peers:
            figures = measure(peer)
            if run:
                taken[peer.name].append(figures)
    heads = "".join(f"{f'{peer.name}: CPU':>28}{'wall':>7}" for peer in own)
    print(f"\n{title} ({runs} runs each, medians; ratios of)")
    print(f"{'':<26}{'CPU s':>8}{'wall s':>8}{'MiB':>7}{heads}")
    for peer in peers:
        found = taken[peer.name]
        cpu, wall, rss = (median(found, name) for name in ("cpu_s", "wall_s", "rss_mib"))
        ratios = "" if peer in own else "".join(_ratios(taken[one.name], found) for one in own)
        print(f"{peer.name:<26}{cpu:>8.3f}{wall:>8.3f}{rss:>7.0f}{ratios}")


def _ratios(own: list[Figures], other: list[Figures]) -> str:
    cpu = statistics.median(a.cpu_s / b.cpu_s for a, b in zip(own, other, strict=True))
    wall = statistics.median(a.wall_s / b.wall_s for a, b in zip(own, other, strict=True))
    return f"{cpu:>28.2f}{wall:>7.2f}"


def median(found: list[Figures], name: str) -> float:
    return statistics.median(getattr(figures, name) for figures in found)


def measure(peer: Peer) -> Figures:
    """One run; a peer that fails otherwise than it may ends the benchmark."""
    begin = time.monotonic()
    process = subprocess.Popen(peer.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in peer.codes:
        raise SystemExit(f"{peer.name} failed with {process.returncode}: {' '.join(peer.command[:6])}")
    return Figures(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss / 1024)
