"""`vtorque policy test`: what passes, what is a surprise, what is no case, and what no case has met."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import JUnitXml
from lxml import etree

from tests.review.helpers import JOB, LOOSER, SITE, TIGHTER, Edits, call, case, copy_site, same_as
from tests.support.findings import diagnostics
from tests.test_cli import PATH, vtorque
from vtorque_spec.diagnostics import Diagnostic, Span
from vtorque_spec.review.case_junit import as_xml
from vtorque_spec.review.case_report import as_data, end_text, result_text
from vtorque_spec.review.cases import Case, Result
from vtorque_spec.review.coverage import Coverage, Line

VARIANTS: dict[str, Edits] = {"example": {}, "tighter": TIGHTER, "looser": LOOSER}
XSD = Path(__file__).parents[1] / "support" / "schemas" / "junit-10.xsd"


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as `site`, in the working directory."""
    monkeypatch.chdir(tmp_path)
    copy_site(tmp_path / "site")
    return Path("site")


@pytest.mark.parametrize("form", ["text", "json", "junit"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_golden(variant: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool) -> None:
    monkeypatch.chdir(tmp_path)
    copy_site(tmp_path / "site", VARIANTS[variant])
    code, output = call("test", "site", "--format", form)
    assert code == (variant != "example")
    same_as(f"test-{variant}.{form}", output, update_golden)


def test_the_example_is_covered_as_a_whole(at: Path) -> None:
    code, output = call("test", at, "--require-coverage")
    assert code == 0
    assert output.endswith(" 0 failed\n")
    assert "no case has" not in output


def test_nothing_is_wrong_with_the_example() -> None:
    assert call("lint", "--site", SITE)[0] == 0
    done = vtorque("site", "check", SITE)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_case_is_never_the_callers_own(at: Path) -> None:
    """Whoever runs this is in some group, on some host, and has a name."""
    rule = (
        "allOf:\n  - properties: {context: {properties: {user: {const: user}, groups: {maxItems: 0}, host: false}}}\n"
    )
    (at / "policy.yaml").write_text(rule)
    for path in at.glob("policy.test/*/*"):
        path.unlink()
    case(at, "pass/nobody.vjob.yaml")
    case(at, "fail/VT0201-somebody.vjob.yaml", f"# context: groups=wheel\n{JOB}")
    assert call("test", at)[0] == 0


@pytest.mark.parametrize(
    ("name", "text", "surprise"),
    [
        ("pass/refused.vjob.yaml", f"{JOB}vcpus: 33\n", "expected no error, found VT0201"),
        ("pass/broken.vjob.yaml", "a: [\n", "expected no error, found VT0001"),
        ("fail/EX010-accepted.vjob.yaml", JOB, "expected EX010, found nothing"),
        ("fail/EX010-another.vjob.yaml", f"{JOB}vcpus: 33\n", "expected EX010, found VT0201"),
        ("fail/EX010-two.vjob.yaml", f"{JOB}vcpus: 33\nmemory: 300GiB\n", "expected EX010 alone, found EX010, VT0201"),
        ("fail/EX040-error.vjob.yaml", f"{JOB}batch: {{walltime: 60h}}\n", "expected EX040 alone, found EX040, VT0201"),
        ("pass/context.vjob.yaml", f"# context: grups=a\n{JOB}", "its context is not understood"),
        ("fail/EX999-x.vjob.yaml", JOB, "is no case"),
        ("pass/x.yaml", JOB, "is no case"),
        ("fial/EX010-x.vjob.yaml", JOB, "is no case"),
        ("EX010-x.vjob.yaml", JOB, "is no case"),
        ("fail/alone.context.yaml", "user: a\n", "is no case"),
    ],
)  # fmt: skip
def test_a_surprise(name: str, text: str, surprise: str, at: Path) -> None:
    case(at, name, text)
    code, output = call("test", at, "--format", "json")
    data = json.loads(output)
    failed = [one for one in data["cases"] if not one["passed"]]
    assert code == 1
    assert [(one["name"], one["surprise"]) for one in failed] == [(name, surprise)]
    assert data["summary"] == {"passed": 16, "failed": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pass/warned.vjob.yaml", f'{JOB}batch: {{walltime: "30:00:00"}}\n'),
        ("fail/EX010.vjob.yaml", f"{JOB}memory: 300GiB\n"),
        ("fail/VT0102-unknown-key.vjob.yaml", f"{JOB}nonsense: 1\n"),
        ("fail/VT0403-no-node.vjob.yaml", f"{JOB}memory: 1024PiB\n".replace("1024PiB", "300GiB")),
        ("pass/script.vjob.yaml", JOB.replace("run: hostname", "run: {script: solve.sh}")),
        ("pass/solve.sh", "hostname\n"),
    ],
)
def test_no_surprise(name: str, text: str, at: Path) -> None:
    case(at, "pass/solve.sh", "hostname\n")
    if "VT0403" in name:  # a shortage is found where the policy has nothing against the job
        (at / "rules" / "sizes.yaml").write_text("$defs: {memory: {maxQuantity: 9000GiB}, disk: {}}\n")
        (at / "site.yaml").write_text((at / "site.yaml").read_text().replace("1000GiB", "250GiB"))
    path = case(at, name, text)
    code, output = call("test", at, "--format", "json")
    shown = {one["name"]: one["passed"] for one in json.loads(output)["cases"]}
    assert shown.get(f"{path.parent.name}/{path.name}", True)
    assert code == (1 if "VT0403" in name else 0)


def findings(at: Path) -> list[tuple[str, str, str | None]]:
    data = json.loads(call("test", at, "--format", "json")[1])
    return [(f["code"], f["message"], f["help"]) for one in data["cases"] if not one["passed"] for f in one["findings"]]


FORM = "cases are pass/NAME.vjob.yaml and fail/CODE-NAME.vjob.yaml"
OR = ", or give the rule that it is for this code"
OWN = "EX001, EX010, EX011, EX020, EX030, EX040"


@pytest.mark.parametrize(
    ("name", "what", "hint"),
    [
        (
            "fail/EX10-x.vjob.yaml",
            "`EX10` is no code of this policy or of vtorque",
            f"rename it to `EX010-NAME.vjob.yaml`{OR}",
        ),
        (
            "fail/VT201.vjob.yaml",
            "`VT201` is no code of this policy or of vtorque",
            f"rename it to `VT0201-NAME.vjob.yaml`{OR}",
        ),
        ("fail/x.vjob.yaml", "`x` is no code of this policy or of vtorque", f"{FORM}; this policy's codes are {OWN}"),
        ("fial/EX010.vjob.yaml", "`fial/EX010.vjob.yaml` is no case of the policy", "rename the directory to `fail`"),
        ("pass/x.yml", "`pass/x.yml` is no case of the policy", FORM),
        ("pass/x.context.yaml", "`pass/x.context.yaml` is no case of the policy", "it needs `x.vjob.yaml` beside it"),
    ],
)
def test_what_is_no_case(name: str, what: str, hint: str, at: Path) -> None:
    case(at, name)
    assert findings(at) == [("VT0750", what, hint)]


def test_a_pipe_is_no_case_and_is_not_waited_for(at: Path) -> None:
    os.mkfifo(at / "policy.test/pass/pipe.vjob.yaml")
    assert [(code, hint) for code, _, hint in findings(at)] == [("VT0750", FORM)]


def test_a_site_code_with_a_dash(at: Path) -> None:
    sizes = at / "rules" / "sizes.yaml"
    sizes.write_text(sizes.read_text().replace("EX011", "EX-DISK").replace("EX010", "EX"))
    for path in at.glob("policy.test/fail/*"):
        path.unlink()
    case(at, "fail/EX-DISK-much.vjob.yaml", f"{JOB}root_disk: {{size: 300GiB}}\n")
    case(at, "fail/EX-much.vjob.yaml", f"{JOB}memory: 300GiB\n")
    assert findings(at) == []


def test_what_no_case_has_met(at: Path) -> None:
    for name in ("EX011-disk", "EX020-student-queue", "EX020-student-vcpus", "VT0201-degraded"):
        (at / f"policy.test/fail/{name}.vjob.yaml").unlink()
    (at / "policy.test/fail/EX020-student-queue.context.yaml").unlink()
    (at / "policy.test/pass/student.vjob.yaml").unlink()
    code, output = call("test", at)
    assert code == 0
    rest = output.partition("\n\n")[2]
    assert rest.splitlines() == [
        "rules that no case has fired:",
        "  site/policy.yaml:19:19  allow_degraded: false",
        "  site/policy.yaml:29:38  vcpus: maximum 8 (EX020)",
        "  site/policy.yaml:30:60  batch.queue: enum short, courses (EX020)",
        "  site/rules/sizes.yaml:8:23  root_disk.size: maxQuantity 200GiB (EX011)",
        "",
        "defaults that no case has got:",
        "  site/policy.yaml:29:26  vcpus: default 2",
        "  site/policy.yaml:30:47  batch.queue: default short",
        "",
        "rules fired: 7 of 11, defaults got: 6 of 8",
        "11 passed, 0 failed",
    ]
    assert call("test", at, "--require-coverage")[0] == 1


def test_a_rule_that_two_references_lead_to_is_counted_once(at: Path) -> None:
    policy = at / "policy.yaml"
    policy.write_text(policy.read_text() + '\n  - properties: {memory: {$ref: "rules/sizes.yaml#/$defs/memory"}}\n')
    assert "rules fired: 11 of 11" in call("test", at)[1]


# --- the command as a process -----------------------------------------------------------------------------------------


def test_exit_codes(at: Path, tmp_path: Path) -> None:
    done = vtorque("policy", "test", "site", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert vtorque("policy", "test", "--site", "site", cwd=tmp_path).stdout == done.stdout
    assert vtorque("policy", "test", cwd=tmp_path, VTORQUE_SITE="site").stdout == done.stdout
    (at / "policy.test/fail/EX011-disk.vjob.yaml").unlink()
    covered = vtorque("policy", "test", "site", "--require-coverage", cwd=tmp_path)
    assert (covered.returncode, covered.stdout.splitlines()[-1]) == (1, "15 passed, 0 failed")
    assert covered.stderr == "--require-coverage: no case meets 1 of the rules and defaults\n"
    case(at, "pass/refused.vjob.yaml", f"{JOB}vcpus: 33\n")
    assert vtorque("policy", "test", "site", cwd=tmp_path).returncode == 1
    (at / "policy.yaml").write_text("properties: {vcpu: {maximum: 3}}\n")
    broken = vtorque("policy", "test", "site", cwd=tmp_path)
    assert (broken.returncode, broken.stdout) == (1, "")
    assert "site/policy.yaml:1:14: error[VT0706]" in broken.stderr


def test_no_case_at_all_is_wrong_usage(at: Path, tmp_path: Path) -> None:
    for path in at.glob("policy.test/*/*"):
        path.unlink()
    done = vtorque("policy", "test", "site", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no case in site/policy.test" in done.stderr


def test_bytes_do_not_depend_on_the_environment(tmp_path: Path) -> None:
    outputs = set()
    for number, changes in enumerate(({}, {"LC_ALL": "C", "PYTHONHASHSEED": "7", "HOME": "/", "USER": "x"})):
        copy_site(tmp_path / str(number) / "site", TIGHTER)
        command = [sys.executable, "-m", "vtorque_spec", "policy", "test", "site"]
        environment = {**os.environ, "PYTHONPATH": PATH, **changes}
        outputs.add(subprocess.run(command, capture_output=True, cwd=tmp_path / str(number), env=environment).stdout)
    assert len(outputs) == 1


def test_help_shows_an_example() -> None:
    for command in ("test", "diff"):
        assert f"vtorque policy {command} " in vtorque("policy", command, "--help").stdout.split("Options:")[0][40:]


# --- any text ---------------------------------------------------------------------------------------------------------

any_text = st.text(st.characters(exclude_categories=[]), min_size=1)


@given(any_text, any_text, st.lists(diagnostics(), max_size=2))
def test_reports_are_well_formed_whatever_they_say(name: str, said: str, items: list[Diagnostic]) -> None:
    results = [Result(Case(name, SITE / "x"), tuple(items), said), Result(Case("fine", SITE / "y"), (), None)]
    line = Line(Span(name, 1, 1, 1, 1), said, covered=False, code=None)
    covered = Coverage((line,), (line,))
    xml = as_xml(results, covered)
    suites = JUnitXml.fromstring(xml.encode())
    assert (suites.tests, suites.failures) == (2, 1)
    etree.XMLSchema(file=str(XSD)).assertValid(etree.fromstring(xml.encode()))
    json.loads(as_data(results, covered).encode())
    text = "".join(result_text(result, 5) for result in results) + end_text(results, covered)
    assert text.encode()
    assert all(char.isprintable() or char in "\n\t" for char in text)
