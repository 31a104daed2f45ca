"""Many files over several processes: the same report, no document kept, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lint.helpers import BAD, GOOD, HEAD, PYTHON_PATH, WARNED, lint
from tests.support.terminal import on_terminal
from vtorque_spec.lint import engine
from vtorque_spec.lint.engine import CHUNK, WARM, Result, WorkerLost, check_all
from vtorque_spec.lint.files import job_files

MANY = WARM + 3 * CHUNK + 5


def names(count: int) -> list[str]:
    return [f"{number:05}" for number in range(count)]


def noted(name: str) -> Result:
    """A check that takes longer for the first files that a worker gets, and tells which process made it."""
    time.sleep(0.002 if f"{WARM:05}" <= name < f"{WARM + CHUNK:05}" else 0)
    return Result([], diff=f"{name} {os.getpid()}")


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, WARM, WARM + 1, MANY])
def test_results_come_in_the_order_of_the_names(count: int, workers: int) -> None:
    parent = os.getpid()
    told = [result.diff.split() for result in check_all(names(count), noted, workers)]
    assert [name for name, _ in told] == names(count)
    processes = {process for _, process in told}
    assert len(processes - {str(parent)}) <= workers
    assert bool(processes - {str(parent)}) == (workers > 1 and count > WARM)


def test_a_worker_that_dies_is_an_error_and_no_hang() -> None:
    def check(name: str) -> Result:
        if name == f"{WARM + 40:05}":
            os.kill(os.getpid(), signal.SIGKILL)
        return Result([])

    with pytest.raises(WorkerLost):
        list(check_all(names(MANY), check, 2))


def test_a_bug_in_a_worker_is_told_as_it_is() -> None:
    def check(name: str) -> Result:
        return Result([]) if name < f"{WARM:05}" else 1 / 0  # type: ignore[return-value] # raises

    with pytest.raises(ZeroDivisionError):
        list(check_all(names(MANY), check, 2))


def test_what_a_reader_leaves_is_not_done() -> None:
    """As with `vtorque lint ... | head`: the workers end with the one who asked."""
    results = check_all(names(100 * MANY), noted, 2)
    for _ in range(WARM + 1):
        next(results)
    results.close()  # type: ignore[attr-defined] # it is a generator
    assert not children()


def children() -> list[int]:
    task = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return [int(pid) for pid in task.read_text().split()]


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    for number in range(MANY):
        text = [GOOD, BAD, WARNED, HEAD + "vcpu: 3\nrun: hostname\n"][number % 4]
        (tmp_path / f"job{number:03}.vjob.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit", "github", "gitlab"])
def test_the_report_does_not_depend_on_the_number_of_processes(form: str, jobs: Path) -> None:
    one, two = (lint("--format", form, "--jobs", number, ".", cwd=jobs) for number in ("1", "2"))
    assert (one.returncode, one.stdout, one.stderr) == (two.returncode, two.stdout, two.stderr)
    assert one.returncode == 1
    assert one.stdout.count("VT0105") >= MANY // 4


def test_fix_over_several_processes(jobs: Path) -> None:
    done = lint("--fix", "--jobs", "2", ".", cwd=jobs)
    assert done.stderr.count("mended VT0102: vcpu -> vcpus\n") == MANY // 4
    assert "VT0102" not in done.stdout
    assert lint("--fix", "--diff", ".", cwd=jobs).stdout == ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_one_who_asked(number: signal.Signals) -> None:
    program = (
        "import time, os\n"
        "from vtorque_spec.lint.engine import Result, check_all\n"
        "def check(name):\n"
        "    if int(name) >= 64: os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)\n"
        "    return Result([])\n"
        "list(check_all([str(i) for i in range(500)], check, 2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": PYTHON_PATH}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment) as asked:
        assert asked.stdout is not None
        try:
            workers = [int(asked.stdout.readline()) for _ in range(2)]
            asked.send_signal(number)
            assert asked.communicate(timeout=20)[0] == ""  # the pipe ends when the last that holds it has gone
        finally:
            asked.kill()
    deadline = time.monotonic() + 10  # they have closed their files and are about to be gone
    while not all(gone(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_nothing_of_a_document_is_kept(jobs: Path) -> None:
    """After all results were seen no more documents are alive than after the first."""
    import gc
    from datetime import date

    from tests.spec.helpers import CONTEXT, site
    from vtorque_spec.document import Document

    checker = engine.Checker(site(), CONTEXT, lambda *_: None, date(2026, 1, 1))

    def alive() -> int:
        gc.collect()
        return sum(isinstance(thing, Document) for thing in gc.get_objects())

    results = check_all(job_files([jobs]), checker.check, 1)
    next(results)
    before = alive()
    kept = list(results)
    assert len(kept) == MANY - 1
    assert alive() == before


def test_a_bar_on_a_terminal_only(jobs: Path) -> None:
    assert "\x1b[" not in lint(".", cwd=jobs).stderr
    environment = {**os.environ, "PYTHONPATH": PYTHON_PATH, "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-m", "vtorque_spec", "lint", "--jobs", "2", "."]
    done = on_terminal(command, cwd=jobs, env=environment, errors_only=True)
    assert done.code == 1
    assert f"/{MANY}".encode() in done.terminal
    assert done.terminal.decode().replace("\r", "").endswith("of them\n")  # the bar is gone when the summary comes


def test_files_are_found_once_and_in_order(tmp_path: Path) -> None:
    for name in ("b/x.vjob.yaml", "a/y.vjob.yaml", "a/readme.yaml", "z.vjob.yaml", "a/c/w.vjob.yaml", "other.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(GOOD)
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "d.vjob.yaml").mkdir()
    found = [os.path.relpath(name, tmp_path) for name in job_files([tmp_path / "other.yaml", tmp_path, tmp_path / "a"])]
    assert found == ["other.yaml", "d.vjob.yaml", "z.vjob.yaml", "a/y.vjob.yaml", "a/c/w.vjob.yaml", "b/x.vjob.yaml"]


def test_a_named_file_needs_no_ending(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(BAD)
    done = lint("job.yaml", cwd=tmp_path)
    assert (done.returncode, "job.yaml:4:8: error[VT0105]" in done.stdout) == (1, True)


def test_a_directory_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, scandir = tmp_path / "closed", os.scandir
    closed.mkdir()

    def denied(path: str) -> object:
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert job_files([tmp_path]) == [str(closed)]  # reading it tells why
