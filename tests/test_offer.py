"""`vtorque policy show`: what may be asked for, in each form. tests/browser opens the page."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.spec.helpers import EXAMPLES, ROOT, check, site
from tests.test_cli import PATH, vtorque
from vtorque_spec.cli.policy_show import example_of
from vtorque_spec.diagnostics import Report, Severity
from vtorque_spec.policy import Context
from vtorque_spec.policy.told.offer import Offer, OfferedField, make_offer, refusals
from vtorque_spec.spec.fields import ANY, all_fields
from vtorque_spec.spec.honoured import HONOURED

VULCAN = ROOT / "tests/browser/site"
SITE = (
    "apiVersion: vtorque-site/v1\nname: here\nbatch: torque\nhypervisor: kvm\nmin_uid: 1000\n"
    "node_classes: {thin: {cpus: 8, memory: 16GiB}, fat: {cpus: 4, memory: 64GiB}}\nmounts: {}\n"
    "networks: {default: {kind: isolated}}\n"
)
IMAGE = (
    "name: {0}\ndescription: {0}\nguest: linux\narch: x86_64\ntags: [{1}]\nsha256: \"{2}\"\n"
    "min_memory: 256MiB\nmin_disk: 1GiB\ncmdline: quiet\n"
)  # fmt: skip


def directory(where: Path, policy: str) -> Path:
    (where / "images").mkdir(exist_ok=True)
    (where / "site.yaml").write_text(SITE)
    (where / "policy.yaml").write_text(policy)
    for number, (name, tag) in enumerate((("debian-12", "small"), ("rocky-9", "large"))):
        (where / f"images/{name}.yaml").write_text(IMAGE.format(name, tag, str(number) * 64))
    return where


def offer_of(where: Path, **known: Any) -> Offer:
    report = Report()
    found = make_offer(site(where), known, report)
    assert found is not None, report.items
    return found


def field(offer: Offer, name: str) -> OfferedField:
    return next(one for one in offer.fields if one.name == name)


def limits(offer: Offer, name: str) -> list[tuple[str | None, str]]:
    return [(limit.when, limit.text) for limit in field(offer, name).limits]


def offered(where: Path, policy: str, name: str, **known: Any) -> list[tuple[str | None, str]]:
    return limits(offer_of(directory(where, policy), **known), name)


def test_every_field_of_the_language_is_there_and_honoured_or_not_yet() -> None:
    offer = make_offer(site(), {}, Report())
    assert offer is not None
    assert {one.path for one in offer.fields} == {one.path for one in all_fields() if one.path[-1] != ANY}
    acted_on = {".".join(map(str, one.path)) for one in offer.fields if one.honoured}
    assert set(HONOURED) <= acted_on
    assert {"devices", "telemetry.interval"} & acted_on == set()


def test_defaults_are_those_that_jobs_get() -> None:
    """The offer against the compiler's own answer, at both sites and for two groups."""
    for where, groups in ((None, ()), (VULCAN, ()), (VULCAN, ("students",))):
        here = site(where)
        offer = make_offer(here, {"groups": list(groups), "user": "a", "queue": "batch", "host": "h"}, Report())
        assert offer is not None
        context = Context("a", groups, "batch", here.batch, here.name, "h")
        text = "apiVersion: vtorque/v1\nname: x\nimage: debian-12\nbatch: {account: abc12345}\nrun: hostname\n"
        checked, report = check(text, at=here, by=context)
        assert checked is not None, report.items
        for name, value in (("vcpus", checked.effective.data["vcpus"]), ("memory", checked.effective.data["memory"])):
            shown = field(offer, name).defaults[0]
            assert shown.when is None
            assert shown.text == (str(value) if name == "vcpus" else f"{value >> 30}GiB")


def test_the_tightest_limit_is_told_with_its_line(tmp_path: Path) -> None:
    policy = "properties: {vcpus: {maximum: 7}}\nallOf:\n- properties: {vcpus: {maximum: 6, exclusiveMinimum: 1}}\n"
    offer = offer_of(directory(tmp_path, policy))
    assert limits(offer, "vcpus") == [(None, "more than 1"), (None, "at most 6")]
    assert field(offer, "vcpus").limits[1].at == f"{tmp_path / 'policy.yaml'}:3"


