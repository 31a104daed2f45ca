"""docs/ci.md: what it shows is YAML, and its commands run."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.lint.helpers import GOOD, HEAD, lint, site_with, vtorque
from tests.lint.test_pre_commit import HOOKS
from tests.spec.helpers import ROOT

PAGE = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^(?:[ -]*(?:run:|-) )?(vtorque lint .*)$", PAGE, re.MULTILINE)


def test_the_page_has_what_is_tested_here() -> None:
    assert len(BLOCKS) == 4
    assert len(COMMANDS) == 9


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page(command: str, tmp_path: Path) -> None:
    site_with(tmp_path / "site", "properties: {vcpus: {maximum: 4}}\n")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/job.vjob.yaml").write_text(GOOD)
    (tmp_path / "known.json").write_text('{"version": 1, "findings": []}')
    arguments = shlex.split(re.split(" [>|] ", command)[0])[2:]
    done = lint(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", [("lint", "jobs"), ("site", "check", "site"), ("policy", "lint", "site")])
def test_json_is_one_object_a_line_as_the_page_says(words: tuple[str, ...], tmp_path: Path) -> None:
    site_with(tmp_path / "site", 'properties: {"v\\u2028cpus": {maximum: few}, memory: {maximum: "a\\nb"}}\n')
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/job.vjob.yaml").write_text(GOOD + '"v\\ncpus": 1\n"v\\u2028cpus": 1\n')
    done = vtorque(*words, "--format", "json", cwd=tmp_path)
    *lines, end = done.stdout.split("\n")
    assert (done.returncode, done.stderr, end) == (1, "", "")
    assert len(lines) > 1
    (told,) = re.findall(r"`--format json` prints (.*?)\.\n", PAGE, re.DOTALL)
    for line in lines:
        assert list(json.loads(line)) == re.findall("`([a-z_]+)`", told)
    assert "json is one object a line" in " ".join(vtorque(*words[:-1], "--help", cwd=tmp_path).stdout.split())


def test_the_hooks_of_the_page_are_those_that_there_are() -> None:
    (config,) = [yaml.safe_load(block) for block in BLOCKS if "repos:" in block]
    assert [hook["id"] for hook in config["repos"][0]["hooks"]] == [hook["id"] for hook in HOOKS]


def test_the_comment_of_the_page_hides_the_warning(tmp_path: Path) -> None:
    (shown,) = [block for block in BLOCKS if "vtorque: allow" in block]
    (tmp_path / "job.vjob.yaml").write_text(HEAD + shown)
    assert lint("job.vjob.yaml", cwd=tmp_path).stdout == ""
    (tmp_path / "job.vjob.yaml").write_text(HEAD + re.sub("  # vtorque.*", "", shown))
    assert "VT0306" in lint("job.vjob.yaml", cwd=tmp_path).stdout


def test_the_examples_of_the_workflows_are_yaml() -> None:
    for block in BLOCKS:
        assert isinstance(yaml.safe_load(block), dict)
