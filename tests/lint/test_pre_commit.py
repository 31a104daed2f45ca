"""The hooks of .pre-commit-hooks.yaml, run by the real pre-commit for a repository of somebody else's."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.lint.helpers import GOOD, site_with
from tests.spec.helpers import ROOT

HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
PARTS = (".pre-commit-hooks.yaml", "LICENSE", "README.md", "compilers", "docs", "pyproject.toml", "runtime", "schemas")


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})


def repository(directory: Path) -> str:
    """Make a git repository of what is in a directory; return its commit."""
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "--message", "all")):
        subprocess.run(["git", *command], cwd=directory, check=True)
    return run("git", "rev-parse", "HEAD", cwd=directory).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> tuple[Path, str]:
    """This project as pre-commit fetches it: a repository with a commit."""
    place = tmp_path / "vtorque"
    place.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in (*PARTS, "vtorque_spec"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, place / name)
    return place, repository(place)


@pytest.fixture
def theirs(project: tuple[Path, str], tmp_path: Path) -> Path:
    """A repository of somebody else's with jobs and a site, that uses all hooks."""
    place, commit = project
    directory = tmp_path / "theirs"
    site_with(directory / "site", "properties: {vcpus: {maximum: 4}}\n")
    (directory / "good.vjob.yaml").write_text(GOOD)
    (directory / "values.yaml").write_text("not: [a job")
    arguments = {"vtorque-lint": ["--site", "site"], "vtorque-policy": ["--site", "site"], "vtorque-site": ["site"]}
    hooks = [{"id": hook["id"], "args": arguments[hook["id"]]} for hook in HOOKS]
    config = {"repos": [{"repo": str(place), "rev": commit, "hooks": hooks}]}
    (directory / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    repository(directory)
    return directory


def pre_commit(directory: Path) -> tuple[int, dict[str, str], str]:
    """Run all hooks on what is staged; return the exit code, what became of each hook, and the output."""
    run("git", "add", ".", cwd=directory)
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color", "never"]
    done = run(*command, cwd=directory, PRE_COMMIT_HOME=str(directory.parent / "home"))
    results = dict(re.findall(r"^(vtorque[a-z ]*)\.+(?:\(.*\))?(\w+)$", done.stdout, re.MULTILINE))
    return done.returncode, results, done.stdout + done.stderr


def test_the_hooks_stop_what_is_bad_and_nothing_else(theirs: Path) -> None:
    """pre-commit installs the project into an environment of its own, and runs the hooks from there."""
    code, results, output = pre_commit(theirs)
    assert code == 0, output
    assert results == dict.fromkeys(("vtorque lint", "vtorque policy lint", "vtorque site check"), "Passed")

    (theirs / "bad.vjob.yaml").write_text(GOOD + "vcpus: 6\n")
    code, results, output = pre_commit(theirs)
    assert (code, results["vtorque lint"], results["vtorque site check"]) == (1, "Failed", "Passed")
    assert "bad.vjob.yaml:5:8: error[VT0201]" in output
    assert "2 job files: 1 error, 0 warnings" in output

    (theirs / "bad.vjob.yaml").unlink()
    (theirs / "site/policy.yaml").write_text("properties: {vcpu: {maximum: 4}}\n")
    code, results, output = pre_commit(theirs)
    assert (code, results["vtorque policy lint"]) == (1, "Failed")
    assert "site/policy.yaml:1:14: error[" in output

    (theirs / "site/policy.yaml").unlink()
    (theirs / "site/site.yaml").write_text("name: x\n")
    code, results, _ = pre_commit(theirs)
    assert (code, results["vtorque site check"]) == (1, "Failed")