def test_nodes_bound_what_rules_do_not(tmp_path: Path) -> None:
    offer = offer_of(directory(tmp_path, "properties: {vcpus: {maximum: 100}}\n"))
    assert limits(offer, "vcpus") == [(None, "at least 1"), (None, "at most 8")]
    assert [limit.at for limit in field(offer, "vcpus").limits] == ["the language", "node class thin"]
    assert limits(offer, "memory") == [(None, "at most 64GiB")]


CONDITIONS = {
    "{context: {properties: {groups: {contains: {const: a}}}}}": "for group a",
    "{context: {properties: {groups: {contains: {enum: [a, b]}}}}}": "for group a or b",
    "{context: {properties: {user: {const: eve}}}}": "for user eve",
    "{context: {properties: {queue: {enum: [x, y, z]}}}}": "in queue x, y or z",
    "{context: {properties: {host: {nodeSetIn: 'n[1-4]'}}}}": "on host n[1-4]",
    "{memory: {minQuantity: 8GiB}, hugepages: {const: none}}":
        "where `memory` is at least 8GiB and `hugepages` is none or not said",
    "{context: {properties: {user: {const: eve}}}, vcpus: {maximum: 2}}": "for user eve, where `vcpus` is at most 2",
    "{batch: {properties: {walltime: {maxDuration: 1h}}}}": "where `batch.walltime` is at most 01:00:00",
    "{hugepages: {enum: [1GiB, 2MiB]}}": "where `hugepages` is 1GiB or 2MiB or not said",
    "{batch: {properties: {queue: {const: long}}, required: [queue]}}": "where `batch.queue` is long",
    "{vcpus: {not: {const: 2}}}": "where `vcpus` is not 2",
    "{vcpus: {anyOf: [{const: 2}, {minimum: 4}]}}": "where `vcpus` is 2 or `vcpus` is at least 4",
    "{context: {properties: {groups: {minItems: 2}}}}": "when the condition at {}/policy.yaml:1 fits",
}  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_in_words(condition: str, tmp_path: Path) -> None:
    policy = f"{{if: {{properties: {condition}}}, then: {{properties: {{vcpus: {{maximum: 3}}}}}}}}\n"
    when = CONDITIONS[condition].format(tmp_path)
    assert (when, "at most 3") in offered(tmp_path, policy, "vcpus")


def test_the_other_branch_has_the_opposite_condition(tmp_path: Path) -> None:
    policy = (
        "if: {properties: {context: {properties: {groups: {contains: {const: a}}}}}}\n"
        "then: {if: {properties: {vcpus: {const: 1}}}, else: {properties: {memory: {maxQuantity: 2GiB}}}}\n"
        "else: {properties: {memory: {maxQuantity: 1GiB}}}\n"
    )
    found = offered(tmp_path, policy, "memory")
    denied = "{if: {properties: {hugepages: {const: none}}}, else: {properties: {vcpus: {maximum: 3}}}}\n"
    assert ("where `hugepages` is said and not none", "at most 3") in offered(tmp_path, denied, "vcpus")
    assert ("for group a, where `vcpus` is not 1", "at most 2GiB") in found
    assert ("not for group a", "at most 1GiB") in found


def test_a_member_that_is_needed_has_its_condition(tmp_path: Path) -> None:
    policy = (
        "dependentRequired: {hugepages: [pinning]}\n"
        "dependentSchemas: {hooks: {properties: {vcpus: {maximum: 2}}}}\n"
        "properties: {batch: {required: [account]}}\n"
    )
    offer = offer_of(directory(tmp_path, policy))
    assert ("where `hugepages` is said", "must be said") in limits(offer, "pinning")
    assert ("where `hooks` is said", "at most 2") in limits(offer, "vcpus")
    assert field(offer, "batch.account").required
    assert not field(offer, "batch.queue").required


def test_what_the_context_decides_is_decided() -> None:
    everybody = offer_of(VULCAN)
    assert ("for group students", "at most 4") in limits(everybody, "vcpus")
    assert [one.text for one in field(everybody, "vcpus").defaults] == ["4", "2"]
    students = offer_of(VULCAN, groups=["students"])
    assert limits(students, "vcpus") == [(None, "at least 1"), (None, "at most 4")]
    assert [(one.text, one.when) for one in field(students, "vcpus").defaults] == [("2", None)]
    assert limits(students, "image") == [(None, "only debian-12")]
    others = offer_of(VULCAN, groups=["staff"], queue="batch")
    assert limits(others, "vcpus") == [(None, "at least 1"), (None, "at most 40")]
    assert limits(others, "memory") == [(None, "at least 512MiB"), (None, "at most 180GiB")]


