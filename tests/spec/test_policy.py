"""Layers, defaults and limits; violations stand in the job file and name the policy's line."""

import textwrap
from pathlib import Path

import pytest

from tests.spec.helpers import MINIMAL, check, checked, codes, site
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import open_site
from vtorque_spec.site import Site

SITE = """\
apiVersion: vtorque-site/v1
name: test
batch: torque
hypervisor: kvm
min_uid: 1000
node_classes: {thin: {cpus: 16, memory: 64GiB}}
mounts: {}
networks: {default: {kind: isolated}}
"""
IMAGE = f"""\
name: debian-12
description: x
guest: linux
arch: x86_64
sha256: {"a" * 64}
min_memory: 1GiB
min_disk: 1GiB
cmdline: quiet
"""


@pytest.fixture
def with_policy(tmp_path: Path):  # type: ignore[no-untyped-def] # returns a function
    (tmp_path / "images").mkdir()
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "images/debian-12.yaml").write_text(IMAGE)

    def make(policy: str) -> Site:
        (tmp_path / "policy.yaml").write_text(textwrap.dedent(policy))
        return site(tmp_path)

    return make


def test_a_line_is_a_whole_policy(with_policy) -> None:  # type: ignore[no-untyped-def]
    at = with_policy("properties: {vcpus: {default: 7, maximum: 14}}")
    assert checked(MINIMAL, at=at).job.vcpus == 7
    assert checked(MINIMAL + "vcpus: 14\n", at=at).job.vcpus == 14
    found, report = check(MINIMAL + "vcpus: 15\n", at=at)
    assert found is None
    (item,) = report.items
    assert (item.code.id, item.message) == ("VT0201", "`vcpus` is 15, at most 14 is allowed")
    assert item.span is not None
    assert (item.span.file, item.span.line, item.span.column) == ("job.vjob.yaml", 5, 8)
    assert item.notes[0].span is not None
    assert item.notes[0].span.file.endswith("policy.yaml")
    assert (item.notes[0].span.line, item.notes[0].span.column) == (1, 43)


def test_the_last_default_wins_and_the_file_wins_over_it(with_policy) -> None:  # type: ignore[no-untyped-def]
    at = with_policy("properties: {memory: {default: 4GiB}, batch: {properties: {walltime: {default: 30 min}}}}")
    job = checked(MINIMAL, at=at).job
    assert (job.memory_bytes, job.batch.walltime_s, job.vcpus) == (4 * 2**30, 1800, 1)
    assert checked(MINIMAL + "memory: 2GiB\n", at=at).job.memory_bytes == 2 * 2**30


def test_sugar_neither_dodges_nor_trips_a_rule(with_policy) -> None:  # type: ignore[no-untyped-def]
    at = with_policy("properties: {iocm: {properties: {enabled: {const: false}}}, memory: {maximum: 2147483648}}")
    assert checked(MINIMAL + "iocm: false\nmemory: 2048MiB\n", at=at)
    _, report = check(MINIMAL + "memory: 3GiB\n", at=at)
    assert [item.message for item in report.items] == ["`memory` is 3GiB, at most 2GiB is allowed"]


def test_false_switches_a_feature_off(with_policy) -> None:  # type: ignore[no-untyped-def]
    at = with_policy("properties: {hooks: false}")
    _, report = check(MINIMAL + "hooks: {prologue: {inline: x}}\n", at=at)
    assert [item.message for item in report.items] == ["`hooks` is not allowed here"]


def test_conditions_on_the_context(with_policy) -> None:  # type: ignore[no-untyped-def]
    policy = """\
        if: {properties: {context: {properties: {groups: {contains: {const: users}}}}}}
        then: {properties: {vcpus: {maximum: 2}}}
        """
    at = with_policy(policy)
    assert codes(check(MINIMAL + "vcpus: 3\n", at=at)[1]) == ["VT0201"]
    at = with_policy(policy.replace("users", "staff"))
    assert checked(MINIMAL + "vcpus: 3\n", at=at)


def test_a_default_that_breaks_a_limit_is_the_policys_fault(with_policy) -> None:  # type: ignore[no-untyped-def]
    at = with_policy("properties: {vcpus: {default: 9, maximum: 8}}")
    (item,) = check(MINIMAL, at=at)[1].items
    assert item.code.id == "VT0703"
    assert item.span is not None
    assert item.span.file.endswith("policy.yaml")


def test_a_default_that_is_no_value_is_the_policys_fault(with_policy) -> None:  # type: ignore[no-untyped-def]
    at = with_policy("properties: {memory: {default: 4 gigs}}")
    (item,) = check(MINIMAL, at=at)[1].items
    assert item.code.id == "VT0703"
    assert item.span is not None
    assert item.span.file.endswith("policy.yaml")


@pytest.mark.parametrize(
    "policy",
    ["properties: []", "properties: {vcpus: {maximum: many}}", "type: jobb", "properties: {name: {pattern: '('}}"],
)
def test_what_is_no_schema_is_refused(with_policy, policy: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with_policy("{}")
    (tmp_path / "policy.yaml").write_text(policy)
    report = Report()
    assert open_site(tmp_path, report) is None
    assert codes(report) == ["VT0702"]


def test_a_reference_to_the_network_is_a_finding(with_policy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Nothing is fetched from a network."""
    with_policy("{}")
    (tmp_path / "policy.yaml").write_text("properties: {vcpus: {$ref: 'http://x.invalid/y'}}")
    report = Report()
    assert open_site(tmp_path, report) is None
    assert codes(report) == ["VT0702"]


def test_the_digest_follows_the_rules(with_policy) -> None:  # type: ignore[no-untyped-def]
    one = with_policy("properties: {vcpus: {maximum: 8}}").policy.digest
    assert one == with_policy("# a remark\nproperties:\n  vcpus: {maximum: 8}\n").policy.digest
    assert one != with_policy("properties: {vcpus: {maximum: 9}}").policy.digest
