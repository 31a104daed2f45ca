"""Every field either changes what is compiled, or is refused by a finding of its own."""

import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel

from tests.spec.helpers import MINIMAL, ROOT, check, checked, codes, osv_image, site
from vtorque_spec.canonical import canonical_json
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import compile_bundle, compile_script
from vtorque_spec.placement.node_plan import plan_node
from vtorque_spec.placement.nodes import node_of_class
from vtorque_spec.placement.preview import preview_context
from vtorque_spec.plan import NodePlan
from vtorque_spec.site.model import NodeClass, SiteMount
from vtorque_spec.site.network import SiteNetwork
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.honoured import HONOURED

SHA = "a" * 64
OWN = "image: {{name: mine, disk: {disk}, kernel: {kernel}, initrd: {initrd}, cmdline: {cmdline}}}"
FILES = {"disk": "d", "kernel": "k", "initrd": "i", "cmdline": "c"}
OSV = "image: unikernel\nroot_disk: {size: 1GiB}\n"
# For each honoured field that can be said in more ways than one: two jobs that differ in it alone.
PAIRS: dict[str, tuple[str, str]] = {
    "name": ("name: one", "name: two"),
    "batch.nodes": ("network: cluster\nbatch: {nodes: 1}", "network: cluster\nbatch: {nodes: 2}"),
    "batch.walltime": ("batch: {walltime: 1h}", "batch: {walltime: 2h}"),
    "batch.queue": ("batch: {queue: a}", "batch: {queue: b}"),
    "batch.account": ("batch: {account: a}", "batch: {account: b}"),
    "batch.output": ("batch: {output: a}", "batch: {output: b}"),
    "batch.exclusive": ("batch: {exclusive: false}", "batch: {exclusive: true}"),
    "batch.features": ("batch: {features: [ib]}", "batch: {features: [fat]}"),
    "batch.array": ("batch: {array: 0-9}", "batch: {array: 0-9%4}"),
    "batch.depends": ("batch: {depends: {afterok: ['1']}}", "batch: {depends: {afterany: ['1']}}"),
    "batch.mail.to": ("batch: {mail: {to: [a@b]}}", "batch: {mail: {to: [a@c]}}"),
    "batch.mail.events": ("batch: {mail: {to: [a], events: []}}", "batch: {mail: {to: [a], events: [end]}}"),
    "batch.join": ("batch: {join: true}", "batch: {join: false}"),
    "image.name": ("image: debian-12", "image: other"),
    "image.sha256": ("image: debian-12", f"image: debian-12@sha256:{SHA}"),
    "image.revision": ("image: debian-12:2026-11", "image: debian-12:2026-10"),
    **{
        f"image.{member}": tuple(
            OWN.format(**{"disk": "d", "kernel": "k", "initrd": "i", "cmdline": "c", member: said})
            for said in ("x", "y")
        )
        for member in ("disk", "kernel", "initrd", "cmdline")
    },
    "vcpus": ("vcpus: 1", "vcpus: 2"),
    "memory": ("memory: 1GiB", "memory: 2GiB"),
    "vms_per_node": ("vms_per_node: 1", "vms_per_node: 2"),
    "pinning.mode": ("vcpus: 2\npinning: compact", "vcpus: 2\npinning: spread"),
    "pinning.map": ("pinning: {map: [0]}", "pinning: {map: [1]}"),
    "pinning.file": (
        "vcpus: 4\npinning: {map: [0, 1, 2, 3]}",
        "vcpus: 4\npinning: {file: examples/maps/every-other.yaml}",
    ),
    "iocm.enabled": ("iocm: false", "iocm: true"),
    "iocm.min_cores": ("iocm: {min_cores: 0}", "iocm: {min_cores: 1}"),
    "iocm.max_cores": ("iocm: {max_cores: 1}", "iocm: {max_cores: 2}"),
    "hugepages": ("hugepages: none", "hugepages: 2MiB"),
    "root_disk.backing": ("root_disk: {backing: shared}", "root_disk: {backing: local}"),
    "root_disk.size": ("root_disk: {size: 8GiB}", "root_disk: {size: 9GiB}"),
    "disks.*.name": tuple(f"disks: [{{name: {name}, size: 1GiB, mount: /x}}]" for name in "ab"),
    "disks.*.size": tuple(f"disks: [{{name: a, size: {size}GiB, mount: /x}}]" for size in (1, 2)),
    "disks.*.mount": tuple(f"disks: [{{name: a, size: 1GiB, mount: /{place}}}]" for place in "xy"),
    "disks.*.attach": tuple(
        f"vms_per_node: 2\ndisks: [{{name: a, size: 1GiB, mount: /x, attach: {which}}}]" for which in ("first", "all")
    ),
    "mounts.*.name": ("mounts: [{name: home, target: /x}]", "mounts: [{name: work, target: /x}]"),
    "mounts.*.target": ("mounts: [{name: work, target: /x}]", "mounts: [{name: work, target: /y}]"),
    "mounts.*.mode": ("mounts: [{name: work, mode: ro}]", "mounts: [{name: work, mode: rw}]"),
    "network.name": ("network: default", "network: cluster"),
    "packages": ("network: cluster\npackages: [g++]", "network: cluster\npackages: [libmetis5]"),
    "hooks.prologue.path": ("run: x", "run: x\nhooks: {prologue: examples/scripts/prepare.sh}"),
    "hooks.prologue.inline": ("hooks: {prologue: {inline: a}}", "hooks: {prologue: {inline: b}}"),
    "hooks.epilogue.path": ("run: x", "run: x\nhooks: {epilogue: examples/scripts/prepare.sh}"),
    "hooks.epilogue.inline": ("hooks: {epilogue: {inline: a}}", "hooks: {epilogue: {inline: b}}"),
    "env.*.value": ("env: {A: a}", "env: {A: b}"),
    "env.*.from_file": ("env: {A: {from_file: a}}", "env: {A: {from_file: b}}"),
    "run.text": ("run: a", "run: b"),
    "run.script": ("run: a", "run: {script: examples/scripts/prepare.sh}"),
    "run.args": (
        "run: {script: examples/scripts/prepare.sh, args: [a]}",
        "run: {script: examples/scripts/prepare.sh, args: [b]}",
    ),
    "guest": ("run: a", f"guest: osv\n{OSV}run: {{command: [/a.so]}}"),
    "run.command": (f"{OSV}run: {{command: [/a.so]}}", f"{OSV}run: {{command: [/b.so]}}"),
    "run.commands": (f"{OSV}run: {{commands: [[/a.so]]}}", f"{OSV}run: {{commands: [[/b.so]]}}"),
    "run.config_set": (f"{OSV}run: {{config_set: one}}", f"{OSV}run: {{config_set: two}}"),
    "run.console": (f"{OSV}run: {{command: [/a.so]}}", f"{OSV}run: {{command: [/a.so], console: all}}"),
    "timeouts.boot": ("timeouts: {boot: 60s}", "timeouts: {boot: 61s}"),
    "timeouts.grace": ("timeouts: {grace: 60s}", "timeouts: {grace: 61s}"),
    "allow_degraded": ("allow_degraded: []", "allow_degraded: [unpinned]"),
}
# One value for each field that is not honoured, or a value of a honoured one that is not.
REFUSED: dict[str, str] = {
    "disks.*.persist": "disks: [{name: a, size: 1GiB, mount: /x, persist: a}]",
    "network.rdma": "network: {rdma: sriov}",
    "shared_memory": "shared_memory: 1GiB",
    "devices": "devices: [{name: gpu}]",
    "telemetry": "telemetry: {interval: 10s}",
}


