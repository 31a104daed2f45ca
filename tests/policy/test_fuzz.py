"""Hostile policies and jobs: findings in bounded time; the evaluator against plain JSON Schema; no false alarms."""

import copy
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.policy.helpers import lint, write_site
from tests.spec.helpers import ROOT
from vtorque_spec.diagnostics import Diagnostic, Report
from vtorque_spec.document import load
from vtorque_spec.driver import apply_policy, open_site
from vtorque_spec.policy import Context
from vtorque_spec.policy.lint import lint_policy
from vtorque_spec.policy.vocabulary import NOTHING
from vtorque_spec.spec.parse import NormalForm, parse_normal

QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=True,
)  # fmt: skip


def chain(length: int, step: str) -> str:
    """Definitions that lead to one another, the last one to a limit; `step` holds `{}` for the next one."""
    steps = "".join(f"  a{at}: {step.format(*[f'{chr(34)}#/$defs/a{at + 1}{chr(34)}'] * 2)}\n" for at in range(length))
    return f'$defs:\n{steps}  a{length}: {{maximum: 4}}\nproperties: {{vcpus: {{$ref: "#/$defs/a0"}}}}\n'


def ref(target: str) -> str:
    return json.dumps({"$defs": {"a": {"maximum": 4}}, "properties": {"vcpus": {"$ref": target}}})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (ref("http://[x"), "there is no file `http://[x`"),
        (ref("a" * 400 + ".yaml"), "there is no file"),
        (ref("%00.yaml"), "there is no file"),
        (ref("../../etc/passwd"), "there is no file"),
        (ref("%2e%2e/%2e%2e/etc/passwd"), "there is no file"),
        (ref("file:////etc/passwd"), "there is no file"),
        (ref("//etc/passwd"), "there is no file"),
        (ref("outside.yaml"), "leads out of the site's directory"),
        (ref("%2e/policy.yaml"), "a job has no member `vcpus.vcpus`"),
        (ref("#a"), "`#a` leads to no schema"),
        (ref("#/$defs/" + "9" * 5000), "leads to no schema"),
        ('allOf: [{$ref: "#/allOf/' + "9" * 5000 + '"}]', "leads to no schema"),
        ('$defs: 5\nallOf: [{$ref: "#/$defs/b"}]', "`#/$defs/b` leads to no schema"),
        ("properties: {name: {pattern: 'a{99999999999}'}}", "is no regular expression"),
        (f"properties: {{name: {{pattern: '{'(' * 3000}{')' * 3000}'}}}}", "too deeply nested"),
        ("properties: {context: {properties: {host: {nodeSetIn: 'n[1-99999999999]'}}}}", "more than 100000 nodes"),
        ("properties: {context: {properties: {host: {nodeSetIn: '@all'}}}}", "groups are not known"),
        (f"properties: {{memory: {{maxQuantity: {'9' * 5000}GiB}}}}", "is not a size"),
        (f"properties: {{vcpus: {{maximum: 0{'7' * 5000}}}}}", "the number is not below 2^53"),
        (chain(600, "{{$ref: {}}}"), "lead through more than 100 schemas"),
        (chain(30, "{{allOf: [{{$ref: {}}}, {{$ref: {}}}]}}"), "lead to more than 10000 schemas"),
    ],
)  # fmt: skip
def test_hostile_policies(tmp_path: Path, policy: str, message: str) -> None:
    site = write_site(tmp_path, policy)
    (tmp_path / "elsewhere.yaml").write_text("maximum: 4\n")
    (site / "outside.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    found = lint(site)
    assert any(message in said for _, _, said in found), found
    assert all(line > 0 for _, line, _ in found)


def test_what_is_not_too_deep_can_be_evaluated(tmp_path: Path) -> None:
    report = Report()
    site = open_site(write_site(tmp_path, chain(95, "{{$ref: {}}}")), report)
    assert site is not None, report.items
    job = NormalForm({**MINIMAL, "vcpus": 5}, {})
    assert apply_policy(job, site, CONTEXT, report) is None
    assert "at most 4 is allowed" in report.items[0].message


def test_files_that_refer_to_one_another_by_the_hundred(tmp_path: Path) -> None:
    rules = {f"a{at}": f"$defs: {{x: {{$ref: a{at + 1}.yaml}}}}\n" for at in range(500)}
    found = lint(write_site(tmp_path, "allOf: [{$ref: rules/a0.yaml}]\n", **rules, a500="maximum: 4\n"))
    assert {code for code, _, _ in found} == {"VT0721"}  # nothing refers to `x`, and nothing else is wrong


@pytest.mark.parametrize("name", ["policy.yaml", "images/more.yaml"])
def test_what_is_no_file(tmp_path: Path, name: str) -> None:
    """A broken link must not mean that there are no rules, and nobody waits for a pipe."""
    file = write_site(tmp_path, "") / name
    makers: list[Callable[[], None]] = [lambda: file.symlink_to("nowhere"), lambda: os.mkfifo(file), file.mkdir]
    for make in makers:
        file.unlink(missing_ok=True)
        make()
        assert {code for code, _, _ in lint(tmp_path / "site")} == {"VT0701"}


def test_findings_do_not_outgrow_the_file() -> None:
    report = Report()
    assert load("x", b"a: 1\n# " + b"\x01" * 200_000, report) is None
    assert len(report.items) == 101


# --- no false alarms --------------------------------------------------------------------------------------------------


def test_warnings_do_not_contradict(tmp_path: Path) -> None:
    said = "properties: {vcpus: {minimum: 8, allOf: [{maximum: 4, severity: warning}]}}\nseverity: error\n"
    assert "VT0708" not in {code for code, _, _ in lint(write_site(tmp_path, said))}
    closed = "severity: warning\nproperties: {image: {additionalProperties: false}}\n"
    assert "VT0708" not in {code for code, _, _ in lint(write_site(tmp_path, closed))}


def test_what_refuses_some_jobs_is_not_said_to_refuse_all(tmp_path: Path) -> None:
    policy = "if: {required: [vcpus]}\nthen: {properties: {image: {additionalProperties: false}}}\n"
    messages = [message for code, _, message in lint(write_site(tmp_path, policy)) if code == "VT0708"]
    assert messages
    assert all(message.startswith("all jobs that this applies to") for message in messages)


# --- the evaluator against plain JSON Schema --------------------------------------------------------------------------

GIB = 2**30
CONTEXT = Context("alice", ("students",), "short", "torque", "test", "login1")
MINIMAL: dict[str, Any] = {
    "apiVersion": "vtorque/v1", "name": "x", "image": {"name": "debian-12"}, "run": {"text": "hostname"},
}  # fmt: skip
VALUES: dict[str, list[Any]] = {
    "vcpus": [1, 2, 4], "memory": [GIB, 2 * GIB], "hugepages": ["none", "any"], "vms_per_node": [1, 2],
    "nodes": [1, 2], "queue": ["short", "long"], "exclusive": [True, False],
}  # fmt: skip
OF_BATCH = ("nodes", "queue", "exclusive")


def of_field(name: str) -> st.SearchStrategy[Any]:
    """What a policy says of one field: limits, perhaps a default, perhaps as a warning; or that it is off."""
    value = st.sampled_from(VALUES[name])
    said: dict[str, st.SearchStrategy[Any]] = {
        "const": value, "enum": st.lists(value, min_size=1, max_size=2), "default": value,
        "not": st.fixed_dictionaries({"const": value}), "severity": st.sampled_from(["warning", "error"]),
        "anyOf": st.lists(st.fixed_dictionaries({"const": value}), min_size=1, max_size=2),
    }  # fmt: skip
    if name == "memory":
        said |= dict.fromkeys(("minQuantity", "maxQuantity"), st.sampled_from(["1GiB", "2GiB"]))
    elif isinstance(VALUES[name][0], int) and name != "exclusive":
        said |= dict.fromkeys(("minimum", "maximum", "exclusiveMaximum"), value)
    one = st.sampled_from(sorted(said)).flatmap(lambda word: st.fixed_dictionaries({word: said[word]}))
    schema = st.builds(lambda first, second: {**first, **second}, one, one)
    return st.one_of(schema, schema, schema, st.just(False))


def members(names: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: of_field(name) for name in names})


