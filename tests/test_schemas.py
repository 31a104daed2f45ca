"""The published schema is fresh, valid, and agrees with the program about what is a job."""

import json

import jsonschema
import pytest

from tests.spec.helpers import MINIMAL, ROOT, document
from vtorque_spec.diagnostics import Report
from vtorque_spec.spec.parse import parse_job
from vtorque_spec.spec.schema import vjob_schema_text

TEXT = (ROOT / "schemas/vjob-1.schema.json").read_text()
VALIDATOR = jsonschema.Draft202012Validator(json.loads(TEXT))


def test_fresh() -> None:
    assert vjob_schema_text() == TEXT, "run: vtorque schema vjob > schemas/vjob-1.schema.json"


def test_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(TEXT))


@pytest.mark.parametrize(
    ("line", "fine"),
    [
        ("vcpus: 4", True),
        ("vcpus: '4'", False),
        ("vcpus: 0", False),
        ("vcpu: 4", False),
        ("memory: 24GiB", True),
        ("memory: 24", False),
        ("memory: 24G", False),
        ("pinning: none", True),
        ("pinning: {map: [1, 2]}", True),
        ("pinning: some", False),
        ("mounts: [home, {name: a, mode: ro}]", True),
        ("mounts: [{nome: a}]", False),
        ("mounts: home", False),
        ("iocm: true", True),
        ("iocm: {max_cores: 2}", True),
        ("iocm: 1", False),
        ("env: {A: '1', B: {from_file: x}}", True),
        ("env: {1A: x}", False),
        ("env: {A: 1}", False),
        ("batch: {walltime: '01:00:00'}", True),
        ("batch: {walltime: 3600}", False),
        ("network: default", True),
        ("timeouts: {boot: 5 min}", True),
        ("guest: windows", False),
        ("hooks: {prologue: a.sh, epilogue: {inline: x}}", True),
        ("disks:", False),
    ],
)
def test_the_schema_and_the_program_agree(line: str, fine: bool) -> None:
    parsed = document(MINIMAL + line + "\n")
    assert (not list(VALIDATOR.iter_errors(parsed.data))) == fine
    assert (parse_job(parsed, Report()) is not None) == fine


def test_every_field_is_described() -> None:
    schema = json.loads(TEXT)
    for name, definition in [("job", schema), *schema["$defs"].items()]:
        long = definition if "properties" in definition else definition["anyOf"][-1]
        for field, details in long["properties"].items():
            assert details.get("description"), f"{name}.{field}"
