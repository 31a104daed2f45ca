"""The policy's words: our own keywords, conditions, references between files, and what a rule says of itself."""

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.spec.helpers import CONTEXT, MINIMAL, check, checked, codes, site
from tests.spec.test_policy import IMAGE, SITE
from vtorque_spec.diagnostics import Report, Severity
from vtorque_spec.driver import open_site
from vtorque_spec.node import check_job, read_answer
from vtorque_spec.site import Site

Make = Callable[..., Site]


def write_site(directory: Path, policy: str, files: dict[str, str]) -> None:
    (directory / "images").mkdir(exist_ok=True)
    (directory / "site.yaml").write_text(SITE)
    (directory / "images/debian-12.yaml").write_text(IMAGE + "tags: [small]\n")
    (directory / "images/other.yaml").write_text(IMAGE.replace("debian-12", "other"))
    (directory / "policy.yaml").write_text(textwrap.dedent(policy))
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(textwrap.dedent(text))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(policy: str, **files: str) -> Site:
        write_site(tmp_path, policy, {name.replace("__", "/") + ".yaml": text for name, text in files.items()})
        return site(tmp_path)

    return build


def findings(job: str, at: Site, **context: object) -> list[tuple[str, str]]:
    by = replace(CONTEXT, **context)  # type: ignore[arg-type] # the test's own words
    return [(item.id, item.message) for item in check(MINIMAL + job, at=at, by=by)[1].sorted()]


def refused(directory: Path, policy: str, files: dict[str, str] | None = None) -> list[tuple[str, str]]:
    write_site(directory, policy, files or {})
    report = Report()
    assert open_site(directory, report) is None
    return [(item.id, item.message) for item in report.sorted()]


@pytest.mark.parametrize(
    ("policy", "fits", "breaks", "message"),
    [
        ("memory: {maxQuantity: 2GiB}", "memory: 2048MiB", "memory: 3GiB", "`memory` is 3GiB, at most 2GiB is allowed"),
        ("memory: {minQuantity: 2GiB}", "memory: 2GiB", "memory: 1GiB", "`memory` is 1GiB, at least 2GiB is needed"),
        (
            "batch: {properties: {walltime: {maxDuration: 1h}}}",
            "batch: {walltime: 60min}",
            "batch: {walltime: 61 min}",
            "`batch.walltime` is 01:01:00, at most 01:00:00 is allowed",
        ),
        (
            "timeouts: {properties: {boot: {minDuration: 60s}}}",
            "timeouts: {boot: 1 min}",
            "timeouts: {boot: 59s}",
            "`timeouts.boot` is 00:00:59, at least 00:01:00 is needed",
        ),
        ("vcpus: {exclusiveMaximum: 3}", "vcpus: 2", "vcpus: 3", "`vcpus` is 3, less than 3 is allowed"),
        ("mounts: {maxItems: 0}", "mounts: []", "mounts: [home]", "`mounts` has length 1, at most 0 is allowed"),
        ("env: {propertyNames: {pattern: A}}", "env: {A: x}", "env: {B: x}", "`env` is `B`, which does not match `A`"),
    ],
)  # fmt: skip
def test_a_limit(make: Make, policy: str, fits: str, breaks: str, message: str) -> None:
    at = make(f"properties: {{{policy}}}")
    assert findings(fits + "\n", at) == []
    assert findings(breaks + "\n", at)[0] == ("VT0201", message)


@pytest.mark.parametrize("allowed", ["debian-12", "deb*", "tag=small"])
@pytest.mark.parametrize("place", ["image: {imageIn: [%s]}", "image: {properties: {name: {imageIn: [%s]}}}"])
def test_images_by_name_pattern_and_tag(make: Make, allowed: str, place: str) -> None:
    at = make(f"properties: {{{place % allowed}}}")
    assert findings("", at) == []
    _, report = check(MINIMAL.replace("debian-12", "other"), at=at)
    assert report.items[0].message.split(",")[0].endswith("is other")


def test_a_node_set_of_submit_hosts(make: Make) -> None:
    at = make("properties: {context: {properties: {host: {nodeSetIn: 'login[1-4]'}}}}")
    assert findings("", at, host="login3") == []
    assert findings("", at, host="login5") == [("VT0201", "`context.host` is login5, allowed is login[1-4]")]
    assert findings("", at, host=None)[0][0] == "VT0202"


@pytest.mark.parametrize(
    "said", ["iocm: false", "mounts: []", "hugepages: none", "batch: {exclusive: false}", "pinning: none"]
)
def test_what_is_switched_off_may_be_declined(make: Make, said: str) -> None:
    at = make(
        "properties: {iocm: false, mounts: false, hugepages: false, pinning: false, batch: {$ref: b.yaml}}",
        b="properties: {exclusive: false}",
    )
    assert findings(said + "\n", at) == []


