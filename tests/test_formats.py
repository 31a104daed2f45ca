"""What programs read: each format is read by its real reader or schema, with every finding of tests/invalid and with
any text."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from junitparser import Failure, JUnitXml, TestCase, TestSuite
from lxml import etree

from tests.support.findings import INVALID, diagnostics, of_invalid
from vtorque_spec import data, render
from vtorque_spec.diagnostics import Code, Diagnostic, Note, Rule, Severity, Span
from vtorque_spec.fingerprint import fingerprints, relative
from vtorque_spec.render import plainly
from vtorque_spec.render.formats import FORMATS, write
from vtorque_spec.sources import source_lines

TestCase.__test__ = TestSuite.__test__ = False  # pytest takes the reader's classes for tests by their names
ROOT = Path(__file__).parent.parent
SCHEMAS = Path(__file__).parent / "support" / "schemas"
MACHINE = [form for form in FORMATS if form != "text"]

SPAN = Span("jobs/a b.vjob.yaml", 3, 8, 3, 10)
RULE = Rule(Span("/etc/vtorque/policy.yaml", 7, 3, 7, 9), "HLRS012", Severity.WARNING, "https://hlrs.example/rules#12")
ERROR = Diagnostic(
    Code.WRONG_TYPE, "50% is no number: a,b", SPAN, (Note("here", RULE.span), Note("so")), "write 50", "a\nb"
)
OF_SITE = Diagnostic(Code.POLICY, "`vcpus` is 64", Span("jobs/b.vjob.yaml", 1, 1, 4, 2), help="ask us", rule=RULE)
NOWHERE = Diagnostic(Code.NO_SITE, "/x has no site.yaml")
ITEMS = [ERROR, OF_SITE, NOWHERE]
FILES = ["jobs/a b.vjob.yaml", "jobs/b.vjob.yaml", "./jobs/good.vjob.yaml"]

any_findings = given(st.lists(diagnostics(), max_size=4))


@pytest.fixture
def breadth(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Diagnostic], list[str], dict[str, list[str]]]:
    monkeypatch.chdir(INVALID)
    items, files = of_invalid()
    assert len({item.code for item in items}) > 40
    return items, files, {name: source_lines(name) for name in files}


# --- SARIF ----------------------------------------------------------------------------------------------------------


@cache
def sarif_schema() -> Draft4Validator:
    return Draft4Validator(json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8")))


def sarif(items: list[Diagnostic], sources: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """Return the run of a valid log."""
    log = json.loads(write("sarif", items, [], sources or {}))
    assert [error.message for error in sarif_schema().iter_errors(log)] == []
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == [item.id for item in items]
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert all(result["locations"] for result in run["results"])
    return dict(run)


def test_sarif_of_every_case(breadth: tuple[list[Diagnostic], list[str], dict[str, list[str]]]) -> None:
    items, _, sources = breadth
    run = sarif(items, sources)
    assert all(rule["help"]["text"] and rule["fullDescription"]["text"] for rule in run["tool"]["driver"]["rules"])
    marks = [result["partialFingerprints"]["vtorque/v1"] for result in run["results"]]
    assert marks == fingerprints(items, sources)


@any_findings
def test_sarif_of_any_text(items: list[Diagnostic]) -> None:
    for item, result in zip(items, sarif(items)["results"], strict=True):
        if item.span:
            found = result["locations"][0]["physicalLocation"]["artifactLocation"]
            path = os.fsdecode(unquote_to_bytes(urlsplit(found["uri"]).path))
            assert os.path.abspath(path) == os.path.abspath(item.span.file)


def test_sarif_says_where_and_how_bad() -> None:
    error, of_site, nowhere = sarif(ITEMS)["results"]
    assert error["level"] == "error"
    assert error["message"]["text"].splitlines()[0] == "50% is no number: a,b"
    assert "help: write 50" in error["message"]["text"].splitlines()
    assert error["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "jobs/a%20b.vjob.yaml", "uriBaseId": "SRCROOT"},
                "region": {"startLine": 3, "startColumn": 8, "endLine": 3, "endColumn": 10},
            }
        }
    ]
    (related,) = error["relatedLocations"]
    assert related["message"]["text"] == "here"
    assert related["physicalLocation"]["artifactLocation"] == {"uri": "file:///etc/vtorque/policy.yaml"}
    assert related["physicalLocation"]["region"]["startLine"] == 7
    assert (of_site["level"], of_site["ruleId"]) == ("warning", "HLRS012")
    assert nowhere["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "."


def test_sarif_rules_have_their_page_or_the_site_s_word() -> None:
    run = sarif([*ITEMS, replace(OF_SITE, help="what a second finding says")])
    assert run["columnKind"] == "unicodeCodePoints"
    of_site, ours, _ = run["tool"]["driver"]["rules"]
    page = (data.error_pages() / "VT0101.md").read_text(encoding="utf-8")
    assert ours["shortDescription"]["text"] == Code.WRONG_TYPE.title
    assert ours["help"]["markdown"].startswith("## Cause")
    assert page.endswith(ours["help"]["markdown"] + "\n")
    assert ours["defaultConfiguration"] == {"level": "error"}
    assert "helpUri" not in ours
    assert of_site["helpUri"] == "https://hlrs.example/rules#12"
    assert of_site["help"]["text"] == "ask us"
    assert of_site["fullDescription"]["text"] == "A rule of the site's policy, /etc/vtorque/policy.yaml line 7."
    assert of_site["defaultConfiguration"] == {"level": "warning"}


def test_a_code_of_ours_has_its_own_level_whatever_one_rule_says() -> None:
    mild = Diagnostic(Code.POLICY, "x", SPAN, rule=Rule(SPAN, None, Severity.WARNING, "https://x.org"))
    run = sarif([mild])
    (rule,) = run["tool"]["driver"]["rules"]
    assert (rule["defaultConfiguration"]["level"], run["results"][0]["level"]) == ("error", "warning")
    assert "helpUri" not in rule
    assert "see: https://x.org" in run["results"][0]["message"]["text"]


# --- JUnit ----------------------------------------------------------------------------------------------------------


@cache
def junit_schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(SCHEMAS / "junit-10.xsd")))


def junit(items: list[Diagnostic], files: list[str]) -> dict[str, TestCase]:
    """Return the cases of a valid report by name."""
    text = write("junit", items, files, {})
    junit_schema().assertValid(etree.fromstring(text.encode()))
    (suite,) = JUnitXml.fromstring(text.encode())
    cases = {case.name: case for case in suite}
    assert suite.tests == len(list(suite))
    assert suite.failures == sum(not case.is_passed for case in suite)
    return cases


def test_junit_of_every_case(breadth: tuple[list[Diagnostic], list[str], dict[str, list[str]]]) -> None:
    items, files, _ = breadth
    cases = junit(items, files)
    assert set(files) <= set(cases)
    failures = [failure for case in cases.values() for failure in case.result]
    assert sorted(failure.type for failure in failures) == sorted(
        item.id for item in items if item.severity is Severity.ERROR
    )


@any_findings
def test_junit_of_any_text(items: list[Diagnostic]) -> None:
    junit(items, [item.span.file for item in items if item.span])


def test_junit_has_a_case_for_every_file() -> None:
    cases = junit(ITEMS, FILES)
    assert list(cases) == ["jobs/a b.vjob.yaml", "jobs/b.vjob.yaml", "jobs/good.vjob.yaml", "vtorque"]
    (failure,) = cases["jobs/a b.vjob.yaml"].result
    assert isinstance(failure, Failure)
    assert (failure.type, failure.message) == ("VT0101", "50% is no number: a,b")
    assert failure.text.startswith("jobs/a b.vjob.yaml:3:8: error[VT0101]: 50% is no number: a,b\nnote: here (/etc/")
    assert cases["jobs/b.vjob.yaml"].is_passed
    assert "jobs/b.vjob.yaml:1:1: warning[HLRS012]: `vcpus` is 64" in cases["jobs/b.vjob.yaml"].system_out
    assert cases["jobs/good.vjob.yaml"].is_passed
    assert cases["jobs/good.vjob.yaml"].system_out is None
    assert cases["vtorque"].result[0].message == "/x has no site.yaml"


# --- GitHub ---------------------------------------------------------------------------------------------------------


def github(items: list[Diagnostic]) -> list[tuple[str, dict[str, str], str]]:
    """Read workflow commands as GitHub's runner does: (command, properties, message)."""
    text = write("github", items, [], {})
    assert text.count("\n") == len(items) == len(text.splitlines())
    matches = [re.fullmatch(r"::([a-z]+) (.*?)::(.*)", line) for line in text.splitlines()]
    assert all(matches)
    return [
        (match[1], {key: unescape(value) for key, _, value in (pair.partition("=") for pair in match[2].split(","))},
         unescape(match[3]))
        for match in matches if match
    ]  # fmt: skip


