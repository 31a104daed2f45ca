"""Run programs in turn and print medians and ratios: what every benchmark here shares."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Peer:
    """A program, and the exit codes with which it may end. Without an `environment` it has the caller's."""

    name: str
    command: list[str]
    codes: tuple[int, ...] = (0,)
    environment: Mapping[str, str] | None = None
    stdin: Path = Path(os.devnull)


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
    taken = in_turn(peers, runs)
    heads = "".join(f"{f'{peer.name}: CPU':>28}{'wall':>7}" for peer in own)
    print(f"\n{title} ({runs} runs each, medians; ratios of)")
    print(f"{'':<26}{'CPU s':>8}{'wall s':>8}{'MiB':>7}{heads}")
    for peer in peers:
        found = taken[peer.name]
        cpu, wall, rss = (median(found, name) for name in ("cpu_s", "wall_s", "rss_mib"))
        ratios = "" if peer in own else "".join(_ratios(taken[one.name], found) for one in own)
        print(f"{peer.name:<26}{cpu:>8.3f}{wall:>8.3f}{rss:>7.0f}{ratios}")


def table_over(title: str, least: Peer, own: list[Peer], runs: int, budget_ms: float) -> None:
    """The same in ms, for many of ours over one other; what is above the budget of wall time, by its median, is told.

    The fastest of all runs stands beside the median: the more the two differ, the busier the machine was.
    """
    taken = in_turn([least, *own], runs)
    print(f"\n{title} ({runs} runs each, medians; ratios over {least.name})")
    print(f"{'':<44}{'CPU ms':>8}{'wall ms':>9}{'fastest':>9}{'CPU':>8}{'wall':>7}")
    for peer in (least, *own):
        found = taken[peer.name]
        cpu, wall = (1000 * median(found, name) for name in ("cpu_s", "wall_s"))
        fastest = 1000 * min(figures.wall_s for figures in found)
        ratios = "" if peer is least else _ratios(found, taken[least.name], (8, 7))
        told = f"  above {budget_ms:g} ms" if wall > budget_ms else ""
        print(f"{peer.name:<44}{cpu:>8.1f}{wall:>9.1f}{fastest:>9.1f}{ratios}{told}")


def in_turn(peers: list[Peer], runs: int) -> dict[str, list[Figures]]:
    """Run each peer `runs` times in turn, after one warm-up; return what each took, by name."""
    taken: dict[str, list[Figures]] = {peer.name: [] for peer in peers}
    for run in range(runs + 1):
        for peer in peers:
            figures = measure(peer)
            if run:
                taken[peer.name].append(figures)
    return taken


def _ratios(own: list[Figures], other: list[Figures], widths: tuple[int, int] = (28, 7)) -> str:
    cpu = statistics.median(a.cpu_s / b.cpu_s for a, b in zip(own, other, strict=True))
    wall = statistics.median(a.wall_s / b.wall_s for a, b in zip(own, other, strict=True))
    return f"{cpu:>{widths[0]}.2f}{wall:>{widths[1]}.2f}"


def median(found: list[Figures], name: str) -> float:
    figures: list[float] = [getattr(one, name) for one in found]
    return statistics.median(figures)


def measure(peer: Peer) -> Figures:
    """One run; a peer that fails otherwise than it may ends the benchmark."""
    begin = time.monotonic()
    with peer.stdin.open("rb") as stdin:
        process = subprocess.Popen(
            peer.command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=peer.environment
        )
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in peer.codes:
        raise SystemExit(f"{peer.name} failed with {process.returncode}: {' '.join(peer.command[:6])}")
    return Figures(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss / 1024)
