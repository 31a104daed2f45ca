"""What the confined children answer: findings and plans survive the way, and garbage is refused."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.spec.helpers import CONTEXT, EXAMPLES, MINIMAL, ROOT, checked, site, site_of
from vtorque_spec import render
from vtorque_spec.carrier import decode_user_part
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import check_file, machine_part, of_fault
from vtorque_spec.fault import Fault
from vtorque_spec.node import Needs, check_job, needs_of, parts_of, plan_job, plan_of, read_answer
from vtorque_spec.placement.nodes import node_of_class, node_of_context
from vtorque_spec.placement.preview import preview_context
from vtorque_spec.plan import Cell, JobNetwork, JobPlan, JobVm, NodeContext, TapNic, UserNic, lowest_cores
from vtorque_spec.site import Site
from vtorque_spec.site.model import NodeClass

CLASS = {"cpus": 8, "memory": "16GiB"}


def preview(job: JobPlan) -> NodeContext:
    return preview_context(job, "generic", node_of_class(site(), "generic"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_node_understands_what_the_compile_understood(example: Path) -> None:
    """The machine part alone, read again by the same site, gives the same JobPlan."""
    at = site_of(example)
    here = check_file(example, at, CONTEXT, Report())
    assert here is not None
    told = read_answer(check_job(example, at, CONTEXT))
    name = here.choice.node_class
    node = "n001" if at.node_classes[name].nodes else name  # of the example site's thin nodes
    context = dataclasses.replace(preview_context(here.job, name, node_of_class(at, name)), node=node)
    plan = plan_of(read_answer(plan_job(told.result["machine"], at, CONTEXT, context)))
    assert told.result["machine"] == machine_part(here)
    assert decode_user_part(told.result["user"]) == here.user
    from vtorque_spec.carrier import job_plan_digest

    assert plan.job_plan_digest == job_plan_digest(here.job)


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
            assert plan_of(read_answer(plan_job(machine_part(found), at, CONTEXT, context))).node == node
        else:
            with pytest.raises(Fault, match="VT0926"):
                plan_job(machine_part(found), at, CONTEXT, context)


def test_what_a_job_needs_is_asked_first() -> None:
    """Root makes so many slots, and asks numad, before the job is planned."""
    for pinning, needs in (
        ("none", Needs(2, "default", None, None, None)),
        ("numad", Needs(2, "default", 6, 2 * (1024 + 256), None)),
    ):
        found = checked(MINIMAL + f"vms_per_node: 2\nvcpus: 3\npinning: {pinning}\n")
        context = dataclasses.replace(preview(found.job), slots=())
        assert needs_of(read_answer(plan_job(machine_part(found), site(), CONTEXT, context))) == needs


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=9).map(
    lambda data: json.dumps({"findings": data, "sources": [], "result": None}).encode()
))  # fmt: skip
def test_a_hostile_answer_is_refused_or_harmless(raw: bytes) -> None:
    with contextlib.suppress(Fault):  # any other exception is a defect
        assert read_answer(raw).result is None


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
"""Anything that JSON can be, and what Python's reader takes for JSON besides."""


