"""Node classes, jobs and nodes for the tests of what lies between the job file and the engine."""

import dataclasses
from typing import Any

from hypothesis import strategies as st

from tests.compilers.plans import JOB
from tests.spec.helpers import site
from vtorque_spec.placement.nodes import HostNode, node_of_class
from vtorque_spec.plan import BatchRequest, Iocm, JobPlan, Pinning
from vtorque_spec.site import Site
from vtorque_spec.site.model import NodeClass

MIB = 2**20
GIB = 2**30
SMALL = dataclasses.replace(
    JOB,
    vcpus=1,
    memory_bytes=GIB,
    mounts=(),
    batch=BatchRequest(1, None, 3600, None, None, None, False, (), None, (), None),
)
"""A job of one VM with 1 vCPU and 1 GiB."""

DUAL: dict[str, Any] = {
    "cpus": 30,
    "memory": "120GiB",
    "host_reserve": {"cores": 1, "memory": "8GiB"},
    "cells": [
        {"id": 0, "socket": 0, "cpus": "0-7,16-23", "siblings": "0-7+16-23", "memory": "64GiB",
         "hugepages": {"1GiB": 16}, "distances": [10, 21]},
        {"id": 1, "socket": 1, "cpus": "8-15,24-31", "siblings": "8-15+24-31", "memory": "64GiB",
         "hugepages": {"2MiB": 4096}, "distances": [21, 10]},
    ],
    "devices": [{"name": "mlx5_0", "kind": "hca", "cell": 1}],
}  # fmt: skip
"""Two sockets of eight cores with the siblings c and c + 16; the host has core 0."""


def site_of(classes: dict[str, dict[str, Any]], **more: Any) -> Site:
    """Return the built-in site with other classes of nodes."""
    made = {name: NodeClass.model_validate(said) for name, said in classes.items()}
    return dataclasses.replace(site(), node_classes=made, **more)


def node_of(said: dict[str, Any]) -> HostNode:
    """Return a node of such a class."""
    return node_of_class(site_of({"thin": said}), "thin")


def job(mode: str = "auto", **changes: Any) -> JobPlan:
    """Return the small job with another way of pinning and other members; `map` alone says its mode."""
    pinning = Pinning("map", changes.pop("map")) if "map" in changes else Pinning(mode, ())  # type: ignore[arg-type]
    if "io" in changes:
        least, most = changes.pop("io")
        changes["iocm"] = Iocm("libvirt", least, most)
    if changes.pop("exclusive", False):
        changes["batch"] = dataclasses.replace(SMALL.batch, exclusive=True)
    return dataclasses.replace(SMALL, pinning=pinning, **changes)


@st.composite
def classes(draw: st.DrawFn, *, alike: bool = False) -> dict[str, Any]:
    """Node classes that the checks of a site let through: their cores have one width, or several."""
    width = draw(st.sampled_from([1, 2, 4]))
    counts = draw(st.lists(st.integers(1, 8), min_size=1, max_size=3))
    widths = [[width if alike else draw(st.sampled_from([1, 2, 4])) for _ in range(count)] for count in counts]
    cells = _cells(widths, side_by_side=draw(st.booleans()))
    reserve = draw(st.integers(0, min(2, sum(counts) - 1)))
    own = sum(sorted((core[0], len(core)) for cell in cells for core in cell)[place][1] for place in range(reserve))
    steps = draw(st.none() | st.sampled_from([11, 21]))
    memory = [draw(st.integers(512, 6144)) for _ in counts]
    kept = draw(st.integers(1, max(1, sum(memory) // 4)))
    return {
        "cpus": sum(map(sum, widths)) - own,
        "memory": f"{sum(memory) - kept}MiB",
        "slot": draw(st.sampled_from(["core", "thread"])) if alike else "thread",
        "vcpu": draw(st.sampled_from(["core", "thread"])),
        "host_reserve": {"cores": reserve, "memory": f"{kept}MiB", "in_slots": draw(st.booleans())},
        "devices": [{"name": "eth0", "kind": "nic", "cell": draw(st.integers(0, len(counts) - 1))}],
        "cells": [
            {
                "id": place,
                "cpus": [cpu for core in cores for cpu in core],
                **({"siblings": wide} if (wide := ["+".join(map(str, c)) for c in cores if len(c) > 1]) else {}),
                "memory": f"{memory[place]}MiB",
                **({"hugepages": {"2MiB": pages}} if (pages := draw(st.integers(0, memory[place] // 3))) else {}),
                **({"distances": [10 if at == place else steps for at in range(len(counts))]} if steps else {}),
            }
            for place, cores in enumerate(cells)
        ],
    }


def _cells(widths: list[list[int]], *, side_by_side: bool) -> list[list[list[int]]]:
    """Number the CPUs: the siblings side by side, or the first threads of all cores before the second ones."""
    flat = [
        (cell, place, thread) for cell, own in enumerate(widths) for place, n in enumerate(own) for thread in range(n)
    ]
    order = flat if side_by_side else sorted(flat, key=lambda one: one[2])
    number = {one: cpu for cpu, one in enumerate(order)}
    return [
        [[number[cell, place, thread] for thread in range(n)] for place, n in enumerate(own)]
        for cell, own in enumerate(widths)
    ]


@st.composite
def jobs(draw: st.DrawFn) -> JobPlan:
    """Jobs without a map; many of them fit on a node of `classes`, many do not."""
    pages = draw(st.sampled_from(["none", "none", "2MiB", "any"]))
    unit = 2 * MIB if pages != "none" else 1
    least, most = sorted((draw(st.integers(0, 2)), draw(st.integers(0, 2))))
    return job(
        draw(st.sampled_from(["auto", "auto", "compact", "spread", "none"])),
        vcpus=draw(st.integers(1, 6)),
        vms_per_node=draw(st.sampled_from([1, 1, 2, 3])),
        memory_bytes=draw(st.integers(1, draw(st.sampled_from([GIB, 4 * GIB])) // unit)) * unit,
        hugepages=pages,
        io=(least, most),
        shared_memory_bytes=draw(st.sampled_from([0, 0, 5_000_000])),
        root_disk_bytes=100 * MIB,
        base_memory_bytes=draw(st.sampled_from([0, 100 * MIB])),
        exclusive=draw(st.booleans()),
    )
