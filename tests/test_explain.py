"""`vtorque explain`: codes of the program and of the site, fields, and the chain behind a value."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.spec.helpers import MINIMAL, ROOT, check, document
from tests.test_cli import vtorque
from tests.test_offer import VULCAN, directory
from vtorque_spec.cli.explain_field import field_at
from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.policy.told.offer import type_words
from vtorque_spec.policy.told.wording import named
from vtorque_spec.spec.examples import example, short_example
from vtorque_spec.spec.fields import ANY, Field, all_fields
from vtorque_spec.spec.machine import OWN_MEMBERS
from vtorque_spec.spec.parse import parse_job

FIELDS = list(all_fields())
JOB = """\
apiVersion: vtorque/v1
name: x
image: rocky-9
vcpus: 24
batch: {account: abc12345, queue: fat}
mounts: [home, {name: software, mode: ro}]
run: hostname
"""


def explained(*words: str | Path) -> str:
    done = vtorque("explain", *words, "--site", VULCAN)
    assert (done.returncode, done.stderr) == (0, "")
    return " ".join(done.stdout.split())


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "job.vjob.yaml").write_text(JOB)
    return tmp_path / "job.vjob.yaml"


def why(job: Path, field: str, *more: str | Path) -> dict[str, Any]:
    done = vtorque("explain", job, "--why", field, "--format", "json", "--site", VULCAN, *more)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- codes ------------------------------------------------------------------------------------------------------------


def test_a_code_of_the_site() -> None:
    said = explained("VUL010")
    for words in (
        "vcpus: at most 4", "severity: error", "applies: for group students", "students get 4 CPUs at most, not ...",
        f"rule: {VULCAN}/policy.yaml:30", "suppress: not possible",
    ):  # fmt: skip
        assert words in said
    assert "see: https://docs.example.org/images" in explained("vul003")
    assert "a comment in the job file may hide it" in explained("VUL020")


def test_a_code_with_several_rules_names_them_all(tmp_path: Path) -> None:
    policy = "properties: {vcpus: {maximum: 4, minimum: 2, code: A1}, memory: {maxQuantity: 1GiB, code: A1}}\n"
    done = vtorque("explain", "A1", "--format", "json", "--site", directory(tmp_path, policy))
    rules = json.loads(done.stdout)["rules"]
    found = [(one["field"], one["text"]) for one in rules]
    assert found == [("vcpus", "at most 4"), ("vcpus", "at least 2"), ("memory", "at most 1GiB")]


@pytest.mark.parametrize(
    ("word", "meant"),
    [("VUL0010", "VUL010"), ("VT01007", "VT0107"), ("memroy", "memory"), ("batch.waltime", "batch.walltime")],
)
def test_near_misses_over_codes_and_fields(word: str, meant: str) -> None:
    done = vtorque("explain", word, "--site", VULCAN)
    assert done.returncode == 2
    assert f"did you mean {meant}?" in done.stderr


def test_a_page_as_json() -> None:
    found = json.loads(vtorque("explain", "VT0107", "--format", "json").stdout)
    assert (found["code"], found["title"]) == ("VT0107", Code.BAD_QUANTITY.title)


# --- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: named(field.path))
def test_every_example_is_right(field: Field) -> None:
    """Each line, in place of the minimal job's own, makes a job of the language."""
    base = {line.split(":")[0]: line for line in MINIMAL.splitlines()}
    for line in filter(None, [example(field.path), short_example(field)]):
        report = Report()
        text = "\n".join({**base, str(field.path[0]): line}.values()) + "\n"
        assert parse_job(document(text), report) is not None, report.items


@pytest.mark.parametrize("member", OWN_MEMBERS)
def test_the_example_of_ones_own_image_passes_at_a_site(member: str) -> None:
    """It has a name that the catalogue does not have, so that the whole of it is right."""
    text = "\n".join(line for line in MINIMAL.splitlines() if not line.startswith("image:"))
    _, report = check(f"{text}\n{example(('image', member))}\n")
    assert report.items == []


