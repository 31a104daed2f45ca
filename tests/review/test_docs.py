"""docs/policy-testing.md is a transcript: its commands are run in their order and print what the page says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.review.helpers import JOB, call, case, copy_site
from tests.spec.helpers import ROOT
from tests.test_cli import PATH

PAGE = ROOT / "docs" / "policy-testing.md"


def run(command: str, directory: Path) -> str:
    """Return what a line of the shell prints; `vtorque` is the program of this source tree."""
    function = f'vtorque() {{ {shlex.quote(sys.executable)} -m vtorque_spec "$@"; }}\n'
    environment = {**os.environ, "PYTHONPATH": PATH, "LC_ALL": "C"}
    done = subprocess.run(
        ["bash", "-c", function + command], cwd=directory, env=environment, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_the_transcript(tmp_path: Path, update_golden: bool) -> None:
    copy_site(tmp_path / "site")

    def block(match: re.Match[str]) -> str:
        commands = [line for line in match[1].splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(f"{line}\n{run(line[2:], tmp_path)}" for line in commands) + "```"

    page = PAGE.read_text()
    made = re.sub(r"```console\n(.*?)```", block, page, flags=re.DOTALL)
    if update_golden:
        PAGE.write_text(made)
    assert made == page


def test_the_examples_of_the_pages_of_findings(tmp_path: Path) -> None:
    site = copy_site(tmp_path / "site")
    case(site, "fail/EX100-disk.vjob.yaml")
    case(site, "pass/student.vjob.yaml", f"# context: user=sam group=students\n{JOB}")
    output = call("test", site)[1].replace(f"{tmp_path}/", "")
    for code in ("VT0750", "VT0751"):
        example = (ROOT / "docs" / "errors" / f"{code}.md").read_text().partition("## Example")[2]
        shown = re.search(rf"(?m)^\S+: error\[{code}\][^`]*(`[^`\n]*`[^`]*)*?\n(?=```)", example)
        assert shown
        assert shown[0] in output
