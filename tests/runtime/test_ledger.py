"""What a job holds no other job gets: in either order, after a kill, and when several are after the same cores."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.runtime.fakes import GIB, FileHypervisor
from vtorque_runtime import host, identity, ledger
from vtorque_runtime.identity import Reserved
from vtorque_runtime.ledger import ConflictError, settle
from vtorque_runtime.reap import reap
from vtorque_runtime.spool import open_registry
from vtorque_runtime.steps import DomainUndo
from vtorque_spec.canonical import canonical_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, CellMemory, Claim, NodeContext, NodePlan, Pages

NOTHING = Claim((), (), ())


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is the one of `fakes.node_cells`."""
    monkeypatch.setattr(host, "read_cells", fakes.node_cells)


def job(directory: Path, number: int) -> Reserved:
    return identity.reserve(fakes.draft(directory, number=number), 1, fakes.ISOLATED)


def on_free_cores(context: NodeContext) -> NodePlan:
    """The lowest two cores of cell 0 that follow one another and nobody holds."""
    taken = set(context.taken.cpus)
    for first in range(1, 7):
        if taken.isdisjoint({first, first + 1}):
            return fakes.plan(context, first=first)
    raise Fault("VT0401", "no cores are free")


def on_cores_1_and_2(context: NodeContext) -> NodePlan:
    return fakes.plan(replace(context, taken=NOTHING))


# --- claims ---------------------------------------------------------------------------------------------------------


def test_jobs_get_cores_of_their_own_in_either_order(tmp_path: Path) -> None:
    first, second = job(tmp_path, 1), job(tmp_path, 2)
    one, other = settle(second, on_free_cores), settle(first, on_free_cores)
    assert one.claim.cpus == (1, 2, 17, 18)
    assert other.claim.cpus == (3, 4, 19, 20)
    assert ledger.taken(first.registry).cpus == (1, 2, 3, 4, 17, 18, 19, 20)
    second.registry.remove(second.spool)
    assert settle(job(tmp_path, 3), on_free_cores).claim.cpus == (1, 2, 17, 18)


def test_who_was_slower_plans_again(tmp_path: Path) -> None:
    fast, slow = job(tmp_path, 1), job(tmp_path, 2)
    seen: list[tuple[int, ...]] = []

    def plan(context: NodeContext) -> NodePlan:
        seen.append(context.taken.cpus)
        bundle = on_free_cores(context)
        if len(seen) == 1:
            settle(fast, on_free_cores)  # in between
        return bundle

    assert settle(slow, plan).claim.cpus == (3, 4, 19, 20)
    assert seen == [(), (1, 2, 17, 18)]
    assert slow.context.taken.cpus == (1, 2, 17, 18)


