"""Whatever a job's owner leaves in the directory of theirs, the job is undone, and what it held is given back."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtime.faulty_node import KEY, Node, made_node
from tests.runtime.test_faults import ready
from vtorque_runtime import reap, teardown
from vtorque_runtime.spool import Start
from vtorque_runtime.steps import remove_entry

DEPTH = 1500
"""More than Python calls itself."""


def deep(directory: Path, depth: int = DEPTH) -> None:
    here = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def mounted(place: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)


def mounted_inside(directory: Path) -> None:
    (directory / "a/b").mkdir(parents=True)
    mounted(directory / "a/b")
    (directory / "a/b/c").mkdir()
    mounted(directory / "a/b/c")
    (directory / "file").touch()
    subprocess.run(["mount", "--bind", directory / "file", directory / "file"], check=True)


def tangled(directory: Path) -> None:
    """Names that are no text, directories that nobody may enter, links to what must stay."""
    os.mkdir(os.fsencode(directory) + b"/\xff\n")
    (directory / "x/y").mkdir(parents=True)
    (directory / "x/y/link").symlink_to("/etc")
    (directory / "x/link").symlink_to("y")
    (directory / "x/y").chmod(0)
    os.mkfifo(directory / "x/fifo")


@pytest.fixture(autouse=True)
def _nothing_deep_stays(tmp_path: Path) -> Iterator[None]:
    """pytest could not remove it either."""
    yield
    subprocess.run(["rm", "-rf", "--one-file-system", *tmp_path.iterdir()], check=True)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    with made_node(tmp_path, monkeypatch) as made:
        yield made


@pytest.mark.root
@pytest.mark.parametrize("leave", [deep, mounted, mounted_inside, tangled])
def test_the_job_is_undone(node: Node, leave: Callable[[Path], None]) -> None:
    ready(node)
    leave(node.registry.spool(KEY).owner)
    node.end()
    assert node.left() == []


def test_a_user_removes_theirs(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    for leave in (deep, tangled):
        leave(tmp_path / "job")
    remove_entry(tmp_path, "job")
    assert list(tmp_path.iterdir()) == []


def test_a_removal_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some directories have risen already when it is killed."""
    (tmp_path / "job").mkdir()
    for name in "abc":
        (tmp_path / "job" / name).mkdir()
        deep(tmp_path / "job" / name, DEPTH // 5)
    whole, calls = os.rmdir, [0]

    def rmdir(*arguments: object, **more: object) -> None:
        calls[0] += 1
        if calls[0] % 50 == 0:
            raise KeyboardInterrupt
        whole(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rmdir", rmdir)
    cut = 0
    while (tmp_path / "job").exists():
        try:
            remove_entry(tmp_path, "job")
        except KeyboardInterrupt:
            cut += 1
    assert cut >= 3 * DEPTH // 5 // 50


@pytest.mark.root
def test_a_job_that_cannot_be_undone_does_not_stop_reap(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with it, even what nobody thought of."""
    node.registry.register("11.node", 0, 0, Start("slurm", "11", "1", "node"))
    ready(node)
    asked: list[str] = []

    def end(_registry: object, key: str, *_: object) -> None:
        asked.append(key)
        raise RecursionError

    with monkeypatch.context() as broken:
        broken.setattr(reap, "standing", lambda _held: "gone")
        broken.setattr(reap, "_waited_s", lambda _doubt: reap.APART_S)
        broken.setattr(teardown, "end", end)
        _, faults = reap.reap(node.registry, node.connect)
    assert [fault.code for fault in faults] == ["VT0911", "VT0911"]
    assert asked == ["11.node", KEY]
    node.end()
