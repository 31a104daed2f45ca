"""`vtorque-runtime` on a node that seems to have as many cores as wanted: a small machine can tell what 16 VMs cost.

    python benchmarks/seeming_node.py CORES ARGUMENT...

No two VMs share a core, so a machine with two would refuse sixteen. The guests run on the CPUs that there are, and
nobody looks whether their threads are where the plan says. Where there are enough cores, it is the runtime itself.
"""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from vtorque_runtime.__main__ import main
from vtorque_runtime.cpulist import list_text

CPUS = tuple(sorted(os.sched_getaffinity(0)))


def on_real_cpus(xml: str, cores: int) -> str:
    """Return a domain's XML with the CPUs that there are, where there are fewer than `cores`."""
    return re.sub(r'cpuset="[^"]*"', f'cpuset="{list_text(CPUS)}"', xml) if cores > len(CPUS) else xml


def pretend(cores: int) -> None:
    """Let this process take the node for one of so many cores, in one cell with the memory of all."""
    from vtorque_runtime import host, iocm, partition, prologue
    from vtorque_runtime.recheck import domain_xml
    from vtorque_spec.plan import Cell

    facts, make, cells = host.facts, partition.make, host.read_cells()
    memory = sum(cell.memory_bytes for cell in cells)
    cell = Cell(cells[0].id, tuple((cpu,) for cpu in range(cores)), memory, (), ())

    def seeming_facts(*arguments: Any, **options: Any) -> host.HostFacts:
        return replace(facts(*arguments, **options), cells=(cell,), cpus=tuple(range(cores)))

    def make_capped(plan: Any, *others: Any) -> None:
        make(replace(plan, claim=replace(plan.claim, cpus=CPUS)), *others)

    instead(host, "facts", seeming_facts)
    instead(host, "read_cells", lambda *_: (cell,))
    instead(prologue, "domain_xml", lambda bundle, guest: on_real_cpus(domain_xml(bundle, guest), cores))
    instead(partition, "make", make_capped)
    instead(iocm, "begin", lambda *_: None)


def supervisor_like_this(cores: str) -> None:
    """Let a prologue start its supervisor by this program too."""
    from vtorque_runtime import begin

    def started(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        at = command.index("vtorque_runtime")  # PYTHON -I -m vtorque_runtime ARGUMENT...
        return subprocess.Popen(
            [*command[: at - 2], str(Path(__file__).resolve()), cores, *command[at + 1 :]], **options
        )

    instead(begin, "subprocess", SimpleNamespace(Popen=started, DEVNULL=subprocess.DEVNULL))


def instead(module: ModuleType, name: str, value: object) -> None:
    setattr(module, name, value)


if __name__ == "__main__":
    if int(sys.argv[1]) > len(CPUS):
        pretend(int(sys.argv[1]))
        supervisor_like_this(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
