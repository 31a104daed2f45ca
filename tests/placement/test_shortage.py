"""What a user reads of a job that does not fit: the sum, what the node has, and values that fit indeed."""

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings

from tests.placement.machines import DUAL, GIB, MIB, classes, job, jobs, node_of
from vtorque_spec.placement.fit import shortages
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.plan import DeviceRequest, Iocm, JobPlan, Pinning
from vtorque_spec.units import parse_size

NAME = "a node of class `thin`"
THREADS = {**DUAL, "vcpu": "thread"}
FLAT = {"cpus": 4, "memory": "8GiB"}
PAGES: dict[str, Any] = {
    "cpus": 16,
    "memory": "32GiB",
    "cells": [{"id": 0, "cpus": "0-15", "memory": "32GiB", "hugepages": {"2MiB": 15872}}],
}
WIDTHS: dict[str, Any] = {
    "cpus": 6,
    "memory": "8GiB",
    "vcpu": "thread",
    "cells": [{"id": 0, "cpus": "0-5", "siblings": ["0+1+2", "3+4"], "memory": "8GiB"}],
}
"""Three cores, of three threads, two and one."""


def told(asked: JobPlan, said: dict[str, Any]) -> list[str]:
    return [f"{one.code.id} {one.message} | {one.help}" for one in shortages(asked, node_of(said))]


@pytest.mark.parametrize(
    ("asked", "said", "expected"),
    [
        (
            job(vcpus=7, vms_per_node=2, io=(2, 4)), DUAL,
            f"VT0401 7 vCPUs x 2 + 4 I/O + 1 host = 19 cores; {NAME} has 16 | it fits with "
            "`iocm: {min_cores: 1, max_cores: 1}`, or with `vms_per_node: 1`, or with `vcpus: 5`",
        ),
        (
            job(vcpus=15, io=(0, 1)), DUAL,
            f"VT0401 15 vCPUs + 1 I/O + 1 host = 17 cores; {NAME} has 16 | it fits with `iocm: false`, "
            "or with `vcpus: 14`",
        ),
        (
            job(vcpus=18, io=(0, 16)), DUAL,
            f"VT0401 18 vCPUs + 16 I/O + 1 host = 35 cores; {NAME} has 16 | it fits with `iocm: false` and `vcpus: 15`",
        ),
        (
            job(vcpus=16, vms_per_node=2, io=(0, 16)), DUAL,
            f"VT0401 16 vCPUs x 2 + 16 I/O + 1 host = 49 cores; {NAME} has 16 | it fits with `iocm: false` and "
            "`vcpus: 7`",
        ),
        (
            job(vcpus=8, vms_per_node=2, io=(0, 16)), DUAL,
            f"VT0401 8 vCPUs x 2 + 16 I/O + 1 host = 33 cores; {NAME} has 16 | it fits with `iocm: false` and either "
            "`vms_per_node: 1` or `vcpus: 7`",
        ),
        (
            job(vcpus=2, vms_per_node=5, io=(0, 15)), {**FLAT, "memory": "64GiB"},
            f"VT0401 2 vCPUs x 5 + 15 I/O = 25 cores; {NAME} has 4 | it fits with `iocm: false` and `vms_per_node: 2`",
        ),
        (
            job(vcpus=16, vms_per_node=2, io=(0, 1)), THREADS,
            f"VT0401 16 vCPUs x 2 = 32 threads; {NAME} has 28 beside 1 I/O + 1 host cores | it fits with "
            "`vms_per_node: 1`, or with `vcpus: 14`",
        ),
        (
            job(vcpus=31), THREADS,
            f"VT0401 31 vCPUs = 31 threads; {NAME} has 30 beside 1 host core | it fits with `vcpus: 30`",
        ),
        (
            job(io=(0, 16)), THREADS,
            f"VT0401 16 I/O + 1 host = 17 whole cores; {NAME} has 16 | it fits with `iocm: {{max_cores: 14}}`",
        ),
        (
            job(vcpus=6), {**DUAL, "cpus": 10},
            f"VT0401 the job takes 12 CPUs; {NAME} has 10 for jobs | it fits with `vcpus: 5`",
        ),
        (
            job(vcpus=6), {**DUAL, "cpus": 10, "slot": "core"},
            f"VT0401 the job takes 6 cores; {NAME} has 5 for jobs | it fits with `vcpus: 5`",
        ),
        (
            job(vms_per_node=16), THREADS,
            f"VT0406 1 vCPU takes 1 core x 16 + 1 host = 17 cores; {NAME} has 16 | it fits with `vms_per_node: 15`",
        ),
        (
            job(vcpus=3, vms_per_node=7, io=(0, 2)), THREADS,
            f"VT0406 3 vCPUs take 2 cores x 7 + 2 I/O + 1 host = 17 cores; {NAME} has 16 | it fits with "
            "`iocm: {max_cores: 1}`, or with `vms_per_node: 6`, or with `vcpus: 2`",
        ),
        (
            job(vcpus=2, vms_per_node=3), WIDTHS,
            f"VT0406 no two VMs share a core, so {NAME} has room for 2 of the 3 | it fits with `vms_per_node: 2`, "
            "or with `vcpus: 1`",
        ),
    ],
)  # fmt: skip
def test_cores_and_threads(asked: JobPlan, said: dict[str, Any], expected: str) -> None:
    assert told(asked, said) == [expected]


