"""Every code has its page, and every code that a file can cause has a case that causes it."""

import json
import re
from pathlib import Path

import pytest
from tests.test_invalid import CASES, INVALID, SITE_CASES

from vtorque_spec.diagnostics import Code

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "errors"
SOURCES = [path for part in ("vtorque_spec", "compilers", "runtime") for path in sorted((ROOT / part).rglob("*.py"))]

WITHOUT_A_FILE = {
    "VT0014": "a directory where a file is meant: test_invalid.py makes one",
    "VT0301": "`guest: osv` is refused before (VT0112), and every image is a Linux guest",
    "VT0502": "is found on the node that runs the job",
    "VT0704": "a directory without site.yaml: test_invalid.py makes one",
}
"""Codes of the groups 00 to 05 and 07 that no file of tests/invalid causes, and why."""


def expected(case: Path) -> set[str]:
    return {finding["code"] for finding in json.loads(case.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("code", Code, ids=lambda code: code.id)
def test_a_page(code: Code) -> None:
    lines = (PAGES / f"{code.id}.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {code.id}: {code.title}"
    assert [line for line in lines if line.startswith("**")] == ["**Cause**", "**Example**", "**Fixed**"]


def test_no_page_without_a_code() -> None:
    assert {path.stem for path in PAGES.glob("VT*.md")} == {code.id for code in Code}


def test_the_index() -> None:
    rows = "".join(f"| [{code.id}]({code.id}.md) | {code.severity.value} | {code.title} |\n" for code in Code)
    assert (PAGES / "README.md").read_text(encoding="utf-8").endswith(f"|---|---|---|\n{rows}")


def test_numbers_ascend() -> None:
    assert [code.id for code in Code] == sorted({code.id for code in Code})


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_a_fault_has_a_code(source: Path) -> None:
    """Faults name their code by its number; one that is not there would end as an internal error."""
    assert set(re.findall(r'"(VT[0-9]{4})"', source.read_text(encoding="utf-8"))) <= {code.id for code in Code}


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("VT")])
def test_a_case_has_the_code_of_its_name_alone(name: str) -> None:
    found = expected(INVALID / name.replace(".vjob.yaml", ".expected.json"))
    needed = {"VT0003"} if name == "VT0012-alias-as-key.vjob.yaml" else set()
    assert found - needed == {name[:6]}


@pytest.mark.parametrize("name", SITE_CASES)
def test_a_site_has_the_code_of_its_name_alone(name: str) -> None:
    assert expected(INVALID / "sites" / name / "expected.json") == {name[:6]}


def test_every_code_of_a_file_has_a_case() -> None:
    from_files = {code.id for code in Code if code.id[2:4] in ("00", "01", "02", "03", "04", "05", "07")}
    cases = {name[:6] for name in CASES + SITE_CASES if name.startswith("VT")}
    assert from_files - cases == set(WITHOUT_A_FILE)
