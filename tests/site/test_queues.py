"""Which node classes a queue reaches, and what a site may say of queues, slots, properties and I/O cores."""

from pathlib import Path

import pytest

from tests.site.helpers import found, site
from vtorque_spec.diagnostics import Report
from vtorque_spec.site import Site, load_site

CLASS = "  thin: {cpus: 8, memory: 16GiB}\n"
CLASSES = "".join(f"  {name}: {{cpus: 8, memory: 16GiB}}\n" for name in ("thin", "fat", "gpu"))
QUEUES = "queues:\n  large: {node_classes: [gpu, fat]}\n  batch: {node_classes: [thin]%s}\n"


def loaded(root: Path) -> Site:
    report = Report()
    facts = load_site(root, report)
    assert facts, report.items
    return facts


def codes(root: Path) -> list[str]:
    report = Report()
    load_site(root, report)
    return [item.id for item in report.sorted()]


def test_without_queues_all_classes_are_reachable(tmp_path: Path) -> None:
    facts = loaded(site(tmp_path, old=CLASS, new=CLASSES))
    assert (facts.queues, facts.iocm) == ({}, None)
    assert facts.reachable(None) == facts.reachable("any") == ("thin", "fat", "gpu")


@pytest.mark.parametrize(
    ("default", "queue", "classes"),
    [
        (True, "large", ("fat", "gpu")),  # in the order of node_classes, not in that of the queue
        (True, "batch", ("thin",)),
        (True, None, ("thin",)),
        (False, None, ("thin", "fat", "gpu")),
        (True, "lagre", ()),
    ],
)
def test_a_queue_reaches_its_classes(
    default: bool, queue: str | None, classes: tuple[str, ...], tmp_path: Path
) -> None:
    queues = QUEUES % (", default: true" if default else "")
    assert loaded(site(tmp_path, old=CLASS, new=CLASSES + queues)).reachable(queue) == classes


@pytest.mark.parametrize(
    ("batch", "said", "fine"),
    [
        ("torque", "fat-1.a_b", True),
        ("torque", "_fat", False),
        ("torque", "ppn=4", False),
        ("torque", "fat:ppn", False),
        ("torque", "a+b", False),
        ("openpbs", "fat", True),
        ("openpbs", "class=fat", True),
        ("openpbs", "class=fat:ncpus=1", False),
        ("openpbs", "class=", False),
        ("openpbs", "class==fat", False),
        ("slurm", "_fat", True),
        ("slurm", "fat/thin", False),
        ("slurm", "class=fat", False),
    ],
)
def test_what_a_batch_system_can_be_asked_for(batch: str, said: str, fine: bool, tmp_path: Path) -> None:
    root = site(tmp_path, old=CLASS, new=f'  thin: {{cpus: 8, memory: 16GiB, property: "{said}"}}\n')
    (root / "site.yaml").write_text((root / "site.yaml").read_text().replace("batch: torque", f"batch: {batch}"))
    assert codes(root) == ([] if fine else ["VT0767"])


MIXED = "host_reserve: {cores: %d}, cells: [{id: 0, cpus: 0-12, siblings: '2-6:2+3-7:2', memory: 16GiB}]"
"""Widths 1 1 2 2 2 1 1 1 1 1, in the order of first CPUs."""


@pytest.mark.parametrize(
    ("cpus", "facts", "fine"),
    [
        (30, "topology: {sockets: 1, cores: 16, threads: 2}, host_reserve: {cores: 1}", True),
        (29, "topology: {sockets: 1, cores: 16, threads: 2}, host_reserve: {cores: 1}", False),
        (29, "topology: {sockets: 1, cores: 16, threads: 2}, slot: thread", True),
        (7, "", True),  # cores are not told
        (5, MIXED % 1, True),
        (6, MIXED % 1, False),
        (6, MIXED % 2, True),
        (11, MIXED % 2, True),
    ],
)
def test_where_a_slot_is_a_core_jobs_are_given_whole_ones(cpus: int, facts: str, fine: bool, tmp_path: Path) -> None:
    slot = "" if "slot" in facts else "slot: core, "
    root = site(tmp_path, old=CLASS, new=f"  thin: {{cpus: {cpus}, memory: 1GiB, {slot}{facts}}}\n")
    assert codes(root) == ([] if fine else ["VT0766"])
    assert found(root) == []


@pytest.mark.parametrize(("nics", "codes_"), [("eth0", []), ("mlx5_0", []), ("nvme0", ["VT0765"])])
def test_adapters_are_among_the_devices(nics: str, codes_: list[str], tmp_path: Path) -> None:
    devices = "[{name: eth0, kind: nic}, {name: nvme0, kind: nvme}]"
    classes = f"  thin: {{cpus: 8, memory: 16GiB, devices: {devices}}}\n"
    classes += "  fat: {cpus: 8, memory: 16GiB, devices: [{name: mlx5_0, kind: hca}]}\n"
    assert codes(site(tmp_path, old=CLASS, new=f"{classes}iocm: {{mode: libvirt, nics: [{nics}]}}\n")) == codes_


def test_adapters_of_a_site_that_tells_no_devices(tmp_path: Path) -> None:
    assert codes(site(tmp_path, new="iocm: {mode: libvirt, nics: [eth7]}\n")) == []


@pytest.mark.parametrize(
    ("facts", "fine"),
    [
        ("cpus: 32, memory: 16GiB", True),
        ("cpus: 31, memory: 16GiB, host_reserve: {cores: 2}", False),
        ("cpus: 5, memory: 16GiB", True),
        ("cpus: 4, memory: 16GiB", False),
        ("cpus: 4, memory: 16GiB, topology: {sockets: 1, cores: 5, threads: 2}", True),
        ("cpus: 8, memory: 16GiB, devices: [{name: a, kind: nic}, {name: b, kind: hca}, {name: g, kind: gpu}]", True),
        ("cpus: 8, memory: 16GiB, devices: [{name: a, kind: nic}, {name: b, kind: hca}, {name: c, kind: nic}]", False),
    ],
)
def test_what_the_manager_of_skvm_can_serve(facts: str, fine: bool, tmp_path: Path) -> None:
    root = site(tmp_path, old=CLASS, new=f"  thin: {{{facts}}}\niocm: {{mode: skvm}}\n")
    assert codes(root) == []
    assert [code for code, _ in found(root)] == ([] if fine else ["VT0768"])
    text = (root / "site.yaml").read_text()
    (root / "site.yaml").write_text(text.replace("{mode: skvm}", "{mode: skvm, nics: []}"))
    assert [code for code, _ in found(root)] == ([] if fine or "name: c" in facts else ["VT0768"])
