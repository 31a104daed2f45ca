"""tests/invalid holds one defect per file; each has exactly the findings of its `.expected.json`, place by place.

`# site: NAME` on the first line of a case chooses a site of tests/invalid/sites. A directory there that is named after
a code is a case itself: what it holds replaces files of the site `plain`. `--update-golden` writes what the program
says now into the expected files; read every one before it is committed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vtorque_spec import data
from vtorque_spec.cli import group
from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import DEPTH_LIMIT, NODE_LIMIT, SCALAR_LIMIT_BYTES, SIZE_LIMIT_BYTES
from vtorque_spec.driver import check_file, open_site
from vtorque_spec.policy import Context
from vtorque_spec.policy.lint import lint_policy
from vtorque_spec.render import as_json
from vtorque_spec.site.check import inspect
from vtorque_spec.site.host import check_image_files

INVALID = Path(__file__).parent / "invalid"
CASES = sorted(path.name for path in INVALID.glob("*.vjob.yaml"))
SITE_CASES = sorted(path.name for path in (INVALID / "sites").glob("VT*-*"))
PREFIX = "apiVersion: vtorque/v1\nname: x\nimage: debian-12\n"

Finding = dict[str, Any]
Golden = Callable[[Path, list[Finding]], None]


@pytest.fixture
def golden(update_golden: bool) -> Golden:
    """Compare findings with an expected file, or write it when asked to."""

    def compare(path: Path, findings: list[Finding]) -> None:
        text = json.dumps(findings, indent=1, ensure_ascii=False) + "\n"
        if update_golden:
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path.name} is missing; the findings are\n{text}"
        assert findings == json.loads(path.read_text(encoding="utf-8"))

    return compare


def test_no_expected_file_is_left_over() -> None:
    expected = {path.name.removesuffix(".expected.json") for path in INVALID.glob("*.expected.json")}
    assert expected == {name.removesuffix(".vjob.yaml") for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_findings_of_a_job_file(name: str, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(INVALID)
    exit_code, findings = lint(name)
    severities = {finding.pop("severity") for finding in findings}
    golden(INVALID / name.replace(".vjob.yaml", ".expected.json"), [shortened(finding, name) for finding in findings])
    assert exit_code == int("error" in severities)
    assert findings


@pytest.mark.parametrize("name", SITE_CASES)
def test_findings_of_a_site(name: str, golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = INVALID / "sites" / name
    shutil.copytree(INVALID / "sites" / "plain", tmp_path / "site")
    shutil.copytree(case, tmp_path / "site", dirs_exist_ok=True, ignore=shutil.ignore_patterns("expected.json"))
    (tmp_path / "job.vjob.yaml").write_text(PREFIX + "run: hostname\n")
    monkeypatch.chdir(tmp_path)
    report = Report()
    site = open_site(Path("site"), report)
    only_lint = "VT0708" <= name[:6] <= "VT0729"
    if site is not None and not only_lint:
        check_file(Path("job.vjob.yaml"), site, Context("user", ("users",), None, site.batch, site.name), report)
    if site is not None and not report.items and (only_lint or name.startswith("VT0703")):
        lint_policy(site, report)
    files = inspect(Path("site"), report)
    if files is not None:
        check_image_files(files, lambda name, done, size: None, report)
    findings = [json.loads(line) for line in as_json.lines(report.sorted()).splitlines()]
    assert {finding.pop("severity") for finding in findings} == {Code.by_id(name[:6]).severity.value}
    golden(case / "expected.json", [shortened(finding, "job.vjob.yaml") for finding in findings])


@pytest.mark.parametrize("name", ["VT0107-number-alone", "VT0306-in-literal-block", "VT0201-maximum"])
def test_the_program_itself_says_the_same(name: str) -> None:
    """A process of its own, once for an error, a warning and another site."""
    case = f"{name}.vjob.yaml"
    command = [sys.executable, "-m", "vtorque_spec", "lint", "--format", "json", "--site", site_of(case), case]
    done = subprocess.run(command, cwd=INVALID, capture_output=True, text=True, env={"PYTHONPATH": python_path()})
    findings = [shortened(json.loads(line), case) for line in done.stdout.splitlines()]
    severity = {finding.pop("severity") for finding in findings}
    assert done.stderr == ""
    assert findings == json.loads((INVALID / f"{name}.expected.json").read_text(encoding="utf-8"))
    assert (done.returncode, severity) in [(1, {"error"}), (0, {"warning"})]


def deep(levels: int) -> str:
    """A job with an unknown key whose innermost value lies `levels` deep, the top level counted."""
    return PREFIX + f"run: hostname\nzone: {'[' * (levels - 2)}x{']' * (levels - 2)}\n"


def many(values: int) -> str:
    """A job of `values` values: the top level, its five members, and the items of one."""
    return PREFIX + f"run: hostname\nmounts: [{', '.join(['home'] * (values - 6))}]\n"


def long(size_bytes: int, character: str = "x") -> str:
    """A job whose text has that size."""
    return PREFIX + f"run: {character * (size_bytes // len(character.encode()))}\n"


def padded(size_bytes: int) -> str:
    """A job file of that size."""
    text = PREFIX + "run: hostname\n"
    return text + "#" * (size_bytes - len(text))


def whole(number: int) -> str:
    return PREFIX + f"run: hostname\nvcpus: {number}\n"


WITHIN = {
    "size": padded(SIZE_LIMIT_BYTES),
    "depth": deep(DEPTH_LIMIT),
    "values": many(NODE_LIMIT),
    "text": long(SCALAR_LIMIT_BYTES),
    "text of two-byte characters": long(SCALAR_LIMIT_BYTES, "ü"),
    "number": whole(2**53 - 1),
    "negative number": whole(-(2**53) + 1),
}
BEYOND = {
    "size": (padded(SIZE_LIMIT_BYTES + 1), (1, 1), "the file has more than 256 KiB"),
    "depth": (deep(DEPTH_LIMIT + 1), (5, 7 + DEPTH_LIMIT - 1), "values are nested more than 32 deep"),
    "depth of brackets alone": (PREFIX + "run: " + "[" * 100_000, (4, 6 + DEPTH_LIMIT - 1), "values are nested more"),
    "values": (many(NODE_LIMIT + 1), (5, 10 + 6 * (NODE_LIMIT - 6)), "the file has more than 4096 values"),
    "text": (long(SCALAR_LIMIT_BYTES + 1), (4, 6), "the text has more than 64 KiB"),
    "text of two-byte characters": (long(SCALAR_LIMIT_BYTES + 2, "ü"), (4, 6), "the text has more than 64 KiB"),
    "number": (whole(2**53), (5, 8), "the number is not below 2^53"),
    "negative number": (whole(-(2**53)), (5, 8), "the number is not below 2^53"),
}


@pytest.mark.parametrize("limit", WITHIN)
def test_a_file_at_a_limit(limit: str, tmp_path: Path) -> None:
    assert "VT0011" not in {finding["code"] for finding in lint_text(WITHIN[limit], tmp_path)}


@pytest.mark.parametrize("limit", BEYOND)
def test_a_file_beyond_a_limit(limit: str, tmp_path: Path) -> None:
    text, place, message = BEYOND[limit]
    (finding,) = lint_text(text, tmp_path)
    assert finding["code"] == "VT0011"
    assert (finding["line"], finding["column"]) == place
    assert finding["message"].startswith(message)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "directory.vjob.yaml").mkdir()
    exit_code, (finding,) = lint(str(tmp_path))
    assert (exit_code, finding["code"]) == (1, "VT0014")
    assert finding["message"] == f"{tmp_path}/directory.vjob.yaml: is a directory"


def test_a_script_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (finding,) = lint_text(PREFIX + "run: {script: pipe}\n", tmp_path)
    assert (finding["code"], finding["message"]) == ("VT0305", "`pipe` is not a regular file")


def test_many_mounts_of_one_target_are_told_once_each(tmp_path: Path) -> None:
    """Not once for every pair: that would be eight million findings for a small file."""
    assert len(lint_text(many(NODE_LIMIT), tmp_path)) == NODE_LIMIT - 6 - 1


def test_what_stands_in_the_policy_is_told_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.vjob.yaml").write_text(PREFIX + "run: hostname\n")
    arguments = ["lint", "--format", "json", "--site", str(INVALID / "sites/queues"), str(tmp_path)]
    result = CliRunner().invoke(group, arguments, standalone_mode=False, catch_exceptions=False)
    assert [json.loads(line)["code"] for line in result.stdout.splitlines()] == ["VT0202"]


def test_only_fixes_in_job_files_are_promised() -> None:
    """`--fix` writes job files; what a map in a file of its own needs is said, and not counted."""
    arguments = ["lint", str(INVALID / "VT0101-in-a-map-file.vjob.yaml")]
    result = CliRunner().invoke(group, arguments, standalone_mode=False, catch_exceptions=False)
    assert "write 1 without quotes" in result.stdout
    assert "--fix" not in result.stderr


def test_a_directory_without_a_site(tmp_path: Path) -> None:
    report = Report()
    assert open_site(tmp_path, report) is None
    assert [(item.code.id, item.message) for item in report.items] == [("VT0704", f"{tmp_path} has no site.yaml")]


def lint_text(text: str, directory: Path) -> list[Finding]:
    path = directory / "job.vjob.yaml"
    path.write_text(text, encoding="utf-8")
    return lint(str(path))[1]


def lint(path: str) -> tuple[int, list[Finding]]:
    """Return the exit code and the findings of `vtorque lint --format json`."""
    arguments = ["lint", "--format", "json", "--site", site_of(path), path]
    result = CliRunner().invoke(group, arguments, standalone_mode=False, catch_exceptions=False)
    return result.return_value, [json.loads(line) for line in result.stdout.splitlines()]


def site_of(path: str) -> str:
    """The site that the first line of a case names; the built-in one where it names none."""
    case = INVALID / path
    named = re.match(rb"# site: (\w+)\r?\n", case.read_bytes()) if case.is_file() else None
    return f"sites/{named[1].decode()}" if named else str(data.schemas() / "local")


def shortened(finding: Finding, name: str) -> Finding:
    """A finding without what goes without saying: the case's own name as its file, and no details."""
    notes = [shortened(note, name) for note in finding.get("notes", [])]
    kept = {
        key: value
        for key, value in finding.items()
        if (key, value) not in [("file", name), ("detail", None), ("url", None)]
    }
    return {**kept, "notes": notes} if "notes" in finding else kept


def python_path() -> str:
    root = INVALID.parent.parent
    return ":".join(str(root / part) for part in ("", "compilers", "runtime"))
