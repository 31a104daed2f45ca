"""Commands that change the store and the catalogue at the same time."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.images.helpers import CMDLINE, Run, entries, stored
from vtorque_runtime.images import store


def at_once(*commands: Callable[[], int]) -> list[int]:
    """Run each in a process of its own, all at the same time, and return their exit codes."""
    children = []
    for command in commands:
        child = os.fork()
        if child == 0:
            os._exit(command())
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_adds_at_once_are_all_there(run: Run, made: Callable[..., Path], images: Path, site: Path) -> None:
    disks = {name: made(name) for name in ("a", "bb", "ccc", "dddd")}

    def add(name: str) -> Callable[[], int]:
        return lambda: run("add", name, disks[name], "--cmdline", CMDLINE, "--revision", "1").exit_code

    twice = [add(name) for name in disks for _ in range(2)]
    assert at_once(*twice) == [0] * len(twice)
    assert (stored(images), entries(site)) == (sorted(disks), [f"{name}@1.yaml" for name in disks])
    for image in store.installed(images):
        store.verify(image)


def test_updates_at_once_have_revisions_of_their_own(
    run: Run, made: Callable[..., Path], images: Path, site: Path
) -> None:
    assert run("add", "rocky", made("rocky"), "--cmdline", CMDLINE, "--revision", "1").exit_code == 0
    disks = [made(name) for name in ("a", "bb", "ccc")]
    assert at_once(*[lambda disk=disk: run("update", "rocky", disk).exit_code for disk in disks]) == [0, 0, 0]
    assert (len(stored(images)), len(entries(site))) == (4, 4)


def test_an_add_takes_away_what_a_killed_one_left_and_nothing_else(
    run: Run, made: Callable[..., Path], images: Path
) -> None:
    with store.staging(images) as held:
        (held / "root.qcow2").write_text("half a disk")
        left = images / ".new-left"
        left.mkdir()
        assert run("add", "a", made("a"), "--cmdline", CMDLINE).exit_code == 0
        assert (held / "root.qcow2").exists()
        assert not left.exists()


def test_a_guest_keeps_the_disk_that_it_has_open(
    run: Run, made: Callable[..., Path], images: Path, tmp_path: Path
) -> None:
    """QEMU opens the base by its name once; an update adds another, and a removal takes the name alone."""
    assert run("add", "rocky", made("rocky"), "--cmdline", CMDLINE, "--revision", "1").exit_code == 0
    (image,) = store.installed(images)
    overlay = tmp_path / "overlay.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image.disk, "-F", "qcow2", overlay], check=True)
    argv = ["qemu-io", "-f", "qcow2", str(overlay)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None
        guest.stdin.write("read 0 512\n")
        guest.stdin.flush()
        while "read 512/512" not in guest.stdout.readline():
            pass
        assert run("update", "rocky", made("newer-one")).exit_code == 0
        assert run("remove", "--force", "rocky").exit_code == 0
        told, _ = guest.communicate(f"read -P {len('rocky') % 250 + 1} 1M 64k\n")
    assert "read 65536/65536" in told
    assert "Pattern verification failed" not in told
    assert stored(images) == []
