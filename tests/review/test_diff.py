"""`vtorque policy diff`: which jobs change, why, and how it is told."""

import gc
import json
import re
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.review.helpers import JOB, LOOSER, SITE, TIGHTER, Edits, call, copy_site, same_as
from tests.spec.helpers import EXAMPLES, site
from tests.support.findings import diagnostics
from tests.test_cli import vtorque
from tests.test_invalid import INVALID
from vtorque_spec.diagnostics import Diagnostic, Span
from vtorque_spec.render import printable
from vtorque_spec.review import diff_report
from vtorque_spec.review.context import neutral
from vtorque_spec.review.diff import Change, Kind, Same, Side, Value, compare, tally

VARIANTS: dict[str, Edits] = {"tighter": TIGHTER, "looser": LOOSER}
JOBS = {
    "default.vjob.yaml": JOB,
    "large.vjob.yaml": f"{JOB}vcpus: 24\nmemory: 200GiB\n",
    "slow.vjob.yaml": f"{JOB}timeouts: {{boot: 15min}}\n",
    "disk.vjob.yaml": f"{JOB}root_disk: {{size: 300GiB}}\n",
    "disk-refused.vjob.yaml": f"{JOB}root_disk: {{size: 500GiB}}\n",
    "degraded.vjob.yaml": f"{JOB}allow_degraded: [emulation]\n",
    "no-job.vjob.yaml": "nonsense: 1\n",
    "student.vjob.yaml": f"# context: user=sam groups=students\n{JOB}",
    "long-name.vjob.yaml": JOB.replace("name: case", "name: a-long-name-15"),
}


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as `old`, its variants, and `jobs`, in the working directory."""
    monkeypatch.chdir(tmp_path)
    copy_site(tmp_path / "old")
    for name, edits in VARIANTS.items():
        copy_site(tmp_path / name, edits)
    (tmp_path / "jobs").mkdir()
    for name, text in JOBS.items():
        (tmp_path / "jobs" / name).write_text(text)
    return tmp_path


def diff(*arguments: str | Path) -> tuple[int, Any]:
    code, output = call("diff", "--as", "user", "--groups", "", *arguments, "--format", "json")
    return code, json.loads(output)


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_golden(variant: str, form: str, at: Path, update_golden: bool) -> None:
    code, output = call("diff", "--as", "user", "--groups", "", "old", variant, "jobs", "--format", form)
    assert code == 1
    same_as(f"diff-{variant}.{form}", output, update_golden)


def test_each_job_and_why(at: Path) -> None:
    _, data = diff("old", "tighter", "jobs")
    changes = {(one["change"], one["job"].removeprefix("jobs/").removesuffix(".vjob.yaml")) for one in data["changes"]}
    assert changes == {
        ("refused", "large"), ("refused", "slow"), ("values", "default"), ("values", "long-name"),
    }  # fmt: skip
    (slow,) = [one for one in data["changes"] if one["job"] == "jobs/slow.vjob.yaml"]
    assert [(new["code"], new["rule"]) for new in slow["new"]] == [
        ("EX050", {"file": "tighter/policy.yaml", "line": 5, "column": 47})
    ]
    (default,) = [one for one in data["changes"] if one["job"] == "jobs/default.vjob.yaml"]
    assert default["values"] == [
        {
            "field": "vcpus", "old": "4", "new": "2",
            "old_default": {"file": "old/policy.yaml", "line": 4, "column": 20},
            "new_default": {"file": "tighter/policy.yaml", "line": 4, "column": 20},
        }
    ]  # fmt: skip


def test_a_way_there_is_the_way_back_turned_round(at: Path) -> None:
    _, there = diff("old", "looser", "jobs")
    _, back = diff("looser", "old", "jobs")
    turned = {"refused": "accepted", "accepted": "refused", "codes": "codes", "values": "values"}
    assert {(one["job"], turned[one["change"]]) for one in there["changes"]} == {
        (one["job"], one["change"]) for one in back["changes"]
    }
    assert [one["gone"] for one in sorted(there["changes"], key=lambda one: str(one["job"]))] == [
        one["new"] for one in sorted(back["changes"], key=lambda one: str(one["job"]))
    ]


def test_a_warning_that_becomes_an_error_refuses(at: Path) -> None:
    copy_site(at / "new", {"policy.yaml": ("severity: warning", "severity: error")})
    (at / "jobs" / "two-days.vjob.yaml").write_text(f"{JOB}batch: {{walltime: 30h}}\n")
    _, data = diff("old", "new", "jobs/two-days.vjob.yaml")
    (change,) = data["changes"]
    assert change["change"] == "refused"
    assert [(item["code"], item["severity"]) for item in change["new"]] == [("EX040", "error")]


def test_the_context_of_a_job_file_goes_before_the_options(at: Path) -> None:
    copy_site(at / "new", {"policy.yaml": ("maximum: 8", "maximum: 1")})
    assert [one["job"] for one in diff("old", "new", "jobs")[1]["changes"]] == ["jobs/student.vjob.yaml"]
    _, output = call("diff", "--as", "x", "--groups", "students", "old", "new", "jobs/default.vjob.yaml")
    assert "now error EX020: students get 1 vCPUs at most, 2 were asked for" in output


WHOLE = [None, SITE]
"""Sites that accept some jobs: the built-in one and the example. Those of tests/invalid have few images, or none."""
OTHERS = sorted(path for path in (INVALID / "sites").iterdir() if not path.name.startswith("VT"))


@pytest.mark.parametrize("directory", [*WHOLE, *OTHERS], ids=str)
def test_a_policy_does_not_differ_from_itself(directory: Path | None) -> None:
    jobs = [str(path) for path in (*EXAMPLES, *sorted(INVALID.glob("*.vjob.yaml")))]
    one, other = (Side(found, neutral(found)) for found in (site(directory), site(directory)))
    trouble: list[Diagnostic] = []
    total = tally(compare(jobs, one, other), trouble)
    assert (total.unchanged, trouble) == (len(jobs), [])
    assert total.refused < len(jobs) or directory in OTHERS


def test_memory_does_not_grow_with_jobs_that_do_not_change(at: Path) -> None:
    side = Side(site(at / "old"), neutral(site(at / "old")))

    def jobs(number: int) -> Iterator[str]:
        for _ in range(number):
            gc.collect()  # ruamel.yaml leaves cycles; when the collector comes by says nothing about what is kept
            yield from (f"jobs/{name}" for name in JOBS)

    def peak(number: int) -> int:
        tracemalloc.start()
        total = tally(compare(jobs(number), side, side), [])
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total.unchanged == number * len(JOBS)
        return size

    peak(2)  # what is made once
    assert peak(20) < peak(4) + 100_000


# --- the command as a process -----------------------------------------------------------------------------------------


def test_exit_codes(at: Path) -> None:
    same = vtorque("policy", "diff", "old", "old", "jobs", cwd=at)
    assert (same.returncode, same.stderr) == (0, "")
    assert same.stdout.startswith("9 jobs: 9 unchanged (")
    assert vtorque("policy", "diff", "old", "tighter", "jobs", cwd=at).returncode == 1
    assert vtorque("policy", "diff", "old", "nowhere", "jobs", cwd=at).returncode == 2
    assert vtorque("policy", "diff", "old", "tighter", cwd=at).returncode == 2
    (at / "empty").mkdir()
    assert vtorque("policy", "diff", "old", "tighter", "empty", cwd=at).returncode == 2
    (at / "tighter" / "policy.yaml").write_text("properties: {vcpus: {maxmum: 1}}\n")
    broken = vtorque("policy", "diff", "old", "tighter", "jobs", cwd=at)
    assert (broken.returncode, broken.stdout) == (1, "")
    assert "tighter/policy.yaml:1:22: error[VT0705]" in broken.stderr


def test_a_job_that_cannot_be_read_is_told_and_the_others_are_compared(at: Path) -> None:
    (at / "jobs" / "folder.vjob.yaml").mkdir()
    (at / "jobs" / "slip.vjob.yaml").write_text(f"# context: usr=a\n{JOB}")
    done = vtorque("policy", "diff", "old", "old", "jobs", cwd=at)
    assert done.returncode == 1
    assert done.stdout.startswith("11 jobs: 2 not read, 9 unchanged")
    assert "jobs/folder.vjob.yaml:1:1: error[VT0014]" in done.stderr
    assert "jobs/slip.vjob.yaml:1:12: error[VT0751]" in done.stderr


def test_files_of_two_worktrees(at: Path) -> None:
    """Scripts are read from beside the job, and a job named twice is compared once."""
    (at / "jobs" / "script.vjob.yaml").write_text(JOB.replace("hostname", "{script: solve.sh}"))
    (at / "jobs" / "solve.sh").write_text("hostname\n")
    _, data = diff("old", "tighter", "jobs/script.vjob.yaml", "jobs/script.vjob.yaml")
    assert data["summary"]["jobs"] == data["summary"]["values"] == 1


# --- markdown ---------------------------------------------------------------------------------------------------------


def blocks(text: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)


def cells(text: str) -> Iterator[list[str]]:
    """Yield the code spans of each table cell; whatever else stands there must be our own words."""
    inside = False
    for token in blocks(text):
        inside = token.type == "td_open" or (inside and token.type != "td_close")
        if inside and token.type == "inline":
            assert {child.type for child in token.children or []} <= {"code_inline", "text", "html_inline"}
            assert all(child.content == "<br>" for child in token.children or [] if child.type == "html_inline")
            yield [child.content for child in token.children or [] if child.type == "code_inline"]


def change(job: str, kind: Kind = "values", text: str = "x", items: tuple[Diagnostic, ...] = ()) -> Change:
    value = Value("env", text, None, Span(text, 1, 1, 1, 1), None)
    return Change(job, kind, items, (), (value,))


any_text = st.text(st.characters(exclude_categories=[]), min_size=1, max_size=40)
marks = st.text("|`\\<>&*_[]()!#@~\r\n\t -=:", min_size=1, max_size=30)


@given(any_text | marks, any_text | marks, st.lists(diagnostics(), max_size=1))
def test_markdown_holds_any_text(job: str, text: str, items: list[Diagnostic]) -> None:
    total = tally([change(job, text=text, items=tuple(items)), Same(refused=True)], [])
    report = diff_report.as_markdown(total, job, text)
    assert report.encode("utf-8")
    types = [token.type for token in blocks(report) if token.type.endswith(("_open", "_block", "fence"))]
    assert set(types) <= {
        "heading_open", "table_open", "thead_open", "tbody_open", "tr_open", "th_open", "td_open",
    }  # fmt: skip
    assert types.count("table_open") == 2
    last = list(cells(report))[-1]
    assert [one.strip(" ") for one in last] == [printable(job).strip(" ")]
    assert diff_report.as_text(total).count("\n") == 5 + len(items)
    assert json.loads(diff_report.as_data(total, job, text).encode())["summary"]["values"] == 1


def test_long_lists_are_folded() -> None:
    many = tally((change(f"{number}.vjob.yaml", text=str(number)) for number in range(60)), [])
    html = MarkdownIt("commonmark").enable("table").render(diff_report.as_markdown(many, "old", "new"))
    assert "<details><summary>60 change their values</summary>" in html
    assert html.count("</details>") == 1
    assert html.count("<tr>") == 2 + 1 + 60  # two heads, one line of numbers
    alike = tally((change(f"{number}.vjob.yaml") for number in range(60)), [])
    assert "<br>and 55 more |" in diff_report.as_markdown(alike, "old", "new")
    assert diff_report.as_text(alike).count("\n") == 1 + 1 + 60 + 2


def test_a_comment_is_never_too_long_and_says_what_it_leaves_out() -> None:
    kinds: tuple[Kind, ...] = ("refused", "accepted", "codes", "values")
    worst = (change(f"{'j' * 5000}{n}", kind, f"{n}{'|' * 5000}") for kind in kinds for n in range(700))
    report = diff_report.as_markdown(tally(worst, []), "old", "new")
    assert 30_000 < len(report) < 65_536
    left = [int(number) for number in re.findall(r"and ([0-9]+) more lines", report)]
    assert len(left) == 4
    assert 4 * 700 - sum(left) == report.count("`jjj")


def test_the_order_is_that_of_the_jobs(at: Path) -> None:
    shutil.copytree(at / "jobs", at / "again")
    _, data = diff("old", "tighter", "jobs", "again")
    values = [one["job"] for one in data["changes"] if one["change"] == "values"]
    assert values == [f"{folder}/{name}.vjob.yaml" for folder in ("jobs", "again") for name in ("default", "long-name")]
