"""The normal form: one spelling for every value, and a way back to the file for every path."""

import pytest

from tests.spec.helpers import EXAMPLES, MINIMAL, document
from vtorque_spec.canonical import DecodeError, canonical_json, digest, from_json
from vtorque_spec.carrier import MachinePart, decode_machine_part, encode_machine_part
from vtorque_spec.diagnostics import Report
from vtorque_spec.plan import UserPart
from vtorque_spec.spec.parse import NormalForm, label, normal_form, parse_job, parse_normal, paths_of

FULL = """\
apiVersion: vtorque/v1
name: cavity
batch: {nodes: 2, walltime: "02:00:00", depends: {afterok: ["1.b"]}, mail: {to: [me@x.org], events: [abort]}}
image: debian-12@sha256:%s
memory: 24GiB
pinning: {map: [4, 5]}
iocm: {min_cores: 1}
root_disk: {size: 20GiB}
disks: [{name: scratch, size: 50GiB, mount: /data}]
mounts: [home, {name: datasets, mode: ro}]
network: fast
hooks: {prologue: ./a.sh, epilogue: {inline: "true"}}
env: {A: "1", B: {from_file: b.txt}}
run: {script: ./solve.sh, args: [-v]}
timeouts: {boot: 120s}
allow_degraded: []
""" % ("0" * 64)


def normal_of(text: str) -> NormalForm:
    report = Report()
    parsed = document(text)
    spec = parse_job(parsed, report)
    assert spec is not None, report.items
    return normal_form(spec, parsed)


def test_sugar_is_expanded_and_units_are_fixed() -> None:
    data = normal_of(FULL).data
    assert data["batch"]["walltime"] == 7200
    assert data["image"] == {"name": "debian-12", "sha256": "0" * 64}
    assert data["memory"] == 24 * 2**30
    assert data["pinning"] == {"mode": "map", "map": [4, 5]}
    assert data["iocm"] == {"enabled": True, "min_cores": 1}
    assert data["mounts"] == [{"name": "home"}, {"name": "datasets", "mode": "ro"}]
    assert data["network"] == {"name": "fast"}
    assert data["hooks"] == {"prologue": {"path": "./a.sh"}, "epilogue": {"inline": "true"}}
    assert data["env"] == {"A": {"value": "1"}, "B": {"from_file": "b.txt"}}
    assert data["timeouts"] == {"boot": 120}


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("mounts: [home]", "mounts: [{name: home}]"),
        ("network: default", "network: {name: default}"),
        ("pinning: none", "pinning: {mode: none}"),
        ("iocm: true", "iocm: {enabled: true}"),
        ("hooks: {prologue: a.sh}", "hooks: {prologue: {path: a.sh}}"),
        ('env: {A: "1"}', 'env: {A: {value: "1"}}'),
        ("memory: 1GiB", "memory: 1024MiB"),
        ("timeouts: {boot: 60s}", "timeouts: {boot: '00:01:00'}"),
    ],
)
def test_two_spellings_are_one_value(short: str, long: str) -> None:
    assert normal_of(MINIMAL + short + "\n").data == normal_of(MINIMAL + long + "\n").data


def test_every_path_leads_back_to_the_text_it_came_from() -> None:
    normal = normal_of(FULL)
    lines = FULL.split("\n")
    assert set(normal.spans) == set(paths_of(normal.data))

    def text_at(*path: str | int) -> str:
        span = normal.spans[path]
        assert span.line == span.end_line
        return lines[span.line - 1][span.column - 1 : span.end_column - 1]

    assert text_at("mounts", 0, "name") == "home"
    assert text_at("mounts", 1, "mode") == "ro"
    assert text_at("pinning", "mode") == "{map: [4, 5]}"
    assert text_at("pinning", "map", 1) == "5"
    assert text_at("image", "sha256") == "debian-12@sha256:" + "0" * 64
    assert text_at("env", "A", "value") == '"1"'
    assert text_at("batch", "walltime") == '"02:00:00"'
    assert text_at("network", "name") == "fast"


def test_the_normal_form_is_a_fixed_point() -> None:
    """What travels to root is read again there, and means the same."""
    data = normal_of(FULL).data
    assert parse_normal(data).model_dump(mode="json", exclude_unset=True) == data


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_survive_the_carrier(example) -> None:  # type: ignore[no-untyped-def] # a path
    data = normal_of(example.read_text()).data
    travelling = {name: value for name, value in data.items() if name not in ("run", "env", "hooks")}
    part = MachinePart(travelling, "sha256:a", "sha256:b")
    assert decode_machine_part(encode_machine_part(part)) == part


def test_canonical_json_has_one_form() -> None:
    assert canonical_json({"b": [1, None], "a": "é"}) == '{"a":"\\u00e9","b":[1,null]}'
    with pytest.raises(TypeError):
        canonical_json({"a": 1.5})
    assert digest("x", 1, {}) != digest("y", 1, {})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version":1}', "[" * 10000, '{"a":NaN}', '{"a":1,"a":2}'])
def test_json_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        from_json(UserPart, text)


def test_labels() -> None:
    assert label(("mounts", 0, "name")) == "mounts[0].name"