@pytest.mark.parametrize(
    ("asked", "said", "expected"),
    [
        (
            job("compact", vcpus=9), DUAL,
            f"VT0406 9 vCPUs take 9 cores of one cell; the largest of {NAME} has 8 | it fits with `vcpus: 8`, "
            "or with `pinning: auto`",
        ),
        (
            job("compact", vcpus=17), THREADS,
            f"VT0406 17 vCPUs take 17 threads of one cell; the largest of {NAME} has 16 | it fits with `vcpus: 16`, "
            "or with `pinning: auto`",
        ),
        (
            job("compact", memory_bytes=60 * GIB), DUAL,
            f"VT0406 60GiB + 256MiB for QEMU = 60.25GiB of one cell's memory; the largest of {NAME} has 51.69GiB | "
            "it fits with `memory: 51GiB`, or with `pinning: auto`",
        ),
        (
            job("compact", vcpus=5, vms_per_node=3), DUAL,
            f"VT0406 2 of the 3 VMs find a cell of {NAME} with room for all of it | it fits with `vms_per_node: 2`, "
            "or with `vcpus: 4`, or with `pinning: auto`",
        ),
        (
            job("compact", vcpus=8, memory_bytes=16 * GIB, hugepages="1GiB"), DUAL,
            f"VT0406 the VM finds no cell of {NAME} with room for all of it | it fits with `vcpus: 7`, "
            "or with `pinning: auto`",
        ),
    ],
)  # fmt: skip
def test_cells(asked: JobPlan, said: dict[str, Any], expected: str) -> None:
    assert told(asked, said) == [expected]


@pytest.mark.parametrize(
    ("asked", "said", "expected"),
    [
        (
            job(memory_bytes=17 * GIB, hugepages="any"), DUAL,
            f"VT0407 the memory takes 17 huge pages of 1GiB; {NAME} has 16 | it fits with `memory: 16GiB`",
        ),
        (
            job(memory_bytes=6 * GIB, vms_per_node=3, hugepages="1GiB"), DUAL,
            f"VT0407 the memory takes 6 x 3 = 18 huge pages of 1GiB; {NAME} has 16 | it fits with `vms_per_node: 2`, "
            "or with `memory: 5GiB`",
        ),
        (
            job(memory_bytes=GIB, hugepages="1GiB"), {**DUAL, "cells": [DUAL["cells"][1]], "cpus": 14},
            f"VT0407 the memory takes 1 huge page of 1GiB; {NAME} has 0 | it fits with `hugepages: 2MiB`",
        ),
        (
            job(memory_bytes=2 * MIB, hugepages="2MiB"), FLAT,
            f"VT0407 the memory takes 1 huge page of 2MiB; {NAME} has 0 | it fits with `hugepages: none`",
        ),
        (
            job(memory_bytes=110 * GIB), DUAL,
            f"VT0403 110GiB + 256MiB for QEMU = 110.25GiB of memory; {NAME} has 96GiB outside of huge pages (24GiB) | "
            "it fits with `memory: 95GiB`",
        ),
        (
            job(memory_bytes=2 * GIB, vms_per_node=4), FLAT,
            f"VT0403 (2GiB + 256MiB for QEMU) x 4 = 9GiB of memory; {NAME} has 8GiB | it fits with `vms_per_node: 3`, "
            "or with `memory: 1792MiB`",
        ),
        (
            job(memory_bytes=7 * GIB, shared_memory_bytes=GIB, base_memory_bytes=2 * GIB), FLAT,
            "VT0403 7GiB + 256MiB for QEMU + 1GiB of what the VMs share + 2GiB of the image in memory = 10.25GiB of "
            f"memory; {NAME} has 8GiB | it fits with `memory: 4864MiB`",
        ),
        (
            job(memory_bytes=7936 * MIB + 1), FLAT,
            f"VT0403 7.75GiB + 256MiB for QEMU = 8.01GiB of memory; {NAME} has 8GiB | it fits with `memory: 7936MiB`",
        ),
        (
            job(memory_bytes=2 * GIB, vms_per_node=2), {**DUAL, "memory": "4GiB"},
            f"VT0403 (2GiB + 256MiB for QEMU) x 2 = 4.5GiB of memory; {NAME} has 4GiB for jobs | "
            "it fits with `vms_per_node: 1`, or with `memory: 1792MiB`",
        ),
        (
            job(memory_bytes=GIB), {**FLAT, "memory": "256MiB"},
            f"VT0403 1GiB + 256MiB for QEMU = 1.25GiB of memory; {NAME} has 256MiB | "
            "no smaller figure mends it; it takes another kind of node",
        ),
        (
            job(memory_bytes=2 * GIB, vms_per_node=5, hugepages="2MiB"), PAGES,
            f"VT0403 QEMU takes 1.25GiB beside the huge pages; {NAME} has 1GiB outside of huge pages (31GiB) | "
            "it fits with `vms_per_node: 4`",
        ),
    ],
)  # fmt: skip
def test_memory(asked: JobPlan, said: dict[str, Any], expected: str) -> None:
    assert told(asked, said) == [expected]


