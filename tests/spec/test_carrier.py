"""What travels in a batch script, however it was changed: refused with a reason, in bounded time and memory."""

import base64
import contextlib
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.spec.helpers import CONTEXT, MINIMAL, checked, site
from vtorque_spec.canonical import DEPTH_LIMIT, DecodeError, canonical_json
from vtorque_spec.carrier import (
    CARRIERS,
    MACHINE_PART_LIMIT_BYTES,
    MachinePart,
    decode_machine_part,
    decode_user_part,
    encode_machine_part,
    encode_user_part,
    machine_part_in_script,
)
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import compile_script, job_from_machine_part, machine_part
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Script, UserPart

AT = site()
JOB = MINIMAL + "vcpus: 2\nmounts: [home]\nbatch: {array: 0-9%4, features: [ib], mail: {to: [me@site.org]}}\n"
GOOD = machine_part(checked(JOB))
MEMORY_LIMIT_BYTES = 8 * 1024**2


def travelling(data: object) -> str:
    """Return anything as JSON behind the envelope; Python's writer also writes NaN and lone surrogates."""
    return "VT1." + base64.b64encode(json.dumps(data).encode()).decode()


def raw(text: str) -> str:
    return "VT1." + base64.b64encode(text.encode()).decode()


def refused(text: str) -> str:
    """Return the reason; no other exception, and little memory whatever the text is."""
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError) as caught:
            decode_machine_part(text)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_LIMIT_BYTES
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 300
    return str(caught.value)


def understood(text: str) -> bool:
    """Whether the node takes a machine part; a refusal is a DecodeError or findings, never anything else."""
    report = Report()
    with contextlib.suppress(DecodeError):
        return job_from_machine_part(text, AT, CONTEXT, report) is not None
    return False


def test_what_was_compiled_is_understood() -> None:
    assert understood(GOOD)
    assert decode_machine_part(GOOD).job["batch"]["array"] == "0-9%4"


@pytest.mark.parametrize("length", [MACHINE_PART_LIMIT_BYTES + 1, 10**6, 4 * 10**6])
def test_over_long(length: int) -> None:
    assert refused(GOOD + "A" * (length - len(GOOD))) == f"the machine part has {length} bytes, 8192 are allowed"


def test_at_the_limit_it_is_the_content_that_counts() -> None:
    assert "8192 are allowed" not in refused("VT1." + "A" * (MACHINE_PART_LIMIT_BYTES - 4))


@given(st.integers(0, len(GOOD) - 1))
def test_truncated(length: int) -> None:
    refused(GOOD[:length])


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 7))
def test_bit_flipped(place: int, bit: int) -> None:
    """It is refused, or it is another job of the language; nothing else happens. (The batch system vouches for it.)"""
    changed = GOOD[:place] + chr(ord(GOOD[place]) ^ (1 << bit)) + GOOD[place + 1 :]
    understood(changed)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_anything_else(text: str) -> None:
    refused(text)
    refused("VT1." + text)


@pytest.mark.parametrize(("text", "version"), [(GOOD.replace("VT1.", "VT2.", 1), 2), ("VT0.QUJD", 0), ("VT12.", 12)])
def test_another_version_is_told_as_one(text: str, version: int) -> None:
    expected = f"the part has version {version}, this program reads version 1: compile it with the node's vtorque"
    assert refused(text) == expected
    with pytest.raises(DecodeError, match=f"the part has version {version}, this program reads version 1"):
        decode_user_part(text.replace("VT", "VTU", 1))


@pytest.mark.parametrize(
    "text", ["VT.QUJD", "VTx.QUJD", "VT99999.QUJD", "VTU1.QUJD", "vt1.QUJD", " VT1.QUJD", "VT\uff11.QUJD"]
)
def test_no_version_at_all(text: str) -> None:
    assert refused(text) == "the part does not start with VT1."


JSON = {
    "nested lists": ("[" * 6000, "recursion"),
    "nested mappings": ('{"a":' * 1200, "recursion"),
    "closed nested lists": ("[" * 900 + "]" * 900, "nested more than 32 deep"),
    "a number of many digits": ('{"a":' + "9" * 5000 + "}", "digit"),
    "a number of 4,000 digits": ('{"a":' + "9" * 4000 + "}", "not below 2^53"),
    "a number too large": ('{"a":9007199254740992}', "not below 2^53"),
    "a negative number too large": ('{"a":-9007199254740992}', "not below 2^53"),
    "a fraction": ('{"a":1.5}', "1.5"),
    "an exponent": ('{"a":1e400}', "1e400"),
    "not a number": ('{"a":NaN}', "NaN"),
    "infinity": ('{"a":-Infinity}', "-Infinity"),
    "a key twice": ('{"job":{},"job":{}}', "same key twice"),
    "a key twice inside": ('{"job":{"vcpus":1,"vcpus":2}}', "same key twice"),
    "half a character": ('{"a":"\\ud800"}', "surrogates"),
    "half a character in a key": ('{"\\udfff":1}', "surrogates"),
    "nothing": ("", "JSON"),
    "two values": ("{} {}", "Extra data"),
    "a control character": ('{"a":"\n"}', "control character"),
}


@pytest.mark.parametrize("what", JSON)
def test_json_that_readers_take_differently(what: str) -> None:
    text, reason = JSON[what]
    assert reason in refused(raw(text))


