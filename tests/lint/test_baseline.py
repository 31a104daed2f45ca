"""`--baseline`, `--write-baseline`, `--select` and `--ignore`: what is reported, and what counts."""

import json
from pathlib import Path

import pytest

from tests.lint.helpers import BAD, GOOD, HEAD, WARNED, lint
from tests.spec.helpers import site
from vtorque_spec.lint.selection import Selection, UnknownCode, codes_of, known_codes

KNOWN = known_codes(site()) | {"HLRS012"}


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    """A directory with a good job, one with an error and one with a warning."""
    for name, text in [("a", BAD), ("b", GOOD), ("c", WARNED)]:
        (tmp_path / f"{name}.vjob.yaml").write_text(text)
    return tmp_path


def test_known_findings_are_not_reported(jobs: Path) -> None:
    wrote = lint("--write-baseline", "known.json", ".", cwd=jobs)
    assert (wrote.returncode, wrote.stdout, wrote.stderr) == (0, "", "known.json: 2 findings\n")
    done = lint("--baseline", "known.json", ".", cwd=jobs)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "3 job files: 0 errors, 0 warnings; 2 more known from known.json\n"


def test_a_known_finding_may_move_but_not_multiply(jobs: Path) -> None:
    lint("--write-baseline", "known.json", ".", cwd=jobs)
    job = jobs / "a.vjob.yaml"
    job.write_text("# a comment\n\n" + BAD)
    assert lint("--baseline", "known.json", ".", cwd=jobs).returncode == 0
    job.write_text(BAD + "memory: 4\n")
    done = lint("--baseline", "known.json", ".", cwd=jobs)
    assert done.returncode == 1
    assert done.stdout.count("error[") == 1
    assert "VT0107" in done.stdout


def test_what_is_gone_is_told_so_that_the_file_shrinks(jobs: Path) -> None:
    lint("--write-baseline", "known.json", ".", cwd=jobs)
    (jobs / "a.vjob.yaml").write_text(GOOD)
    (jobs / "c.vjob.yaml").unlink()
    gone = "2 entries of known.json no longer found: write it anew with --write-baseline\n"
    for arguments in (["."], ["--format", "json", "."]):
        assert lint("--baseline", "known.json", *arguments, cwd=jobs).stderr.endswith(gone)


def test_a_file_that_is_not_checked_is_not_gone(jobs: Path) -> None:
    """pre-commit names the changed files only."""
    lint("--write-baseline", "known.json", ".", cwd=jobs)
    assert "no longer" not in lint("--baseline", "known.json", "b.vjob.yaml", cwd=jobs).stderr


def test_the_file_is_for_people_too(jobs: Path) -> None:
    """One entry after the other, sorted, and the same from run to run and in whatever order files are named."""
    lint("--write-baseline", "known.json", "c.vjob.yaml", "a.vjob.yaml", cwd=jobs)
    text = (jobs / "known.json").read_text()
    lint("--write-baseline", "known.json", "--jobs", "1", str(jobs), cwd=jobs)
    assert (jobs / "known.json").read_text() == text
    data = json.loads(text)
    assert data["version"] == 1
    assert [(entry["file"], entry["code"]) for entry in data["findings"]] == [
        ("a.vjob.yaml", "VT0105"),
        ("c.vjob.yaml", "VT0306"),
    ]
    assert {tuple(entry) for entry in data["findings"]} == {("file", "code", "message", "fingerprint")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "known.json:1:2: this is no JSON"),
        ("[" * 100_000, "known.json: this is no JSON"),
        ("9" * 10_000, "known.json: this is no JSON"),
        ("[]", "this is no baseline of vtorque's"),
        ('{"version": 1}', "this is no baseline of vtorque's"),
        ('{"version": 2, "findings": []}', "the version is not 1"),
        ('{"version": 1, "findings": [{"file": "x"}]}', "entry 1 does not have the members"),
        ('{"version": 1, "findings": [3]}', "entry 1 does not have the members"),
    ],
)
def test_a_broken_baseline_is_told(text: str, said: str, jobs: Path) -> None:
    (jobs / "known.json").write_text(text)
    done = lint("--baseline", "known.json", ".", cwd=jobs)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "error[VT0805]" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_baseline_that_is_not_there(jobs: Path) -> None:
    done = lint("--baseline", "nothing.json", ".", cwd=jobs)
    assert (done.returncode, "no such file" in done.stderr) == (1, True)


def test_select_and_ignore_decide_the_exit_code(jobs: Path) -> None:
    assert lint("--select", "VT03", ".", cwd=jobs).returncode == 0
    assert lint("--ignore", "VT0105", ".", cwd=jobs).returncode == 0
    assert lint("--ignore", "VT0306", ".", cwd=jobs).returncode == 1
    done = lint("--select", "VT01, VT0306", "--ignore", "VT010", ".", cwd=jobs)
    assert done.stdout.count("[VT") == 1
    assert "VT0306" in done.stdout


def test_a_broken_site_is_never_ignored(jobs: Path) -> None:
    (jobs / "site").mkdir()
    (jobs / "site/site.yaml").write_text("name: x\n")
    done = lint("--ignore", "VT", "--site", "site", "a.vjob.yaml", cwd=jobs)
    assert done.returncode == 1
    assert "VT0701" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"), [("VT9", "no code starts with `VT9`"), ("vt0306", "did you mean VT0306?"), (",", "no code is")]
)
def test_an_unknown_code_is_wrong_usage(words: str, said: str, jobs: Path) -> None:
    done = lint("--select", words, ".", cwd=jobs)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_codes_of() -> None:
    assert codes_of("VT03, HLRS,VT0105", KNOWN) == ("VT03", "HLRS", "VT0105")
    with pytest.raises(UnknownCode):
        codes_of("HLRS013", KNOWN)
    assert Selection().has("VT0101")
    assert Selection(("VT03",), ("VT0306",)).has("VT0305")
    assert not Selection(("VT03",), ("VT0306",)).has("VT0306")
    assert not Selection(("VT03",)).has("VT0101")


@pytest.mark.parametrize("arguments", [["--diff"], ["--baseline", "x", "--write-baseline", "y"], ["--today", "May"]])
def test_contradictions_are_wrong_usage(arguments: list[str], jobs: Path) -> None:
    assert lint(*arguments, ".", cwd=jobs).returncode == 2


def test_a_baseline_that_cannot_be_written(jobs: Path) -> None:
    done = lint("--write-baseline", "nowhere/known.json", ".", cwd=jobs)
    assert (done.returncode, "cannot be written" in done.stderr) == (2, True)


def test_today_is_an_option(tmp_path: Path) -> None:
    job = tmp_path / "job.vjob.yaml"
    job.write_text(HEAD + "run: |  # vtorque: allow VT0306 until 2027-01 -- r\n  #PBS -l x\n  hostname\n")
    assert lint("--today", "2027-01-31", job, cwd=tmp_path).returncode == 0
    late = lint("--today", "2027-02-01", job, cwd=tmp_path)
    assert late.returncode == 1
    assert "the comment holds until 2027-01-31, which is over" in late.stdout
