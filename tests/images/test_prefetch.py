"""`vtorque image prefetch`: the node has its copy before a job comes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.helpers import Run, add
from vtorque_runtime.images import bases, store
from vtorque_runtime.spool import Registry, open_registry
from vtorque_spec.canonical import canonical_json, plain_data
from vtorque_spec.plan import copy_name


@pytest.fixture
def registry(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An ordinary user's jobs are in the same place as root's here."""
    found = open_registry("system", tmp_path / "base")
    monkeypatch.setattr("vtorque_runtime.spool.base_directory", lambda _lane: found.base)
    return found


@pytest.mark.root
def test_prefetch(images: Path, run: Run, made: Callable[..., Path], registry: Registry) -> None:
    add(run, "tiny", made("tiny"))
    first = run("prefetch", "tiny")
    assert (first.exit_code, first.output) == (0, "tiny:1: copied\n")
    (image,) = store.installed(images)
    copy = bases.directory(registry) / copy_name(image)
    assert copy.read_bytes() == Path(image.disk).read_bytes()
    assert run("prefetch", "tiny", "tiny:1").output == "tiny:1: was here\n"


@pytest.mark.root
def test_what_is_withdrawn_takes_no_room(run: Run, two_revisions: None, registry: Registry) -> None:
    assert run("update", "rocky-9:1", "--set", "state=withdrawn").exit_code == 0
    done = run("prefetch", "rocky-9")
    assert (done.exit_code, done.output) == (0, "rocky-9:2: copied\nrocky-9:1: withdrawn, no job gets it\n")
    assert len(list(bases.directory(registry).glob("*@*"))) == 1


@pytest.mark.root
def test_the_copy_goes_with_the_image(run: Run, two_revisions: None, registry: Registry, images: Path) -> None:
    """Of what is removed, and of nothing else; also where another node has emptied the store that they share."""
    assert run("prefetch", "rocky-9").exit_code == 0
    assert len(list(bases.directory(registry).glob("*@*"))) == 2
    done = run("remove", "--force", "rocky-9:1")
    (left,) = bases.directory(registry).glob("*@*")
    assert f"vtorque: removed {left.parent}/rocky-9@" in done.output
    assert left.read_bytes() == Path(store.installed(images)[0].disk).read_bytes()
    shutil.rmtree(images)
    assert f"vtorque: removed {left}\n" in run("remove", "--force", "rocky-9:2").output
    assert not list(bases.directory(registry).glob("*@*"))


@pytest.mark.root
@pytest.mark.parametrize("readable", [True, False])
def test_a_copy_that_a_job_needs_stays(
    run: Run, made: Callable[..., Path], registry: Registry, images: Path, readable: bool
) -> None:
    add(run, "tiny", made("tiny"))
    assert run("prefetch", "tiny").exit_code == 0
    (image,) = store.installed(images)
    spool, _ = registry.register("42", os.getuid())
    plan = canonical_json({"backing": "local", "image": plain_data(canonical_json(image).encode())})
    spool.plan.write_text(plan if readable else "{")
    copy = bases.directory(registry) / copy_name(image)
    done = run("remove", "--force", "tiny")
    assert (done.exit_code, copy.exists()) == (0, True), done.output
    assert f"vtorque: {copy} stays, for a job needs it or may; it goes when room is needed\n" in done.output


def test_what_is_not_there(run: Run, registry: Registry) -> None:
    """The catalogue has it, the store has not; and what neither has."""
    assert run("prefetch", "debian-12").exit_code == 1
    assert not list(bases.directory(registry).glob("*@*"))
    assert "VT0526" in run("prefetch", "debian-13").output
