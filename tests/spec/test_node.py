"""What the confined children answer: findings and plans survive the way, and garbage is refused."""

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.spec.helpers import CONTEXT, EXAMPLES, MINIMAL, checked, site
from vtorque_spec.carrier import decode_user_part
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import check_file, machine_part
from vtorque_spec.fault import Fault
from vtorque_spec.node import Needs, bundle_of, check_job, needs_of, plan_job, read_answer
from vtorque_spec.placement.nodes import node_of_class
from vtorque_spec.placement.preview import preview_context
from vtorque_spec.plan import JobPlan, NodeContext
from vtorque_spec.site.model import NodeClass

CLASS = {"cpus": 8, "memory": "16GiB"}


def preview(job: JobPlan) -> NodeContext:
    return preview_context(job, "generic", node_of_class(site(), "generic"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_node_understands_what_the_compile_understood(example: Path) -> None:
    """The machine part alone, read again by the same site, gives the same JobPlan."""
    at = site()
    here = check_file(example, at, CONTEXT, Report())
    assert here is not None
    told = read_answer(check_job(example, at, CONTEXT))
    context = preview(here.job)
    bundle = bundle_of(read_answer(plan_job(told.result["machine"], at, CONTEXT, context)))
    assert told.result["machine"] == machine_part(here)
    assert decode_user_part(told.result["user"]) == here.user
    from vtorque_spec.placement.node_plan import job_plan_digest

    assert bundle.plan.job_plan_digest == job_plan_digest(here.job)


def test_no_text_of_the_users_goes_to_root() -> None:
    said = "run: echo UNMISTAKABLE\nenv: {A: UNMISTAKABLE}\nhooks: {prologue: {inline: UNMISTAKABLE}}\n"
    found = checked(MINIMAL.replace("run: hostname\n", said))
    context = preview(found.job)
    assert b"UNMISTAKABLE" not in plan_job(machine_part(found), site(), CONTEXT, context)


def test_findings_survive_the_way(tmp_path: Path) -> None:
    bad = tmp_path / "bad.vjob.yaml"
    bad.write_text(MINIMAL + "vcpu: 1\nname: again\n")
    report = Report()
    check_file(bad, site(), CONTEXT, report)
    told = read_answer(check_job(bad, site(), CONTEXT))
    assert list(told.findings) == report.sorted()
    assert told.sources[str(bad)][4] == "vcpu: 1"
    assert told.result is None


def test_a_job_that_does_not_fit_the_node_is_told() -> None:
    found = checked(MINIMAL + "vcpus: 4\n")
    small = dataclasses.replace(preview(found.job), node="tiny", allotted_cpus=(0, 1))
    told = read_answer(plan_job(machine_part(found), site(), CONTEXT, small))
    assert told.result is None
    assert {item.code.id for item in told.findings} == {"VT0401"}
    assert all("the node `tiny`" in item.message for item in told.findings)


def test_which_class_a_node_is_of() -> None:
    """The site's node sets say it; a site with one class needs none."""
    found = checked(MINIMAL)
    sets = {"thin": {**CLASS, "nodes": "n[1-4]"}, "fat": {**CLASS, "memory": "64GiB", "nodes": "f1"}}
    for classes, node, known in (
        ({"thin": CLASS}, "anything", True),
        ({"thin": {**CLASS, "nodes": "n[1-4]"}}, "n3", True),
        ({"thin": {**CLASS, "nodes": "n[1-4]"}}, "n5", False),
        (sets, "f1", True),
        (sets, "g1", False),
        ({"thin": CLASS, "fat": CLASS}, "n1", False),
    ):
        made = {name: NodeClass.model_validate(said) for name, said in classes.items()}
        at = dataclasses.replace(site(), node_classes=made)
        context = dataclasses.replace(preview(found.job), node=node)
        if known:
            assert bundle_of(read_answer(plan_job(machine_part(found), at, CONTEXT, context))).plan.node == node
        else:
            with pytest.raises(Fault, match="VT0926"):
                plan_job(machine_part(found), at, CONTEXT, context)


def test_what_a_job_needs_is_asked_first() -> None:
    """Root makes so many slots, and asks numad, before the job is planned."""
    for pinning, needs in (("none", Needs(2, None, None)), ("numad", Needs(2, 6, 2 * (1024 + 256)))):
        found = checked(MINIMAL + f"vms_per_node: 2\nvcpus: 3\npinning: {pinning}\n")
        context = dataclasses.replace(preview(found.job), slots=())
        assert needs_of(read_answer(plan_job(machine_part(found), site(), CONTEXT, context))) == needs


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=9).map(
    lambda data: json.dumps({"findings": data, "sources": {}, "result": None}).encode()
))  # fmt: skip
def test_a_hostile_answer_is_refused_or_harmless(raw: bytes) -> None:
    with contextlib.suppress(Fault):  # any other exception is a defect
        assert read_answer(raw).result is None


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_a_plan_of_another_shape_is_refused(result: object) -> None:
    raw = json.dumps({"findings": [], "sources": {}, "result": result}).encode()
    with pytest.raises(Fault, match="VT0914"):
        bundle_of(read_answer(raw))


@pytest.mark.parametrize("text", ["", "VT1.", "VT1.e30=", "VT0.x", "VT1." + "A" * 9000])
def test_a_machine_part_that_cannot_be_read(text: str) -> None:
    found = checked(MINIMAL)
    context = preview(found.job)
    with pytest.raises(Fault, match="VT0912"):
        plan_job(text, site(), CONTEXT, context)


def test_the_machine_part_cannot_smuggle_members() -> None:
    """Members that no compile would let through are refused on the node as well."""
    from vtorque_spec.carrier import MachinePart, encode_machine_part

    found = checked(MINIMAL)
    context = preview(found.job)
    said = {"apiVersion": "vtorque/v1", "name": "x", "image": {"name": "debian-12"}}
    for extra in ({"context": {"user": "root"}}, {"mounts": [{"name": "home", "source": "/"}]}, {"vcpus": 0}):
        part = encode_machine_part(MachinePart({**said, **extra}, "", ""))
        with pytest.raises(Fault, match="VT0912"):
            plan_job(part, site(), CONTEXT, context)
    told = read_answer(
        plan_job(
            encode_machine_part(MachinePart({**said, "devices": [{"name": "gpu"}]}, "", "")), site(), CONTEXT, context
        )
    )
    assert told.result is None
    assert [item.code.id for item in told.findings] == ["VT0112"]