def unescape(text: str) -> str:
    """Undo %25, %0D, %0A, %3A and %2C in one pass, so that an escaped percent sign stays one."""
    return re.sub("%(25|0D|0A|3A|2C)", lambda match: chr(int(match[1], 16)), text)


def test_github_of_every_case(breadth: tuple[list[Diagnostic], list[str], dict[str, list[str]]]) -> None:
    items, _, _ = breadth
    for item, (command, properties, message) in zip(items, github(items), strict=True):
        assert (command, properties["title"], message) == (item.severity.value, item.id, "\n".join(plainly(item)))
        assert item.span is None or int(properties["line"]) == item.span.line


@any_findings
def test_github_of_any_text(items: list[Diagnostic]) -> None:
    for item, (_, properties, message) in zip(items, github(items), strict=True):
        assert message == "\n".join(plainly(item))
        assert not item.span or properties["file"] == render.printable(relative(item.span.file))


def test_github_commands() -> None:
    first, of_site, nowhere = write("github", ITEMS, FILES, {}).splitlines()
    assert first == (
        "::error file=jobs/a b.vjob.yaml,line=3,endLine=3,col=8,endColumn=10,title=VT0101"
        "::50%25 is no number: a,b%0Anote: here (/etc/vtorque/policy.yaml:7:3)%0Anote: so%0Ahelp: write 50%0Aa%0Ab"
    )
    assert of_site.startswith("::warning file=jobs/b.vjob.yaml,line=1,endLine=4,title=HLRS012::")
    assert nowhere == "::error title=VT0704::/x has no site.yaml"
    odd = Diagnostic(Code.WRONG_TYPE, "m", Span("a,b:c%.yaml", 1, 1, 1, 1))
    assert "file=a%2Cb%3Ac%25.yaml," in write("github", [odd], [], {})