@pytest.mark.parametrize(("name", "type_"), [("run.command", "list of texts"), ("run.commands", "list of lists")])
def test_the_type_of_a_list(name: str, type_: str) -> None:
    field = field_at(name)
    assert field is not None
    assert type_words(field) == type_


def test_every_field_is_explained_by_its_name() -> None:
    for field in FIELDS:
        found = field_at(named(field.path))
        assert found is not None
        assert found.path == field.path


def test_a_field() -> None:
    said = explained("memory")
    for words in (
        "memory per VM", "size with a unit, as in 24GiB", f"8GiB {VULCAN}/policy.yaml:4",
        "for group students: 2GiB", "at most 180GiB (VUL002)", "rules/memory.yaml:2",
        "in queue fat: at least 100GiB, a warning only (VUL020)", "nodes thin 184GiB, fat 1500GiB",
        "example memory: 8GiB",
    ):  # fmt: skip
        assert words in said
    students = explained("memory", "--groups", "students")
    assert "at most 8GiB (VUL011)" in students
    assert "for group" not in students


def test_a_mapping_shows_its_members_and_its_short_form() -> None:
    said = explained("mounts[0]")
    assert "mounts[].mode read-only or read-write" in said
    assert "mounts: [home] (the name alone)" in said
    assert "image.revision only this revision (a name: letters" in explained("image")


def test_a_rule_on_the_whole_mapping_is_told_with_the_member() -> None:
    assert "`batch.queue` is test and `batch.walltime` is at most 00:30:00" in explained("batch.walltime")


def test_what_is_off_or_not_yet_says_so(tmp_path: Path) -> None:
    assert "switched off" in explained("hugepages")
    assert "not yet this version refuses it" in explained("telemetry")
    done = vtorque("explain", "mounts[].mode", "--site", directory(tmp_path, "properties: {mounts: false}\n"))
    assert "switches off what it is a part of" in done.stdout


def test_the_example_of_a_field_keeps_to_the_site(tmp_path: Path) -> None:
    policy = "properties: {batch: {properties: {queue: {enum: [short, long]}, walltime: {default: 10min}}}}\n"
    at = directory(tmp_path, policy)
    assert "batch: {queue: short}" in vtorque("explain", "batch.queue", "--site", at).stdout
    assert 'batch: {walltime: "00:10:00"}' in vtorque("explain", "batch.walltime", "--site", at).stdout


# --- the chain --------------------------------------------------------------------------------------------------------


def test_the_chain_of_a_value_that_the_job_says(job: Path) -> None:
    found = why(job, "vcpus", "--groups", "staff")
    assert (found["value"], found["set_by"]) == (24, f"set by the job, {job}:4")
    policy = f"{VULCAN}/policy.yaml"
    assert [(one["layer"], one["what"], one["at"], one["applies"]) for one in found["chain"]] == [
        ("language", "at least 1", "the language", True),
        ("language", "at most 4096", "the language", True),
        ("base policy", "default 1", "schemas/base-policy.yaml:15", True),
        ("site policy", "default 4", f"{policy}:3", True),
        ("site policy", "at most 40", f"{policy}:3", True),
        ("site policy", "default 2", f"{policy}:30", False),
        ("site policy", "at most 4", f"{policy}:30", False),
        ("nodes", "at most 76", "node class fat", True),
        ("job", "24", f"{job}:4", True),
    ]
    assert found["may_be"] == ["at least 1", "at most 40"]


def test_conditions_say_why_they_apply(job: Path) -> None:
    text = vtorque("explain", job, "--why", "memory", "--site", VULCAN, "--groups", "students").stdout
    assert "memory = 2GiB" in text
    assert "applies: for group students" in text
    assert "so it may be: at least 512MiB; at most 8GiB" in text
    assert "the job breaks a rule of the site: vtorque lint" in text
    text = vtorque("explain", job, "--why", "memory", "--site", VULCAN, "--groups", "staff").stdout
    assert "memory = 8GiB" in text
    assert "does not apply: for group students" in text
    assert "at least 100GiB (VUL020) (a warning only)" in text