def almost(**members: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """A mapping whose members are mostly what they should be; seldom one of them, or the whole, is anything."""
    odd = st.sampled_from(sorted(members)).flatmap(lambda name: st.fixed_dictionaries({**members, name: HOSTILE}))
    by_chance = {18: odd, 19: HOSTILE}
    return st.integers(0, 19).flatmap(lambda chance: by_chance.get(chance, st.fixed_dictionaries(members)))


TEXT = st.text(max_size=9) | st.sampled_from(["\x1b[2J", "\ud800", "x\ny"])
NUMBER = st.sampled_from([*range(1, 20), -(2**60), 0, 2**40])
SPAN = almost(file=st.just("x"), line=NUMBER, column=NUMBER, end_line=NUMBER, end_column=NUMBER)
RULE = almost(
    span=SPAN,
    code=st.none() | TEXT,
    severity=st.sampled_from(["error", "warning"]),
    url=st.none() | TEXT,
    allow_suppress=st.none() | st.booleans(),
)
FINDING = almost(
    code=st.sampled_from(["VT0101"] * 9 + ["XX"]),
    message=TEXT,
    span=st.none() | SPAN,
    notes=st.lists(almost(message=TEXT, span=st.none() | SPAN), max_size=2),
    help=st.none() | TEXT,
    detail=st.none() | TEXT,
    rule=st.none() | RULE,
)
ANSWER = almost(
    findings=st.lists(FINDING, max_size=2),
    sources=st.lists(almost(file=st.just("x"), lines=st.lists(TEXT, max_size=9)), max_size=2),
    result=HOSTILE,
)


@settings(max_examples=1000)
@given(ANSWER)
def test_an_answer_is_refused_or_can_be_printed(data: object) -> None:
    """And then it does the terminal no harm, and is no longer than what was told."""
    raw = json.dumps(data).encode()
    try:
        told = read_answer(raw)
    except Fault as fault:
        assert fault.code == "VT0914"  # noqa: PT017 - anything else is a defect
        return
    shown = render.text(told.findings, told.sources)
    assert "\x1b" not in shown
    assert len(shown) < 2000 + 10 * len(raw)
    for reads in (plan_of, needs_of, parts_of):
        with pytest.raises(Fault, match="VT0914"):
            reads(told)


GOOD: dict[str, Any] = {
    "code": "VT0101", "message": "m", "span": {"file": "x", "line": 1, "column": 1, "end_line": 1, "end_column": 2},
    "notes": [{"message": "n", "span": None}], "help": None, "detail": None, "rule": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "odd",
    [
        {"message": 3},
        {"span": {**GOOD["span"], "line": "x"}},
        {"span": {**GOOD["span"], "file": 3}},
        {"span": {**GOOD["span"], "column": -(10**12)}},
        {"notes": [{"message": 3, "span": None}]},
        {"detail": 3},
        {"code": "XX"},
        {"rule": {"span": GOOD["span"], "code": "\x1b[2J", "severity": "error", "url": None, "allow_suppress": None}},
    ],
)
def test_a_finding_that_could_not_be_printed(odd: dict[str, object]) -> None:
    def answer(finding: dict[str, object]) -> bytes:
        return json.dumps({"findings": [finding], "sources": [], "result": None}).encode()

    assert read_answer(answer(GOOD)).findings[0].message == "m"
    with pytest.raises(Fault, match="VT0914"):
        read_answer(answer({**GOOD, **odd}))


def test_a_fault_of_a_code_that_nobody_knows() -> None:
    """A confined child may tell one."""
    found = of_fault(Fault("VT9999", "m", help="h", detail="d"))
    assert (found.code.id, found.message, found.help, found.detail) == ("VT0914", "m", "h", "d")


def test_other_slots_than_vms() -> None:
    found = checked(MINIMAL + "vms_per_node: 2\n")
    context = preview(found.job)
    told = read_answer(
        plan_job(machine_part(found), site(), CONTEXT, dataclasses.replace(context, slots=context.slots[:1]))
    )
    assert [item.code.id for item in told.findings] == ["VT0914"]
    assert "has 2 VMs" in told.findings[0].message


def test_256_vms_have_addresses_of_one_network() -> None:
    """The compiled network-config of each is in the network of the host's address, and nobody's else."""
    for vms, prefix in ((1, 24), (252, 24), (253, 23), (256, 23)):
        cards = [slot.nic for slot in preview(dataclasses.replace(checked(MINIMAL).job, vms_per_node=vms)).slots]
        assert all(isinstance(card, TapNic) for card in cards)
        own = [IPv4Interface(f"{card.address}/{card.prefix}") for card in cards if isinstance(card, TapNic)]
        (network,) = {one.network for one in own}
        assert network.prefixlen == prefix
        taken = {network[0], network[1], network[-1]}
        assert len({one.ip for one in own} - taken) == vms
        assert {card.host_address for card in cards if isinstance(card, TapNic)} == {str(network[1])}


def test_a_job_has_the_nodes_that_it_asks_for() -> None:
    """Names and addresses of all its VMs come from the nodes that it got."""
    found = checked(MINIMAL)
    several = dataclasses.replace(preview(found.job), vms=(JobVm("a", 0, "va-0", None), JobVm("b", 0, "vb-0", None)))
    with pytest.raises(Fault, match="asks for 1 nodes, and has 2") as raised:
        plan_job(machine_part(found), site(), CONTEXT, several)
    assert raised.value.code == "VT0322"


def test_the_preview_shows_each_kind_of_network() -> None:
    job = checked(MINIMAL).job
    for kind, card, gateway in (
        ("isolated", "network", None),
        ("nat", "network", "10.213.0.1"),
        ("bridge", "bridge", None),
    ):
        (slot,) = preview(dataclasses.replace(job, network=JobNetwork("default", kind))).slots  # type: ignore[arg-type] # a kind
        assert isinstance(slot.nic, TapNic)
        assert (slot.nic.kind, slot.nic.gateway) == (card, gateway)
    (slot,) = preview(dataclasses.replace(job, network=JobNetwork("default", "user"))).slots
    assert slot.nic == UserNic("user", slot.nic.mac, 22022, restricted=False)


def test_what_the_site_keeps_is_what_root_keeps() -> None:
    """The rule of the host's cores is one: `lowest_cores`."""
    cores = ((9, 1), (2, 10), (4, 12))
    cells = (Cell(0, cores[1:], 0, (), ()), Cell(1, (cores[0],), 0, (), ()))
    assert lowest_cores(cells, 2) == ((2, 10), (4, 12))
    assert lowest_cores(cells, 9) == ((2, 10), (4, 12), (9, 1))
    assert lowest_cores(cells, 0) == ()
    said = NodeClass.model_validate({**CLASS, "host_reserve": {"cores": 2}})
    at = dataclasses.replace(site(), node_classes={"thin": said})
    context = dataclasses.replace(preview(checked(MINIMAL).job), cells=cells, allotted_cpus=(1, 2, 4, 9, 10, 12))
    assert node_of_context(at, "thin", context).host_cpus == (2, 4, 10, 12)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_a_plan_of_another_shape_is_refused(result: object) -> None:
    raw = json.dumps({"findings": [], "sources": [], "result": result}).encode()
    with pytest.raises(Fault, match="VT0914"):
        plan_of(read_answer(raw))


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


LOADED = """
import json, sys
from pathlib import Path
from tests.spec.helpers import CONTEXT, MINIMAL, document, site
from tests.spec.test_node import context_of
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import check_document, machine_part
from vtorque_spec.node import check_job, load_everything, plan_job

at = site(Path(sys.argv[1]))
load_everything()
before = set(sys.modules)
for number, said in enumerate(("", "pinning: auto\\niocm: true\\n", "vcpus: 200\\n", "vcpu: 1\\n", "vcpus: 3\\n")):
    file = Path(sys.argv[2]) / f"{number}.vjob.yaml"
    file.write_text(MINIMAL + said)
    told = json.loads(check_job(file, at, CONTEXT))
    if told["result"]:
        plan_job(told["result"]["machine"], at, CONTEXT, context_of(at))
files = {name: getattr(sys.modules[name], "__file__", None) or "" for name in set(sys.modules) - before}
own = [name for name, file in files.items() if "site-packages" in file]
print(sorted(own + [name for name in files if name.startswith("vtorque")]))
"""


def context_of(at: Site) -> NodeContext:
    found = checked(MINIMAL, at=at)
    name = next(iter(at.node_classes))
    return preview_context(found.job, name, node_of_class(at, name))


def test_a_child_loads_no_more_modules(tmp_path: Path) -> None:
    """It may not be able to read the program: root's may lie where nobody else can look."""
    rules = tmp_path / "site"
    shutil.copytree(ROOT / "tests/invalid/sites/plain", rules)
    schema = "$schema: https://json-schema.org/draft/2020-12/schema\n"
    limits = "properties: {vcpus: {maximum: 64}, memory: {maxQuantity: 8GiB}}\nif: {required: [iocm]}\nthen: {}\n"
    (rules / "policy.yaml").write_text(schema + limits)
    command = [sys.executable, "-c", LOADED, str(rules), str(tmp_path)]
    path = os.pathsep.join(str(ROOT / part) for part in ("", "compilers", "runtime"))
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("when_changed", "code"), [("run", "VT0929"), ("refuse", "VT0928")])
def test_the_nodes_rules_win_and_a_change_is_told(when_changed: str, code: str) -> None:
    found = checked(MINIMAL)
    changed = dataclasses.replace(site(), name="moved", when_changed=when_changed)
    told = read_answer(plan_job(machine_part(found), changed, CONTEXT, preview(found.job)))
    assert [item.id for item in told.findings] == [code]
    assert (told.result is None) == (when_changed == "refuse")


def test_a_node_installs_what_its_own_policy_names() -> None:
    opened = site(ROOT / "tests/invalid/sites/packages")
    found = checked(MINIMAL + "packages: [g++]\n", at=opened)
    closed = dataclasses.replace(opened, policy=site().policy)
    told = read_answer(plan_job(machine_part(found), closed, CONTEXT, preview(found.job)))
    assert [item.id for item in told.findings] == ["VT0201"]
    assert told.result is None
