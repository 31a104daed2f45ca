#!/usr/bin/env python3
"""What the runtime adds to starting a job's domains, against libvirt alone: differences and ratios from one run.

    python benchmarks/supervisor.py [--runs 5] [--vms 1 4 16]           as root

A job of OpenPBS begins as it does on a node: the hook, its supervisor, the confined child. From the hook's start to
the last domain's that is "ours". Then the domains are ended and started again from the same XML, by qemu-img and one
virsh, while all else of the job stays: that is "bare". The guests' kernel halts at once, so that no guest's boot is in
the figures; their image is a small one of its own, in the machine's store for as long as this runs.
Budget: the hook 2 s; 1 s of wall time more than bare for each VM, 3 s for 16; 100 MiB.
"""

import argparse
import os
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from begun import Begun, Job
from idle import script, stored, write_site
from measure import Figures, Peer, measure
from seeming_node import on_real_cpus

from tests.support.libvirtd import running_libvirtd
from vtorque_compilers.domain import compile_domain
from vtorque_spec.canonical import from_json
from vtorque_spec.plan import Guest, NodePlan

BUDGET_S, BUDGET_16_S, BUDGET_MIB = 1, 3, 100


@dataclass(frozen=True)
class Run:
    """One job, begun by us and then by virsh."""

    ours: Begun
    bare: Figures
    body_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each number of VMs")
    parser.add_argument("--vms", type=int, nargs="+", default=[1, 4, 16], help="numbers of VMs of the job")
    parser.add_argument("--hypervisor", default="emulation", help="the site's word: any and kvm look whether KVM works")
    options = parser.parse_args()
    if os.geteuid():
        raise SystemExit("benchmarks/supervisor.py starts domains on qemu:///system: run it as root")
    with running_libvirtd(), tempfile.TemporaryDirectory(prefix="vtorque-bench-") as name, stored() as image:
        site = Path(name) / "site"
        write_site(site, image, options.hypervisor, "{kind: isolated}")
        print(f"\na job's domains ({options.runs} runs each, medians; CPU without libvirt's daemon and QEMU)")
        print(f"{'VMs':>4}{'hook s':>8}{'ours s':>8}{'CPU s':>7}{'bare s':>8}{'CPU s':>7}{'ours/bare':>10}")
        for vms in options.vms:
            told(vms, [one(site, vms, run) for run in range(options.runs + 1)][1:])


def one(site: Path, vms: int, run: int) -> Run:
    """Begin a job of so many VMs, start its domains again, and undo it."""
    job = Job(900_000 + run, script(site, 1, vms), site, vms)
    try:
        ours = job.begin()
        body_mib = job.body_mib()
        os.kill(ours.supervisor, signal.SIGSTOP)  # it would see that its guests are gone
        try:
            return Run(ours, bare(job), body_mib)
        finally:
            os.kill(ours.supervisor, signal.SIGCONT)
    finally:
        job.hook("epilogue")
        if job.spool.path.exists():
            raise SystemExit(f"{job.spool.path} is left: see what is wrong with: vtorque-runtime reap")
        job.forget()


def bare(job: Job) -> Figures:
    """End the job's domains; then return what it takes to make their overlays and start them, and nothing else."""
    plan = from_json(NodePlan, job.spool.plan.read_bytes())
    steps = []
    for guest in plan.guests:
        virsh(f"destroy {guest.machine.uuid}")
        overlay = guest.machine.disks[0]
        Path(overlay.file).unlink()
        backing = f"-b {overlay.backing} -F {overlay.backing_format}"
        steps.append(f"qemu-img create -q -f qcow2 {backing} {overlay.file} {guest.root_disk_bytes}")
    files = [written(job, guest) for guest in plan.guests]
    creates = "; ".join(f"create {file}" for file in files)
    steps.append(f"virsh -q -c qemu:///system '{creates}'")
    return measure(Peer("bare", ["sh", "-e", "-c", "\n".join(steps)]))


def written(job: Job, guest: Guest) -> Path:
    file = job.site.parent / f"{guest.index}.xml"
    file.write_text(on_real_cpus(compile_domain(guest).text, job.vms))
    return file


def virsh(command: str) -> None:
    subprocess.run(["virsh", "-q", "-c", "qemu:///system", command], check=True, stdout=subprocess.DEVNULL)


def told(vms: int, runs: list[Run]) -> None:
    """Print a line for the number of VMs, and what is behind it; what misses the budget is told."""

    def median(of: Callable[[Run], float]) -> float:
        return statistics.median(map(of, runs))

    wall, cpu = (median(lambda run: run.ours.wall_s), median(lambda run: run.ours.cpu_s))
    bare_wall, bare_cpu = (median(lambda run: run.bare.wall_s), median(lambda run: run.bare.cpu_s))
    ratio = median(lambda run: run.ours.wall_s / run.bare.wall_s)
    hook = median(lambda run: run.ours.hook.wall_s)
    print(f"{vms:>4}{hook:>8.2f}{wall:>8.2f}{cpu:>7.2f}{bare_wall:>8.2f}{bare_cpu:>7.2f}{ratio:>10.2f}")
    own, most = median(lambda run: run.ours.wall_s - run.bare.wall_s), median(lambda run: run.ours.most_mib)
    limit = min(BUDGET_S * vms, BUDGET_16_S)
    print(f"     own share {own:.2f} s, {own / vms:.2f} s a VM (budget {limit} s){'' if own < limit else ': MISSED'}")
    body = median(lambda run: run.body_mib)
    missed = "" if max(most, body) < BUDGET_MIB else ": MISSED"
    print(f"     supervisor and its children {most:.0f} MiB at most, body {body:.0f} MiB{missed}")
    seen = ", ".join(f"{phase} {at_s:.2f}" for phase, at_s in runs[-1].ours.phases)
    print(f"     phases of the last run began at, in seconds: {seen}")


if __name__ == "__main__":
    main()