def test_it_gives_up_and_names_who_was_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that it has planned, another job has claimed the same."""
    holder, late = job(tmp_path, 1), job(tmp_path, 2)
    settle(holder, on_free_cores)
    monkeypatch.setattr(ledger, "observed", lambda context, _registry: replace(context, taken=NOTHING))
    planned: list[int] = []
    with pytest.raises(Fault, match="VT0916") as caught:
        settle(late, lambda context: planned.append(1) or on_cores_1_and_2(context))  # type: ignore[func-returns-value]
    assert len(planned) == ledger.ATTEMPTS
    assert caught.value.detail == "job local-00000001 holds the CPUs 1-2,17-18"
    assert "vtorque-runtime reap" in (caught.value.help or "")
    assert not late.spool.claim.exists()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Claim((3, 19), (), ()), None),
        (Claim((2,), (), ()), "holds the CPUs 2,18"),
        (Claim((18,), (), ()), "holds the CPUs 2,18"),
        (Claim((), (), ("gpu0",)), "holds the device gpu0"),
        (Claim((), (), ("gpu1",)), None),
        (Claim((), (CellMemory(0, 1, 5 * GIB),), ()), None),
        (Claim((), (CellMemory(0, 1, 5 * GIB + 1),), ()), "5120 MiB in cell 0 are left"),
        (Claim((), (CellMemory(0, 1, 3 * GIB), CellMemory(0, 1, 3 * GIB)), ()), "5120 MiB in cell 0 are left"),
        (Claim((), (CellMemory(1, 1, 8 * GIB),), ()), None),
        (Claim((), (CellMemory(2, 1, 1),), ()), "^0 MiB in cell 2 are left"),
        (Claim((), (CellMemory(0, 2 * MIB, 502),), ()), None),
        (Claim((), (CellMemory(0, 2 * MIB, 503),), ()), "502 pages of 2 MiB in cell 0 are left"),
        (Claim((), (CellMemory(1, GIB, 2),), ()), None),
        (Claim((), (CellMemory(1, GIB, 3),), ()), "2 pages of 1024 MiB in cell 1 are left"),
    ],
)
def test_what_overlaps_is_refused(tmp_path: Path, wanted: Claim, words: str | None) -> None:
    holder, other = job(tmp_path, 1), job(tmp_path, 2)
    memory = (CellMemory(0, 1, 3 * GIB), CellMemory(0, 2 * MIB, 10))
    cells = fakes.node_cells()
    ledger.claim(holder.registry, holder.spool, Claim((2, 18), memory, ("gpu0",)), cells)
    if words is None:
        ledger.claim(other.registry, other.spool, wanted, cells)
        assert other.spool.claim.stat().st_mode & 0o777 == 0o600
    else:
        with pytest.raises(ConflictError, match=words):
            ledger.claim(other.registry, other.spool, wanted, cells)
        assert not other.spool.claim.exists()


def test_a_thread_of_anothers_core_is_not_free(tmp_path: Path) -> None:
    """Also where the batch system gives out threads."""
    holder, other = job(tmp_path, 1), job(tmp_path, 2)
    ledger.claim(holder.registry, holder.spool, Claim((3, 20), (), ()), fakes.node_cells())
    assert ledger.observed(other.context, other.registry).taken.cpus == (3, 4, 19, 20)
    with pytest.raises(ConflictError):
        ledger.claim(other.registry, other.spool, Claim((4,), (), ()), fakes.node_cells())


def test_what_was_undone_meanwhile_claims_nothing(tmp_path: Path) -> None:
    late = job(tmp_path, 1)
    late.registry.remove(late.spool)
    with pytest.raises(Fault, match=r"VT0914.*undone"):
        settle(late, on_free_cores)


def test_a_plan_that_is_a_lie_is_not_claimed(tmp_path: Path) -> None:
    late = job(tmp_path, 1)
    with pytest.raises(Fault, match="VT0912"):
        settle(late, lambda context: fakes.with_machine(fakes.plan(context), vcpus=3))
    assert not late.spool.claim.exists()


def test_a_claim_that_cannot_be_read_is_that_of_the_plan(tmp_path: Path) -> None:
    """One damaged file does not stop the node's other jobs."""
    holder = job(tmp_path, 1)
    held = fakes.plan(holder.context)
    holder.spool.claim.write_text('{"version":1}')
    assert ledger.taken(holder.registry) == NOTHING
    holder.spool.plan.write_text(canonical_json(held))
    assert ledger.taken(holder.registry) == held.claim


# --- huge pages -----------------------------------------------------------------------------------------------------


def numa_maps(root: Path, pid: int, uuid: str, *lines: str) -> None:
    process = root / f"proc/{pid}"
    process.mkdir(parents=True)
    (process / "cmdline").write_text(f"qemu\0-name\0x\0-uuid\0{uuid}\0")
    (process / "stat").write_text(f"{pid} (qemu) S 1{' 0' * 17} {pid}{' 0' * 20}\n")
    (process / "numa_maps").write_text("".join(f"{line}\n" for line in lines))


def holding_pages(directory: Path, number: int, uuid: str) -> Reserved:
    found = job(directory, number)
    found.spool.journal.step(DomainUndo("domain", "files:/", uuid), lambda: None)
    memory = (CellMemory(0, 2 * MIB, 8), CellMemory(1, GIB, 1))
    ledger.claim(found.registry, found.spool, Claim((), memory, ()), fakes.node_cells())
    return found


def test_pages_of_our_own_guests_are_found(tmp_path: Path) -> None:
    holder = holding_pages(tmp_path, 1, "u-1")
    numa_maps(
        tmp_path,
        41,
        "u-1",
        "7f0000000000 bind:0 file=/memfd:ram\\040(deleted) huge dirty=5 N0=4 N1=1 kernelpagesize_kB=2048",
        "7f1000000000 bind:1 file=/memfd:ram\\040(deleted) huge dirty=1 N1=1 kernelpagesize_kB=1048576",
        "7f2000000000 default heap anon=9 dirty=9 N0=9 kernelpagesize_kB=4",
    )
    numa_maps(tmp_path, 42, "u-of-another", "7f0 default huge dirty=100 N0=100 kernelpagesize_kB=2048")
    claims = {holder.spool.path.name: ledger.taken(holder.registry)}
    used = ledger.pages_in_use(holder.registry, claims, tmp_path)
    assert used == {(0, 2 * MIB): 4, (1, 2 * MIB): 1, (1, GIB): 1}
    assert ledger.pages_in_use(holder.registry, {}, tmp_path) == {}