AT_TOP = [name for name in VALUES if name not in OF_BATCH]
BATCH = st.builds(lambda inner: {"properties": inner}, members(OF_BATCH))
MEMBERS = st.builds(lambda top, batch: top | ({"batch": batch} if batch else {}), members(AT_TOP), st.none() | BATCH)
OF_CONTEXT = st.sampled_from(
    [{"groups": {"contains": {"const": "students"}}}, {"queue": {"const": "long"}}, {"user": {"enum": ["alice"]}}]
)
CONDITION = st.one_of(
    st.builds(lambda said: {"properties": {"context": {"properties": said}}}, OF_CONTEXT),
    st.builds(lambda said: {"properties": said, "required": list(said)}, MEMBERS.filter(bool)),
    st.builds(lambda name: {"required": [name]}, st.sampled_from(AT_TOP)),
)
BRANCH = st.builds(
    lambda tested, fits, other: {"if": tested, "then": {"properties": fits}, "else": {"properties": other}},
    st.one_of(CONDITION, st.builds(lambda inner: {"not": inner}, CONDITION)), MEMBERS, MEMBERS,
)  # fmt: skip
POLICY = st.builds(
    lambda said, parts, shared: {
        "$defs": {"shared": {"properties": shared}}, "properties": said,
        "allOf": [*parts, {"$ref": "#/$defs/shared"}],
    },
    MEMBERS, st.lists(BRANCH, max_size=2), MEMBERS,
)  # fmt: skip
JOB = st.builds(
    lambda top, batch: MINIMAL | top | ({"batch": batch} if batch is not None else {}),
    st.fixed_dictionaries({}, optional={name: st.sampled_from(VALUES[name]) for name in AT_TOP}),
    st.none() | st.fixed_dictionaries({}, optional={name: st.sampled_from(VALUES[name]) for name in OF_BATCH}),
)
BASE = yaml.safe_load((ROOT / "schemas/base-policy.yaml").read_text(encoding="utf-8"))


