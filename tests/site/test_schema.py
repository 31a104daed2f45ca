"""The published schema of site.yaml is fresh, valid, agrees with the program; docs/site.md knows every field."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.site.helpers import PLAIN
from tests.spec.helpers import ROOT, document
from vtorque_spec.diagnostics import Report
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.site.model import SiteFile
from vtorque_spec.site.schema import site_schema_text
from vtorque_spec.spec.parse import parse_as

TEXT = (ROOT / "schemas/site-1.schema.json").read_text()
VALIDATOR = jsonschema.Draft202012Validator(json.loads(TEXT))
SITE = (PLAIN / "site.yaml").read_text()
CLASS = "thin: {cpus: 8, memory: 16GiB}"


def test_fresh() -> None:
    assert site_schema_text() == TEXT, "run: vtorque schema site > schemas/site-1.schema.json"


def test_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(TEXT))


@pytest.mark.parametrize(
    ("members", "fine"),
    [
        ("nodes: n1", True),
        ("nodes: '@all'", False),
        ("nodes: 'a b'", False),
        ("property: mem64", True),
        ("property: a b", False),
        ("topology: {sockets: 1, cores: 4, threads: 2}", True),
        ("topology: {sockets: 1, cores: 4}", False),
        ("topology: {sockets: 0, cores: 4, threads: 1}", False),
        ("cells: [{id: 0, cpus: '0-3,8', memory: 1GiB}]", True),
        ("cells: [{id: 0, cpus: [0-3, 8]}]", True),
        ("cells: [{id: 0, cpus: ['0-3,8']}]", False),
        ("cells: [{id: 0, cpus: []}]", False),
        ("cells: [{id: 0, cpus: 70000}]", False),
        ("cells: [{cpus: 1}]", False),
        ("cells: [{id: 0, distances: [10, 21]}]", True),
        ("cells: [{id: 0, distances: [9]}]", False),
        ("cells: [{id: 0, hugepages: {1GiB: 2}}]", True),
        ("cells: [{id: 0, hugepages: {1GiB: 0}}]", False),
        ("cells: [{id: 0, hugepages: {4GiB: 1}}]", False),
        ("cells: [{id: 0, cpus: 0-7, siblings: 0-3+4-7}]", True),
        ("cells: [{id: 0, cpus: 0-7, siblings: '0-2:2+1-3:2, 4+5'}]", True),
        ("cells: [{id: 0, cpus: 0-7, siblings: [0-1+2-3, 4+5+6+7]}]", True),
        ("cells: [{id: 0, cpus: 0-7, siblings: 0-3}]", False),
        ("cells: [{id: 0, cpus: 0-7, siblings: 1}]", False),
        ("cells: [{id: 0, cpus: 0-7, siblings: []}]", False),
        ("cells: [{id: 0, cpus: 0-7, siblings: '0:2+1:2'}]", False),
        ("cells: [{id: 0, cpus: 0-7, socket: 1}]", True),
        ("cells: [{id: 0}], devices: [{name: eth0, kind: nic, cell: 0}]", True),
        ("devices: [{name: eth0, kind: nic}]", True),
        ("devices: [{name: a b, kind: nic}]", False),
        ("devices: [{name: eth0, kind: disk}]", False),
        ("host_reserve: {cores: 1}", True),
        ("host_reserve: {memory: 1GiB}", False),
        ("host_reserve: {cores: 1, in_slots: true}", True),
        ("host_reserve: {cores: 1, in_slots: 1}", False),
        ("slot: core", True),
        ("slot: socket", False),
        ("vcpu: thread", True),
        ("vcpu: 1", False),
        ("lock_memory: true", True),
        ("lock_memory: 'yes'", False),
    ],
)
def test_the_schema_and_the_program_agree(members: str, fine: bool) -> None:
    parsed = document(SITE.replace(CLASS, f"thin: {{cpus: 8, memory: 16GiB, {members}}}"))
    assert (not list(VALIDATOR.iter_errors(parsed.data))) == fine
    assert (parse_as(SiteFile, parsed, Report()) is not None) == fine


@pytest.mark.parametrize(
    ("members", "fine"),
    [
        ("queues: {short: {node_classes: [thin], default: true}, long: {node_classes: [thin]}}", True),
        ("queues: {short: {node_classes: []}}", False),
        ("queues: {short: {}}", False),
        ("queues: {short: {node_classes: thin}}", False),
        ("queues: [short]", False),
        ("queues: {'a b': {node_classes: [thin]}}", False),
        ("iocm: {mode: libvirt}", True),
        ("iocm: {mode: skvm, nics: [eth0, mlx5_0]}", True),
        ("iocm: {mode: skvm, nics: [a b]}", False),
        ("iocm: {nics: [eth0]}", False),
        ("iocm: true", False),
    ],
)
def test_they_agree_about_queues_and_io_cores(members: str, fine: bool) -> None:
    parsed = document(f"{SITE}{members}\n")
    assert (not list(VALIDATOR.iter_errors(parsed.data))) == fine
    assert (parse_as(SiteFile, parsed, Report()) is not None) == fine


def fields(schema: dict[str, Any], member: dict[str, Any], path: str = "") -> Iterator[str]:
    """The path of each field; `*` stands for a name or a place in a list."""
    if "$ref" in member:
        member = schema["$defs"][member["$ref"].rpartition("/")[2]]
    for name, inner in member.get("properties", {}).items():
        yield path + name
        yield from fields(schema, inner, f"{path}{name}.")
    others = [*member.get("patternProperties", {}).values(), member.get("items"), member.get("additionalProperties")]
    for inner in others:
        if isinstance(inner, dict):
            yield from fields(schema, inner, f"{path}*.")


@pytest.mark.parametrize("model", [SiteFile, CatalogueImage], ids=["site.yaml", "image"])
def test_the_page_names_every_field_and_no_other(model: type[SiteFile | CatalogueImage]) -> None:
    heading = {SiteFile: "site.yaml", CatalogueImage: "images/NAME.yaml"}[model]
    page = (ROOT / "docs/site.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", page, flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(f"`{heading}`")]
    named = re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)
    schema = model.model_json_schema()
    assert named == list(dict.fromkeys(fields(schema, without_null(schema))))


def without_null(value: Any) -> Any:
    """`X | null` of pydantic's own schema as X, in place."""
    if isinstance(value, list):
        return [without_null(item) for item in value]
    if not isinstance(value, dict):
        return value
    for key, inner in list(value.items()):
        value[key] = without_null(inner)
    choices = value.pop("anyOf", [])
    return {**value, **choices[0]} if choices else value


def test_every_field_is_described() -> None:
    schema = json.loads(TEXT)
    for name, definition in [("site", schema), *schema["$defs"].items()]:
        for field, details in definition["properties"].items():
            assert details.get("description"), f"{name}.{field}"