def test_conditions_on_the_job_are_decided_by_its_values(job: Path) -> None:
    assert why(job, "batch.walltime", "--groups", "staff")["may_be"][0] == "at most 12:00:00"
    job.write_text(JOB.replace("vcpus: 24", "vcpus: 19"))
    assert why(job, "batch.walltime", "--groups", "staff")["may_be"][0] == "at most 24:00:00"


def test_what_is_not_known_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "j.vjob.yaml").write_text(MINIMAL + "batch: {account: abc12345}\n")
    found = why(tmp_path / "j.vjob.yaml", "memory", "--groups", "staff")
    asks_for_the_queue = [one for one in found["chain"] if one["when"] == "in queue fat"]
    assert [one["applies"] for one in asks_for_the_queue] == [None]


def test_the_rule_of_a_needed_member(tmp_path: Path) -> None:
    policy = "{dependentSchemas: {hooks: {properties: {vcpus: {maximum: 2}}}}, dependentRequired: {vcpus: [memory]}}\n"
    at = directory(tmp_path, policy)
    job = tmp_path / "j.vjob.yaml"
    for text, applies in ((MINIMAL, False), (MINIMAL + "hooks: {prologue: ./a.sh}\n", True)):
        job.write_text(text)
        done = vtorque("explain", job, "--why", "vcpus", "--format", "json", "--site", at)
        link = next(one for one in json.loads(done.stdout)["chain"] if one["what"] == "at most 2")
        assert (link["applies"], link["when"]) == (applies, "where `hooks` is said")


def test_fields_inside_lists_and_fields_that_nobody_said(job: Path) -> None:
    found = why(job, "mounts[1].name")
    assert (found["value"], found["set_by"]) == ("software", f"set by the job, {job}:6")
    assert found["may_be"] == ["only home, workspace or software"]
    assert why(job, "mounts[1].mode")["value"] == "ro"
    nobody = why(job, "mounts[0].mode")
    assert (nobody["value"], nobody["set_by"], nobody["may_be"]) == (None, None, ["ro or rw"])
    assert "iocm is not said" in vtorque("explain", job, "--why", "iocm").stdout


def test_an_image_by_either_name(job: Path) -> None:
    for field in ("image", "image.name"):
        may_be = why(job, field, "--groups", "staff")["may_be"]
        assert may_be == ["only debian-12, rocky-9 or rocky-9-openfoam (tag=supported, *-openfoam)"]


def test_a_faulty_file_is_told_as_by_lint(job: Path) -> None:
    job.write_text(JOB.replace("vcpus: 24", "vcpus: many"))
    done = vtorque("explain", job, "--why", "memory")
    assert done.returncode == 1
    assert "VT0101" in done.stderr


# --- which of the three -----------------------------------------------------------------------------------------------


def test_a_file_without_why_says_what_is_missing(job: Path, tmp_path: Path) -> None:
    done = vtorque("explain", "job.vjob.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "vtorque explain job.vjob.yaml --why FIELD" in done.stderr
    (tmp_path / "myjob").write_text(JOB)
    assert "vtorque explain myjob --why FIELD" in vtorque("explain", "myjob", cwd=tmp_path).stderr


def test_a_file_that_is_called_like_a_field(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text(MINIMAL)
    assert "memory per VM" in vtorque("explain", "memory", cwd=tmp_path).stdout
    assert "vcpus = 1" in vtorque("explain", "memory", "--why", "vcpus", cwd=tmp_path).stdout
    done = vtorque("explain", "nowhere", "--why", "vcpus", cwd=tmp_path)
    assert done.returncode == 2
    assert "is no file" in done.stderr


def test_every_code_is_explained() -> None:
    for code in Code:
        assert (ROOT / f"docs/errors/{code.id}.md").is_file()


def test_items_have_names() -> None:
    assert named(("mounts", ANY, "mode")) == "mounts[].mode"
    assert named(("env", ANY, "value")) == "env.NAME.value"
    assert named(("mounts", 1, "mode")) == "mounts[1].mode"
    assert named(("batch", "depends", ANY, ANY)) == "batch.depends.NAME[]"