DECIDED = {
    "{not: {contains: {const: a}}}": (None, "at most 3"),
    "{not: {contains: {const: b}}}": None,
    "{anyOf: [{contains: {const: z}}, {contains: {const: a}}]}": None,
}


@pytest.mark.parametrize("groups", DECIDED)
def test_alternatives_and_negations_are_decided(groups: str, tmp_path: Path) -> None:
    """For somebody of group b; as part of `groups`, and around the whole condition."""
    then = "then: {properties: {vcpus: {maximum: 3}}}"
    policy = f"{{if: {{properties: {{context: {{properties: {{groups: {groups}}}}}}}}}, {then}}}\n"
    found = offered(tmp_path, policy, "vcpus", groups=["b"])
    assert [one for one in found if one[1] == "at most 3"] == ([DECIDED[groups]] if DECIDED[groups] else [])
    around = f"{{if: {{not: {{properties: {{context: {{properties: {{groups: {groups}}}}}}}}}}}, {then}}}\n"
    found = offered(tmp_path, around, "vcpus", groups=["b"])
    assert [one for one in found if one[1] == "at most 3"] == ([] if DECIDED[groups] else [(None, "at most 3")])
    user, group = "{properties: {user: {const: eve}}}", f"{{properties: {{groups: {groups}}}}}"
    either = f"{{if: {{properties: {{context: {{anyOf: [{user}, {group}]}}}}}}, {then}}}\n"
    found = offered(tmp_path, either, "vcpus", groups=["b"])
    assert [bool(when) for when, text in found if text == "at most 3"] == [not DECIDED[groups]]


def test_a_looser_conditional_limit_is_left_out(tmp_path: Path) -> None:
    policy = (
        "{properties: {vcpus: {maximum: 4}}, if: {properties: {context: {properties: {user: {const: eve}}}}},"
        " then: {properties: {vcpus: {maximum: 6, minimum: 2}}}}\n"
    )
    found = [(None, "at least 1"), (None, "at most 4"), ("for user eve", "at least 2")]
    assert offered(tmp_path, policy, "vcpus") == found


def test_a_warning_is_no_limit(tmp_path: Path) -> None:
    policy = "allOf: [{properties: {vcpus: {maximum: 4}}}, {properties: {vcpus: {maximum: 2, severity: warning}}}]\n"
    offer = offer_of(directory(tmp_path, policy))
    found = [(limit.text, limit.severity) for limit in field(offer, "vcpus").limits[1:]]
    assert found == [("at most 4", Severity.ERROR), ("at most 2", Severity.WARNING)]
    assert "at most 2, a warning only" in vtorque("policy", "show", "--site", tmp_path, COLUMNS="200").stdout


def test_images_by_name_pattern_and_tag(tmp_path: Path) -> None:
    assert offered(tmp_path, "properties: {image: {imageIn: [tag=small]}}\n", "image") == [
        (None, "only debian-12 (tag=small)")
    ]
    assert offered(tmp_path, "properties: {image: {imageIn: ['rocky-*']}}\n", "image") == [
        (None, "only rocky-9 (rocky-*)")
    ]
    offer = offer_of(directory(tmp_path, "properties: {image: {properties: {name: {enum: [rocky-9]}}}}\n"))
    assert limits(offer, "image") == [(None, "only rocky-9")]
    assert [(one.image.name, one.allowed) for one in offer.images] == [("rocky-9", True), ("debian-12", False)]
    by_name = {one.image.name: refusals(one) for one in offer_of(VULCAN).images}
    assert by_name == {
        "debian-11": "not allowed", "debian-12": "", "rocky-9": "not allowed for group students",
        "rocky-9-openfoam": "not allowed for group students",
    }  # fmt: skip


def test_what_is_switched_off_says_so_and_its_members_go(tmp_path: Path) -> None:
    offer = offer_of(directory(tmp_path, "properties: {mounts: false, hugepages: false}\n"))
    assert limits(offer, "mounts") == [(None, "switched off")]
    assert limits(offer, "hugepages") == [(None, "switched off")]
    assert not [one.name for one in offer.fields if one.name.startswith("mounts[")]