def test_as_deep_as_the_language() -> None:
    """About as deep as a job file may be: no job of the language comes near."""
    assert "deep" not in refused(raw("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT))
    assert "deep" in refused(raw("[" * (DEPTH_LIMIT + 2) + "]" * (DEPTH_LIMIT + 2)))


def test_bytes_that_are_no_text() -> None:
    assert "not JSON" in refused("VT1." + base64.b64encode(b'{"a":"\xff\xfe"}').decode())


SHAPES = [
    None,
    True,
    0,
    "x",
    [],
    {},
    [{}],
    {"job": {}},
    {"job": {}, "policy_digest": "", "job_plan_digest": "", "x": 1},
]
MEMBERS = {"job": [None, [], "x", {"run": "id"}, {"env": {}}, {"hooks": {}}], "policy_digest": [None, 1, [], {}]}


@pytest.mark.parametrize(
    "data",
    [
        *SHAPES,
        *(
            {"job": {}, "policy_digest": "", "job_plan_digest": "", name: value}
            for name, values in MEMBERS.items()
            for value in values
        ),
    ],
    ids=repr,
)
def test_json_of_another_shape(data: object) -> None:
    assert refused(travelling(data)).startswith("the machine part")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key in data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield from places(data[key], (*path, key))


PLACES = list(places(decode_machine_part(GOOD).job))


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(PLACES), ANYTHING)
def test_a_job_with_anything_in_it(path: tuple[Any, ...], value: object) -> None:
    """Each member of a job in turn, and the job itself, is any value: findings or a refusal."""
    part = decode_machine_part(GOOD)
    data: Any = {"job": part.job, "policy_digest": part.policy_digest, "job_plan_digest": part.job_plan_digest}
    owner, keys = data, ("job", *path)
    for key in keys[:-1]:
        owner = owner[key]
    owner[keys[-1]] = value
    understood(travelling(data))


@pytest.mark.parametrize(
    "said",
    [
        {"batch": {"array": "0-9" + ",11" * 1500}},
        {"batch": {"array": "9999999-0"}},
        {"batch": {"array": "0-9999999%9999999"}},
        {"batch": {"depends": {"afterok": ["1:2"]}}},
        {"batch": {"mail": {"to": ["-oQ"]}}},
        {"batch": {"features": ["ib\n"]}},
        {"vcpus": 10**15},
    ],
    ids=lambda said: str(said)[:40],
)
def test_what_the_language_refuses_the_node_refuses(said: dict[str, Any]) -> None:
    """Only what cannot be said differs from what was said: a large array is a job like any other."""
    part = decode_machine_part(GOOD)
    text = encode_machine_part(MachinePart({**part.job, **said}, "", ""))
    assert understood(text) == (said == {"batch": {"array": "0-9999999%9999999"}})


# --- in a script ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", CARRIERS)
def test_a_part_in_a_script(start: str) -> None:
    assert machine_part_in_script(f"#!/bin/bash\n{start}{GOOD}\n") == GOOD
    assert machine_part_in_script(f"#!/bin/bash\n{start}{GOOD}") == GOOD
    assert machine_part_in_script(f"#!/bin/bash\nid\n{start}{GOOD}\n") is None


@given(st.text(st.sampled_from("#VTORQUE \n\r\x0b\x85\u2028x")) | st.text())
def test_any_script(text: str) -> None:
    """Only a line feed ends a line, for bash and for this reader."""
    found = machine_part_in_script(text)
    lines = text.split("\n")
    comments = next((lines[:end] for end, line in enumerate(lines) if not line.startswith("#")), lines)
    carried = [line.removeprefix(start) for line in comments for start in CARRIERS if line.startswith(start)]
    assert found == (carried[0] if carried else None)


@pytest.mark.parametrize("text", ["#\n" * 2**21, "#" * 2**22, "\n" * 2**22, "#VTORQUE " + "A" * 2**22])
def test_a_huge_script_takes_little_memory(text: str) -> None:
    tracemalloc.start()
    try:
        found = machine_part_in_script(text)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(text)
    finally:
        tracemalloc.stop()
    if found is not None:
        assert "8192 are allowed" in refused(found)


# --- what is too large is told ---------------------------------------------------------------------------------------


def test_a_machine_part_that_is_too_large_names_its_largest_members() -> None:
    text = (
        MINIMAL
        + f"allow_degraded: [{', '.join(['unpinned'] * 600)}]\nbatch: {{features: [{', '.join(['ib'] * 30)}]}}\n"
    )
    found, report = checked(text), Report()
    assert compile_script(found, "torque", report) is None
    (item,) = report.items
    assert item.code.id == "VT0601"
    assert item.message == (
        "the job's machine part has 9408 bytes, the batch system carries 8192: "
        "allow_degraded 8804, batch.features 204, apiVersion 16"
    )
    assert item.help == "shorten `allow_degraded`"


def test_the_limit_is_exact() -> None:
    room = (MACHINE_PART_LIMIT_BYTES - len("VT1.")) // 4 * 3 - len(canonical_json(MachinePart({"name": ""}, "", "")))
    assert len(encode_machine_part(MachinePart({"name": "x" * room}, "", ""))) == MACHINE_PART_LIMIT_BYTES
    with pytest.raises(Fault, match=r"VT0601: .* has 8196 bytes.*: name "):
        encode_machine_part(MachinePart({"name": "x" * (room + 1)}, "", ""))


# --- the user's part --------------------------------------------------------------------------------------------------


@given(st.text() | ANYTHING.map(lambda data: json.dumps(data)))
def test_a_damaged_user_part_is_refused(text: str) -> None:
    for candidate in (text, "VTU1." + text, "VTU1." + base64.b64encode(text.encode()).decode()):
        with pytest.raises(DecodeError):
            decode_user_part(candidate)


def test_a_long_user_part_is_read() -> None:
    part = UserPart(1, Script("x" * 60_000, ()), None, None, ())
    assert decode_user_part(encode_user_part(part)) == part
