"""Images that are built again: by toys, which tell every way in which one can differ, and one of Debian itself."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.runtime.toy_recipe import SAME, Toy
from vtorque_runtime.images import archive, build, provenance, store
from vtorque_spec.canonical import canonical_json
from vtorque_spec.cli import group
from vtorque_spec.fault import Fault


def refused(toy: Toy) -> Fault:
    with pytest.raises(Fault) as raised:
        toy.check()
    return raised.value


def test_what_comes_out_the_same_is_said_to_and_nothing_of_it_is_kept(toy: Toy) -> None:
    toy.script(SAME)
    image = toy.build(1)
    before = sorted(toy.store.rglob("*"))
    assert toy.check() == image
    assert toy.said == ["packages", "toy"]
    assert sorted(toy.store.rglob("*")) == before


def test_the_record_says_what_it_was_built_from(toy: Toy) -> None:
    toy.script(SAME)
    record = json.loads((Path(toy.build(7).disk).parent / "image.json").read_text())
    made = record["provenance"]
    assert (record["created"], made["archive"], made["tools"]) == (7, toy.archive, ["tool 1"])
    assert (made["uids"], made["gids"]) == ([0, 101, 65534], [0, 5])
    assert made["recipe"].startswith("sha256:")


DIFFER: dict[str, tuple[str, str, list[str]]] = {
    "package": ("packages.txt", "bash 5.2-1\nzsh 1", ["package bash: 5.2-1 -> 5.2-2", "package zsh: 1 -> none"]),
    "file": ("contents.txt", "./a 1\n./b 1", ["file in the guest: /a", "file in the guest: /c"]),
    "kernel": ("vmlinuz", "1", ["the kernel"]),
    "initrd": ("initrd.img", "1", ["the initrd"]),
    "disk": ("root.qcow2", "1", ["the disk, though every file in it is the same: its file system or its layout"]),
}
SECOND = {"packages.txt": "bash 5.2-2", "contents.txt": "./a 2\\n./b 1\\n./c 1"}


@pytest.mark.parametrize("what", DIFFER)
def test_what_differs_is_named(toy: Toy, what: str) -> None:
    file, first, lines = DIFFER[what]
    once = toy.scratch / "once"
    text = first.replace("\n", "\\n")
    toy.script(f'{SAME}[ -e {once} ] && text="{SECOND.get(file, "2")}" || text="{text}"\n'
               f'touch {once}; printf "$text\\n" >"$1/{file}"\n')  # fmt: skip
    image = toy.build(1)
    found = refused(toy)
    assert found.code == "VT0550"
    assert found.message.startswith(f"toy@{image.sha256[:16]} came out as toy@")
    assert (found.detail or "").splitlines() == lines
    assert [one.files(toy.store) for one in store.records(toy.store)] == [image]


def test_other_tools_and_many_files_are_told(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.script(f'{SAME}for n in $(seq 10 34); do echo "./$n $RANDOM$RANDOM"; done >"$1/contents.txt"\n'
               'echo $RANDOM$RANDOM >"$1/root.qcow2"\n')  # fmt: skip
    toy.build(1)
    monkeypatch.setattr(build, "versions", lambda packages: ("tool 2", "wrench 1"))
    lines = (refused(toy).detail or "").splitlines()
    assert lines[:3] == ["tool tool: 1 -> 2", "tool wrench: none -> 1", "file in the guest: /10"]
    assert lines[-1] == "and 5 more files"


def test_another_recipe_or_other_packages_are_another_image(toy: Toy) -> None:
    toy.script(SAME)
    toy.build(1)
    toy.archive = "sha256:" + "1" * 64
    assert refused(toy).message.endswith("cannot be built again: the archives' packages have changed since")
    toy.script(SAME + "# changed\n")
    assert refused(toy).message.endswith("cannot be built again: its recipe has changed since")
    assert toy.said == ["packages"]


def test_an_image_that_was_added_has_no_recipe_to_be_built_by(toy: Toy) -> None:
    toy.script(SAME)
    home = Path(toy.build(1).disk).parent
    record = json.loads((home / "image.json").read_text())
    (home / "image.json").chmod(0o644)
    (home / "image.json").write_text(canonical_json({**record, "provenance": None}))
    found = refused(toy)
    assert found.message.startswith(f"{home.name} cannot be built again: it was added, or built by an earlier version")
    assert toy.said == ["packages"]


def test_what_is_not_there_cannot_be_checked(toy: Toy) -> None:
    assert refused(toy).code == "VT0502"


def test_a_build_that_changes_nothing_is_not_done_twice(toy: Toy) -> None:
    """A package that the image does not have has changed: the next build finds the image good."""
    toy.script(SAME)
    first = toy.build(1)
    toy.archive = "sha256:" + "1" * 64
    assert (toy.build(2), toy.said) == (first, ["packages", "toy", "came"])
    assert (toy.build(3), toy.said) == (first, ["packages", "reused"])
    assert [image.created for image in store.records(toy.store)] == [2]
    home = Path(first.disk).parent
    assert {path.stat().st_mode & 0o777 for path in home.iterdir()} == {0o444}
    assert len(list(home.iterdir())) == 6
    store.verify(first)


@pytest.mark.parametrize("text", ["", "0\nroot\n", "-1\n", "1" * 11])
def test_a_list_of_numbers_that_is_none(toy: Toy, text: str) -> None:
    toy.script(f"{SAME}printf %b '{text}' >\"$1/work/uids\"\n")
    with pytest.raises(Fault, match="VT0905: the recipe left no list of numbers in uids"):
        toy.build(1)
    assert [path.name for path in toy.store.iterdir()] == [".lock"]


def test_the_tools_are_packages_of_this_machine() -> None:
    assert [line.split(" ")[0] for line in provenance.versions(["zstd", "apt", "zstd"])] == ["apt", "zstd"]
    with pytest.raises(Fault, match="VT0905: this machine's dpkg cannot say"):
        provenance.versions(["no-such-package"])


def test_the_command_says_what_came_out(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SYSTEM_STORE", toy.store)
    toy.script(SAME)
    for words, told in (((), "\n"), (("--check",), ", the same again\n")):
        done = CliRunner().invoke(group, ["image", "build", "toy", *words])
        assert done.exit_code == 0, done.output
        assert done.output.endswith(f"toy sha256:{store.records(toy.store)[0].disk.sha256}{told}")


@pytest.mark.root
def test_debian_comes_out_the_same_when_it_is_built_again() -> None:
    """That of the boots, which CI has built before the tests: from the archives as they are now, if they have moved."""
    try:
        build.check_prerequisites()
        archive.archive_state(archive.archive_of_this_machine())
    except Fault as fault:
        pytest.skip(str(fault))

    def quiet(now: build.Progress) -> None:
        """Nobody waits for it."""

    image = build.build("debian-12", store.SYSTEM_STORE, created=int(time.time()), progress=quiet)
    assert build.check("debian-12", store.SYSTEM_STORE, progress=quiet) == image


def test_nobody_else_can_hold_a_build_up(toy: Toy) -> None:
    """Who can open what a lock is held on can lock it for ever."""
    toy.script(SAME)
    toy.build(1)
    locks = [toy.store / ".lock", build.DEBS / ".lock"]
    assert [path.stat().st_mode & 0o777 for path in locks] == [0o600, 0o600]