def test_rules_of_several_cases_are_in_words(tmp_path: Path) -> None:
    policy = (
        "anyOf: [{properties: {vcpus: {maximum: 2}}}, {properties: {memory: {minQuantity: 8GiB}}, required: [batch]}]\n"
        "properties: {env: {propertyNames: {pattern: '^A'}}, run: {not: {required: [script]}}}\n"
    )
    offer = offer_of(directory(tmp_path, policy))
    words = "one of these cases: `vcpus` is at most 2; or `memory` is at least 8GiB and `batch` is said"
    assert [limit.text for limit in offer.rules] == [words]
    assert limits(offer, "run") == [(None, "not that `run.script` is said")]
    assert limits(offer, "env") == [(None, f"the rule `propertyNames` at {tmp_path}/policy.yaml:2")]


def test_what_the_policy_says_itself_is_shown() -> None:
    shown = vtorque("policy", "show", "--site", VULCAN, COLUMNS="200").stdout
    assert "students get 4 CPUs at most, not ..." in " ".join(shown.split())
    assert "larger machines are on the fat nodes: queue fat" in " ".join(shown.split())
    assert "https://docs.example.org/images" in shown.replace("\n", "").replace(" ", "")
    assert "VUL010" in shown


@pytest.mark.parametrize("where", [None, VULCAN], ids=["local", "vulcan"])
@pytest.mark.parametrize("options", [(), ("--groups", "students")], ids=["everybody", "students"])
def test_the_example_compiles(where: Path | None, options: tuple[str, ...], tmp_path: Path) -> None:
    at = ("--site", where) if where else ()
    example = json.loads(vtorque("policy", "show", "--format", "json", *options, *at).stdout)["example"]
    (tmp_path / "job.vjob.yaml").write_text(example)
    groups = options or ("--groups", "")
    done = vtorque("compile", tmp_path / "job.vjob.yaml", "--queue", "batch", *groups, *at)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_example_finds_the_case_that_a_rule_asks_for(tmp_path: Path) -> None:
    policy = (
        "properties:\n  batch:\n    oneOf:\n"
        "    - {properties: {queue: {const: 'no'}, walltime: {minDuration: 2h}}, required: [queue]}\n"
        "    - {properties: {queue: {const: long}, walltime: {minDuration: 3h}}, required: [queue]}\n"
    )
    here = site(directory(tmp_path, policy))
    offer = make_offer(here, {}, Report())
    assert offer is not None
    example = example_of(offer, here)
    assert example is not None
    assert 'batch: {queue: "no", walltime: "2h"}' in example


def test_no_example_is_better_than_a_wrong_one(tmp_path: Path) -> None:
    directory(tmp_path, "properties: {run: {properties: {text: {pattern: nowhere}}}}\n")
    done = vtorque("policy", "show", "--site", tmp_path)
    assert done.returncode == 0
    assert "A job that passes here" not in done.stdout
    assert json.loads(vtorque("policy", "show", "--site", tmp_path, "--format", "json").stdout)["example"] is None


def test_json_is_complete_and_stable() -> None:
    done = vtorque("policy", "show", "--site", VULCAN, "--format", "json")
    shown = json.loads(done.stdout)
    documented = (ROOT / "docs/policy-show.md").read_text()
    keys = {key for part in (shown, shown["fields"][0], shown["images"][0], shown["images"][-1]["refused"][0])
            for key in part} | set(next(one for one in shown["fields"] if one["defaults"])["defaults"][0])  # fmt: skip
    assert {key for key in keys if f"`{key}`" not in documented} == set()
    vcpus = next(one for one in shown["fields"] if one["name"] == "vcpus")
    assert vcpus["limits"][1] == {
        "keyword": "maximum", "text": "at most 40", "values": None, "when": None, "severity": "error",
        "code": "VUL001", "message": None, "help": "larger machines are on the fat nodes: queue fat", "url": None,
        "may_be_suppressed": False, "at": f"{VULCAN}/policy.yaml:3",
    }  # fmt: skip
    assert vtorque("policy", "show", "--site", VULCAN, "--format", "json").stdout == done.stdout


@pytest.mark.parametrize("columns", ["30", "60", "76", "100", "200"])
def test_nothing_is_lost_in_a_narrow_window(columns: str) -> None:
    shown = vtorque("policy", "show", "--site", VULCAN, COLUMNS=columns).stdout
    too_long = [line for line in shown.split("\n") if len(line) > int(columns) and " " in line.strip()]
    assert too_long == []
    squeezed = re.sub(r"\s", "", shown)
    for word in ("rocky-9-openfoam", "hooks.prologue.inline", "/lustre/ws/$USER", "1500GiB"):
        assert word in squeezed
    assert squeezed.count("jobsabove12:00:00waitlong") == 1 or int(columns) >= 76
    assert [line for line in shown.split("\n") if line.endswith(" ")] == []