class Reference:
    """Policies evaluated the plainest way: defaults filled one by one, rules translated to standard JSON Schema."""

    def __init__(self, policy: dict[str, Any]) -> None:
        self.policy = policy
        self.filled: set[tuple[str, ...]] = set()
        self.disagree = False

    def parts(self, schema: Any) -> list[dict[str, Any]]:
        if not isinstance(schema, dict):
            return []
        schema = self.policy["$defs"]["shared"] if "$ref" in schema else schema
        return [schema, *(part for inner in schema.get("allOf", ()) for part in self.parts(inner))]

    def fill(self, data: dict[str, Any], schemas: list[Any], at: tuple[str, ...], *, branch: bool) -> None:
        parts = [part for schema in schemas for part in self.parts(schema)]
        for name in dict.fromkeys(name for part in parts for name in part.get("properties", ())):
            inner = [part["properties"][name] for part in parts if name in part.get("properties", ())]
            said = [one["default"] for schema in inner for one in self.parts(schema) if "default" in one]
            self.disagree |= branch and any(one != said[0] for one in said)
            if said and (name not in data or (branch and (*at, name) in self.filled)):
                data[name] = copy.deepcopy(said[-1])
                self.filled ^= {(*at, name)} if branch == ((*at, name) in self.filled) else set()
            if isinstance(data.get(name), dict):
                self.fill(data[name], inner, (*at, name), branch=branch)

    def standard(self, schema: Any, *, tested: bool = False, told: bool = True) -> Any:
        if not isinstance(schema, dict):
            return {"enum": list(NOTHING)} if schema is False and (told or tested) else True
        told = schema.get("severity", "error" if told else "warning") == "error"
        rules: list[Any] = []
        for word, value in schema.items():
            if word in ("properties", "allOf"):
                pairs = value.items() if word == "properties" else enumerate(value)
                made = {key: self.standard(one, tested=tested, told=told) for key, one in pairs}
                rules.append({word: made if word == "properties" else list(made.values())})
            elif word == "$ref":
                rules.append(self.standard(self.policy["$defs"]["shared"], tested=tested, told=told))
            elif word == "if":
                then = {key: self.standard(schema[key], tested=tested, told=told) for key in ("then", "else")}
                rules.append({"if": self.standard(value, tested=True), **then})
            elif word in ("minQuantity", "maxQuantity") and (told or tested):
                rules.append({word[:3] + "imum": int(value.removesuffix("GiB")) * GIB})
            elif word in ("not", "contains") and (told or tested):
                rules.append({word: self.standard(value, tested=True)})
            elif word not in ("default", "severity", "$defs", "then", "else") and (told or tested):
                rules.append({word: value})
        return {"allOf": rules} if rules else True

    def verdict(self, job: dict[str, Any], context: dict[str, Any]) -> dict[str, Any] | None:
        """Return the job with its defaults; None where it is refused."""
        data = copy.deepcopy(job)
        self.fill(data, [BASE, self.policy], (), branch=False)
        data = parse_normal(data).model_dump(mode="json", exclude_unset=True)
        applying = [
            part["then" if self.fits(part["if"], data, context, tested=True) else "else"]
            for part in self.parts(self.policy)
            if "if" in part
        ]
        self.fill(data, applying, (), branch=True)
        return data if not self.disagree and self.fits(self.policy, data, context, tested=False) else None

    def fits(self, schema: Any, data: dict[str, Any], context: dict[str, Any], *, tested: bool) -> bool:
        standard = self.standard(schema, tested=tested)
        return bool(Draft202012Validator(standard).is_valid({**data, "context": context}))


@QUICK
@given(POLICY, st.lists(JOB, min_size=6, max_size=6))
def test_verdicts_are_those_of_plain_json_schema(
    tmp_path: Path, policy: dict[str, Any], jobs: list[dict[str, Any]]
) -> None:
    """The same jobs pass with the same values; a field that can have no value, as lint says, has none in those."""
    site, report = open_site(write_site(tmp_path, json.dumps(policy)), Report()), Report()
    assert site is not None
    lint_policy(site, report)
    never = [
        match[1] or match[2]
        for item in report.items
        if (match := NO_VALUE.search(item.message)) and not conditional(item)
    ]
    for said in jobs:
        found = Report()
        effective = apply_policy(NormalForm(said, {}), site, CONTEXT, found)
        assert (effective.data if effective else None) == Reference(policy).verdict(said, CONTEXT.known(said)), policy
        for field in never if effective else ():
            value = effective.data if effective else {}
            for part in field.split("."):
                value = value.get(part) or {}
            assert value == {}, (policy, field)


NO_VALUE = re.compile("`([^`]*)` can have no value|no value of `([^`]*)` fits")


def conditional(item: Diagnostic) -> bool:
    return any("condition" in note.message for note in item.notes)