def job(said: str) -> str:
    """The minimal job, with `said` in place of the members that it says again."""
    again = {line.split(":")[0] for line in said.split("\n") if not line.startswith(" ")}
    kept = [line for line in MINIMAL.splitlines() if line.split(":")[0] not in again]
    return "\n".join([*kept, said]) + "\n"


def the_site() -> Any:
    local = site()
    other = local.images["debian-12"].model_copy(update={"name": "other"})
    unikernel = osv_image(config_sets=("one", "two"))
    newest = local.images["debian-12"].model_copy(update={"revision": "2026-11"})
    before = newest.model_copy(update={"revision": "2026-10", "sha256": "b" * 64})
    cells = [
        {"id": number, "cpus": f"{32 * number}-{32 * number + 31}", "memory": "128GiB", "hugepages": {"2MiB": 1024}}
        for number in range(2)
    ]
    addresses = {"first": "10.20.1.0", "slots": 4, "nodes": "n[1-4]"}
    cluster = {"kind": "bridge", "bridge": "br0", "subnet": "10.20.0.0/16", "addresses": addresses}
    return dataclasses.replace(
        local,
        networks={**local.networks, "cluster": SiteNetwork.model_validate(cluster)},
        node_classes={"generic": NodeClass.model_validate({"cpus": 64, "memory": "256GiB", "cells": cells})},
        images={**local.images, "other": other, "unikernel": unikernel, "debian-12": newest},
        other_revisions={"debian-12": (before,)},
        policy=site(ROOT / "tests/invalid/sites/packages").policy,
        mounts={**local.mounts, "work": SiteMount(source="/srv/work", target="/work", mode="rw")},
    )