def test_colour_is_for_terminals(tmp_path: Path) -> None:
    assert "\x1b" not in vtorque("policy", "show").stdout
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": PATH, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "vtorque_spec", "policy", "show"]
    with subprocess.Popen(command, stdout=slave, env=environment) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                shown += (part := os.read(master, 65536))
            except OSError:
                break
            if not part:
                break
        process.wait()
    assert b"\x1b[1mFields of a job" in shown


def test_hostile_texts_do_not_reach_the_terminal_or_the_page(tmp_path: Path) -> None:
    directory(tmp_path, "properties: {vcpus: {maximum: 2, message: '<b>x</b>', url: 'javascript:alert(1)'}}\n")
    image = tmp_path / "images/debian-12.yaml"
    honest = image.read_text()
    image.write_text(honest.replace("description: debian-12", 'description: "\\e[2J"'))
    refused = vtorque("policy", "show", "--site", tmp_path)
    assert "VT0701" in refused.stderr
    assert "\x1b" not in refused.stdout + refused.stderr
    image.write_text(honest.replace("description: debian-12", 'description: "<img src=x>"'))
    page = vtorque("policy", "show", "--site", tmp_path, "--format", "html").stdout
    assert "<img" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert 'href="javascript' not in page


def test_the_page_is_all_of_itself() -> None:
    page = vtorque("policy", "show", "--site", VULCAN, "--format", "html").stdout
    assert page == vtorque("policy", "show", "--site", VULCAN, "--format", "html").stdout
    assert re.findall(r"<(?:link|img|iframe|object)\b|@import|url\(|\bsrc=", page) == []
    assert "default-src 'none'" in page
    assert str(ROOT) not in page


def test_for_a_user() -> None:
    shown = vtorque("policy", "show", "--for", "root", "--site", VULCAN, COLUMNS="200")
    assert "For user root, groups root" in shown.stdout
    unknown = vtorque("policy", "show", "--for", "nobody-knows", "--site", VULCAN)
    assert unknown.returncode == 2
    assert "say the groups: --groups" in unknown.stderr
    said = vtorque(
        "policy", "show", "--for", "nobody-knows", "--groups", "students", "--queue", "fat", "--site", VULCAN
    )
    assert "For user nobody-knows, groups students, queue fat" in said.stdout


def test_defaults_that_fill_nothing_are_not_shown(tmp_path: Path) -> None:
    policy = (
        "properties: {mounts: {items: {properties: {mode: {default: ro}}}}, telemetry: {properties: {interval: "
        "{default: 30s}}}}\n"
        "dependentSchemas: {hooks: {properties: {vcpus: {default: 3}}}}\n"
    )
    offer = offer_of(directory(tmp_path, policy))
    assert [one.text for one in field(offer, "vcpus").defaults] == ["1"]
    assert field(offer, "mounts[].mode").defaults == ()
    found = [(one.text, one.when) for one in field(offer, "telemetry.interval").defaults]
    assert found == [("00:00:30", "where `telemetry` is said")]


def test_a_text_has_its_form_in_words() -> None:
    offer = offer_of(VULCAN)
    assert field(offer, "name").kind.startswith("a job name: a letter, then")
    assert field(offer, "batch.queue").kind.startswith("a single word")


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/s\xff"))
    odd.mkdir()
    directory(odd, "properties: {vcpus: {maximum: 2}}\n")
    for form in ("text", "json", "html"):
        assert vtorque("policy", "show", "--site", odd, "--format", form).returncode == 0
    assert vtorque("explain", "vcpus", "--site", odd, "--format", "json").returncode == 0


def test_a_policy_that_is_none_is_told(tmp_path: Path) -> None:
    done = vtorque("policy", "show", "--site", directory(tmp_path, "properties: {vcpus: {default: many}}\n"))
    assert done.returncode == 1
    assert "VT0703" in done.stderr
    done = vtorque("policy", "show", "--site", directory(tmp_path, "propertys: {}\n"))
    assert (done.returncode, done.stdout) == (1, "")


def test_examples_of_the_project_pass_where_the_offer_says_so() -> None:
    """Each example job keeps to the limits that the built-in site's offer shows."""
    offer = make_offer(site(), {}, Report())
    assert offer is not None
    names = {one.name for one in offer.fields if one.honoured}
    said = {
        line.split(":")[0] for path in EXAMPLES for line in path.read_text().splitlines() if re.match(r"\w+:", line)
    }
    assert said <= names