def test_a_rule_speaks_for_itself(make: Make) -> None:
    at = make(
        """\
        properties:
          memory:
            code: HLRS012
            url: https://example.org/memory
            allowSuppress: true
            maxQuantity: 2GiB
            message: "{value} of memory, here are {limit} ({braces} stay)"
            help: ask the hotline
          vcpus: {severity: warning, maximum: 2}
        """
    )
    _, report = check(MINIMAL + "memory: 3GiB\nvcpus: 3\n", at=at)
    memory, vcpus = report.sorted()
    assert (memory.id, memory.message, memory.help) == (
        "HLRS012", "3GiB of memory, here are 2GiB ({braces} stay)", "ask the hotline",
    )  # fmt: skip
    assert memory.rule is not None
    assert (memory.rule.url, memory.may_be_suppressed) == ("https://example.org/memory", True)
    assert (vcpus.id, vcpus.severity, vcpus.may_be_suppressed) == ("VT0201", Severity.WARNING, True)
    assert checked(MINIMAL + "vcpus: 3\n", at=at)


def test_what_stands_above_holds_below(make: Make) -> None:
    at = make("{code: SITE1, properties: {vcpus: {maximum: 2}, memory: {code: SITE2, maxQuantity: 2GiB}}}")
    assert [code for code, _ in findings("vcpus: 3\nmemory: 3GiB\n", at)] == ["SITE1", "SITE2"]


def test_the_branch_that_applies_is_named(make: Make) -> None:
    at = make(
        """\
        if: {properties: {context: {properties: {queue: {const: long}}}}}
        then: {properties: {vcpus: {maximum: 2}}}
        else: {properties: {vcpus: {maximum: 4}}}
        """
    )
    (item,) = check(MINIMAL + "vcpus: 5\nbatch: {queue: short}\n", at=at)[1].items
    assert item.message == "`vcpus` is 5, at most 4 is allowed"
    assert [(note.message, note.span.line) for note in item.notes if note.span] == [
        ("the site's rule is here", 3),
        ("it applies because the job does not fit this condition", 1),
    ]


def test_a_combination_that_is_not_allowed_stands_at_a_member(make: Make) -> None:
    at = make(
        "not: {properties: {pinning: {properties: {mode: {const: map}}}, vcpus: {const: 1}}, required: [pinning]}"
    )
    (item,) = check(MINIMAL + "pinning: {map: [0]}\nvcpus: 1\n", at=at)[1].items
    assert item.span is not None
    assert (item.span.line, item.message) == (6, "the combination is not allowed")


def test_of_several_cases_the_closest_is_told(make: Make) -> None:
    at = make(
        """\
        properties:
          batch:
            oneOf:
              - properties: {queue: {const: short}, walltime: {maxDuration: 1h}}
                required: [queue]
              - properties: {queue: {const: long}, walltime: {minDuration: 1h}}
                required: [queue]
        """
    )
    (item,) = check(MINIMAL + "batch: {queue: long, walltime: 1800s}\n", at=at)[1].items
    assert item.message == "`batch.walltime` is 00:30:00, at least 01:00:00 is needed"
    assert item.notes[0].span is not None
    assert item.notes[0].span.line == 6


def test_an_unknown_queue_is_told(make: Make) -> None:
    at = make(
        """\
        allOf:
          - if: {properties: {context: {properties: {queue: {const: long}}}}}
            then: {properties: {vcpus: {maximum: 2, default: 2}}}
            else: {properties: {vcpus: {maximum: 1}}}
        """
    )
    (told,) = findings("vcpus: 5\n", at)
    assert told == ("VT0202", "a rule of the site was not evaluated: `context.queue` is not known here")
    assert [code for code, _ in findings("vcpus: 5\n", at, queue="long")] == ["VT0201"]
    assert [code for code, _ in findings("vcpus: 2\n", at, queue="short")] == ["VT0201"]
    assert checked(MINIMAL + "batch: {queue: long}\n", at=at).job.vcpus == 2


@pytest.mark.parametrize("word", ["not", "anyOf", "oneOf"])
def test_rules_in_cases_are_told_too(make: Make, word: str) -> None:
    inner = "{properties: {context: {properties: {queue: {const: long}}}}}"
    at = make(f"{word}: {inner if word == 'not' else f'[{inner}]'}")
    assert [code for code, _ in findings("", at)] == ["VT0202"]


