"""What the confined children answer: findings and plans survive the way, and garbage is refused."""

import contextlib
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
from vtorque_spec.node import bundle_of, check_job, plan_job, read_answer
from vtorque_spec.placement.preview import preview_context


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_node_understands_what_the_compile_understood(example: Path) -> None:
    """The machine part alone, read again by the same site, gives the same JobPlan."""
    at = site()
    here = check_file(example, at, CONTEXT, Report())
    assert here is not None
    told = read_answer(check_job(example, at, CONTEXT))
    context = preview_context(here.job, "generic", at.node_classes["generic"])
    bundle = bundle_of(read_answer(plan_job(told.result["machine"], at, CONTEXT, context)))
    assert told.result["machine"] == machine_part(here)
    assert decode_user_part(told.result["user"]) == here.user
    from vtorque_spec.placement.node_plan import job_plan_digest

    assert bundle.plan.job_plan_digest == job_plan_digest(here.job)


def test_no_text_of_the_users_goes_to_root() -> None:
    said = "run: echo UNMISTAKABLE\nenv: {A: UNMISTAKABLE}\nhooks: {prologue: {inline: UNMISTAKABLE}}\n"
    found = checked(MINIMAL.replace("run: hostname\n", said))
    at = site()
    context = preview_context(found.job, "generic", at.node_classes["generic"])
    assert b"UNMISTAKABLE" not in plan_job(machine_part(found), at, CONTEXT, context)


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
    at = site()
    import dataclasses

    small = dataclasses.replace(
        preview_context(found.job, "generic", at.node_classes["generic"]), node="tiny", allotted_cpus=(0, 1)
    )
    told = read_answer(plan_job(machine_part(found), at, CONTEXT, small))
    assert told.result is None
    assert [item.message for item in told.findings] == ["the job needs 4 CPUs on each node; the node `tiny` has 2"]


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
    context = preview_context(found.job, "generic", site().node_classes["generic"])
    with pytest.raises(Fault, match="VT0912"):
        plan_job(text, site(), CONTEXT, context)


def test_the_machine_part_cannot_smuggle_members() -> None:
    """Members that no compile would let through are refused on the node as well."""
    from vtorque_spec.carrier import MachinePart, encode_machine_part

    found = checked(MINIMAL)
    context = preview_context(found.job, "generic", site().node_classes["generic"])
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
