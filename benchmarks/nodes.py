#!/usr/bin/env python3
"""What a job costs one of its nodes, by how many nodes it has: is that the same for a thousand as for one?

    python benchmarks/nodes.py [--runs 5] [--nodes 1 10 100 1000] [--vms 1]

The nodes are simulated: a job's record as a batch system tells it, and a site with a bridge whose table has that many
nodes. From there on it is the runtime's own way on one of them, the last: addresses and keys, the confined child, the
recheck, the seeds. libvirt, the host's own CPUs and its bridge are not asked. "children" are the confined processes
from their start, with all that they load; "root" the supervisor's part. Both are CPU time. "asked" and "answer" are the
longest lines to and from a child; the limit of an answer is told at the end.
"""

import argparse
import resource
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from begun import USER
from idle import put, script, write_site

from vtorque_runtime import handover, host, identity, ledger, network
from vtorque_runtime.batch import job_key
from vtorque_runtime.batch.contract import BatchJob, Share
from vtorque_runtime.confined import LIMITS
from vtorque_runtime.identity import Reserved, batch_draft, reserve
from vtorque_runtime.keys import read_cluster_keys
from vtorque_runtime.planner import Planner, compiled, offered
from vtorque_runtime.prologue import seed_image
from vtorque_runtime.recheck import seed_files
from vtorque_runtime.spool import Start, open_registry
from vtorque_spec.canonical import canonical_json, from_json
from vtorque_spec.carrier import machine_part_in_script
from vtorque_spec.plan import Cell, NodeBundle, NodeContext, NodePlan
from vtorque_spec.plan.answer import FilesQuestion, Question

CPUS = range(16)
CELL = Cell(0, tuple((cpu,) for cpu in CPUS), 32 * 1024**3, (), ())
FACTS = host.HostFacts((CELL,), (), tuple(CPUS), CELL.memory_bytes, "qemu", None)
HERE = {"_facts": (identity, FACTS), "read_cells": (host, (CELL,)), "host_address": (network, "10.20.0.1")}
"""What is not asked: the function, its module, and the answer."""
NETWORK = """{{kind: bridge, bridge: bench0, subnet: 10.20.0.0/16,
    addresses: {{first: 10.20.0.16, slots: 16, nodes: "n[1-{nodes}]"}}}}"""


@dataclass(frozen=True)
class Cost:
    """Of one node. `told_kib` and `answer_kib` are the longest lines to and from a child, `seed_kib` a guest's seed."""

    root_s: float
    child_s: float
    wall_s: float
    told_kib: float
    answer_kib: float
    seed_kib: float
    handover_kib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each number of nodes")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10, 100, 1000], help="numbers of nodes of the job")
    parser.add_argument("--vms", type=int, default=1, help="VMs on each node")
    options = parser.parse_args()
    found: dict[int, list[Cost]] = {nodes: [] for nodes in options.nodes}
    with tempfile.TemporaryDirectory(prefix="vtorque-bench-") as name, ExitStack() as stack:
        for function, (module, answer) in HERE.items():
            stack.enter_context(mock.patch.object(module, function, return_value=answer))
        jobs = {nodes: Simulated(Path(name) / str(nodes), nodes, options.vms) for nodes in options.nodes}
        for run in range(options.runs + 1):
            for nodes, job in jobs.items():
                cost = job.cost()
                if run:
                    found[nodes].append(cost)
    first = found[options.nodes[0]]
    print(f"\none node of a job, {options.vms} VMs a node ({options.runs} runs each, medians; ratios over the first)")
    print("nodes  root CPU ms  children CPU ms  wall ms  CPU ratio  asked KiB  answer KiB  seed KiB  handover KiB")
    for nodes, costs in found.items():
        ratio = statistics.median(
            (a.root_s + a.child_s) / (b.root_s + b.child_s) for a, b in zip(costs, first, strict=True)
        )
        root, child, wall = (1000 * median(costs, name) for name in ("root_s", "child_s", "wall_s"))
        told, answer = median(costs, "told_kib"), median(costs, "answer_kib")
        seed, hand = median(costs, "seed_kib"), median(costs, "handover_kib")
        print(f"{nodes:>5}{root:>13.0f}{child:>17.0f}{wall:>9.0f}{ratio:>11.2f}", end="")
        print(f"{told:>11.1f}{answer:>12.1f}{seed:>10.1f}{hand:>14.1f}")
    print(f"an answer has at most {LIMITS.result_bytes // 1024} KiB, and a child {LIMITS.time_s} s for it")


def median(costs: list[Cost], name: str) -> float:
    figures: list[float] = [getattr(cost, name) for cost in costs]
    return statistics.median(figures)


class Simulated:
    """A job with so many nodes, at a site of its own."""

    def __init__(self, directory: Path, nodes: int, vms: int) -> None:
        directory.mkdir()
        self.site, self.images = directory / "site", directory / "images"
        write_site(self.site, put(self.images), "emulation", NETWORK.format(nodes=nodes))
        self.registry = open_registry("system", directory / "base")
        spec = machine_part_in_script(script(self.site, nodes, vms)) or ""
        shares = tuple(Share(f"n{number}", len(CPUS), 0, None, None) for number in range(1, nodes + 1))
        job = BatchJob("openpbs", "", "1.bench", "1", USER, None, True, f"n{nodes}", shares, 3600, None, spec)
        self.record = canonical_json(job).encode()

    def cost(self) -> Cost:
        """Plan the job once on its last node."""
        began, own_s, others_s = time.monotonic(), time.process_time(), waited_for_s()
        job = from_json(BatchJob, self.record)
        start = Start(job.system, job.job_id, job.start, job.node)
        spool, held = self.registry.register(job_key(job.job_id, job.node), 0, 0, start)

        def question(node: NodeContext) -> Question:
            return Question(job.spec, USER, (), job.queue, node)

        with Planner(job.node, self.site) as planner:
            keys = read_cluster_keys(self.site / "cluster.key")
            draft = batch_draft(job, held, self.registry, planner.site, keys, self.images)
            needs = planner.needs(question(draft.context))
            reserved = reserve(draft, needs.vms, offered(planner.site, needs.network))
            plan = ledger.settle(reserved, lambda node: planner.plan(question(node)))
        bundle = NodeBundle(plan, compiled(plan.guests, reserved.context.vms))
        seeds = [seed_image(seed_files(bundle, guest)) for guest in plan.guests]
        told = canonical_json(handover.of_plan(plan, reserved.context.vms, job.job_id, 0))
        spent = time.process_time() - own_s, waited_for_s() - others_s, time.monotonic() - began
        asked = max(len(canonical_json(one)) for one in (question(reserved.context), files_asked(reserved, plan)))
        answer = max(len(canonical_json(one)) for one in (plan, bundle.files))
        self.registry.remove(spool)
        return Cost(*spent, asked / 1024, answer / 1024, len(seeds[0]) / 1024, len(told) / 1024)


def files_asked(reserved: Reserved, plan: NodePlan) -> FilesQuestion:
    return FilesQuestion(plan.guests, reserved.context.vms)


def waited_for_s() -> float:
    """Return the CPU time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