@pytest.mark.parametrize("in_use", [0, 3, 8])
def test_a_page_is_counted_once_whether_its_guest_runs_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_use: int
) -> None:
    """Of 20 pages of cell 0 somebody who is no job has 2, and a job of ours has claimed 8: 10 are left."""
    holder, other = holding_pages(tmp_path, 1, "u-1"), job(tmp_path, 2)
    first, second = fakes.node_cells()
    first = replace(first, hugepages=(Pages(2 * MIB, 20 - 2 - in_use),))
    monkeypatch.setattr(host, "read_cells", lambda: (first, second))
    monkeypatch.setattr(ledger, "pages_in_use", lambda *_: {(0, 2 * MIB): in_use})
    found = ledger.observed(other.context, other.registry)
    left = {size.size_bytes: size.count for size in found.cells[0].hugepages}[2 * MIB]
    assert left - {(own.cell, own.page_bytes): own.pages for own in found.taken.memory}[0, 2 * MIB] == 10
    ledger.claim(other.registry, other.spool, Claim((), (CellMemory(0, 2 * MIB, 10),), ()), found.cells)
    third = job(tmp_path, 3)
    with pytest.raises(ConflictError):
        ledger.claim(third.registry, third.spool, Claim((), (CellMemory(0, 2 * MIB, 1),), ()), found.cells)
    assert holder.spool.claim.exists()


# --- real processes -------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from tests.runtime import fakes
from tests.runtime.test_ledger import job, on_free_cores
from vtorque_runtime import host, ledger
from vtorque_runtime.steps import DomainUndo

host.read_cells = fakes.node_cells
held = job(Path(sys.argv[1]), 7)
bundle = ledger.settle(held, on_free_cores)
uri = f"files:{sys.argv[1]}"
hypervisor = fakes.FileHypervisor(uri)
held.spool.journal.step(DomainUndo("domain", uri, "u"), lambda: hypervisor.create_domain("<uuid>u</uuid>"))
print("held", flush=True)
time.sleep(100)
"""

RACER = """
import os, sys, time
from pathlib import Path
from tests.runtime import fakes
from tests.runtime.test_ledger import job, on_free_cores
from vtorque_runtime import host, ledger

host.read_cells = fakes.node_cells
directory, start, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
planned = 0

def plan(context):
    global planned
    planned += 1
    time.sleep(0.005)  # a plan takes its time
    return on_free_cores(context)

print("ready", flush=True)
sys.stdin.readline()
for number in range(start, start + rounds):
    held = job(directory, number)
    claim = ledger.settle(held, plan).claim
    for cpu in claim.cpus:  # fails when somebody else has it
        os.close(os.open(directory / f"cpu{cpu}", os.O_CREAT | os.O_EXCL))
    for cpu in claim.cpus:
        os.unlink(directory / f"cpu{cpu}")
    held.registry.remove(held.spool)
print(planned)
"""


def started(program: str, *words: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_dead_job_keeps_its_cores_until_it_is_reaped(tmp_path: Path) -> None:
    """Its guests may still run."""
    with started(HOLDER, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    registry = open_registry("system", tmp_path / "base")
    assert FileHypervisor(f"files:{tmp_path}").domain_uuids() == {"u"}
    late = job(tmp_path, 8)
    assert settle(late, on_free_cores).claim.cpus == (3, 4, 19, 20)
    (dead, living) = ledger.held(registry)
    assert dead.startswith(
        "job local-00000007 holds the CPUs 1-2,17-18, 1280 MiB in cell 0, 1153 MiB of the spool's disk; it is dead: "
    )
    assert living.startswith("job local-00000008 holds the CPUs 3-4,19-20, 1280 MiB in cell 0, 1153 MiB of ")
    assert reap(registry, FileHypervisor)[1] == []
    assert settle(job(tmp_path, 9), on_free_cores).claim.cpus == (1, 2, 17, 18)


def test_what_could_not_be_undone_is_still_held(tmp_path: Path) -> None:
    dead = job(tmp_path, 1)
    settle(dead, on_free_cores)
    dead.spool.journal.step(DomainUndo("domain", "files:/", "u"), lambda: None)
    dead.spool.registration.write_text(canonical_json(replace(dead.registration, boot_id="the one before")))
    assert len(reap(dead.registry, fakes.no_hypervisor)[1]) == 1
    assert ledger.taken(dead.registry).cpus == (1, 2, 17, 18)


def test_processes_that_race_never_share_a_core(tmp_path: Path) -> None:
    fakes.image_store(tmp_path / "images")
    open_registry("system", tmp_path / "base")
    rounds = 60
    racers = [started(RACER, tmp_path, start, rounds) for start in (1000, 2000, 3000)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    done = [racer.communicate(timeout=300) for racer in racers]
    assert [error for _, error in done] == ["", "", ""]
    assert sum(int(out) for out, _ in done) >= 3 * rounds  # more where one was faster than another
    assert ledger.taken(open_registry("system", tmp_path / "base")) == NOTHING


def test_the_claims_directory_is_removed_with_the_job(tmp_path: Path) -> None:
    holder = job(tmp_path, 1)
    settle(holder, on_free_cores)
    assert holder.spool.claim.exists()
    from vtorque_runtime import epilogue

    epilogue.apply(holder.registry, holder.spool, FileHypervisor)
    assert not holder.spool.path.exists()
    assert ledger.held(holder.registry) == []
