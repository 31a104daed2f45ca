"""What of an OSv console is the job's own output, byte for byte, however it comes in parts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtorque_runtime.osv.output import BOOT_LIMIT_BYTES, Output

CONSOLES = Path(__file__).parent / "consoles"
BOOT = b"SeaBIOS\r\nBooting from ROM..OSv v0.57\r\nVFS: mounting ramfs at /\r\nCmdline: /t\r\n"
END = b"VFS: unmounting /dev\r\nVFS: unmounting /\r\nPowering off.\r\n"


def shown(text: bytes, size: int = 10**9) -> bytes:
    output = Output()
    parts = [output.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return b"".join(parts) + output.end()


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("success", "argv[0]=</t>\nargv[1]=<a b>\nargv[2]=<env>\nENV OSV_VERSION=v0.57-snap\nENV OSV_CPUS=1\nDONE\n"),
        ("exit-3", "argv[0]=</t>\nargv[1]=<exit>\nargv[2]=<3>\nEXITING 3\n"),
        ("return-5", "argv[0]=</t>\nargv[1]=<ret>\nargv[2]=<5>\nRETURNING 5\n"),
        ("fork", "argv[0]=</t>\nargv[1]=<fork>\nfork() stubbed\nFORK -1 No error information\nDONE\n"),
        (
            "hang-killed",
            "argv[0]=</t>\nargv[1]=<sleep>\nargv[2]=<60>\nSLEEP 60\n"
            "qemu-system-x86_64: terminating on signal 15 from pid 3512 (timeout)\n",
        ),
        ("not-found", "Failed to load object: /nosuch.so. Powering off.\n"),
        (
            "abort",
            "argv[0]=</t>\nargv[1]=<abort>\nABORTING\nAborted\n\n[backtrace]\n0x0000100000001a79 <???+6777>\n",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_a_real_console(name: str, own: str, size: int) -> None:
    assert shown((CONSOLES / f"{name}.console.txt").read_bytes(), size).decode() == own


def test_a_last_line_without_its_newline() -> None:
    assert shown(BOOT + b"50 %program exited with status 3\r\n" + END) == b"50 %"
    assert shown(BOOT + b"50 %" + END) == b"50 %"


def test_it_comes_at_once() -> None:
    """Whole lines when they are whole, and a prompt without a newline once nothing more comes."""
    output = Output()
    assert output.feed(BOOT + b"one\r\ntw") == b"one\n"
    assert output.idle() == b"tw"
    assert output.idle() == b""
    assert output.feed(b"o\r\nthree\r") == b"o\n"
    assert output.idle() == b"three"
    assert output.feed(b"\n") == b"\n"


def test_a_whole_console() -> None:
    """All lines in their order; what would clear a terminal is not among them."""
    text = (CONSOLES / "return-5.console.txt").read_bytes()
    for size in (1, 7, 10**6):
        output = Output(whole=True)
        found = b"".join(output.feed(text[at : at + size]) for at in range(0, len(text), size)) + output.end()
        lines = found.decode().splitlines()
        assert lines[0] == "SeaBIOS (version 1.16.2-debian-1.16.2-1)"
        assert lines[-1] == "Powering off."
        assert len(lines) == len(text.splitlines())
        assert b"\x1b" not in found
        assert b"\r" not in found


def test_a_word_of_the_kernels_in_between() -> None:
    """It comes when the random numbers are good enough, also in the middle of a line."""
    word = b"random: device unblocked.\r\n"
    assert shown(BOOT + b"a\r\n" + word + b"b\r\n" + END) == b"a\nb\n"
    assert shown(BOOT + b"50 %" + word + b" done\r\n" + END) == b"50 % done\n"
    output = Output()
    assert output.feed(BOOT + b"50 %") + output.idle() == b"50 %"
    assert output.feed(word) + output.idle() == b""
    assert output.feed(b" done\r\n") == b" done\n"


def test_a_program_that_prints_what_the_kernel_does() -> None:
    """It is held, and comes with what follows it."""
    output = Output()
    assert output.feed(BOOT + b"program x returned 3\r\nPowering off.\r\n") == b""
    assert output.feed(b"not yet\r\n") == b"program x returned 3\nPowering off.\nnot yet\n"
    assert output.feed(END) == b""
    assert output.end() == b""


def test_a_killed_guest_loses_nothing() -> None:
    assert shown(BOOT + b"a\r\nprogram x returned 3\r\nb") == b"a\nprogram x returned 3\nb"
    assert shown(BOOT + b"a\r\nVFS: unmounting /dev\r\n") == b"a\nVFS: unmounting /dev\n"


def test_a_guest_that_never_came_to_the_program_shows_how_far_it_came() -> None:
    assert shown(b"SeaBIOS\r\nOSv v0.57\r\nassertion") == b"SeaBIOS\nOSv v0.57\nassertion"


def test_a_kernel_that_does_not_say_when_it_starts_the_program() -> None:
    output = Output()
    line = b"x" * 99 + b"\n"
    lines = BOOT_LIMIT_BYTES // len(line) + 2
    assert output.feed(line * lines) == line * lines
    assert output.feed(b"more\n") == b"more\n"


def test_a_line_without_end() -> None:
    """It is passed on in parts; nothing of it is kept."""
    output = Output()
    output.feed(BOOT)
    assert sum(len(output.feed(b"x" * 4096)) + len(output.idle()) for _ in range(100)) == 409600
    assert len(output._line) < 2**17


own_lines = st.lists(
    st.sampled_from([b"a", b"", b"x y", b"Powering off.", b"VFS: unmounting /x", b"Cmdline: z"]), max_size=8
)


@given(own_lines, st.integers(1, 9), st.booleans())
def test_nothing_of_a_program_is_lost_but_what_looks_like_the_end(lines: list[bytes], size: int, idle: bool) -> None:
    text = BOOT + b"".join(line + b"\r\n" for line in [*lines, b"last"]) + END
    output, found = Output(), b""
    for at in range(0, len(text), size):
        found += output.feed(text[at : at + size])
        found += output.idle() if idle else b""
    assert found + output.end() == b"".join(line + b"\n" for line in [*lines, b"last"])
