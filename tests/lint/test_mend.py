"""`--fix`: which findings are mended, and that nothing but their places changes."""

import os
import stat
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.lint.helpers import GOOD, HEAD, lint
from vtorque_spec.diagnostics import Report
from vtorque_spec.document import load
from vtorque_spec.fault import Fault
from vtorque_spec.lint.mend import mend, mend_file
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.fixes import ELSEWHERE, RENAMED
from vtorque_spec.spec.parse import parse_job

RUN = "run: hostname\n"


def every(_code: str) -> bool:
    return True


def mended(text: str) -> str:
    return mend("job.vjob.yaml", text, every)[0]


def findings(text: str) -> list[str] | None:
    """The codes that the language has against a text; None where it is no YAML."""
    report = Report()
    document = load("x", text.encode(), report)
    if document is None:
        return None
    parse_job(document, report)
    return [item.id for item in report.items]


SAFE = {
    "vcpu: 4": "vcpus: 4",
    "Memory: 4GiB": "memory: 4GiB",
    '"memroy": 4GiB': "memory: 4GiB",
    "ram: 4GiB": "memory: 4GiB",
    "unclot_shmem: 1GiB": "shared_memory: 1GiB",
    "batch: {walltme: 60s}": "batch: {walltime: 60s}",
    "batsh: {walltme: 60 secs}": "batch: {walltime: 60 s}",
    "batch: {depends: {aftrok: ['1']}}": "batch: {depends: {afterok: ['1']}}",
    "guest: linxu": "guest: linux",
    "hugepages: 2mib": "hugepages: 2MiB",
    "pinning: compct": "pinning: compact",
    "memory: 1.5GiB": "memory: 1536MiB",
    "memory: 04GiB": "memory: 4GiB",
    "memory: 24gib": "memory: 24GiB",
    "memory: 24 Gi": "memory: 24GiB",
    "timeouts: {boot: 5 minutes}": "timeouts: {boot: 5 min}",
    "batch: {walltime: 2hours}": "batch: {walltime: 2 h}",
    "batch: {join: yes}": "batch: {join: true}",
    'batch: {join: "No"}': "batch: {join: false}",
    "iocm: off": "iocm: false",
    'vcpus: "4"': "vcpus: 4",
    "vcpus: 4.0": "vcpus: 4",
    "vcpus: 1e2": "vcpus: 100",
    "env: {A: 1.10}": 'env: {A: "1.10"}',
    "env: {A: True}": 'env: {A: "True"}',
    "batch: {queue: 7}": 'batch: {queue: "7"}',
}

NOT_SAFE = [
    "memory: 1.5gib",
    "memory: 24gb",
    "memory: 24G",
    "memory: 24m",
    "memory: 24KB",
    "memory: 4",
    "timeouts: {boot: 5ms}",
    "timeouts: {boot: 5M}",
    "timeouts: {boot: 5 months}",
    "batch: {join: 1}",
    "batch: {join: 0}",
    "batch: {join: y}",
    "vcpus: 4.5",
    "vcpus: four",
    'vcpus: "04"',
    "vcpus: 4\nvcpu: 5",
    "vcpu: 4\nvcpuss: 5",
    "cpus: 4\nvcpuss: 5",
    "disk: 10GiB",
    "vm_prologue: x.sh",
    "nodes: 2",
    "hugepages: 4MiB",
    "guest: windows",
    "nme: x",
    "batch: {depends: {afternok: ['1']}}",
    "env: {A: [1]}",
    "zone: x",
]


@pytest.mark.parametrize("line", SAFE)
def test_what_is_safe(line: str) -> None:
    assert mended(HEAD + line + "\n" + RUN) == HEAD + SAFE[line] + "\n" + RUN
    assert mended(HEAD + SAFE[line] + "\n" + RUN) == HEAD + SAFE[line] + "\n" + RUN


@pytest.mark.parametrize("line", NOT_SAFE)
def test_what_is_not_safe(line: str) -> None:
    text = HEAD + line + "\n" + RUN
    assert findings(text) != []
    assert mended(text) == text


def test_a_required_key_that_was_renamed() -> None:
    old = "apiVersion: vtorque/v1\nname: x\nimg: debian-12\nrun: hostname\n"
    assert mended(old) == old.replace("img:", "image:")


