"""What a guest prints: its phases, its last words, the owner's copy."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtorque_runtime.console import Console, harmless

NONCE = "5f0c3a9be1d24788"


def console(tmp_path: Path, text: bytes = b"") -> Console:
    (tmp_path / "console.log").write_bytes(text)
    found = Console(tmp_path / "console.log", NONCE)
    found.pump()
    return found


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        (b"", None),
        (b"SeaBIOS\r\n", None),
        (b"vtorque-phase: kernel", None),  # the line is not whole yet
        (b"vtorque-phase: kernel\r\n", "kernel"),
        (b"[ 1.2] x vtorque-phase: cloud-init 5f0c3a9be1d24788\r\n", "cloud-init"),
        (b"vtorque-phase: kernel\nvtorque-phase: mounts 5f0c3a9be1d24788\n", "mounts"),
        (b"vtorque-phase: kernel\nvtorque-phase: ready of-another-boot\n", "kernel"),
        (b"vtorque-phase: ready\n", None),
        (b"vtorque-phase: ready 5f0c3a9be1d24788\nvtorque-phase: kernel\n", "ready"),
        (b"vtorque-phase: else 5f0c3a9be1d24788\n", None),
    ],
)
def test_phases(tmp_path: Path, text: bytes, phase: str | None) -> None:
    assert console(tmp_path, text).phase == phase


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (b"vtorque-phase: mounts-failed /data 5f0c3a9be1d24788\n", "could not mount /data"),
        (b"vtorque-phase: user-failed alice 5f0c3a9be1d24788\n", "could not make the user alice"),
        (b"vtorque-phase: hooks-failed 3 5f0c3a9be1d24788\n", "failed in the site's boot hook, exit code 3"),
        (
            b"vtorque-phase: updates-failed 100 5f0c3a9be1d24788\n",
            "could not install security updates, exit code 100",
        ),
        (b"vtorque-phase: packages-failed g++ nosuch 5f0c3a9be1d24788\n", "could not install g++ nosuch"),
        (b"vtorque-phase: mounts-failed /data another\n", None),
        (b"vtorque-phase: mounts 5f0c3a9be1d24788\n", None),
    ],
)
def test_failures(tmp_path: Path, text: bytes, failure: str | None) -> None:
    assert console(tmp_path, text).failure == failure


@given(st.lists(st.integers(1, 9), max_size=30))
def test_phases_do_not_depend_on_where_a_read_ends(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    text = b"\x1b[0mx\r\nvtorque-phase: kernel\r\nvtorque-phase: ready " + NONCE.encode() + b"\r\n"
    path = tmp_path_factory.mktemp("console") / "console.log"
    path.touch()
    found = Console(path, NONCE)
    with path.open("ab", buffering=0) as file:
        for cut in cuts:
            file.write(text[:cut])
            text = text[cut:]
            found.pump()
        file.write(text)
    found.pump()
    found.close()
    assert found.phase == "ready"


def test_a_console_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    found = Console(tmp_path / "console.log", NONCE)
    found.pump()
    assert found.tail() == "(the console is empty)"
    (tmp_path / "console.log").write_text("vtorque-phase: kernel\n")
    found.pump()
    assert found.phase == "kernel"


def test_a_console_that_virtlogd_rotates_is_followed(tmp_path: Path) -> None:
    found = console(tmp_path, b"old\n")
    (tmp_path / "console.log").rename(tmp_path / "console.log.0")
    (tmp_path / "console.log").write_text("vtorque-phase: kernel\n")
    found.pump()
    assert found.phase == "kernel"


def test_the_tail_is_harmless(tmp_path: Path) -> None:
    text = b"\x1b]0;title\x07\x1b[31mred\x1b[0m\x9b\r\n\r\n" + b"".join(b"line %d\n" % n for n in range(40))
    found = console(tmp_path, text)
    assert found.tail(41).splitlines()[0] == "?]0;title?red\ufffd"
    assert found.tail().splitlines() == [f"line {n}" for n in range(20, 40)]


@given(st.text())
def test_nothing_harmless_moves_a_cursor(text: str) -> None:
    assert harmless(text).isprintable()


def test_the_copy_is_the_owners_and_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "copy_limit_bytes", 10)
    (tmp_path / "console.log").write_text("0123456789 and more")
    found = Console(tmp_path / "console.log", NONCE, tmp_path / "copy", (os.getuid(), os.getgid()))
    found.pump()
    assert (tmp_path / "copy").read_text() == "0123456789"
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o400
    with pytest.raises(FileExistsError):
        Console(tmp_path / "console.log", NONCE, tmp_path / "copy")


@pytest.mark.root
def test_a_console_without_end_holds_nothing_up(tmp_path: Path) -> None:
    console = Console(Path("/dev/zero"), NONCE)
    console.pump()
    console.close()


def test_a_full_disk_costs_the_copy_alone(tmp_path: Path) -> None:
    source = tmp_path / "console.log"
    source.write_bytes(b"vtorque-phase: kernel\n")
    console = Console(source, NONCE, tmp_path / "copy")
    assert console._copy is not None
    os.dup2(os.open("/dev/full", os.O_WRONLY), console._copy)
    console.pump()
    assert console.phase == "kernel"
    console.close()


def test_the_copy_is_given_away(tmp_path: Path) -> None:
    Console(tmp_path / "console.log", NONCE, tmp_path / "copy", (12345, 23456))
    found = (tmp_path / "copy").stat()
    assert (found.st_uid, found.st_gid) == (12345, 23456)