def test_two_terms_have_a_help_each() -> None:
    assert told(job(vcpus=20, memory_bytes=200 * GIB), DUAL) == [
        f"VT0401 20 vCPUs + 1 host = 21 cores; {NAME} has 16 | it fits with `vcpus: 15`",
        f"VT0403 200GiB + 256MiB for QEMU = 200.25GiB of memory; {NAME} has 96GiB outside of huge pages (24GiB) | "
        "it fits with `memory: 95GiB`",
    ]


def test_devices() -> None:
    asked = job(vms_per_node=2, devices=(DeviceRequest("gpu", 3),))
    gpus = [{"name": f"gpu{number}", "kind": "gpu", "cell": 0} for number in range(4)]
    assert told(asked, {**DUAL, "devices": gpus}) == [
        f"VT0411 the job takes 3 x 2 = 6 `gpu`; {NAME} has 4 | it fits with `vms_per_node: 1`, "
        "or with `count: 2` of `gpu`"
    ]
    assert told(asked, DUAL) == [
        f"VT0411 the job takes 3 x 2 = 6 `gpu`; {NAME} has none | no smaller figure mends it; "
        "it takes another kind of node"
    ]


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        (job(vcpus=16), ("vcpus",)),
        (job(vcpus=1, io=(0, 16)), ("iocm", "max_cores")),
        (job("compact", vcpus=9), ("pinning", "mode")),
        (job(memory_bytes=200 * GIB), ("memory",)),
        (job(memory_bytes=17 * GIB, hugepages="1GiB"), ("hugepages",)),
    ],
)
def test_where_it_is_said(asked: JobPlan, place: tuple[str, ...]) -> None:
    (short,) = shortages(asked, node_of(DUAL))
    assert short.fields[0] == place


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(classes(), jobs())
def test_what_is_said_to_fit_fits_and_no_more(said: dict[str, Any], asked: JobPlan) -> None:
    """Of several that are short, a help mends its own and makes no other one short."""
    node = node_of(said)
    codes = [one.code for one in shortages(asked, node)]
    for one in shortages(asked, node):
        for values in proposed(one.help or ""):
            event(f"{' and '.join(values)} for {one.code.id}")
            left = {short.code for short in shortages(applied(asked, values), node)}
            assert left <= set(codes) - {one.code}
            if len(codes) == 1 and len(values) == 1 and (more := one_more(asked, values, node)):
                assert shortages(more, node)


def proposed(text: str) -> list[dict[str, Any]]:
    """The values that a help proposes: some that go together for each `or`."""
    first, either, rest = text.partition(" and either ")
    parts = rest.split(" or ") if either else text.split(", or with ")
    return [
        {key: value for said in re.findall(r"`(.+?)`", f"{first if either else ''}{part}")
         for key, value in yaml.safe_load(said).items()}
        for part in parts if "`" in part
    ]  # fmt: skip


def applied(asked: JobPlan, values: dict[str, Any]) -> JobPlan:
    for key, value in values.items():
        match key, value:
            case "memory", _:
                asked = replace(asked, memory_bytes=parse_size(value))
            case "pinning", _:
                asked = replace(asked, pinning=Pinning(value, ()))
            case "iocm", False:
                asked = replace(asked, iocm=Iocm(asked.iocm.mode, 0, 0))
            case "iocm", _:
                asked = replace(asked, iocm=replace(asked.iocm, **value))
                assert asked.iocm.min_cores <= asked.iocm.max_cores
            case _:
                asked = replace(asked, **{key: value})
    return asked


def one_more(asked: JobPlan, values: dict[str, Any], node: HostNode) -> JobPlan | None:
    """The job with the next larger value; None where there is none, or where what the help says is rounded."""
    ((key, value),) = values.items()
    if key in ("vcpus", "vms_per_node"):
        return replace(asked, **{key: value + 1})
    if key == "iocm":
        cores = value["max_cores"] + 1 if value else 1
        return replace(asked, iocm=Iocm(asked.iocm.mode, min(cores, asked.iocm.min_cores), cores))
    if key == "memory" and asked.hugepages in ("none", "2MiB") and parse_size(value) < 16 * GIB:
        return replace(asked, memory_bytes=parse_size(value) + (MIB if asked.hugepages == "none" else 2 * MIB))
    return None
