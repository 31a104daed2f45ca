"""Advice of numad(8), the NUMA daemon: which cells have the idle CPUs and the free memory that a job needs.

`numad -w CPUS:MIB` looks at the node for two seconds, prints a list of cells and ends; it asks the daemon where one
runs.
"""

import subprocess
from collections.abc import Iterable

from vtorque_runtime.cpulist import read_list
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Cell

LIMIT_S = 15
_PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_OTHER_MODE = "or leave `pinning: numad` out of the job"


def advised_cells(vcpus: int, memory_mib: int, cells: Iterable[Cell]) -> tuple[int, ...]:
    """Return the cells, ascending, that numad names for so many CPUs and so much memory.

    Raises Fault VT0917 when there is no advice, or none that `cells` could follow: some of them must have CPUs.
    """
    said = _ask(f"{vcpus}:{memory_mib}")
    known = {cell.id: bool(cell.cores) for cell in cells}
    try:
        named = read_list(said)
    except ValueError:
        raise _useless("it named no list of cells", said) from None
    if strange := [cell for cell in named if cell not in known]:
        raise _useless(f"it named the cell {strange[0]}, which this node does not have", said)
    if not any(known[cell] for cell in named):
        raise _useless("it named no cell with CPUs", said)
    return named


def _ask(demand: str) -> str:
    try:
        done = subprocess.run(
            ["numad", "-w", demand],
            env=_PATH,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError:
        help_ = f"apt install numad, {_OTHER_MODE}"
        raise Fault("VT0917", "the job wants numad's advice, and this host has no numad", help=help_) from None
    except subprocess.TimeoutExpired:
        raise _useless(f"it gave no answer within {LIMIT_S} s", "") from None
    if done.returncode:
        raise _useless(f"it failed with exit code {done.returncode}", done.stderr)
    return done.stdout


def _useless(why: str, said: str) -> Fault:
    help_ = f"see what this prints as root: numad -w 1:1; {_OTHER_MODE}"
    return Fault("VT0917", f"numad gave no advice that helps: {why}", help=help_, detail=said.strip()[:400] or None)