class TestDefaultsOfBranches:
    POLICY = """\
        properties: {vcpus: {default: 3}, memory: {default: 2GiB}}
        allOf:
          - if: {properties: {context: {properties: {groups: {contains: {const: users}}}}}}
            then: {properties: {vcpus: {default: 2}}}
          - if: {properties: {memory: {minQuantity: 4GiB}}}
            then: {properties: {batch: {properties: {walltime: {default: 2h}}}}}
            else: {properties: {batch: {properties: {walltime: {default: 10 min}}}}}
        """

    def test_they_win_over_those_that_hold_always(self, make: Make) -> None:
        at = make(self.POLICY)
        assert checked(MINIMAL, at=at).job.vcpus == 2
        assert checked(MINIMAL + "vcpus: 1\n", at=at).job.vcpus == 1
        found, _ = check(MINIMAL, at=at, by=replace(CONTEXT, groups=()))
        assert found is not None
        assert found.job.vcpus == 3

    def test_one_may_lead_to_another(self, make: Make) -> None:
        at = make(
            """\
            allOf:
              - if: {properties: {context: {properties: {queue: {const: short}}, required: [queue]}}}
                then: {properties: {batch: {properties: {walltime: {default: 10 min, maxDuration: 30 min}}}}}
              - if: {properties: {context: {properties: {groups: {contains: {const: users}}}}}}
                then: {properties: {batch: {properties: {queue: {default: short}}}}}
            """
        )
        batch = checked(MINIMAL, at=at).job.batch
        assert (batch.queue, batch.walltime_s) == ("short", 600)

    def test_two_that_disagree_one_after_the_other(self, make: Make) -> None:
        at = make(
            """\
            allOf:
              - if: {properties: {vcpus: {const: 1}}}
                then: {properties: {vcpus: {default: 2}}}
              - if: {properties: {vcpus: {const: 2}}}
                then: {properties: {vcpus: {default: 3}}}
            """
        )
        assert [code for code, _ in findings("", at)] == ["VT0707"]

    def test_conditions_see_quantities(self, make: Make) -> None:
        at = make(self.POLICY)
        assert checked(MINIMAL, at=at).job.batch.walltime_s == 600
        assert checked(MINIMAL + "memory: 4096MiB\n", at=at).job.batch.walltime_s == 7200

    def test_the_line_is_known(self, make: Make) -> None:
        origin = checked(MINIMAL, at=make(self.POLICY)).effective.origin(("vcpus",))
        assert origin is not None
        assert (origin.span.line, origin.span.column) == (4, 42)

    def test_two_that_disagree_are_the_policys_fault(self, make: Make) -> None:
        at = make(
            """\
            allOf:
              - if: {properties: {context: {properties: {user: {const: alice}}}}}
                then: {properties: {vcpus: {default: 2}}}
              - if: {properties: {context: {properties: {groups: {contains: {const: users}}}}}}
                then: {properties: {vcpus: {default: 3}}}
            """
        )
        assert findings("", at) == [("VT0707", "two branches that apply to this job set different defaults of `vcpus`")]
        assert findings("", at, user="bob") == []


