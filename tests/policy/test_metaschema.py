"""The published schema of policies is fresh, valid, and agrees with the program about what is a policy."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.policy.helpers import write_site
from tests.spec.helpers import ROOT, document
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import open_site
from vtorque_spec.policy.metaschema import policy_schema_text
from vtorque_spec.policy.vocabulary import KEYWORDS

TEXT = (ROOT / "schemas/policy-1.schema.json").read_text()
SCHEMA: dict[str, Any] = json.loads(TEXT)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
POLICIES = [
    ROOT / "schemas/base-policy.yaml",
    ROOT / "schemas/closed-policy.yaml",
    *sorted((ROOT / "examples").rglob("policy.yaml")),
    *sorted((ROOT / "tests/invalid/sites").glob("[a-z]*/policy.yaml")),
    *sorted((ROOT / "tests/invalid/sites").glob("[a-z]*/rules/*.yaml")),
    *sorted((ROOT / "tests/invalid/sites").glob("VT07[0-2]*/policy.yaml")),
]
POLICIES.remove(ROOT / "tests/invalid/sites/VT0701-policy-says-a-limit-twice/policy.yaml")  # no YAML of ours
REFUSED = {"VT0702", "VT0705"}
"""Codes of what is no policy at all. The schema knows neither fields nor what a `$ref` leads to."""
BEYOND_IT = {"VT0702-circle-of-references", "VT0702-reference-to-no-schema", "VT0702-reference-to-the-network"}


def fits(data: Any) -> bool:
    return bool(VALIDATOR.is_valid(data))


def test_fresh() -> None:
    assert policy_schema_text() == TEXT, "run: vtorque schema policy > schemas/policy-1.schema.json"


def test_the_command_prints_it() -> None:
    done = subprocess.run([sys.executable, "-m", "vtorque_spec", "schema", "policy"], capture_output=True, cwd=ROOT)
    assert done.stdout.decode() == TEXT


def test_the_page_is_fresh() -> None:
    command = [sys.executable, ROOT / "scripts/policy-reference"]
    done = subprocess.run(command, capture_output=True, env={"PYTHONPATH": str(ROOT)})
    assert done.stdout.decode() == (ROOT / "docs/policy.md").read_text(), "run: scripts/policy-reference, and keep it"


def test_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_keyword_is_there_and_described() -> None:
    members = SCHEMA["$defs"]["keywords"]["properties"]
    assert list(members) == list(KEYWORDS)
    assert all(member["description"] for member in members.values())


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_policies_of_this_repository(path: Path) -> None:
    refused = path.parent.name[:6] in REFUSED and path.parent.name not in BEYOND_IT
    assert fits(document(path.read_text(), path.name).data) == (not refused)


@pytest.mark.parametrize(
    "policy",
    [
        "properties: {vcpus: {maximum: 4}}",
        "properties: {vcpus: {maxmum: 4}}",
        "properties: {vcpus: {maximum: '4'}}",
        "properties: {vcpus: {multipleOf: 0}}",
        "properties: {vcpus: {multipleOf: 2}}",
        "properties: {vcpus: {type: int}}",
        "properties: {vcpus: {type: [integer, number]}}",
        "properties: {vcpus: {enum: []}}",
        "properties: {vcpus: {enum: 4}}",
        "properties: {vcpus: 4}",
        "properties: [vcpus]",
        "properties: {memory: {maxQuantity: 4GiB}}",
        "properties: {memory: {maxQuantity: 4G}}",
        "properties: {memory: {maxQuantity: 4}}",
        "properties: {batch: {properties: {walltime: {maxDuration: '24:00:00'}}}}",
        "properties: {batch: {properties: {walltime: {maxDuration: 24}}}}",
        "properties: {name: {pattern: '['}}",
        "properties: {name: {pattern: '^[a-z]', minLength: -1}}",
        "properties: {image: {imageIn: [debian-12, 'debian-*', tag=cfd]}}",
        "properties: {image: {imageIn: ['tag:cfd']}}",
        "properties: {image: {imageIn: debian-12}}",
        "properties: {vcpus: {maximum: 4, code: HLRS012, message: x, help: y, severity: warning}}",
        "properties: {vcpus: {maximum: 4, code: VT0201}}",
        "properties: {vcpus: {maximum: 4, severity: info}}",
        "properties: {vcpus: {maximum: 4, allowSuppress: 'yes'}}",
        "properties: {hooks: false, env: true}",
        "properties: {batch: {required: [queue]}}",
        "properties: {batch: {required: queue}}",
        "properties: {batch: {dependentRequired: {queue: [account]}}}",
        "properties: {batch: {dependentRequired: {queue: account}}}",
        "{if: true, then: {required: [vcpus]}}",
        "{then: {required: [vcpus]}}",
        "{allOf: [{oneOf: [{not: {anyOf: [{maximum: 4}]}}]}]}",
        "{allOf: [{oneOf: [{not: {anyOf: [{maximun: 4}]}}]}]}",
        "{allOf: []}",
        "{allOf: {maximum: 4}}",
    ],
)
def test_the_schema_and_the_program_agree(policy: str, tmp_path: Path) -> None:
    report = Report()
    open_site(write_site(tmp_path, policy), report)
    refused = {item.id for item in report.items}
    assert refused <= REFUSED
    assert fits(document(policy, "policy.yaml").data) == (not refused)


def test_no_keyword_is_missing_in_a_nested_schema() -> None:
    """Whatever leads to a subschema leads to one whose misspelt keywords are told."""
    for word, keyword in KEYWORDS.items():
        bad: dict[str, Any] = {"maxmum": 4}
        value: Any = {"schema": bad, "schemas": [bad], "members": {"vcpus": bad}}.get(keyword.shape)
        if value is not None:
            assert not fits({"if": True, word: value}), word


def test_editors_get_examples() -> None:
    assert re.search(r"24GiB", json.dumps(SCHEMA["$defs"]["keywords"]["properties"]["maxQuantity"]))