# --- GitLab ---------------------------------------------------------------------------------------------------------


def gitlab(items: list[Diagnostic]) -> list[dict[str, Any]]:
    """Return the issues of a report that has what GitLab's documentation asks for."""
    issues: list[dict[str, Any]] = json.loads(write("gitlab", items, [], {}))
    for issue in issues:
        assert {"description", "check_name", "fingerprint", "severity", "location"} <= set(issue)
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert issue["location"]["path"]
        assert issue["location"]["positions"]["begin"]["line"] >= 1
    assert len({issue["fingerprint"] for issue in issues}) == len(items)
    return issues


def test_gitlab_of_every_case(breadth: tuple[list[Diagnostic], list[str], dict[str, list[str]]]) -> None:
    items, _, _ = breadth
    assert [issue["check_name"] for issue in gitlab(items)] == [item.id for item in items]


@any_findings
def test_gitlab_of_any_text(items: list[Diagnostic]) -> None:
    assert len(gitlab(items)) == len(items)


def test_gitlab_issues() -> None:
    first, of_site, nowhere = gitlab(ITEMS)
    assert first["description"].startswith("50% is no number: a,b; note: here (")
    assert first["location"]["path"] == "jobs/a b.vjob.yaml"
    assert first["location"]["positions"]["begin"] == {"line": 3, "column": 8}
    assert (first["severity"], of_site["severity"], of_site["check_name"]) == ("major", "minor", "HLRS012")
    assert nowhere["location"]["path"] == "."


# --- all formats ----------------------------------------------------------------------------------------------------


@given(st.sampled_from(MACHINE), st.lists(diagnostics(), max_size=3))
def test_every_format_can_be_written(form: str, items: list[Diagnostic]) -> None:
    write(form, items, [item.span.file for item in items if item.span], {}).encode()


@pytest.mark.parametrize("form", MACHINE)
def test_no_findings(form: str) -> None:
    text = write(form, [], ["a.yaml"], {})
    assert text == "" or form in ("sarif", "junit", "gitlab")
    if form == "sarif":
        assert sarif([])["results"] == []
    if form == "gitlab":
        assert json.loads(text) == []


def test_json_has_one_finding_per_line() -> None:
    found = [json.loads(line) for line in write("json", ITEMS, FILES, {}).splitlines()]
    assert [(said["code"], said["file"], said["url"]) for said in found] == [
        ("VT0101", SPAN.file, None),
        ("HLRS012", "jobs/b.vjob.yaml", RULE.url),
        ("VT0704", None, None),
    ]


def test_text_shows_the_url_of_a_rule() -> None:
    assert "  help: ask us\n  see: https://hlrs.example/rules#12\n" in render.text([OF_SITE], {})


def test_an_unknown_format() -> None:
    with pytest.raises(ValueError, match="`xml` is not a format"):
        write("xml", [], [], {})


@pytest.mark.parametrize("form", MACHINE)
def test_a_format_imports_its_own_module_only(form: str) -> None:
    program = (
        f"import sys; from vtorque_spec.render.formats import write; write({form!r}, [], [], {{}});"
        "print(*(name for name in sys.modules if name.startswith('vtorque_spec.render.as_')))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"vtorque_spec.render.as_{form}"]