class TestFiles:
    def test_rules_of_another_file(self, make: Make) -> None:
        at = make(
            "properties: {memory: {$ref: 'rules/limits.yaml#/$defs/memory'}}",
            rules__limits="$defs: {memory: {$ref: '#/$defs/m'}, m: {code: M1, maxQuantity: 2GiB, default: 1GiB}}",
        )
        (item,) = check(MINIMAL + "memory: 3GiB\n", at=at)[1].items
        assert (item.id, item.message) == ("M1", "`memory` is 3GiB, at most 2GiB is allowed")
        assert item.notes[0].span is not None
        assert item.notes[0].span.file.endswith("rules/limits.yaml")
        assert checked(MINIMAL, at=at).job.memory_bytes == 2**30

    def test_two_fields_share_a_rule(self, make: Make) -> None:
        at = make(
            """\
            $defs: {short: {maxDuration: 60s}}
            properties: {timeouts: {properties: {boot: {$ref: '#/$defs/short'}, grace: {$ref: '#/$defs/short'}}}}
            """
        )
        told = findings("timeouts: {boot: 2 min, grace: 90s}\n", at)
        assert [message for _, message in told] == [
            "`timeouts.boot` is 00:02:00, at most 00:01:00 is allowed",
            "`timeouts.grace` is 00:01:30, at most 00:01:00 is allowed",
        ]

    def test_a_circle_of_references_is_refused(self, tmp_path: Path) -> None:
        circle = """\
            $defs: {a: {allOf: [{$ref: '#/$defs/b'}]}, b: {$ref: '#/$defs/a'}}
            properties: {vcpus: {$ref: '#/$defs/a'}}
            """
        told = [message.partition(" without")[0] for _, message in refused(tmp_path, circle)]
        assert told == ["`#/$defs/b` leads back to here", "`#/$defs/a` leads back to here"]

    def test_a_schema_may_describe_a_tree(self, make: Make) -> None:
        at = make(
            """\
            $defs: {a: {propertyNames: {pattern: '^[^X]*$'}, additionalProperties: {$ref: '#/$defs/a'}}}
            $ref: '#/$defs/a'
            """
        )
        assert findings("", at) == []
        told = findings("env: {X: y}\n", at)
        assert told == [("VT0201", "`env` is `X`, which does not match `^[^X]*$`")]

    @pytest.mark.parametrize("reference", ["nowhere.yaml", "nowhere.yaml#/$defs/x", "/etc/passwd", "http://x.invalid/"])
    def test_a_file_that_is_not_there(self, tmp_path: Path, reference: str) -> None:
        ((code, message),) = refused(tmp_path, f"properties: {{vcpus: {{$ref: '{reference}'}}}}")
        assert (code, message) == ("VT0702", f"there is no file `{reference}` in the site's directory")

    def test_nothing_outside_the_directory(self, tmp_path: Path) -> None:
        """`..` stops at the site's directory, and a link does not lead out of it."""
        (tmp_path / "site").mkdir()
        (tmp_path / "outside.yaml").write_text("maximum: 1\n")
        told = refused(tmp_path / "site", "properties: {vcpus: {$ref: '../outside.yaml'}}")
        assert told == [("VT0702", "there is no file `../outside.yaml` in the site's directory")]
        (tmp_path / "site/link.yaml").symlink_to("../outside.yaml")
        told = refused(tmp_path / "site", "properties: {vcpus: {$ref: 'link.yaml'}}")
        assert told == [("VT0702", "`link.yaml` leads out of the site's directory")]

    def test_findings_of_another_file_stand_there(self, tmp_path: Path) -> None:
        told = refused(tmp_path, "properties: {vcpus: {$ref: a.yaml}}", {"a.yaml": "maxium: 2\n"})
        assert told == [("VT0705", "the keyword `maxium` is not known")]

    def test_the_digest_covers_every_file(self, make: Make) -> None:
        policy = "properties: {vcpus: {$ref: a.yaml}}"
        assert make(policy, a="maximum: 2").policy.digest != make(policy, a="maximum: 3").policy.digest


def test_every_finding_of_a_policy_at_once(tmp_path: Path) -> None:
    policy = "{properties: {vcpu: {maxium: 2}, memory: {maxQuantity: 24, minimum: 1GiB, code: vt1, severity: fatal}}}"
    assert [code for code, _ in refused(tmp_path, policy)] == ["VT0705", "VT0702", "VT0702", "VT0702", "VT0702"]


def test_rules_survive_the_way_from_the_child(make: Make, tmp_path: Path) -> None:
    at = make("properties: {vcpus: {maximum: 2, code: SITE1, severity: warning}}")
    job = tmp_path / "job.vjob.yaml"
    job.write_text(MINIMAL + "vcpus: 3\n")
    (item,) = read_answer(check_job(job, at, CONTEXT)).findings
    assert (item.id, item.severity) == ("SITE1", Severity.WARNING)


@given(low=st.integers(1, 12), high=st.integers(1, 12), asked=st.integers(1, 12))
def test_layers_only_narrow(tmp_path_factory: pytest.TempPathFactory, low: int, high: int, asked: int) -> None:
    """What a conjunction refuses is what one of its parts refuses."""
    directory = tmp_path_factory.mktemp("site")
    write_site(
        directory,
        f"allOf: [{{properties: {{vcpus: {{minimum: {low}}}}}}}, {{properties: {{vcpus: {{maximum: {high}}}}}}}]",
        {},
    )
    refusals = len(findings(f"vcpus: {asked}\n", site(directory)))
    assert refusals == (asked < low) + (asked > high)


def test_a_text_that_is_too_long_for_a_pattern_is_refused(make: Make) -> None:
    at = make("properties: {env: {additionalProperties: {properties: {value: {pattern: '^(a+)+$'}}}}}")
    ((code, message),) = findings(f"env: {{A: {'a' * 5000}!}}\n", at)
    assert (code, message) == ("VT0201", "`env.A.value` is too long for the rule's pattern")


def test_codes_of_the_site_keep_the_kind(make: Make) -> None:
    at = make("properties: {vcpus: {maximum: 2, code: HLRS001}}")
    assert codes(check(MINIMAL + "vcpus: 3\n", at=at)[1]) == ["VT0201"]
