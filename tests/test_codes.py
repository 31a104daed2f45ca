"""Every code has its page, and every code that a file can cause has a case that causes it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.test_invalid import CASES, INVALID, SITE_CASES
from vtorque_spec import data
from vtorque_spec.cli import group
from vtorque_spec.diagnostics import Code

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "errors"
SOURCES = [path for part in ("vtorque_spec", "compilers", "runtime") for path in sorted((ROOT / part).rglob("*.py"))]

WITHOUT_A_FILE = {
    "VT0014": "a directory where a file is meant: test_invalid.py makes one",
    "VT0322": "another number of nodes than was asked for: spec/test_node.py plans with one",
    "VT0411": "`devices` is refused before (VT0112): placement/test_devices.py counts them",
    "VT0502": "is found on the node that runs the job",
    "VT0515": "what an image's record says of its accounts: site/test_accounts.py writes some",
    "VT0520": "a disk that is full: images/test_add.py makes one",
    "VT0521": "an image of that name is there: images/test_add.py adds one",
    "VT0522": "an image without a kernel: images/test_add.py makes one",
    "VT0523": "an image that jobs use: images/test_remove.py makes one",
    "VT0524": "a Capstan package: images/test_add.py makes some",
    "VT0525": "the built-in site's catalogue: images/test_add.py tries to change it",
    "VT0526": "an image that is not there: images/test_update.py asks for one",
    "VT0527": "a store that nobody can write to: images/test_add.py names one",
    "VT0530": "a disk in another format than is said: runtime/test_inspect.py makes some",
    "VT0531": "a disk that leads to another file: runtime/test_inspect.py makes some",
    "VT0532": "a disk with what no guest is given: runtime/test_inspect.py makes some",
    "VT0533": "a damaged disk: runtime/test_inspect.py makes some",
    "VT0534": "a disk of an absurd size: runtime/test_inspect.py makes some",
    "VT0535": "a disk of several formats: runtime/test_inspect.py makes some",
    "VT0536": "what breaks who inspects it: runtime/test_inspect.py makes one",
    "VT0550": "an image that was built twice: runtime/test_image_again.py builds some",
    "VT0556": "root is asked to boot an own image: spec/test_own.py plans so",
    "VT0557": "files that others could change: runtime/test_own.py makes some",
    "VT0559": "files that are not there, or not the caller's: test_own_image_looked_at.py lacks some",
    "VT0704": "a directory without site.yaml: test_invalid.py makes one",
    "VT0745": "a directory that others than root could change: site/test_host.py makes one",
    "VT0747": "a disk that others than root could change: site/test_host.py makes one",
    "VT0748": "a disk with another digest: site/test_host.py makes one",
    "VT0750": "a file of policy.test, which lint does not read: review/test_cases.py makes some",
    "VT0751": "a comment that lint does not read: review/test_context.py makes some",
    "VT0762": "a machine's description is no file of the site: site/test_probe.py makes some",
    "VT0805": "a baseline is no job file: lint/test_baseline.py writes some",
    "VT0806": "a job file that cannot be written: lint/test_mend.py makes one",
}
"""Codes of the groups 00 to 05, 07 and 08 that no file of tests/invalid causes, and why."""


def expected(case: Path) -> set[str]:
    return {finding["code"] for finding in json.loads(case.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("code", Code, ids=lambda code: code.id)
def test_a_page(code: Code) -> None:
    lines = (PAGES / f"{code.id}.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {code.id}: {code.title}"
    assert [line for line in lines if line.startswith("## ")] == ["## Cause", "## Example", "## Fixed"]


def files_of(section: str) -> dict[str, str]:
    """The files that a section shows: the first line `# site/NAME` names a file of the site; any other is the job."""
    blocks = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    named = [(re.match(r"# (site/\S+)\n", block), block) for block in blocks]
    return {match[1] if match else "job.vjob.yaml": block for match, block in named}


def lint(files: dict[str, str], command: str = "lint") -> str:
    """Return what `vtorque lint` prints in a directory of these files; what a site lacks is that of `plain`.

    With another command (`site check`, `policy lint`), what that prints of the site. Users' own images are not there.
    """
    shutil.copytree(INVALID / "sites" / "plain", "site", dirs_exist_ok=True)
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    site = "site" if any(name.startswith("site/") for name in files) else str(data.schemas() / "local")
    arguments = {"lint": ["--site", site, "--ignore", "VT0559", "job.vjob.yaml"], "policy lint": ["--site", site]}.get(
        command, [site]
    )
    result = CliRunner().invoke(group, [*command.split(), *arguments], standalone_mode=False)
    return re.sub(r"(\d+ (?:job|policy) files?|site site|the policy does not load): \d.*\n", "", result.output)


@pytest.mark.parametrize("code", Code, ids=lambda code: code.id)
def test_the_examples_of_a_page(code: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lint prints for a failing job what the page says, and has nothing against the mended one."""
    monkeypatch.chdir(tmp_path)
    example, fixed = (PAGES / f"{code.id}.md").read_text(encoding="utf-8").split("## Example\n")[1].split("## Fixed\n")
    minimal = "apiVersion: vtorque/v1\nname: x\nimage: debian-12\nrun: hostname\n"
    called = r"(lint)(?: --site site)? job\.vjob\.yaml|(site check) site|(policy lint) --site site"
    shown = re.search(rf"```text\n\$ vtorque (?:{called})\n(.*?)\n```", example, re.DOTALL)
    command = (shown[1] or shown[2] or shown[3]) if shown else "lint"
    files = {"job.vjob.yaml": minimal, **files_of(example)}
    if shown and files_of(example):
        assert lint(files, command).rstrip("\n") == shown[4]
    if any("apiVersion" in text or name != "job.vjob.yaml" for name, text in files_of(fixed).items()):
        assert lint({**files, **files_of(fixed)}, command) == ""


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


def test_every_code_is_used() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in SOURCES if path.name != "codes.py")
    used = set(re.findall(r'"(VT[0-9]{4})"|\bCode\.([A-Z0-9_]+)', texts))
    assert [code.id for code in Code if not {(code.id, ""), ("", code.name)} & used] == []


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("VT")])
def test_a_case_has_the_code_of_its_name_alone(name: str) -> None:
    found = expected(INVALID / name.replace(".vjob.yaml", ".expected.json"))
    needed = {"VT0012-alias-as-key.vjob.yaml": {"VT0003"}, "VT0804-allow-of-an-error.vjob.yaml": {"VT0105"}}.get(
        name, set()
    )
    assert found - needed == {name[:6]}


@pytest.mark.parametrize("name", SITE_CASES)
def test_a_site_has_the_code_of_its_name_alone(name: str) -> None:
    assert expected(INVALID / "sites" / name / "expected.json") == {name[:6]}


def test_every_code_of_a_file_has_a_case() -> None:
    from_files = {code.id for code in Code if code.id[2:4] in ("00", "01", "02", "03", "04", "05", "07", "08")}
    cases = {name[:6] for name in CASES + SITE_CASES if name.startswith("VT")}
    assert from_files - cases == set(WITHOUT_A_FILE)