@pytest.mark.parametrize("name", RENAMED)
def test_renamed_words_lead_to_fields(name: str) -> None:
    assert name not in JobSpec.model_fields
    assert RENAMED[name] in JobSpec.model_fields


@pytest.mark.parametrize("name", ELSEWHERE)
def test_help_for_words_that_moved_is_true(name: str) -> None:
    """What is shown is YAML in which every key is known."""
    import re

    assert name not in JobSpec.model_fields
    shown = re.search(r"write `(.*?)`", ELSEWHERE[name])
    if shown is None:
        assert ELSEWHERE[name].startswith("remove it")
    else:
        found = findings(HEAD + shown[1] + "\n" + ("" if "run:" in shown[1] else RUN))
        assert found is not None
        assert "VT0102" not in found


def test_the_help_says_what_fix_does() -> None:
    report = Report()
    document = load("x", (HEAD + "vm_epilogue: x.sh\nram: 24GiB\nwalltime: 1h\n" + RUN).encode(), report)
    assert document is not None
    parse_job(document, report)
    assert [(item.help, item.fix and item.fix.text) for item in report.sorted()] == [
        ("write `hooks: {epilogue: ...}`", None),
        ("write `memory`", "memory"),
        ("write `batch: {walltime: ...}`", None),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_layout_stays(end: str, mark: str, last: bool, tmp_path: Path) -> None:
    """Comments, blanks, line ends, a byte order mark, the missing end of the last line."""
    old = """\
#  head

apiVersion:   vtorque/v1 # ü v1
name: x\x20\x20
img:  debian-12
env:
    U: "ü"
    A:    7  # seven
run: |
  img: 7
  # img"""
    new = old.replace("img:  debian", "image:  debian").replace("A:    7", 'A:    "7"')
    whole = [(mark + text + ("\n" if last else "")).replace("\n", end).encode() for text in (old, new)]
    job = tmp_path / "job.vjob.yaml"
    job.write_bytes(whole[0])
    changes, _ = mend_file(job, "job.vjob.yaml", every, write=True)
    assert job.read_bytes() == whole[1]
    assert [(change.old, change.new) for change in changes] == [("img", "image"), ("7", '"7"')]


def keys_of(model: type[BaseModel]) -> list[str]:
    return sorted(model.model_fields)


def misspelt(word: str, place: int, how: int) -> str:
    place %= len(word)
    return [word[:place] + word[place + 1 :], word[:place] + "x" + word[place:], word.upper(), word][how % 4] or "x"


KEYS = st.builds(
    misspelt, st.sampled_from([*keys_of(JobSpec), *RENAMED, *ELSEWHERE, "a"]), st.integers(0, 20), st.integers(0, 3)
)
SCALARS = st.sampled_from(
    ["4", "4.0", '"4"', "1.5GiB", "24gib", "24gb", "4GiB", "5 minutes", "60s", "yes", "off", "true", "linxu", "compct",
     "2mib", "debian-12", "'it''s'", "1.10", "[1, yes]", "{name: 1, sise: 04GiB}", "{walltme: 60 secs, join: yes}", ""]
)  # fmt: skip
COMMENTS = st.sampled_from(["", "  # ram: 4", " ", "   # ü vcpu"])
LINES = st.lists(st.tuples(KEYS, SCALARS, COMMENTS), max_size=8)


@settings(deadline=None)
@given(LINES, st.sampled_from(["\n", "\r\n"]))
def test_only_the_places_change_and_never_for_the_worse(lines: list[tuple[str, str, str]], end: str) -> None:
    text = HEAD.replace("\n", end) + "".join(f"{key}: {value}{comment}{end}" for key, value, comment in lines)
    text += f"run: |{end}  vcpu: 4{end}"
    result, changes = mend("x", text, every)
    before, after = findings(text), findings(result)
    if before is None:
        assert (result, changes) == (text, [])
        return
    assert after is not None
    assert len(after) <= len(before)
    assert mend("x", result, every) == (result, [])
    assert result.count(end) == text.count(end)
    for old, new in zip(text.split(end), result.split(end), strict=True):
        assert old.partition("#")[1:] == new.partition("#")[1:]
        touched = [change for change in changes if change.old in old and change.new in new]
        assert old == new or touched, (old, new)
        assert old == new or SequenceMatcher(None, old, new).ratio() > 0.2


def test_a_step_that_makes_it_worse_is_not_made() -> None:
    """The misspelt key hides that three of its members are wrong; the other fix is made all the same."""
    text = HEAD + "batsh: {a1: 1, b2: 2, c3: 3}\nmemory: 04GiB\n" + RUN
    assert mended(text) == text.replace("04GiB", "4GiB")


def test_two_keys_that_become_one_are_left() -> None:
    text = HEAD + "ram: 4GiB\nmemroy: 8GiB\n" + RUN
    assert mended(text) == text


def test_only_selected_codes_are_mended(tmp_path: Path) -> None:
    job = tmp_path / "job.vjob.yaml"
    job.write_text(HEAD + "vcpu: 4\nmemory: 04GiB\n" + RUN)
    lint("--fix", "--select", "VT0107", job, cwd=tmp_path)
    assert job.read_text() == HEAD + "vcpu: 4\nmemory: 4GiB\n" + RUN


def test_fix_says_what_it_changed_and_reports_the_rest(tmp_path: Path) -> None:
    job = tmp_path / "job.vjob.yaml"
    job.write_text(HEAD + "vcpu: 4\nmemory: 4\n" + RUN)
    done = lint("--fix", "--format", "json", "job.vjob.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "job.vjob.yaml:4:1: mended VT0102: vcpu -> vcpus\n"
    assert done.stdout.count('"code": "VT0107"') == done.stdout.count("\n") == 1
    assert job.read_text() == HEAD + "vcpus: 4\nmemory: 4\n" + RUN


def test_diff_writes_nothing_and_applies(tmp_path: Path) -> None:
    job = tmp_path / "job.vjob.yaml"
    text = HEAD + "vcpu: 4\n" + RUN.rstrip("\n")
    job.write_text(text)
    done = lint("--fix", "--diff", "job.vjob.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert job.read_text() == text
    assert "-vcpu: 4\n+vcpus: 4\n" in done.stdout
    import subprocess

    subprocess.run(["git", "apply", "-p0"], input=done.stdout, text=True, cwd=tmp_path, check=True)
    assert job.read_text() == text.replace("vcpu:", "vcpus:")
    again = lint("--fix", "--diff", "job.vjob.yaml", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, "")


def test_a_mended_file_keeps_its_mode_and_a_link_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real/job.vjob.yaml", tmp_path / "link.vjob.yaml"
    real.write_text(HEAD + "vcpu: 4\n" + RUN)
    real.chmod(0o640)
    link.symlink_to("real/job.vjob.yaml")
    mend_file(link, "link", every, write=True)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "vcpus: 4" in real.read_text()
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["job.vjob.yaml"]


def test_a_good_file_is_not_written(tmp_path: Path) -> None:
    job = tmp_path / "job.vjob.yaml"
    job.write_text(GOOD)
    before = job.stat()
    assert mend_file(job, "x", every, write=True) == ([], "")
    assert (job.stat().st_ino, job.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_failure_leaves_the_file_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tmp_path / "job.vjob.yaml"
    text = HEAD + "vcpu: 4\n" + RUN
    job.write_text(text)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Fault, match="no space left on device"):
        mend_file(job, "job.vjob.yaml", every, write=True)
    assert job.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["job.vjob.yaml"]


def test_a_file_that_may_not_be_written_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from vtorque_spec.cli import group

    job = tmp_path / "job.vjob.yaml"
    job.write_text(HEAD + "vcpu: 4\n" + RUN)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everything
    result = CliRunner().invoke(group, ["lint", "--fix", str(job)], standalone_mode=False)
    assert result.return_value == 1
    assert f"{job}:1:1: error[VT0806]: this is no regular file that you may write" in result.output
    assert "error[VT0102]" in result.output


def test_a_file_with_other_bytes_is_left(tmp_path: Path) -> None:
    job = tmp_path / "job.vjob.yaml"
    job.write_bytes(b"vcpu: \xff\n")
    assert mend_file(job, "x", every, write=True) == ([], "")
    assert mend_file(tmp_path / "nothing", "x", every, write=True) == ([], "")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert mend_file(tmp_path / "pipe", "pipe", every, write=True) == ([], "")