def artifacts(text: str) -> tuple[str, ...]:
    """What the batch system is asked for, what the node does, what the user runs; not the copies that travel."""
    at = the_site()
    found = checked(text, at=at)
    report = Report()
    script = compile_script(found, "torque", report)
    assert script is not None, report.items
    asked = "\n".join(line for line in script.text.splitlines() if line.startswith("#PBS") and "-v" not in line)
    bundle = compile_bundle(found, at, script, report)
    guests = "".join(file.text for file in bundle if file.path.startswith("vm"))
    node = node_of_class(at, "generic")
    plan = plan_node(found.job, preview_context(found.job, "generic", node), node)
    assert isinstance(plan, NodePlan)
    same_job = dataclasses.replace(plan, job_plan_digest="")
    degraded = " ".join(found.job.allow_degraded)  # read by placement on the node; see tests of the node plan
    return asked, guests, canonical_json(same_job), canonical_json(found.user), degraded


@pytest.mark.parametrize("field", PAIRS)
def test_a_honoured_field_changes_an_artifact(field: str) -> None:
    one, two = PAIRS[field]
    assert artifacts(job(one)) != artifacts(job(two))


@pytest.mark.parametrize("field", REFUSED)
def test_any_other_field_is_refused(field: str) -> None:
    found, report = check(job(REFUSED[field]))
    assert found is None
    assert set(codes(report)) == {"VT0112"}
    assert any(f"`{field.replace('.*', '[0]')}`" in item.message for item in report.items)


def fields(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, info in model.model_fields.items():
        inner = inner_model(info.annotation)
        star = ".*" if ("dict[" in str(info.annotation) and inner) or (is_list(info.annotation) and inner) else ""
        found += fields(inner, f"{prefix}{name}{star}.") if inner else [prefix + name]
    return found


def inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for arg in getattr(annotation, "__args__", ()) if (inner := inner_model(arg))), None)


def is_list(annotation: Any) -> bool:
    return "tuple[" in str(annotation)


def test_the_tables_name_every_field() -> None:
    """A field that is added to the models must be honoured or refused here."""
    only_off = {name for name, values in HONOURED.items() if len(values) == 1}
    for field in fields(JobSpec):
        outer = [field.split(".")[0], ".".join(field.split(".")[:2])]
        assert field in PAIRS or field in REFUSED or any(o in REFUSED for o in outer) or field == "apiVersion", field
    told = {field[:end] for field in (*PAIRS, *REFUSED) for end in range(len(field) + 1)}
    assert set(HONOURED) - {"apiVersion"} <= told | only_off


def test_saying_that_something_is_off_is_honoured() -> None:
    text = MINIMAL + "iocm: false\nhugepages: none\nvms_per_node: 1\nnetwork: {rdma: none}\ndisks: []\npackages: []\n"
    assert checked(text)
